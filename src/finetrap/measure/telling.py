"""What one cell tells while it is measured.

Steps and answers come faster than anyone reads, and each event crosses a pipe, so of each kind at
most a few a second are told, the first and the last always.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finetrap.events import (
    Emit,
    Part,
    Phase,
    PhaseBegins,
    Resumed,
    RowsDone,
    StepDone,
    Told,
    silent,
)

EVERY = 0.2
"""Seconds between two events of one kind."""


@dataclass
class Teller:
    """Tells what one cell does."""

    emit: Emit = silent
    key: str = ""
    _told: dict[str, float] = field(default_factory=dict)
    """When each kind of event was last told."""
    _tokens: int = 0
    """Tokens trained on since then."""
    _phase: Phase = "load"
    _task: str | None = None

    def phase(
        self,
        phase: Phase,
        *,
        model: str | None = None,
        problems: int | None = None,
        steps: int | None = None,
        task: str | None = None,
    ) -> None:
        """Tell that a phase begins."""
        self._told, self._tokens = {}, 0
        self._phase, self._task = phase, task
        self.emit(PhaseBegins(self.key, phase, model, problems, steps, task))

    def resumed(self, done: int, of: int) -> None:
        """Tell that the phase goes on where it was stopped."""
        self.emit(Resumed(self.key, self._phase, done, of, self._task))

    def step(self, event: str, facts: Mapping[str, Any]) -> None:
        """Tell a training step, with the tokens per second since the last one that was told."""
        self._tokens += facts["tokens"]
        last = self._told.get(event)
        if self._due(event, facts["step"] == facts["steps"]):
            pace = None if last is None else round(self._tokens / (self._told[event] - last))
            self.emit(StepDone(self.key, facts["step"], facts["steps"], facts["loss"], pace))
            self._tokens = 0

    def rows(self, phase: Phase, task: str, of: int | None) -> Told:
        """Return what hears of each row that is done and tells how many there are by now.

        `of` is how many there will be of each part; None if that is not known.
        """
        done: dict[Part, int] = {}
        right: dict[Part, int] = {}
        uncounted: set[Part] = set()

        def told(part: Part, correct: bool | None) -> None:
            done[part] = done.get(part, 0) + 1
            if correct is None:
                uncounted.add(part)
            else:
                right[part] = right.get(part, 0) + correct
            if self._due(part, done[part] == of):
                counts = (done[part], of, None if part in uncounted else right.get(part))
                self.emit(RowsDone(self.key, phase, task, part, *counts))

        return told

    def _due(self, kind: str, last: bool) -> bool:
        now = time.monotonic()
        if not last and now - self._told.get(kind, -EVERY) < EVERY:
            return False
        self._told[kind] = now
        return True
