"""A worker of a cluster: it runs groups in a thread of its own, and keeps what it told until its
driver has it, so that a driver that is started again loses nothing.

Nothing here imports Ray, which makes an actor of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NamedTuple

from finetrap.events import CellBegins, Event, RowsDone, StepDone
from finetrap.measure.engines.sending import Message, SendingStore, run_and_send
from finetrap.measure.engines.workers import Group, RunGroup, default_run_group
from finetrap.records import Keep

POLL = 1.0
"""Seconds for which a driver waits for what is not there yet."""
UNHEARD = 3600.0
"""Seconds after which an actor whose driver asks for nothing ends."""
MOST_UNHEARD = 1000
"""Messages that wait from which on progress within a cell is left out."""


class ActorState(NamedTuple):
    """What an actor is at, for a driver that finds it."""

    kind: Any
    """What it was started with."""
    members: Group
    """Its group; empty where it waits for one."""


class Actor:
    """Runs one group at a time. Its methods return at once, but for `hear`."""

    def __init__(
        self,
        kind: object,
        keep: Keep,
        run_group: RunGroup | None = None,
        unheard: float = UNHEARD,
    ) -> None:
        self._kind, self._keep, self._run_group = kind, keep, run_group
        self._members: Group = ()
        self._current: CellBegins | None = None
        self._messages: deque[Message] = deque()
        self._news = threading.Condition()
        self._stopping = False
        self._heard = time.monotonic()
        self._given = threading.Semaphore(0)
        threading.Thread(target=self._work, daemon=True).start()
        threading.Thread(target=self._end_unheard, args=(unheard,), daemon=True).start()

    def state(self) -> ActorState:
        """Tell what it is at, and once more that its cell began."""
        with self._news:
            if self._current is not None:
                self._messages.append(("event", self._current))
            return ActorState(self._kind, self._members)

    def give(self, members: Group) -> None:
        """Begin with a group; there must be none."""
        self._members, self._stopping = members, False
        self._given.release()

    def stop(self) -> None:
        """Leave the group after the current step."""
        self._stopping = True

    def hear(self, taken: int, patience: float = POLL) -> list[Message]:
        """Return what was told; the driver has `taken` messages, which are forgotten."""
        with self._news:
            for _ in range(taken):
                self._messages.popleft()
            self._heard = time.monotonic()
            self._news.wait_for(lambda: self._messages, patience)
            return list(self._messages)

    def _tell(self, kind: str, content: object = None) -> None:
        progress = isinstance(content, StepDone | RowsDone)
        with self._news:
            if not (progress and len(self._messages) > MOST_UNHEARD):
                self._messages.append((kind, content))
            self._news.notify_all()

    def _emit(self, event: Event) -> None:
        if isinstance(event, CellBegins):
            self._current = event
        self._tell("event", event)
        if self._stopping:
            raise KeyboardInterrupt

    def _work(self) -> None:
        try:
            act = self._run_group or default_run_group()
            while self._given.acquire():
                self._run(act)
        except BaseException as fault:
            self._tell("died", f"{type(fault).__name__}: {fault}")
            raise

    def _run(self, act: RunGroup) -> None:
        place = Path(gettempdir()) / f"finetrap-{os.getuid()}"
        store = SendingStore(place, lambda finished: self._tell("run", finished))
        run_and_send(act, self._members, store, self._keep, self._tell, self._emit)
        self._members, self._current = (), None
        self._tell("free")

    def _end_unheard(self, unheard: float) -> None:
        while time.monotonic() - self._heard < unheard:
            time.sleep(min(unheard / 10, 30))
        os._exit(1)
