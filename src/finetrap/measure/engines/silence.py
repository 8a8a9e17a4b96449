"""Names a cell that nothing is heard of for longer than all of it should take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from typing_extensions import Self

from finetrap.events import ENDINGS, CellAgain, CellBegins, Emit, Event, WorkerSilent
from finetrap.runs.locks import Holder

LEAST = 900.0
"""Seconds of silence that are never absurd: a step or an answer of a large model may take some."""
TIMES = 10
"""How many times the longest silence that ended by itself is still none."""
_LOOKS = 30.0
"""Seconds between two looks."""


class Silence:
    """Passes events on, and tells of each cell under way that has been silent for too long.

    Steps and rows are told several times a second, so that a cell is silent only while it opens a
    model, computes one step or answers one batch. Too long is longer than its whole cell is
    expected to take, longer than `LEAST`, and `TIMES` as long as any cell was silent before. It is
    told again whenever the silence has doubled.
    """

    def __init__(
        self,
        emit: Emit,
        expected: Callable[[str], float | None],
        holder: Callable[[str], Holder | None],
        least: float = LEAST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit, self._expected, self._holder, self._least = emit, expected, holder, least
        self._clock = clock
        self._heard: dict[str, tuple[str, float]] = {}
        """The readable name of each cell under way, and when it was last heard of."""
        self._longest = 0.0
        self._told: dict[str, float] = {}
        """How long a silence was when it was last told."""
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *fault: Any) -> None:
        self._ended.set()

    def emit(self, event: Event) -> None:
        """Pass an event on."""
        now, key = self._clock(), getattr(event, "key", "")
        if key in self._heard:
            slug, then = self._heard[key]
            self._longest = max(self._longest, now - then)
            self._told.pop(key, None)
            self._heard[key] = (slug, now)
        if isinstance(event, CellBegins):
            self._heard[key] = (event.slug, now)
        elif isinstance(event, (*ENDINGS, CellAgain)):
            self._heard.pop(key, None)
        self._emit(event)

    def look(self) -> None:
        """Tell of each cell that is silent for too long by now."""
        for key, (slug, then) in list(self._heard.items()):
            silent, expected = self._clock() - then, self._expected(key)
            usual = max(self._least, expected or 0.0, TIMES * self._longest)
            if silent > max(usual, 2 * self._told.get(key, 0.0)):
                self._told[key] = silent
                self._tell(key, slug, silent, expected)

    def _watch(self) -> None:
        while not self._ended.wait(min(_LOOKS, self._least)):
            self.look()

    def _tell(self, key: str, slug: str, silent: float, expected: float | None) -> None:
        holder = self._holder(key)
        host, pid = (holder.host, holder.pid) if holder else (None, None)
        seconds = None if expected is None else round(expected, 1)
        with suppress(KeyboardInterrupt):  # the next event says that the reader has gone
            self._emit(WorkerSilent(key, slug, round(silent, 1), seconds, host, pid))
