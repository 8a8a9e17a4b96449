"""Right answers that are not compared as most of their file are, named before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from finetrap.records import Problem
from finetrap.tasks._splits import wording
from finetrap.text import expressions
from finetrap.text.golds import GoldCount, read_gold

SHOWN = 3
"""Rows of a kind that are named."""
TRIED = 200
"""Different right answers that math-verify is tried on: each takes it 20 ms."""


def odd_answers(problems: Iterable[Problem], golds: GoldCount) -> list[str]:
    """Return a line about each of the first right answers that may not be compared as was meant."""
    problems = list(problems)
    if any(p.scoring == "expression" for p in problems):
        odd = list(_misread(problems))
    else:
        odd = [
            f"{problems[i].named}: the right answer {problems[i].answer[:40]!r} is graded as text"
            for i in golds.odd
            if problems[i].scoring is None
        ]
    return [*_few(odd), *_few(list(_contradicted(problems)))]


def _misread(problems: list[Problem]) -> Iterator[str]:
    """Yield the formulas that math-verify cannot read, or of which it reads but a number."""
    different = {p.answer: p for p in reversed(problems) if read_gold(p.answer).kind != "number"}
    for gold, problem in list(different.items())[::-1][:TRIED]:
        found = expressions.read_as(gold)
        if found is None:
            what = "cannot be read by math-verify: no run starts with it"
        elif found.isdecimal() and found in gold:
            what = f"is read by math-verify as {found}"
        else:
            continue
        yield f"{problem.named}: the right answer {gold[:40]!r} {what}"


def _contradicted(problems: list[Problem]) -> Iterator[str]:
    """Yield the rows that ask what an earlier row asks, and answer otherwise."""
    first: dict[tuple[str, tuple[str, ...]], Problem] = {}
    for problem in problems:
        other = first.setdefault((wording(problem.question), problem.choices), problem)
        if problem.question and read_gold(other.answer) != read_gold(problem.answer):
            yield (
                f"{problem.named}: the right answer is {problem.answer[:40]!r}, and at "
                f"{other.place or other.id} {other.answer[:40]!r}"
            )


def _few(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"and {more:,} more such"] if more > 0 else [])]
