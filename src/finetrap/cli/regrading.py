"""The verb that shows what a change of grading changes in runs that are on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finetrap.cli.options import AsJson
from finetrap.text.visible import ascii_line

if TYPE_CHECKING:
    from finetrap.records import Answer, Run

MOST = 300
"""Characters of a line that is shown."""
EXAMPLES = 3
"""Changed answers that are shown of each test of a run."""


def regrade(
    runs: Annotated[Path, typer.Argument(help="A runs folder.", metavar="RUNS")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show what the current grading changes in earlier runs.

    Nothing is written and nothing has to be: whatever judges runs grades their completions under
    the current version. A search or a rewind keeps the choice that it made.

    Example: finetrap regrade runs
    """
    from finetrap.cli.judging import need_runs
    from finetrap.runs.store import Store
    from finetrap.text.scoring import GRADING

    def say(text: str) -> None:
        print(ascii_line(text, MOST))

    need_runs(runs)
    found = [row for pair in Store(runs).graded_before() for row in _changed_tests(*pair)]
    if as_json:
        print(json.dumps({"grading": GRADING, "tests": found}))
        return
    for row in found:
        say(
            f"{row['cell']} on {row['test']}: {row['changed']} of {row['answers']} answers graded "
            f"otherwise, right {row['right_before']} before and {row['right_after']} now"
        )
        for example in row["examples"]:
            say("    {id}: gold {gold!r}, read {was!r}, now {now!r}".format(**example))
    changed = sum(row["changed"] for row in found)
    runs_shown = len({row["key"] for row in found})
    say(
        f"{changed} answers of {runs_shown} runs change under grading version {GRADING}"
        if found
        else f"every run was graded under the current version, {GRADING}"
    )


def _changed_tests(before: Run, after: Run) -> Iterator[dict[str, Any]]:
    """Yield a row for each test of a run."""
    tests = [(before.cell.task.name, before.answers, after.answers)]
    tests += [(name, answers, after.probes[name]) for name, answers in before.probes.items()]
    for name, was, now in tests:
        pairs = [(a, b) for a, b in zip(was, now, strict=True) if _grade(a) != _grade(b)]
        yield {
            "key": before.cell.key,
            "cell": before.cell.slug,
            "test": name,
            "grading": before.grading,
            "answers": len(was),
            "changed": len(pairs),
            "right_before": sum(bool(a.correct) for a in was),
            "right_after": sum(bool(a.correct) for a in now),
            "examples": [
                {"id": a.id, "gold": a.gold, "was": a.extracted, "now": b.extracted}
                for a, b in pairs[:EXAMPLES]
            ],
        }


def _grade(answer: Answer) -> tuple[object, ...]:
    return (answer.extracted, answer.rule, answer.correct, answer.strict, answer.score)
