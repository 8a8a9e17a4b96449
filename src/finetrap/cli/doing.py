"""Verbs that measure: they run cells, and end in what was found."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from finetrap.cli import read_how
from finetrap.cli.interruption import Interrupted, interruptible
from finetrap.cli.judging import report_to, wanted_limits
from finetrap.cli.options import (
    Address,
    AllowCode,
    AsJson,
    Device,
    EngineName,
    MaxMemory,
    MinRetention,
    OneFile,
    Overrides,
    PerGpu,
    Quiet,
    Retry,
    RunsFolder,
    SlurmSettings,
    Source,
    StudyFile,
    TakeOver,
    Voice,
    Workers,
    data_at,
    finite,
    read_study,
)
from finetrap.cli.planned import show_timing, silently
from finetrap.errors import BadData, BadInput
from finetrap.events import CellHeld, Emit, Shipped, StudyInterrupted, cell_ends
from finetrap.findings import Findings
from finetrap.records import Cell
from finetrap.runs.store import Store
from finetrap.text.numbers import counted
from finetrap.text.visible import ascii_line

if TYPE_CHECKING:
    from finetrap.measure import trying
    from finetrap.measure.engines import Engine


TRY_YOURS = "finetrap try HuggingFaceTB/SmolLM2-135M-Instruct --train train.csv"


def demo(
    out: Annotated[Path, typer.Option(metavar="PATH", help="Where runs and report go.")] = Path(
        "finetrap-demo"
    ),
    runs: Annotated[
        Path | None,
        typer.Option("--runs", metavar="DIR", help="Folder of the runs; default OUT/runs."),
    ] = None,
    workers: Workers = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run a small shipped study and judge it, in minutes on two cores.

    Example: finetrap demo --out finetrap-demo
    """
    from finetrap import miniature

    voice, folder = Voice(as_json, quiet), runs or out / "runs"
    study = miniature.study("demo")
    whole = run_to_the_end(study, folder, workers, voice)
    again = shlex.join(["finetrap", "run", "demo", "--runs", str(folder)])
    report_to(Source(folder, study), out, voice, command=again, following=TRY_YOURS)
    if not whole:
        raise typer.Exit(1)


def run(
    study: StudyFile,
    runs: RunsFolder = Path("runs"),
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    slurm: SlurmSettings = None,
    device: Device = None,
    per_gpu: PerGpu = None,
    overrides: Overrides = None,
    retry_failed: Retry = False,
    take_over: TakeOver = False,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run what remains of a study; finished cells are kept.

    Example: finetrap run style --runs runs
    """
    from finetrap.measure.engines import engine_named

    voice, where = Voice(as_json, quiet), engine_named(engine, address, slurm or ())
    whole = run_to_the_end(
        study,
        runs,
        workers,
        voice,
        overrides,
        retry_failed,
        take_over=take_over,
        allow_code=allow_code,
        engine=where,
    )
    voice.say(f"next: finetrap report {study} --runs {runs}")
    if not whole:
        raise typer.Exit(1)


def try_strategies(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As in a study's `models`.")],
    train: Annotated[
        Path, typer.Option(metavar="FILE", help="Your problems: JSON lines, CSV, Parquet …")
    ],
    test: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Test problems; default: a seeded fifth of the first."),
    ] = None,
    budget: Annotated[
        float,
        typer.Option(
            metavar="MINUTES",
            min=0,
            callback=finite,
            help="Minutes that it may take.",
        ),
    ] = 60,
    out: Annotated[Path, typer.Option(metavar="PATH", help="Where everything goes.")] = Path(
        "finetrap-try"
    ),
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="Your names: question=prompt"),
    ] = None,
    probes: Annotated[
        list[str] | None,
        typer.Option("--probe", metavar="TASK", help="What must not be lost; may be repeated."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=PATH", help="Where a probe's data lies, if not on the hub."),
    ] = None,
    max_memory: MaxMemory = None,
    min_retention: MinRetention = None,
    must_ship_one_file: OneFile = False,
    workers: Workers = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare strategies on your model and data, and say what to ship.

    Example: finetrap try mini-1m --train train.jsonl --budget 20
    """
    from finetrap import tasks
    from finetrap.measure import trying

    voice = Voice(as_json, quiet)
    names = dict(_list_column(entry) for entry in columns or ())
    places = dict(data_at(entry) for entry in data or ())
    wanted = trying.Wanted(model, train, test, names, tuple(probes or ()), places)
    out.mkdir(parents=True, exist_ok=True)
    store = Store(out / "runs")
    if test is None:
        voice.say("no --test: holding out one problem in five, by a hash of its question")
    task = trying.as_task(wanted)
    for line in tasks.held_data({task.name: tasks.load(task)}):
        voice.say(line)
    say = show_timing if voice.aloud else silently
    tryout = trying.prepare(
        wanted, out, store, minutes=budget, workers=workers, say=say, allow_code=allow_code
    )
    voice.say(_plan_sentence(tryout, budget))
    whole = run_to_the_end(tryout.file, store.root, workers, voice, allow_code=allow_code)
    wishes = wanted_limits(max_memory, min_retention, must_ship_one_file)
    source = Source(store.root, tryout.file)
    findings = report_to(source, out, voice, wishes=wishes)
    _hand_over(findings, store, out, must_ship_one_file, voice)
    if not whole:
        raise typer.Exit(1)


def _list_column(entry: str) -> tuple[str, str]:
    name, equals, column = entry.partition("=")
    if not name or not equals or not column:
        raise BadInput(f"--column {entry}: expected NAME=COLUMN, for example question=prompt")
    return name, column


def _plan_sentence(tryout: trying.Tryout, minutes: float) -> str:
    study, search = tryout.study, tryout.study.search
    trials = search.trials if search else 0
    names = ", ".join(strategy.name for strategy in study.strategies)
    if tryout.seconds is None:
        return (
            f"going on with {tryout.file}: {names}; {counted(tryout.runs, 'run')} known to remain; "
            "another --out plans anew"
        )
    text = (
        f"plan ({tryout.file}): {names}; {trials} learning rates for each that trains, then "
        f"{len(study.seeds)} seeds at the shared and at the best rate; about {tryout.runs} runs, "
        f"{math.ceil(tryout.seconds / 60)} minutes"
    )
    if tryout.fits:
        return text
    return f"{text}; over the budget of {minutes:g}, and nothing smaller is possible"


def _hand_over(findings: Findings, store: Store, out: Path, whole: bool, voice: Voice) -> None:
    """Write what is to be shipped, and show what it would lose."""
    from finetrap.measure import ship, trying

    for advice in findings.advice:
        runs = store.runs(set(advice.keys))
        if advice.ship is None or not runs:
            continue
        run = min(runs, key=lambda r: -1 if r.cell.seed is None else r.cell.seed)
        base = [r for r in store.runs() if r.cell.task == run.cell.task and _is_base(r.cell)]
        changed = not run.cell.strategy.is_base
        place = ship.ship(run.cell, out / "ship", whole=whole) if changed else None
        worst = trying.lost(base[0], run) if base else []
        answers = [{"before": b.completion, "after": a.completion, "id": a.id} for b, a in worst]
        lines = [f"to ship: {place or 'the base model as it is'}"]
        for before, after in worst:
            lines.append(f"lost {after.id} (answer {after.gold}):")
            lines.append(f"  before: {_line(before.completion)}")
            lines.append(f"  after:  {_line(after.completion)}")
        shipped = Shipped(str(place) if place else None, answers)
        voice.result(shipped.as_json(), "\n".join(lines))


def _is_base(cell: Cell) -> bool:
    return cell.split == "test" and cell.strategy.is_base


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
    """Show what of a study is done, failed and remaining.

    Example: finetrap status style --runs runs
    """
    from finetrap import tasks
    from finetrap.measure.fitting import fits
    from finetrap.measure.study import search

    store = Store(runs)
    cells, searches = search.named_cells(read_study(study, overrides), store)
    known = store.statuses()
    rows = [{"key": c.key, "cell": c.slug, "status": known.get(c.key, "remaining")} for c in cells]
    done = sum(r["status"] == "done" for r in rows)
    remaining = sum(r["status"] == "remaining" for r in rows)
    summary = {
        "cells": len(rows),
        "done": done,
        "remaining": remaining,
        "failed": len(rows) - done - remaining,
        "searches going on": searches,
    }
    lines = [f"{row['status']:9} {row['key'][:12]}  {row['cell']}" for row in rows]
    lines.append("  ".join(f"{name} {n}" for name, n in summary.items()))
    how_read = read_how.how_read(cells, store.environments(c.key for c in cells if c.key in known))
    found = fits(store.remaining(cells), fetch=False)
    how_read += [line for line in read_how.expected_layers(found) if line not in how_read]
    lines += how_read
    read, faults = tasks.local_data(cells)
    data: dict[str, dict[str, object]] = {}
    for name, task in read.items():
        golds = tasks.right_answers(task)
        data[name] = {**tasks.counts(task), "right answers": golds and asdict(golds)}
    lines += tasks.held_data(read)
    faults += [f"{one.strategy} on {one.model}: {one.refused}" for one in found if one.refused]
    Voice(as_json, quiet).result(
        {**summary, "models": how_read, "data": data, "list": rows}, "\n".join(lines)
    )
    if faults:
        raise BadData("\n".join(faults))


def run_to_the_end(
    file: Path,
    runs: Path,
    workers: int | None,
    voice: Voice,
    overrides: list[str] | None = None,
    retry_failed: bool = False,
    *,
    take_over: bool = False,
    allow_code: bool = False,
    engine: Engine | None = None,
) -> bool:
    """Run a study's remaining cells; return whether all that it needs have answers.

    Raises BadInput and MachineFault after the others, and Interrupted.
    """
    from finetrap.measure.engines import local, rounds

    plan = read_study(file, overrides)
    store = Store(runs, take_over=time.time() if take_over else None)
    command = Source(runs, file, overrides).command
    with _watched(voice, store) as watch:
        cells = rounds.run_study(
            plan,
            store,
            workers=workers,
            retry_failed=retry_failed,
            emit=watch.emit,
            stopping=watch.stopping,
            allow_code=allow_code,
            engine=engine or local.ready,
        )
    states = store.statuses()
    failed = [cell for cell in cells if states.get(cell.key, "done") != "done"]
    _name_failures(store, failed, voice, f"{command} --retry-failed")
    _name_held([held for key, held in watch.held.items() if key not in states], voice, command)
    # A trial that failed is data of its search; a final run that failed is a hole in the study.
    finals = (states.get(cell.key, "remaining") for cell in cells if cell.split == "test")
    return all(state in ("done", "remaining") for state in finals)


def _name_failures(store: Store, cells: Sequence[Cell], voice: Voice, again: str) -> None:
    """Say which cells have no answers, and how to run them once more."""
    from finetrap.terminal import words

    if not cells:
        return
    voice.say("without answers, and not run again by themselves:")
    for cell in cells:
        voice.say(f"  {words.ending(cell_ends(store.load(cell.key)))}")
    voice.say(f"to run them once more: {again}")


def _name_held(held: Sequence[CellHeld], voice: Voice, again: str) -> None:
    """Say which cells were left to other processes, and how they are measured all the same."""
    from finetrap.terminal import words

    if not held:
        return
    voice.say("left to other processes, which measure them:")
    for event in held:
        voice.say(f"  {words.held(event)}")
    if any(event.by_file for event in held):
        voice.say(f"if such a process has ended, to measure its cells here: {again} --take-over")
    else:
        voice.say(f"if they end without them: {again}")


class _Watch(NamedTuple):
    """Who hears of a run, and may stop it."""

    emit: Emit
    stopping: Callable[[], bool]
    held: Mapping[str, CellHeld]
    """Cells that were left to other processes, by key."""


@contextmanager
def _watched(voice: Voice, store: Store) -> Iterator[_Watch]:
    """Show what runs inside. Raises BadInput or MachineFault for what was met, and Interrupted."""
    from finetrap.terminal import Progress

    try:
        with (
            Progress(as_json=voice.as_json, quiet=voice.quiet) as progress,
            interruptible(progress.stop_soon) as stopping,
        ):
            yield _Watch(progress.emit, stopping, progress.state.held)
    except KeyboardInterrupt:
        state = progress.state
        remaining, again = state.remaining - state.done - state.failed, _same_command()
        saved = len(store.statuses())
        if voice.as_json:
            event = StudyInterrupted(saved, remaining, again)
            print(json.dumps(event.as_json()), flush=True)
        raise Interrupted(
            f"interrupted; saved in {store.root}: {counted(saved, 'cell')}; remaining, with those "
            f"that were being measured: {remaining}; to go on: {again}"
        ) from None
    progress.check()


def _same_command() -> str:
    """Return what was typed, to be typed again."""
    return shlex.join(["finetrap", *sys.argv[1:]])
