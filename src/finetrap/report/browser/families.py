"""How each family of problems fared, on every test and for every strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from finetrap.report.browser.answers import QuestionSet
from finetrap.text.visible import one_line

MOST_FAMILIES = 40
"""More than these are no families but single problems."""


class FamilyTable(NamedTuple):
    """Families × strategies on one test of one model."""

    title: str
    arms: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[float | None, ...]], ...]
    """Each family with its problems and the percent that each strategy gets right."""


def family_table(asked: QuestionSet) -> FamilyTable | None:
    """Return the table of a test whose problems belong to at least two families; else None."""
    arms = tuple(dict.fromkeys(block.label for block in asked.blocks))
    right: dict[str, dict[str, list[float]]] = {}
    problems: dict[str, set[str]] = {}
    for block in asked.blocks:
        for answer in block.answers:
            if answer.family and answer.correct is not None:
                problems.setdefault(answer.family, set()).add(answer.id)
                own = right.setdefault(answer.family, {}).setdefault(block.label, [])
                own.append(answer.value or 0.0)
        if not 1 < len(problems) <= MOST_FAMILIES:  # all were asked the same problems
            return None
    rows = tuple(
        (
            one_line(family, 40),
            len(problems[family]),
            tuple(_percent(right[family].get(arm, ())) for arm in arms),
        )
        for family in sorted(problems)
    )
    title = f"{one_line(asked.model, 40)} on {one_line(asked.asked, 40)}"
    return FamilyTable(title, arms, rows)


def _percent(right: Sequence[float]) -> float | None:
    return 100 * sum(right) / len(right) if right else None
