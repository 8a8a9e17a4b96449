"""Which trainings of a group share one pass: those that differ only in rate, seed or rank.

A pass over more rows takes as long as its arithmetic, so several adapters at once gain only where a
step is shorter than what it costs to start it. That is measured, never guessed: the first training
of a kind runs alone; if its steps are short a pack is tried; packs go on if that one gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from finetrap.records import Cell, content_hash

MOST = 8
"""Members of a pack."""
SHORT = 0.05
"""Seconds of a step alone up to which a pack is tried: starting the operations of a model below a
billion parameters takes some 20 to 40 ms, arithmetic the rest."""
GAIN = 1.05
"""Times as many trainings per second as alone, from which on packs are used."""


class Packs:
    """The trainings of one group of cells, and what was measured of each kind."""

    def __init__(self, cells: Sequence[Cell] = ()) -> None:
        self._cells = cells
        self._begun: set[str] = set()
        self._alone: dict[str, float] = {}
        """Seconds of a step, by kind."""
        self._gain: dict[str, float] = {}

    def begin(self, cell: Cell) -> list[Cell]:
        """Return the cells to train in one pass, this one first; only this one if it gains nothing
        or if its training has begun."""
        if cell.training_key() in self._begun:
            return [cell]
        self._begun.add(cell.training_key())
        kind = _kind(cell)
        if cell.strategy.kind != "peft" or self._alone.get(kind, SHORT) >= SHORT:
            return [cell]
        if self._gain.get(kind, GAIN) < GAIN:
            return [cell]
        found = [cell]
        for other in self._cells:
            key = other.training_key()
            if len(found) < MOST and key not in self._begun and _kind(other) == kind:
                self._begun.add(key)
                found.append(other)
        if len(found) > 1:
            self._gain.setdefault(kind, 0.0)  # until it is measured
        return found

    def trained(self, cell: Cell, steps: int, seconds: float, members: int) -> None:
        """Note what a training took; in a pack of several members, its share."""
        kind, step = _kind(cell), seconds / max(1, steps)
        if members == 1:
            self._alone.setdefault(kind, step)
        elif kind in self._alone:
            self._gain[kind] = self._alone[kind] / step


def _kind(cell: Cell) -> str:
    """Name what trainings share that may be packed."""
    strategy = cell.strategy.trained_as
    table = {k: v for k, v in (strategy.peft or {}).items() if k not in ("r", "lora_alpha")}
    alike = replace(strategy, name="", learning_rate=None, peft=table)
    identity = cell.identity()
    parts = {name: identity[name] for name in ("model", "trained_on", "replayed", "train")}
    return content_hash({**parts, "strategy": asdict(alike)})
