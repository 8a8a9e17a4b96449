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
    line_start,
    remarks,
    verdict_rows,
    verdict_tables,
    verdict_text,
    wrapped,
)
from finetrap.report.together import put_together

__all__ = [
    "advice_text",
    "line_start",
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

    All of them are written, or the old report stays.
    `command` is what repeats the study, `topics` says what the problems of a task are about.
    Raises StoreError if the folder cannot be written.
    """
    # The templates and all that draws, which the terminal's table does without.
    from finetrap.report.page import render

    page = render(findings, runs, study=study, command=command, topics=topics or {})

    def write(draft: Path) -> None:
        (draft / "figures").mkdir()
        for chart in page.charts:
            place = draft / "figures" / f"{chart.name}.svg"
            place.write_text(chart.standalone, encoding="utf-8")
        write_csv(draft / "effects.csv", Effect, findings.effects)
        write_csv(draft / "cells.csv", CellRow, findings.cells)
        write_csv(draft / "summary.csv", Summary, findings.summary)
        write_csv(draft / "trials.csv", Trial, findings.trials)
        write_csv(draft / "claims.csv", Claim, findings.claims)
        write_csv(draft / "fields.csv", FieldChange, findings.fields)
        (draft / "report.md").write_text(page.markdown, encoding="utf-8")
        (draft / "table.tex").write_text(page.latex, encoding="utf-8")
        (draft / "report.html").write_text(page.html, encoding="utf-8")

    try:
        put_together(folder, write)
    except OSError as fault:
        raise StoreError(
            f"the report cannot be written to '{folder}': {fault.strerror or fault}; "
            "name another folder with --out"
        ) from fault
    return folder / "report.html"
