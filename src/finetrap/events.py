"""What a cell tells while it is measured: its phase, its training steps, its answers so far.

Steps and answers come faster than anyone reads, and each event crosses a pipe: of each kind at most
a few a second are told, the first and the last always. docs/events.md lists every event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from finetrap.measure.strategies import Part, Told

Emit = Callable[[Mapping[str, Any]], None]
"""Takes one event: a flat mapping with `event`, `key` and the event's facts."""
Phase = Literal["load", "before", "train", "rewind", "answer", "after"]

EVERY = 0.2
"""Seconds between two events of one kind."""


def silent(event: Mapping[str, Any]) -> None:
    """Tell nobody."""


@dataclass
class Teller:
    """Tells what one cell does."""

    emit: Emit = silent
    key: str = ""
    _told: dict[str, float] = field(default_factory=dict)
    """When each kind of event was last told."""
    _tokens: int = 0
    """Tokens trained on since then."""

    def phase(self, phase: Phase, **facts: object) -> None:
        """Tell that a phase begins."""
        self._told, self._tokens = {}, 0
        self.emit({"event": "phase", "key": self.key, "phase": phase, **facts})

    def step(self, event: str, facts: Mapping[str, Any]) -> None:
        """Tell a training step, with the tokens per second since the last one that was told."""
        self._tokens += facts["tokens"]
        last = self._told.get(event)
        if self._due(event, facts["step"] == facts["steps"]):
            pace = None if last is None else self._tokens / (self._told[event] - last)
            told = {name: facts[name] for name in ("step", "steps", "loss")}
            rate = None if pace is None else round(pace)
            self.emit({"event": "step", "key": self.key, **told, "tokens_per_s": rate})
            self._tokens = 0

    def rows(self, phase: Phase, task: str, of: int | None) -> Told:
        """Return what hears of each row that is done and tells how many there are by now.

        `of` is how many there will be of each part; None if that is not known.
        """
        done: dict[Part, int] = {}
        right: dict[Part, int] = {}

        def told(part: Part, correct: bool | None) -> None:
            done[part] = done.get(part, 0) + 1
            if correct is not None:
                right[part] = right.get(part, 0) + correct
            if self._due(part, done[part] == of):
                facts = {"done": done[part], "of": of, "right": right.get(part)}
                about = {"phase": phase, "task": task, "part": part}
                self.emit({"event": "rows", "key": self.key, **about, **facts})

        return told

    def _due(self, kind: str, last: bool) -> bool:
        now = time.monotonic()
        if not last and now - self._told.get(kind, -EVERY) < EVERY:
            return False
        self._told[kind] = now
        return True
