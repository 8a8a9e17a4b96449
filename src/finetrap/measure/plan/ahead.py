"""What a study still has to run, round by round, with its searches supposed to go as is likeliest.

A search names its next cells only when its trials are done. Here every trial that remains is
supposed to end with fewer bits the nearer it is to the rate around which the search starts, so that
this rate is chosen: the cells come out of the rule that the run itself follows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import NamedTuple

from finetrap.measure.study import search
from finetrap.records import Answer, Cell, Run, Status, Study
from finetrap.runs.store import Store


class Ahead(NamedTuple):
    """The cells of a study."""

    cells: tuple[Cell, ...]
    """All of them, those that are done as well."""
    rounds: tuple[tuple[Cell, ...], ...]
    """What remains: in the first round what can be named by now, then what searches will want."""


def look_ahead(study: Study, store: Store) -> Ahead:
    """Return the cells of a study and the rounds in which the remaining ones are run."""
    supposed = _Supposed(study, store)
    rounds: list[tuple[Cell, ...]] = []
    while True:
        cells, _ = search.named_cells(study, supposed)
        remaining = supposed.remaining(cells)
        if not remaining:
            return Ahead(cells, tuple(rounds))
        rounds.append(remaining)
        supposed.ended |= {cell.key: cell for cell in remaining}


class _Supposed(Store):
    """A runs folder in which cells have ended that were not run."""

    def __init__(self, study: Study, store: Store) -> None:
        super().__init__(store.root)
        self.ended: dict[str, Cell] = {}
        self._starts = {s.trained_as.name: s.learning_rate for s in study.strategies if s.trains}

    def remaining(self, cells: Iterable[Cell]) -> tuple[Cell, ...]:
        """Return the cells that have not ended."""
        return tuple(cell for cell in super().remaining(cells) if cell.key not in self.ended)

    def statuses(self) -> dict[str, Status]:
        """Return how each run ended, the supposed ones well."""
        return {**dict.fromkeys(self.ended, "done"), **super().statuses()}

    def runs(self, keys: Collection[str] | None = None) -> list[Run]:
        """Return the runs of these keys, the supposed ones with what a search reads of them."""
        wanted = set(self.ended if keys is None else keys)
        measured = super().runs(keys)
        known = {run.cell.key for run in measured}
        return measured + [self._run(self.ended[k]) for k in sorted(wanted - known)]

    def _run(self, cell: Cell) -> Run:
        start, rate = self._starts.get(cell.strategy.trained_as.name), cell.strategy.learning_rate
        away = abs(math.log(rate / start)) if rate and start else 0.0
        answer = Answer(
            id="supposed",
            gold="",
            completion="",
            extracted=None,
            rule="none",
            correct=True,
            strict=None,
            tokens=0,
            stop="none",
            nats=1.0 + away,
            bytes=1,
        )
        return Run(cell, "done", (answer,))
