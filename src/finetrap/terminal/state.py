"""How a running study stands, gathered from its events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from finetrap.events import (
    ENDINGS,
    CellAgain,
    CellBegins,
    CellEnds,
    CellHeld,
    CellLeft,
    CellRefused,
    Event,
    PhaseBegins,
    Resumed,
    RoundBegins,
    RowsDone,
    StepDone,
)
from finetrap.terminal import words


@dataclass
class CellState:
    """A cell that is being measured, in words."""

    name: str
    subject: str = ""
    """Its model and task."""
    strategy: str = ""
    seed: str = ""
    phase: str = "starting"
    since: float = field(default_factory=time.monotonic)
    """When the phase began."""
    share: float = 0.0
    """Of the phase's steps or rows, as far as it is known."""
    resumed: float = 0.0
    """The share that was done before."""
    detail: str = ""
    answers: str = ""
    """Its answers so far, which stay while their gold solutions are scored."""
    tests: int = 0
    """Tests that it has begun to answer: its task, then its probes."""

    def pace(self) -> str:
        """Say for how long the phase has gone on, and how long it will at this pace."""
        gone = time.monotonic() - self.since
        if self.share <= self.resumed or self.share >= 1:
            return f"for {words.duration(gone)}"
        left = gone * (1 - self.share) / (self.share - self.resumed)
        return f"for {words.duration(gone)}, about {words.duration(left)} left"


@dataclass
class State:
    """What is known by now."""

    total: int = 0
    remaining: int = 0
    """Cells to be run, those that have ended included."""
    done: int = 0
    failed: int = 0
    searching: int = 0
    faults: list[str] = field(default_factory=list)
    """Distinct errors of the input, each with the cells it kept from running."""
    unmeasured: list[str] = field(default_factory=list)
    """Cells that remain because the machine failed, each with the reason."""
    refused: int = 0
    """Cells that were not run for either."""
    cells: dict[str, CellState] = field(default_factory=dict)
    """Those being measured, by key."""
    held: dict[str, CellHeld] = field(default_factory=dict)
    """Those left to another process, by key."""
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

    def take(self, event: Event) -> None:
        """Note an event."""
        if isinstance(event, RoundBegins):
            # What remains now comes on top of what has ended; what was refused remains.
            self.refused = 0
            self.total, self.searching = event.cells, event.searching
            self.remaining = self.finished + event.remaining
        elif isinstance(event, CellBegins):
            self.cells[event.key] = CellState(words.name(event), *words.name_parts(event))
            self.held.pop(event.key, None)
        elif isinstance(event, CellHeld):
            self.held[event.key] = event
        elif isinstance(event, CellAgain):
            self.cells.pop(event.key, None)
        elif isinstance(event, ENDINGS):
            self._end(event)
        elif isinstance(event, PHASED) and event.key in self.cells:
            _follow(self.cells[event.key], event)

    def _end(self, event: CellEnds | CellRefused | CellLeft) -> None:
        self.cells.pop(event.key, None)
        if isinstance(event, CellLeft):
            self.refused += 1
            self.unmeasured.append(f"{words.name(event)}: {event.message}")
            return
        if isinstance(event, CellRefused):
            self.refused += 1
            if event.message not in self.faults:
                self.faults.append(event.message)
            return
        self.done += event.status == "done"
        self.failed += event.status != "done"
        if event.left_s is not None:
            self._left = (event.left_s, time.monotonic())


PHASED = (PhaseBegins, Resumed, StepDone, RowsDone)


def _follow(cell: CellState, event: PhaseBegins | Resumed | StepDone | RowsDone) -> None:
    if isinstance(event, PhaseBegins):
        cell.phase, cell.detail, cell.answers = words.phase(event), "", ""
        cell.since, cell.share, cell.resumed = time.monotonic(), 0.0, 0.0
        cell.tests += event.phase == "answer"
    elif isinstance(event, Resumed):
        cell.detail, cell.share = words.resumed(event), event.done / event.of
        cell.resumed = cell.share
    elif isinstance(event, StepDone):
        cell.detail, cell.share = words.step(event), event.step / event.steps
    else:
        said, cell.share = words.rows(event), event.done / event.of if event.of else 0.0
        if event.right is not None:
            cell.answers = said
        elif cell.answers:
            said = f"{cell.answers}; {said}"
        cell.detail = said
