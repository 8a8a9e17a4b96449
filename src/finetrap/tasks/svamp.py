"""SVAMP: one-unknown arithmetic word problems (Patel et al., arXiv 2103.07191).

A row: {"ID": "chal-1", "Body": "…", "Question": "…", "Equation": "( 76.0 - 25.0 )", "Answer": 51.0,
"Type": "Subtraction"}. The solution is the equation with its result and the asked last line.

The hub's copy has 700 training and 300 test problems. The original file, SVAMP.json, has no split:
300 test problems are drawn by content, so results on the two sources are not comparable. Answers
are kept as published, also that of chal-680, which contradicts its own equation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from finetrap.errors import BadData
from finetrap.records import Problem, TaskKind, TaskRef
from finetrap.tasks import Task
from finetrap.tasks._sources import Hub, file_revision, local_file
from finetrap.tasks._splits import lowest, without
from finetrap.text.files import read_rows
from finetrap.text.rows import Row, column

NAMES: dict[str, TaskKind] = {"svamp": "math"}
TOPICS = {"svamp": "Arithmetic word problems with one unknown."}
HUB = Hub("ChilleD/SVAMP", None, "5e0bf1e5e7c0e9c4bc39180d224f41f3f801b7ef")
FILES = ("SVAMP.json",)
TEST_PROBLEMS = 300


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return the hub's commit, or a hash over SVAMP.json."""
    return HUB.revision if source is None else file_revision(local_file(name, source, FILES))


def load(ref: TaskRef) -> Task:
    """Read the hub's split, or split the original file."""
    if ref.source is None:
        train, test = ([_problem(row) for row in HUB.rows(ref.name, s)] for s in ("train", "test"))
    else:
        rows = read_rows(local_file(ref.name, ref.source, FILES))
        train = [_problem(row) for row in rows]
        test = lowest("svamp/test", train, TEST_PROBLEMS)
        drawn = {p.id for p in test}
        train = [p for p in train if p.id not in drawn]
    kept = without(train, test)
    return Task(ref.name, "math", tuple(kept), tuple(test), len(train) - len(kept))


def _problem(row: Row) -> Problem:
    body, question = column(row, "Body"), column(row, "Question")
    if body[-1] not in ".?!,":
        body += "."
    answer = _plain_number(row, column(row, "Answer"))
    equation = re.sub(r"\d+(?:\.\d+)?", lambda m: _plain_number(row, m[0]), column(row, "Equation"))
    return Problem(
        id=column(row, "ID"),
        question=f"{body} {question}",
        solution=f"{_unwrapped(equation)} = {answer}\n#### {answer}",
        answer=answer,
        family=column(row, "Type").replace("Divison", "Division"),
        place=row[0],
    )


def _plain_number(row: Row, text: str) -> str:
    """Write 51.0 as 51."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise BadData(f"{row[0]}: found {text!r} where a number must stand") from None
    return format(number.quantize(Decimal(1)) if number == int(number) else number, "f")


def _unwrapped(equation: str) -> str:
    """Write `( ( 3 + 5 ) + 2 )` as `(3 + 5) + 2`."""
    equation = equation.replace("( ", "(").replace(" )", ")")
    depth = 0
    for i, character in enumerate(equation):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return equation[1:-1] if equation[0] == "(" and i == len(equation) - 1 else equation
    return equation
