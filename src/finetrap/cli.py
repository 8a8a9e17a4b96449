"""The command line: each verb parses, calls one function, prints, and returns an exit code.

Exit codes: 0 done, 1 some cells failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from finetrap.errors import BadInput, FinetrapError
from finetrap.findings import Findings

app = typer.Typer(
    name="finetrap",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measures what each fine-tuning strategy does to a small language model.",
)

StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY", help="A study file (TOML), or a shipped study's name.")
]
RunsFolder = Annotated[Path, typer.Option("--runs", help="Folder of the measured runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one event or result a line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; default: one a core while there is work.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override the study: train.epochs=2"),
]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Also run failed cells once more.")]


@app.command()
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


@app.command()
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


@app.command()
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
    from finetrap import study as studies
    from finetrap.store import Store

    cells = studies.cells(studies.load(_file(study), _parsed(overrides)))
    known = Store(runs).statuses()
    rows = [{"key": c.key, "cell": c.slug, "status": known.get(c.key, "owed")} for c in cells]
    done = sum(r["status"] == "done" for r in rows)
    owed = sum(r["status"] == "owed" for r in rows)
    summary = {"cells": len(rows), "done": done, "owed": owed, "failed": len(rows) - done - owed}
    if as_json:
        print(json.dumps({**summary, "list": rows}))
    elif not quiet:
        for row in rows:
            print(f"{row['status']:9} {row['key'][:12]}  {row['cell']}")
        print("  ".join(f"{name} {count}" for name, count in summary.items()))


@app.command()
def report(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", help="Default: every run in the folder.")
    ] = None,
    runs: RunsFolder = Path("runs"),
    out: Annotated[Path | None, typer.Option(help="Default: RUNS/report.")] = None,
    margin: Annotated[
        float | None, typer.Option(help="Points within which a change is equivalent.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Judge a study's runs and draw the report.

    Example: finetrap report studies/first.toml --runs runs
    """
    _report(study, runs, out or runs / "report", margin, overrides, as_json, quiet)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="A.jsonl", help="Predictions before.")],
    after: Annotated[Path, typer.Argument(metavar="B.jsonl", help="Predictions after.")],
    margin: Annotated[float, typer.Option(help="Points within which they are equivalent.")] = 2.0,
    filter_name: Annotated[
        str | None, typer.Option("--filter", help="Which filter of an lm-eval log to read.")
    ] = None,
    common: Annotated[bool, typer.Option("--common", help="Use the shared ids only.")] = False,
    runs: Annotated[
        Path | None, typer.Option("--runs", help="Folder that relative paths start from.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Test whether two prediction files differ, problem by problem: B minus A.

    Example: finetrap compare before.jsonl after.jsonl --margin 2
    """
    from finetrap import predictions

    root = runs or Path()
    result = predictions.compare_files(
        root / before, root / after, margin=margin, filter=filter_name, common=common
    )
    if as_json:
        print(json.dumps(result))
    elif not quiet:
        print(predictions.sentence(result))


@app.command()
def grade(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="`completion` and `gold`.")],
    out: Annotated[Path | None, typer.Option(help="Default: standard output.")] = None,
    runs: Annotated[
        Path | None, typer.Option("--runs", help="Folder that relative paths start from.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Grade any tool's completions: adds `extracted`, `rule`, `correct` to each row.

    Example: finetrap grade outputs.jsonl --out graded.jsonl
    """
    from finetrap import scoring

    root = runs or Path()
    rows = list(scoring.grade_file(root / file))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if out is not None:
        (root / out).write_text(lines, encoding="utf-8")
    elif not quiet:
        sys.stdout.write(lines)
    if out is not None and not quiet:
        right = sum(row["correct"] for row in rows)
        summary = {"n": len(rows), "correct": right, "out": str(root / out)}
        print(json.dumps(summary) if as_json else f"{right} of {len(rows)} correct: {root / out}")


@app.command("list")
def list_names(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List what a study can name (models, strategies, tasks) and the shipped studies.

    Example: finetrap list
    """
    from finetrap import catalog, miniature, tasks

    names: dict[str, dict[str, str]] = {
        "models": {n: t.get("about", "") for n, t in catalog.models().items()},
        "strategies": {n: t.get("about", "") for n, t in catalog.strategies().items()},
        "tasks": dict(tasks.names()),
        "studies": dict.fromkeys(miniature.studies(), "shipped with the package"),
    }
    if as_json:
        print(json.dumps(names))
    elif not quiet:
        for title, entries in names.items():
            print(title)
            for name, about in entries.items():
                print(f"  {name:22} {about}".rstrip())


def _run_and_report(
    study: Path, runs: Path, out: Path, workers: int | None, as_json: bool, quiet: bool
) -> None:
    failed = False
    try:
        _run(study, runs, workers, None, False, as_json, quiet)
    except typer.Exit as stop:
        failed = stop.exit_code == 1
        if not failed:
            raise
    _report(study, runs, out, None, None, as_json, quiet, command="finetrap demo")
    if failed:
        raise typer.Exit(1)


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
    from finetrap.engines import local
    from finetrap.store import Store
    from finetrap.terminal import Progress

    plan = studies.load(_file(file), _parsed(overrides))
    cells = studies.cells(plan)
    store = Store(runs)
    store.remember(plan, cells)
    if retry_failed:
        store.forget_failed(cells)
    owed = store.owed(cells)
    with Progress(total=len(cells), owed=len(owed), as_json=as_json, quiet=quiet) as progress:
        local.run(owed, store, keep=plan.keep, workers=workers, emit=progress.emit)
    if progress.faults:
        raise BadInput("\n".join(progress.faults))
    states = store.statuses()
    if any(states.get(c.key, "owed") not in ("done", "owed") for c in cells):
        raise typer.Exit(1)


def _report(
    file: Path | None,
    runs: Path,
    out: Path,
    margin: float | None,
    overrides: list[str] | None,
    as_json: bool,
    quiet: bool,
    command: str | None = None,
) -> None:
    from finetrap import report as reports
    from finetrap import study as studies
    from finetrap import verdicts
    from finetrap.store import Store

    store = Store(runs)
    settings = _parsed(overrides)
    if margin is not None:
        settings["judge.margin"] = margin
    plan = studies.load(_file(file), settings) if file is not None else None
    cells = studies.cells(plan) if plan else None
    findings, measured = verdicts.judge_study(store, plan, cells=cells, margin=margin)
    again = f"finetrap run {file}" if file else f"finetrap report --runs {runs}"
    page = reports.write(out, findings, measured, study=plan, command=command or again)
    if as_json:
        effects = [asdict(effect) for effect in findings.effects]
        print(json.dumps({"report": str(page), "effects": effects, "missing": findings.missing}))
    elif not quiet:
        _print_verdicts(findings)
        print(f"report: {page}")


def _print_verdicts(findings: Findings) -> None:
    """Print the verdicts: as tables for a person, as plain lines where a file takes them."""
    from finetrap import report as reports

    if not sys.stdout.isatty():
        sys.stdout.write(reports.verdict_text(findings))
        return
    from rich.console import Console

    Console().print(*reports.verdict_tables(findings))


def _file(study: Path) -> Path:
    """Return a study's file: the path itself, or the shipped study of that name."""
    from finetrap import miniature

    return miniature.study(study.name) if str(study) in miniature.studies() else study


def _parsed(overrides: list[str] | None) -> dict[str, Any]:
    """Read `KEY=VALUE` flags; a value is TOML, or else a plain string. Raises BadInput."""
    from finetrap.study import parse_value

    parsed: dict[str, Any] = {}
    for entry in overrides or ():
        key, equals, value = entry.partition("=")
        if not key or not equals:
            raise BadInput(f"--set {entry}: expected KEY=VALUE, for example --set train.epochs=2")
        parsed[key.strip()] = parse_value(value.strip())
    return parsed


def _tell(fault: FinetrapError, arguments: list[str]) -> None:
    if "--json" in arguments:
        print(json.dumps({"event": "error", "message": str(fault)}), file=sys.stderr)
    else:
        print(f"finetrap: {fault}", file=sys.stderr)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app()
    except FinetrapError as fault:
        _tell(fault, sys.argv)
        sys.exit(2)
    except KeyboardInterrupt:
        print(
            "finetrap: interrupted; what is committed is kept, run again to go on", file=sys.stderr
        )
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
