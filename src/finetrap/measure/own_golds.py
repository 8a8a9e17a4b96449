"""Right answers that their own scorer does not call right, found before a model is opened.

Those of most scorers are tried as their file is read. A user's function and math-verify take a
while for each, so they are tried on what is asked alone, when a study starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from finetrap.errors import BadInput
from finetrap.measure.problems import Problems
from finetrap.records import Cell, Problem, content_hash
from finetrap.text.own_scorer import PREFIX
from finetrap.text.scorers import own_gold_fault

SHOWN = 3
"""Faults that are told."""


def check_golds(cells: Iterable[Cell]) -> None:
    """Raise BadInput for what these cells are asked whose right answer is not right by its scorer.

    This runs a user's function: the study must have been allowed to run code of others.
    """
    found = []
    for problem in _tried_late(cells):
        if fault := own_gold_fault(problem):
            found.append(f"{problem.named}: {fault}")
        if len(found) == SHOWN:
            break
    if found:
        raise BadInput("\n".join(found) + "\nnothing was run")


def _tried_late(cells: Iterable[Cell]) -> Iterator[Problem]:
    """Yield each problem of a function or of math-verify that is asked, once."""
    problems, seen = Problems(), set()
    for cell in cells:
        ways = {ref.name: str(ref.options.get("scoring", "")) for ref in (cell.task, *cell.probes)}
        if not any(how == "expression" or how.startswith(PREFIX) for how in ways.values()):
            continue
        asked = problems.asked(cell)
        for test in (asked, *asked.probes.values()):
            for problem in test.problems:
                key = content_hash([problem.scoring, problem.answer, problem.solution])
                if key not in seen:
                    seen.add(key)
                    yield problem
