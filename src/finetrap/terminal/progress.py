"""Takes the engine's events and shows them, as whoever reads them can take it."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Self

from finetrap.errors import BadInput, MachineFault
from finetrap.events import (
    ENDINGS,
    CellAgain,
    CrewBegins,
    Event,
    PhaseBegins,
    Resumed,
    RoundBegins,
    StudyEnds,
    WorkerSilent,
)
from finetrap.terminal import words
from finetrap.terminal.state import State

if TYPE_CHECKING:
    from finetrap.terminal.live import Display


SILENCE = 30.0
"""Seconds after which a file gets a line for each cell that is being measured."""


class Progress:
    """Shows a running study: live in a terminal, as plain lines elsewhere, as JSON, or not at all.

    A reader that has gone away ends the study like Ctrl-C, with KeyboardInterrupt: what is
    committed is kept.
    """

    def __init__(self, *, as_json: bool, quiet: bool, silence: float = SILENCE) -> None:
        self.state = State()
        self._silence = silence
        self._lines = threading.Lock()
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._as_json, self._quiet = as_json, quiet
        self._crew = ""
        self._display: Display | None = None

    def check(self) -> None:
        """Raise BadInput or MachineFault for what kept cells from being measured."""
        state = self.state
        if state.faults:
            raise BadInput("\n".join([*state.faults, *state.unmeasured]))
        if state.unmeasured:
            raise MachineFault("\n".join(state.unmeasured))

    def __enter__(self) -> Self:
        if not (self._as_json or self._quiet or sys.stdout.isatty()):
            threading.Thread(target=self._break_silence, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._display is not None:
            self._display.close()
        if self._as_json:
            state = self.state
            seconds = round(time.monotonic() - state.start, 1)
            remaining = state.remaining - state.done - state.failed
            event = StudyEnds(state.done, state.failed, remaining, seconds)
            self._line(json.dumps(event.as_json()))

    def emit(self, event: Event) -> None:
        """Show one event."""
        self.state.take(event)
        if self._as_json:
            self._line(json.dumps(words.event_json(event)))
        elif not self._quiet:
            self._say(event)

    def stop_soon(self) -> None:
        """Say that the study ends after the current step; safe in a signal handler."""
        self.state.stopping = True
        if not (self._quiet or self._as_json or self._display):
            with suppress(OSError):
                os.write(2, b"stopping after the current step; Ctrl-C again stops at once\n")

    def _say(self, event: Event) -> None:
        state = self.state
        if isinstance(event, RoundBegins) and (event.remaining or not state.finished):
            running = f", {words.searches_running(event.searching)}" if event.searching else ""
            self._line(f"{state.total} cells, {event.remaining} remaining{running}")
        elif isinstance(event, CrewBegins) and words.crew_size(event) != self._crew:
            self._crew = words.crew_size(event)
            self._line(self._crew)
        elif isinstance(event, ENDINGS):
            left = state.left()
            hint = f"  (about {words.duration(left)} left)" if left and not self._display else ""
            self._line(self._count() + words.ending(event) + hint)
        elif isinstance(event, CellAgain):
            self._line(self._count() + words.again(event))
        elif isinstance(event, WorkerSilent):
            self._line(self._count() + words.nothing_heard(event))
        elif isinstance(event, PhaseBegins) and self._display is None and _is_told(event, state):
            cell = state.cells[event.key]
            self._line(f"{self._count()}{cell.name}: {cell.phase}")
        elif isinstance(event, Resumed) and event.key in state.cells and event.done < event.of:
            self._line(f"{self._count()}{state.cells[event.key].name}: {words.resumed(event)}")
        if isinstance(event, RoundBegins) and event.remaining:
            self._open_display()

    def _open_display(self) -> None:
        if self._display is None and sys.stdout.isatty():
            from finetrap.terminal.live import Display

            self._display = Display(self.state)

    def _break_silence(self) -> None:
        """Say how far each cell is whenever nothing was said for a while."""
        while not self._ended.wait(self._silence - (time.monotonic() - self._last)):
            if time.monotonic() - self._last < self._silence:
                continue
            self._last = time.monotonic()
            for cell in list(self.state.cells.values()):
                parts = [cell.phase, cell.detail, cell.pace()]
                with suppress(KeyboardInterrupt):  # the next event says that the reader has gone
                    self._line(f"{self._count()}{cell.name}: {', '.join(filter(None, parts))}")

    def _count(self) -> str:
        return f"[{self.state.finished}/{self.state.remaining}] "

    def _line(self, text: str) -> None:
        if self._display is not None:
            self._display.say(text)
            return
        try:
            with self._lines:
                print(text, flush=True)
                self._last = time.monotonic()
        except BrokenPipeError:
            close_stdout()
            raise KeyboardInterrupt from None


def close_stdout() -> None:
    """Send what is still printed nowhere: the reader has gone, and Python would say so at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _is_told(event: PhaseBegins, state: State) -> bool:
    """Whether a phase has a plain line: each once in a cell, what takes no time left out."""
    cell = state.cells.get(event.key)
    if cell is None or event.phase == "after":
        return False
    return event.phase != "answer" or cell.tests == 1
