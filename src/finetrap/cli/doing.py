"""Verbs that measure: they run cells, and end in what was found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrap.cli.judging import wanted_limits, write_report
from finetrap.cli.options import (
    AsJson,
    MaxMemory,
    MinRetention,
    OneFile,
    Overrides,
    Quiet,
    Retry,
    RunsFolder,
    StudyFile,
    Workers,
    parsed,
    study_file,
)
from finetrap.errors import BadInput
from finetrap.findings import Findings
from finetrap.records import Cell
from finetrap.report.untrusted import ascii_line
from finetrap.store import Store

if TYPE_CHECKING:
    from finetrap import tryout


def demo(
    out: Annotated[Path, typer.Option(help="Where runs and report go.")] = Path("finetrap-demo"),
    runs: Annotated[
        Path | None, typer.Option("--runs", help="Folder of the runs; default OUT/runs.")
    ] = None,
    workers: Workers = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run the shipped study on a miniature model and judge it, in minutes on two cores.

    Example: finetrap demo --out finetrap-demo
    """
    from finetrap import miniature

    _run_and_report(miniature.study("demo"), runs or out / "runs", out, workers, as_json, quiet)


def run(
    study: StudyFile,
    runs: RunsFolder = Path("runs"),
    workers: Workers = None,
    overrides: Overrides = None,
    retry_failed: Retry = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run what a study still owes; what is done already is kept.

    Example: finetrap run studies/first.toml --runs runs
    """
    _run(study, runs, workers, overrides, retry_failed, as_json, quiet)
    if not (as_json or quiet):
        print(f"next: finetrap report {study} --runs {runs}")


def try_strategies(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Catalog name, hub id or folder.")],
    train: Annotated[Path, typer.Option(help="Your problems: JSON lines, question and answer.")],
    test: Annotated[
        Path | None, typer.Option(help="Test problems; default: a seeded fifth of the first.")
    ] = None,
    budget: Annotated[float, typer.Option(min=0, help="Minutes that it may take.")] = 60,
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("finetrap-try"),
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="Your names: question=prompt"),
    ] = None,
    probes: Annotated[
        list[str] | None,
        typer.Option("--probe", metavar="TASK", help="What must not be lost; may be repeated."),
    ] = None,
    max_memory: MaxMemory = None,
    min_retention: MinRetention = None,
    must_ship_one_file: OneFile = False,
    workers: Workers = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Try the strategies on one model and your data, and end in what to ship.

    Example: finetrap try mini-1m --train problems.jsonl --budget 20
    """
    from finetrap import tryout
    from finetrap.store import Store
    from finetrap.terminal import Progress

    names = dict(_column(entry) for entry in columns or ())
    wanted = tryout.Wanted(model, train, test, names, tuple(probes or ()))
    store = Store(out / "runs")
    if test is None and not (as_json or quiet):
        print("no --test: one problem in five is held out, by its wording", flush=True)
    with Progress(as_json=as_json, quiet=quiet) as progress:
        plan = tryout.plan(wanted, out, store, minutes=budget, workers=workers, emit=progress.emit)
    if progress.faults:
        raise BadInput("\n".join(progress.faults))
    if not (as_json or quiet):
        print(_plan_sentence(plan, budget), flush=True)
    failed = _measure(plan.file, out / "runs", workers, as_json, quiet)
    command = f"finetrap run {plan.file} --runs {out / 'runs'}"
    wishes = wanted_limits(max_memory, min_retention, must_ship_one_file)
    findings = write_report(
        plan.file, out / "runs", out, None, None, as_json, quiet, command=command, wishes=wishes
    )
    _hand_over(findings, store, out, must_ship_one_file, as_json, quiet)
    if failed:
        raise typer.Exit(1)


def _column(entry: str) -> tuple[str, str]:
    name, equals, column = entry.partition("=")
    if not name or not equals or not column:
        raise BadInput(f"--column {entry}: expected NAME=COLUMN, for example question=prompt")
    return name, column


def _plan_sentence(plan: tryout.Plan, minutes: float) -> str:
    study, search = plan.study, plan.study.search
    trials = search.trials if search else 0
    names = ", ".join(strategy.name for strategy in study.strategies)
    text = (
        f"plan ({plan.file}): {names}; {trials} learning rates for each that trains, then "
        f"{len(study.seeds)} seeds at the shared and at the best rate; about {plan.runs} runs, "
        f"{math.ceil(plan.seconds / 60)} minutes"
    )
    return (
        text if plan.fits else f"{text}; more than the {minutes:g} allowed, and the least there is"
    )


def _hand_over(
    findings: Findings, store: Store, out: Path, whole: bool, as_json: bool, quiet: bool
) -> None:
    """Write what is to be shipped, and show what it would lose."""
    from finetrap import runner, tryout

    for advice in findings.advice:
        runs = store.runs(set(advice.keys))
        if advice.ship is None or not runs:
            continue
        run = min(runs, key=lambda r: -1 if r.cell.seed is None else r.cell.seed)
        untouched = [r for r in store.runs() if r.cell.task == run.cell.task and _is_base(r.cell)]
        changed = run.cell.strategy.trains or run.cell.strategy.shots
        place = runner.ship(run.cell, out / "ship", whole=whole) if changed else None
        worst = tryout.lost(untouched[0], run) if untouched else []
        if as_json:
            answers = [
                {"before": b.completion, "after": a.completion, "id": a.id} for b, a in worst
            ]
            print(json.dumps({"event": "ship", "path": place and str(place), "lost": answers}))
        elif not quiet:
            print(f"to ship: {place or 'the untouched model as it is'}")
            for before, after in worst:
                print(f"lost {after.id} (answer {after.gold}):")
                print(f"  before: {_line(before.completion)}\n  after:  {_line(after.completion)}")


def _is_base(cell: Cell) -> bool:
    return cell.split == "test" and not cell.strategy.trains and not cell.strategy.shots


def _line(text: str) -> str:
    """Return a completion on one line that a terminal can take."""
    return " ".join(ascii_line(text).split())[:300]


def status(
    study: StudyFile,
    runs: RunsFolder = Path("runs"),
    overrides: Overrides = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say which cells of a study are done, failed and owed.

    Example: finetrap status studies/first.toml
    """
    from finetrap import search
    from finetrap import study as studies
    from finetrap.store import Store

    store = Store(runs)
    cells, searches = search.named_cells(studies.load(study_file(study), parsed(overrides)), store)
    known = store.statuses()
    rows = [{"key": c.key, "cell": c.slug, "status": known.get(c.key, "owed")} for c in cells]
    done = sum(r["status"] == "done" for r in rows)
    owed = sum(r["status"] == "owed" for r in rows)
    summary = {
        "cells": len(rows),
        "done": done,
        "owed": owed,
        "failed": len(rows) - done - owed,
        "searches going on": searches,
    }
    if as_json:
        print(json.dumps({**summary, "list": rows}))
    elif not quiet:
        for row in rows:
            print(f"{row['status']:9} {row['key'][:12]}  {row['cell']}")
        print("  ".join(f"{name} {count}" for name, count in summary.items()))


def _run_and_report(
    study: Path, runs: Path, out: Path, workers: int | None, as_json: bool, quiet: bool
) -> None:
    failed = _measure(study, runs, workers, as_json, quiet)
    write_report(study, runs, out, None, None, as_json, quiet, command="finetrap demo")
    if failed:
        raise typer.Exit(1)


def _measure(study: Path, runs: Path, workers: int | None, as_json: bool, quiet: bool) -> bool:
    """Run a study; return whether cells failed, which its report tells too."""
    try:
        _run(study, runs, workers, None, False, as_json, quiet)
    except typer.Exit as stop:
        if stop.exit_code != 1:
            raise
        return True
    return False


def _run(
    file: Path,
    runs: Path,
    workers: int | None,
    overrides: list[str] | None,
    retry_failed: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a study's owed cells. Exits with 1 if cells failed, raises BadInput after the others."""
    from finetrap import study as studies
    from finetrap.engines import rounds
    from finetrap.store import Store
    from finetrap.terminal import Progress

    plan = studies.load(study_file(file), parsed(overrides))
    store = Store(runs)
    with Progress(as_json=as_json, quiet=quiet) as progress:
        cells = rounds.run(
            plan, store, workers=workers, retry_failed=retry_failed, emit=progress.emit
        )
    if progress.faults:
        raise BadInput("\n".join(progress.faults))
    states = store.statuses()
    # A trial that failed is data of its search; a final run that failed is a hole in the study.
    failed = (states.get(c.key, "owed") not in ("done", "owed") for c in cells if c.split == "test")
    if any(failed):
        raise typer.Exit(1)
