r"""MATH-500: 500 competition problems of MATH (Lightman et al., arXiv 2305.20050). A test alone.

A row: {"problem": "…", "solution": "… $\boxed{\frac{14}{3}}$", "answer": "\frac{14}{3}",
"subject": "Algebra", "level": 3, "unique_id": "test/algebra/2584.json"}. Solutions get the asked
last line. Answers are compared in one spelling of LaTeX; `scoring = "expression"` asks math-verify
where they differ in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetrap.errors import BadInput
from finetrap.records import Problem, TaskKind, TaskRef
from finetrap.tasks import Task
from finetrap.tasks._sources import Hub, file_revision, local_file
from finetrap.text.files import read_rows
from finetrap.text.rows import Row, column

NAMES: dict[str, TaskKind] = {"math500": "math"}
TOPICS = {"math500": "Competition mathematics."}
HUB = Hub("HuggingFaceH4/MATH-500", None, "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be")
FILES = ("test.jsonl",)
OPTIONS = ("scoring",)


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return the hub's commit, or a hash over test.jsonl."""
    how = options.get("scoring", "expression")
    if how != "expression":
        raise BadInput(f'{name}: scoring is {how!r}; it is "expression", or left out')
    return HUB.revision if source is None else file_revision(local_file(name, source, FILES))


def load(ref: TaskRef) -> Task:
    """Read the test."""
    if ref.source is None:
        rows = HUB.rows(ref.name, "test")
    else:
        rows = read_rows(local_file(ref.name, ref.source, FILES))
    how = ref.options.get("scoring")
    return Task(ref.name, "math", (), tuple(_problem(row, how) for row in rows))


def _problem(row: Row, how: str | None) -> Problem:
    answer = column(row, "answer")
    return Problem(
        id=column(row, "unique_id"),
        question=column(row, "problem"),
        solution=f"{column(row, 'solution')}\n#### {answer}",
        answer=answer,
        family=column(row, "subject"),
        scoring=how,
        place=row[0],
    )
