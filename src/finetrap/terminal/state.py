"""How a running study stands, gathered from its events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finetrap.terminal import words

ENDINGS = ("cell-done", "cell-failed", "bad-input")


@dataclass
class CellState:
    """A cell that is being measured, in words."""

    name: str
    phase: str = "starting"
    detail: str = ""
    answers: str = ""
    """Its answers so far, which stay while their gold solutions are scored."""
    tests: int = 0
    """Tests that it has begun to answer: its task, then its probes."""


@dataclass
class State:
    """What is known by now."""

    total: int = 0
    owed: int = 0
    """Cells to be run, those that have ended included."""
    done: int = 0
    failed: int = 0
    searching: int = 0
    faults: list[str] = field(default_factory=list)
    """Distinct faults of the input, each with the cells it kept from running."""
    refused: int = 0
    """Cells that were not run for them."""
    cells: dict[str, CellState] = field(default_factory=dict)
    """Those being measured, by key."""
    stopping: bool = False
    start: float = field(default_factory=time.monotonic)
    _left: tuple[float, float] | None = None
    """Seconds that were left, and when that was."""

    @property
    def finished(self) -> int:
        """Cells that have ended."""
        return self.done + self.failed + self.refused

    def left(self) -> float | None:
        """Return the seconds that are left, as far as any were measured."""
        if self._left is None:
            return None
        seconds, then = self._left
        return max(0.0, seconds - (time.monotonic() - then))

    def take(self, event: Mapping[str, Any]) -> None:
        """Note an event."""
        kind, key = event["event"], event.get("key", "")
        if kind == "round":
            # What is owed now comes on top of what has ended; what was refused is owed still.
            self.refused = 0
            self.total, self.searching = event["cells"], event["searching"]
            self.owed = self.finished + event["owed"]
        elif kind == "cell-start":
            self.cells[key] = CellState(words.name(event))
        elif kind in ENDINGS:
            self._end(kind, key, event)
        elif (cell := self.cells.get(key)) is not None:
            _follow(cell, event)

    def _end(self, kind: str, key: str, event: Mapping[str, Any]) -> None:
        self.cells.pop(key, None)
        self.done += kind == "cell-done"
        self.failed += kind == "cell-failed"
        self.refused += kind == "bad-input"
        if kind == "bad-input" and event["message"] not in self.faults:
            self.faults.append(str(event["message"]))
        if (left := event.get("left_s")) is not None:
            self._left = (left, time.monotonic())


def _follow(cell: CellState, event: Mapping[str, Any]) -> None:
    kind = event["event"]
    if kind == "phase":
        cell.phase, cell.detail, cell.answers = words.phase(event), "", ""
        cell.tests += event["phase"] == "answer"
    elif kind == "step":
        cell.detail = words.step(event)
    elif kind == "rows":
        said = words.rows(event)
        if event["right"] is not None:
            cell.answers = said
        elif cell.answers:
            said = f"{cell.answers}; {said}"
        cell.detail = said
