"""The miniature's own tasks: every family of its world, and the same problems in another style.

`NAME` is a family in the style that the miniature models were pretrained on, with worked steps.
`NAME-terse` has the same problems with answer-only solutions to train on. `world` has a few of each
family that the models know: something to replay.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from itertools import islice
from typing import Any, Literal

from finetrap.miniature import world
from finetrap.records import Problem, TaskKind, TaskRef
from finetrap.tasks import Task

TERSE = "-terse"
SIZE = 2000
"""Problems of each split, fewer where a family has fewer distinct ones."""

WORLD = "world"
NAMES: dict[str, TaskKind] = {
    name: "math"
    for family in (*world.FAMILIES, *world.UNSEEN, WORLD)
    for name in (family, family + TERSE)
    if name != WORLD + TERSE
}
_FAMILIES = {**world.FAMILIES, **world.UNSEEN}
ABOUT = {
    WORLD: "Problems of every family, mixed.",
    **{name: inspect.cleandoc(family.__doc__ or "") for name, family in _FAMILIES.items()},
    **{
        name + TERSE: f"The problems of {name}; solutions are the answer alone."
        for name in _FAMILIES
    },
}


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return the generator's version."""
    return world.VERSION


def load(ref: TaskRef) -> Task:
    """Generate a family's training and test problems, or some of every known family's."""
    if ref.name == WORLD:
        return Task(ref.name, "math", _mixed("train"), _mixed("test"))
    return Task(
        name=ref.name,
        kind="math",
        train=_generated(ref.name, "train"),
        test=_generated(ref.name, "test"),
    )


def _mixed(split: Literal["train", "test"]) -> tuple[Problem, ...]:
    """Return the first problems of every family, in turns, so that any subset has all of them."""
    share = SIZE // len(world.FAMILIES)
    rows = zip(*(_generated(family, split, share) for family in world.FAMILIES), strict=False)
    return tuple(problem for row in rows for problem in row)


@cache
def _generated(name: str, split: Literal["train", "test"], size: int = SIZE) -> tuple[Problem, ...]:
    family, terse = name.removesuffix(TERSE), name.endswith(TERSE)
    return tuple(
        Problem(
            id=f"{family}-{split}-{index:04d}",
            question=item.question,
            solution=f"#### {item.answer}" if terse else item.solution,
            answer=item.answer,
        )
        for index, item in enumerate(islice(world.items(family, split), size))
    )
