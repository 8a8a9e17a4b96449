"""The report: findings as one page, Markdown, LaTeX, CSV and figures; and as a table to print.

    findings → panels, searches, judgements → sentences, tables, charts
             → page.html.jinja (its sections lie beside it), report.md.jinja

Nothing here judges: every number shown stands in effects.csv, summary.csv, cells.csv, trials.csv,
claims.csv, fields.csv or in the evidence of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from finetrap.errors import StoreError
from finetrap.findings import Claim, Effect, Findings, Trial
from finetrap.judge.tables import write_csv
from finetrap.levels import CellRow, FieldChange, Summary
from finetrap.records import Run, Study
from finetrap.report.console import (
    advice_text,
    remarks,
    verdict_rows,
    verdict_tables,
    verdict_text,
    wrapped,
)

__all__ = [
    "advice_text",
    "remarks",
    "verdict_rows",
    "verdict_tables",
    "verdict_text",
    "wrapped",
    "write_report",
]


def write_report(
    folder: Path,
    findings: Findings,
    runs: Sequence[Run],
    *,
    study: Study | None,
    command: str,
    topics: Mapping[str, str] | None = None,
) -> Path:
    """Write the page and, beside it, Markdown, LaTeX, CSV files and figures; return its path.

    `command` is what repeats the study, `topics` says what the problems of a task are about.
    Raises StoreError if the folder cannot be written.
    """
    # The templates and all that draws, which the terminal's table does without.
    from finetrap.report.page import render

    page = render(findings, runs, study=study, command=command, topics=topics or {})
    figures = folder / "figures"
    try:
        figures.mkdir(parents=True, exist_ok=True)
        for stale in figures.glob("*.svg"):
            stale.unlink()
        for chart in page.charts:
            (figures / f"{chart.name}.svg").write_text(chart.standalone, encoding="utf-8")
        write_csv(folder / "effects.csv", Effect, findings.effects)
        write_csv(folder / "cells.csv", CellRow, findings.cells)
        write_csv(folder / "summary.csv", Summary, findings.summary)
        write_csv(folder / "trials.csv", Trial, findings.trials)
        write_csv(folder / "claims.csv", Claim, findings.claims)
        write_csv(folder / "fields.csv", FieldChange, findings.fields)
        (folder / "report.md").write_text(page.markdown, encoding="utf-8")
        (folder / "table.tex").write_text(page.latex, encoding="utf-8")
        path = folder / "report.html"
        path.write_text(page.html, encoding="utf-8")
    except OSError as fault:
        raise StoreError(
            f"the report cannot be written to '{folder}': {fault.strerror or fault}; "
            "name another folder with --out"
        ) from fault
    return path
