"""How long the remaining cells will take, from how long those that have ended took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from finetrap.events import (
    CellAgain,
    CellBegins,
    CellEnds,
    CellHeld,
    CellLeft,
    CellRefused,
    CrewBegins,
    Emit,
    Event,
)
from finetrap.measure.engines import local
from finetrap.measure.engines.machine import crew
from finetrap.records import Cell


class Remaining:
    """Adds to each cell that ends what is left, in seconds (`left_s`).

    A cell is expected to take as long, for its work, as those of the same strategy on the same
    model and task did; before any of them has ended, as those that train (or do not) on the model
    did, then as those on any model. What takes how long to train is not told by cells that do not:
    until one has ended, nothing is said.
    """

    def __init__(self, remaining: Sequence[Cell], workers: int | None, emit: Emit) -> None:
        self._emit = emit
        self._remaining = {cell.key: cell for cell in remaining}
        at_once = {cell.model: crew(cell.model, workers).workers for cell in remaining}
        self._at_once = {cell.key: at_once[cell.model] for cell in remaining}
        self._team: int | None = None
        """Workers, as the engine tells them."""
        self._begun: dict[str, float] = {}
        self._seconds: dict[object, float] = {}
        """Of the cells of a kind that have ended, and their work."""
        self._work: dict[object, float] = {}

    def emit(self, event: Event) -> None:
        """Pass an event on."""
        if isinstance(event, CrewBegins):
            self._team = event.workers
        if isinstance(event, CellBegins):
            self._begun[event.key] = time.monotonic()
            if self._team is not None and self._team != self._at_once.get(event.key):
                # No crew of this machine but of a cluster, which all models share.
                self._at_once = dict.fromkeys(self._at_once, self._team)
        if isinstance(event, CellRefused | CellLeft | CellHeld):
            self._remaining.pop(event.key, None)
        if isinstance(event, CellAgain):
            self._begun.pop(event.key, None)
        if isinstance(event, CellEnds) and (cell := self._remaining.pop(event.key, None)):
            self._note(cell, time.monotonic() - self._begun.pop(event.key, time.monotonic()))
            seconds = self.seconds()
            event = replace(event, left_s=None if seconds is None else round(seconds, 1))
        self._emit(event)

    def seconds(self) -> float | None:
        """Return the seconds that are left, shared among the workers; None while not known."""
        now, left = time.monotonic(), 0.0
        for key, cell in self._remaining.items():
            expected = self._expected(cell)
            if expected is None:
                return None
            left += max(0.0, expected - (now - self._begun.get(key, now))) / self._at_once[key]
        return left

    def expected(self, key: str) -> float | None:
        """Return the seconds that a remaining cell should take; None while not known."""
        cell = self._remaining.get(key)
        return None if cell is None else self._expected(cell)

    def _note(self, cell: Cell, seconds: float) -> None:
        for kind in _kinds(cell):
            self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds
            self._work[kind] = self._work.get(kind, 0.0) + local.work(cell)

    def _expected(self, cell: Cell) -> float | None:
        known = next((kind for kind in _kinds(cell) if kind in self._seconds), None)
        if known is None:
            return None
        return self._seconds[known] / self._work[known] * local.work(cell)


def _kinds(cell: Cell) -> tuple[object, ...]:
    """Return what a cell is one of, the narrowest first; cells of one kind take alike long."""
    trains = cell.strategy.learns
    own = (cell.model.name, cell.task.name, cell.strategy.name, cell.split)
    return own, (cell.model.name, trains), ("any model", trains)
