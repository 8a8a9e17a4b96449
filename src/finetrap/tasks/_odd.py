"""Right answers that are not compared as most of their file are, named before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import chain

from finetrap.records import Problem
from finetrap.tasks._splits import wording
from finetrap.text import expressions
from finetrap.text.golds import GoldCount, read_gold

SHOWN = 3
"""Rows of a kind that are named."""
TRIED = 200
"""Different right answers that math-verify is tried on: each takes it 20 ms."""


def odd_answers(sides: Sequence[Sequence[Problem]], golds: GoldCount) -> list[str]:
    """Return a line about each of the first right answers that may not be compared as was meant.

    `golds` counts those of all sides, one after the other.
    """
    if any(p.scoring == "expression" for p in chain(*sides)):
        odd = list(_misread(sides))
    else:
        places = frozenset(golds.odd)
        odd = [
            f"{problem.named}: the right answer {problem.answer[:40]!r} is graded as text"
            for i, problem in enumerate(chain(*sides))
            if i in places and problem.scoring is None
        ]
    return [*_few(odd), *_few(list(_contradicted(sides)))]


def _misread(sides: Sequence[Sequence[Problem]]) -> Iterator[str]:
    """Yield the formulas that math-verify cannot read, or of which it reads but a number."""
    different: dict[str, Problem] = {}
    for problem in chain(*sides):
        if problem.answer not in different and read_gold(problem.answer).kind != "number":
            different[problem.answer] = problem
            if len(different) == TRIED:
                break
    for gold, problem in different.items():
        found = expressions.read_as(gold)
        if found is None:
            what = "cannot be read by math-verify: no run starts with it"
        elif found.isdecimal() and found in gold:
            what = f"is read by math-verify as {found}"
        else:
            continue
        yield f"{problem.named}: the right answer {gold[:40]!r} {what}"


def _contradicted(sides: Sequence[Sequence[Problem]]) -> Iterator[str]:
    """Yield the rows that ask what an earlier row asks, and answer otherwise."""
    first: dict[bytes, tuple[str, str]] = {}
    """By what is asked: the first answer and its place. Millions of questions are not held."""
    for problem in filter(lambda one: one.question, chain(*sides)):
        asked = sha256(repr((wording(problem.question), problem.choices)).encode()).digest()
        answer, place = first.setdefault(asked, (problem.answer, problem.place or problem.id))
        if answer != problem.answer and read_gold(answer) != read_gold(problem.answer):
            yield (
                f"{problem.named}: the right answer is {problem.answer[:40]!r}, and at "
                f"{place} {answer[:40]!r}"
            )


def _few(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"and {more:,} more such"] if more > 0 else [])]
