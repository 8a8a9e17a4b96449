"""What is said when a study has been judged: verdicts, advice, the page, and what to run next."""

from __future__ import annotations

import sys
from pathlib import Path

from finetrap.findings import Findings


def say_findings(findings: Findings, page: Path, following: str | None) -> None:
    """Print tables for a person, plain lines for a file; the last line is a command to copy.

    Of an unfinished study only accuracies: a verdict that is looked for again and again is found.
    """
    from finetrap import report as reports
    from finetrap.report import wording

    if findings.remaining:
        print(
            f"{findings.remaining} cells remaining: accuracies so far, and no verdict before the "
            "last seed\n(peeking early inflates false positives)"
        )
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(*reports.verdict_tables(findings))
    else:
        sys.stdout.write(reports.verdict_text(findings))
    next_commands = []
    if not findings.remaining:
        for remark in reports.remarks(findings):
            print(reports.wrapped(remark, "  "))
        for outcome in findings.outcomes:
            if outcome.tuned:
                name = reports.line_start(findings, outcome.model, outcome.task) + outcome.strategy
                print(reports.wrapped(f"{name}: {wording.outcome(outcome)}", "  "))
        next_commands = [a.next_command for a in findings.advice if a.next_command]
        one = following is not None or len(next_commands) == 1
        for found in findings.advice:
            where = reports.line_start(findings, found.model, found.task)
            print(reports.advice_text(found, where=where, following=not one))
    print(f"report: {page}")
    if following is not None or len(next_commands) == 1:
        print(f"next: {following or next_commands[0]}")
