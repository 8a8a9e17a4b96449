"""Adapters per hour: eight LoRA trainings in one pass, and one after another.

    PYTHONPATH=src python -m benchmarks.packing [--members 8] [--model mini-1m|135m]

Both sides are finetrap's own and train the same adapters on the same rows, at learning rates and
seeds of a study's grid; each is settled as a study settles it. It is checked that every member's
losses are those of its training alone. Without --model it is mini-1m, and where there is a GPU
also SmolLM2-135M's shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Side, Work, alternate, parser
from benchmarks.measured import Done, report
from benchmarks.shape import Shape, checkpoint, spec
from benchmarks.training import LORA, rows
from finetrap import tasks
from finetrap.errors import FinetrapError
from finetrap.measure.study import models
from finetrap.records import Limits, ModelSpec, StrategySpec, TrainSpec
from finetrap.text import prompts

SAME = 1e-3
"""Relative difference up to which a member's losses are those of its training alone."""
RATES = (1e-4, 3e-4)


@dataclass(frozen=True)
class Grid:
    """What both sides train."""

    model: ModelSpec
    rows: tuple[tuple[str, str], ...]
    members: int
    batch: int

    @property
    def runs(self) -> list[tuple[StrategySpec, int]]:
        """Each member's strategy and seed."""
        table = {"peft_type": "LORA", **LORA}
        return [
            (StrategySpec("lora", "peft", learning_rate=RATES[i % len(RATES)], peft=table), i)
            for i in range(self.members)
        ]


def mini(members: int, steps: int, batch: int) -> Grid:
    """Return a grid on mini-1m and a task of its world."""
    problems = tasks.load(tasks.reference("school-terse")).train[: steps * batch]
    texts = ((prompts.plain(p.question), prompts.plain_target(p.solution)) for p in problems)
    return Grid(models.resolve("mini-1m", Path(), {}), tuple(texts), members, batch)


def large(members: int, steps: int, batch: int, options: Any) -> Grid:
    """Return a grid on SmolLM2-135M's shape and GSM8K."""
    folder = checkpoint(Shape(layers=options.layers), options.cache, options.data)
    return Grid(spec(folder), rows(steps * batch, folder, options.data), members, batch)


def open_side(grid: Grid, together: bool) -> Work:
    from finetrap.backends import Row, open_model

    model = open_model(grid.model, Limits())
    given = [Row(*row) for row in grid.rows]
    budget = TrainSpec(epochs=1, batch=grid.batch)

    def train(runs: Sequence[tuple[StrategySpec, int]]) -> list[list[float]]:
        if together and not model.train_together(given, runs, budget):
            raise FinetrapError("these trainings do not share a pass: nothing is measured")
        losses = [model.train(given, *own(run)).evidence["loss"] for run in runs]
        model.reset()
        return losses

    def own(run: tuple[StrategySpec, int]) -> tuple[StrategySpec, TrainSpec, int]:
        return run[0], budget, run[1]

    def work(**_: Any) -> Done:
        return Done(len(grid.runs), facts=train(grid.runs))

    train(grid.runs[:2])
    return work


def furthest(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """Return the largest relative difference between two sides' losses. Raises FinetrapError."""
    found = max(
        abs(a - b) / abs(b)
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    if not found <= SAME:
        raise FinetrapError(
            f"a member's loss differs from its training alone by {found:.1e} of its size, more "
            f"than {SAME:g}: they did not do the same work, so nothing is reported"
        )
    return found


def compare(name: str, grid: Grid, options: Any) -> None:
    """Measure both, check that they trained the same, and report."""
    comparison = alternate(
        f"{grid.members} adapters, {name}",
        "adapters",
        [
            Side("in one pass", open_side, {"grid": grid, "together": True}),
            Side("one after another", open_side, {"grid": grid, "together": False}),
        ],
        rounds=options.rounds,
        threads=options.threads,
    )
    together, apart = comparison.sides
    report(
        comparison,
        options.out,
        adapters_per_hour=[round(3600 * side.rate) for side in comparison.sides],
        largest_relative_difference_of_losses=furthest(together.facts[0], apart.facts[0]),
    )


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--members", type=int, default=8)
    asked.add_argument("--steps", type=int, default=10, help="of each training; default 10")
    asked.add_argument("--batch", type=int, default=16, help="rows of a step; default 16")
    asked.add_argument("--model", choices=["mini-1m", "135m"])
    options = asked.parse_args()
    size = (options.members, options.steps, options.batch)
    if options.model in (None, "mini-1m"):
        compare("mini-1m", mini(*size), options)
    if options.model == "135m" or (options.model is None and _has_gpu()):
        compare("135M shape", large(*size, options), options)


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


if __name__ == "__main__":
    main()
