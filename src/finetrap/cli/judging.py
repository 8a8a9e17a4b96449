"""Verbs that judge what is on disk: none of them needs torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finetrap.cli.ending import say_findings
from finetrap.cli.options import (
    AsJson,
    MaxMemory,
    MinRetention,
    OneFile,
    Overrides,
    Quiet,
    Root,
    RunsFolder,
    Source,
    Voice,
    read_study,
)
from finetrap.errors import BadInput
from finetrap.events import ReportWritten
from finetrap.findings import Advice, Findings
from finetrap.records import Run, Study
from finetrap.runs.store import Store
from finetrap.text.visible import one_line, visible

if TYPE_CHECKING:
    from finetrap.judge.advice.advise import Wishes

LogFilter = Annotated[
    str | None,
    typer.Option(
        "--filter", metavar="NAME", help="Which filter (lm-eval) or epoch (inspect) to read."
    ),
]
LogMetric = Annotated[
    str | None,
    typer.Option("--metric", metavar="NAME", help="Which of a log's metrics says what is right."),
]
_NONE_TO_DIAGNOSE = (
    "no strategy is harmed on its task or at the floor; on forgetting: finetrap report"
)
MOST_ODD = 10
"""Golds of another kind than most that are reported one by one."""


def report(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", help="Default: every run in the folder.")
    ] = None,
    runs: RunsFolder = Path("runs"),
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="Default: RUNS/report.")] = None,
    margin: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Points within which a change is equivalent."),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Judge the runs of a study and write the report.

    Example: finetrap report style --runs runs
    """
    need_runs(runs)
    source = Source(runs, study, overrides, margin)
    report_to(source, out or runs / "report", Voice(as_json, quiet))


def diagnose(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run's folder, or how its key begins.")
    ] = None,
    runs: RunsFolder = Path("runs"),
    before: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Any tool's outputs or log, before.")
    ] = None,
    after: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Any tool's outputs or log, after.")
    ] = None,
    filter_name: LogFilter = None,
    metric: LogMetric = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say why a result is worse, cause by cause.

    Each suspect is a likely cause, ruled out, or lacks data.

    Without RUN every harmed strategy of the runs folder is examined.

    Example: finetrap diagnose --before base.jsonl --after tuned.jsonl
    """
    from finetrap.judge import diagnosis as suspects

    remaining = 0
    if (before is None) != (after is None):
        raise BadInput("--before and --after belong together: give both files")
    if before is not None and after is not None:
        if run is not None:
            raise BadInput("give a run, or --before and --after, not both")
        found = [suspects.diagnose_files(before, after, filter_name, metric)]
    else:
        need_runs(runs)
        findings, measured, _ = _judge_source(Source(runs))
        remaining = findings.remaining
        if run is None:
            if remaining:
                Voice(as_json, quiet).result(*_too_early("diagnosis", findings))
                return
            found = list(findings.diagnoses)
        else:
            found = [suspects.diagnose_run(_run_named(run, measured), measured, findings)]
    alone = run is not None or before is not None
    document = suspects.suspects_document(found[0]) if alone else [asdict(one) for one in found]
    text = "\n\n".join(map(suspects.diagnosis_text, found)) or _NONE_TO_DIAGNOSE
    Voice(as_json, quiet).result(document, _not_final(remaining) + text)


def _run_named(name: str, runs: Sequence[Run]) -> Run:
    """Return the one run whose key begins so, or whose folder it is. Raises BadInput."""
    key = Path(name).name.rpartition("--")[2]
    found = [run for run in runs if run.cell.key.startswith(key)] if key else []
    if len(found) != 1:
        raise BadInput(
            f"'{name}' names {len(found)} of {len(runs)} runs; give a run's folder or the "
            "beginning of its key (finetrap status STUDY, or the column `key` of cells.csv)"
        )
    return found[0]


def advise(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Without runs of it: what is published.")
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option("--study", metavar="STUDY", help="Default: every run in the folder."),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option("--runs", metavar="DIR", help="Folder of the measured runs. Default: runs."),
    ] = None,
    max_memory: MaxMemory = None,
    min_retention: MinRetention = None,
    must_ship_one_file: OneFile = False,
    overrides: Overrides = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also everything that the advice is based on.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say which strategy to ship, and why.

    Example: finetrap advise smollm2-135m --runs runs --min-retention 95
    """
    from finetrap.judge.advice import advise as advising
    from finetrap.report import advice_text

    wishes = wanted_limits(max_memory, min_retention, must_ship_one_file)
    folder = runs or Path("runs")
    if runs is not None or model is None or study is not None:
        need_runs(folder)
    source = Source(folder, study or Path("STUDY"), overrides)
    findings, _, _ = _judge_source(
        source._replace(study=study), wishes=wishes, command=source.command
    )
    found = [a for a in findings.advice if model in (None, a.model)]
    if found and findings.remaining:
        Voice(as_json, quiet).result(*_too_early("advice", findings, source.command))
        return
    if found:
        documents = [advising.advice_document(one) for one in found]
        if len(found) > 1:
            pairs = zip(found, documents, strict=True)
            documents = [{"model": a.model, "task": a.task, **document} for a, document in pairs]
        sentences = [advice_text(one, verbose=verbose) for one in found]
    elif model is None:
        raise BadInput(
            f"{folder} holds no judged runs; name a MODEL for what is published about it"
        )
    else:
        known = _published(model)
        documents, sentences = (
            [advising.advice_document(known)],
            [advice_text(known, verbose=verbose)],
        )
    document = documents if len(documents) > 1 else documents[0]
    Voice(as_json, quiet).result(document, "\n".join(sentences))


def _too_early(
    what: str, findings: Findings, command: str = "finetrap run STUDY"
) -> tuple[dict[str, Any], str]:
    """Return, for a program and for a person, that nothing is concluded before the last run."""
    why = (
        f"no {what} before the last run, {findings.remaining} cells remaining: a verdict that is "
        "looked for again and again is found by chance"
    )
    return {"remaining": findings.remaining, "why": why}, f"{why}\nnext: {command}"


def _not_final(remaining: int) -> str:
    """Say that what follows is not final; nothing of a finished study."""
    return f"not final, {remaining} cells remaining:\n" if remaining else ""


def wanted_limits(max_memory: float | None, retention: float | None, one_file: bool) -> Wishes:
    """Return a user's limits; memory is given in gigabytes."""
    from finetrap.judge.advice.advise import Wishes

    return Wishes(None if max_memory is None else int(max_memory * 1e9), retention, one_file)


def _published(model: str) -> Advice:
    """Return the prior for a model that has not been measured."""
    from finetrap.judge.paper.population import aligned
    from finetrap.judge.paper.prior import published_advice
    from finetrap.measure.study import models

    spec = models.resolve(model, Path.cwd(), {})
    unknown = None if spec.prompt.format == "auto" else False
    return published_advice(spec.name, spec.parameters, aligned(spec) or unknown)


def overlap(
    train: Annotated[
        Path, typer.Option(metavar="FILE", help="Training rows: JSON lines, CSV, Parquet …")
    ],
    test: Annotated[Path, typer.Option(metavar="FILE", help="Test rows, in any of these formats.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Count the test questions that the training rows hold.

    Word for word, or nearly: with other numbers, or most of its words in a row.

    Example: finetrap overlap --train train.jsonl --test test.jsonl
    """
    from finetrap.text import overlap as overlaps

    found = overlaps.find(overlaps.read_questions(train), overlaps.read_questions(test))
    Voice(as_json, quiet).result(overlaps.overlap_counts(found), overlaps.overlap_sentence(found))


def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="Predictions or a log, before.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Predictions or a log, after.")],
    margin: Annotated[
        float, typer.Option(metavar="POINTS", help="Points within which they are equivalent.")
    ] = 2.0,
    filter_name: LogFilter = None,
    metric: LogMetric = None,
    common: Annotated[bool, typer.Option("--common", help="Use the shared ids only.")] = False,
    runs: Root = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Test whether two prediction files differ, paired by problem.

    Example: finetrap compare before.jsonl after.jsonl --margin 2
    """
    from finetrap.judge import predictions

    root = runs or Path()
    result = predictions.compare_files(
        *(root / before, root / after),
        margin=margin,
        filter=filter_name,
        metric=metric,
        common=common,
    )
    Voice(as_json, quiet).result(result, predictions.change_text(result))


def grade(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Rows of `completion` and `gold`, or a log.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Default: standard output.")
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", metavar="TEXT", help="Also cut completions at this text."),
    ] = None,
    no_cut: Annotated[
        bool, typer.Option("--no-cut", help="Do not cut where another problem starts.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="ROW", help="Say how one row is graded: its `id`, or 1 for the first."
        ),
    ] = None,
    filter_name: LogFilter = None,
    runs: Root = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Grade any tool's completions, row by row.

    A completion is cut where the model starts another problem; `cut` is what opens it.

    Example: finetrap grade outputs.jsonl --out graded.jsonl
    """
    from finetrap.judge.logs import read_gradable
    from finetrap.text import scoring
    from finetrap.text.rows import json_line

    root, stops = runs or Path(), stop or ()
    given = read_gradable(root / file, filter_name)
    if explain is not None:
        lines = scoring.explained_row(given, explain, stops, cut=not no_cut)
        Voice(as_json, quiet).result(lines, "\n".join(lines))
        return
    rows = list(scoring.graded_rows(given, stops, cut=not no_cut))
    odd = scoring.odd_golds(given)
    if not quiet:
        more = [f"and {len(odd) - MOST_ODD:,} more"] if len(odd) > MOST_ODD else []
        for line in (*odd[:MOST_ODD], *more):
            print(visible(line), file=sys.stderr)
    lines = list(map(json_line, rows))
    if out is not None:
        (root / out).write_text("".join(lines), encoding="utf-8")
    elif not quiet:
        sys.stdout.writelines(lines)
    if out is not None and not quiet:
        right, cut = (sum(bool(row[name]) for row in rows) for name in ("correct", "cut"))
        summary = {"n": len(rows), "correct": right, "cut": cut, "out": str(root / out)}
        text = f"{right} of {len(rows)} correct, {cut} cut where another problem starts"
        Voice(as_json, quiet).result(summary, f"{text}: {one_line(str(root / out), 400)}")


def report_to(
    source: Source,
    out: Path,
    voice: Voice,
    *,
    command: str | None = None,
    wishes: Wishes | None = None,
    following: str | None = None,
) -> Findings:
    """Judge, write the report, and say what was found; `following` is the command to run next."""
    from finetrap import report as reports
    from finetrap import tasks

    again = command or source.command
    more = command or source._replace(study=source.study or Path("STUDY")).command
    findings, measured, plan = _judge_source(source, wishes=wishes, command=more)
    findings = findings.withheld()
    page = reports.write_report(
        out, findings, measured, study=plan, command=again, topics=tasks.topics()
    )
    if voice.as_json:
        voice.result(ReportWritten(str(page), **_findings_json(findings)).as_json(), "")
    elif voice.aloud:
        say_findings(findings, page, following)
    return findings


def need_runs(folder: Path) -> None:
    """Raise BadInput where there is nothing to judge; nothing is created."""
    if not folder.is_dir():
        raise BadInput(
            f"{folder}: no such folder; name a folder of runs with --runs, or make one with "
            "finetrap run STUDY"
        )
    if not Store(folder).statuses():
        raise BadInput(f"{folder} holds no run; finetrap run STUDY --runs {folder} makes some")


def _judge_source(
    source: Source, *, wishes: Wishes | None = None, command: str = ""
) -> tuple[Findings, list[Run], Study | None]:
    """Judge a study's runs, or all there are."""
    from finetrap import judge
    from finetrap.measure.study import search

    store, plan = Store(source.runs), None
    if source.study is not None:
        margin = {} if source.margin is None else {"judge.margin": source.margin}
        plan = read_study(source.study, source.overrides, **margin)
    cells = search.named_cells(plan, store)[0] if plan else None
    findings, measured = judge.judge_study(
        store, plan, cells=cells, margin=source.margin, wishes=wishes, command=command
    )
    return findings, measured, plan


def _findings_json(findings: Findings) -> dict[str, Any]:
    """Return what was judged for a program; cells.csv has the cells.

    Of an unfinished study what is based on verdicts is left out, and they are null.
    """
    names = (
        *("effects", "summary", "frontiers", "outcomes", "trials", "claims", "cliffs"),
        *("detectable", "diagnoses", "advice", "headlines", "tally", "prompts"),
    )
    found = {name: [asdict(record) for record in getattr(findings, name)] for name in names}
    if findings.remaining:
        kept = {"trials": found["trials"]}
        effects = [{**effect, "verdict": None} for effect in found["effects"]]
        found = {**{name: [] for name in names}, **kept, "effects": effects}
    missing = [asdict(one) for one in findings.missing]
    return {**found, "missing": missing, "remaining": findings.remaining}
