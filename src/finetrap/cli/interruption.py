"""Ctrl-C: once to end after the current step, twice to end at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A study was interrupted; the message says what is saved and how to go on."""


@contextmanager
def interruptible(announce: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Give what says whether the first Ctrl-C has come; the second raises KeyboardInterrupt.

    `announce` is called at the first. Where Ctrl-C is ignored, as by a job that a script put into
    the background, it stays ignored.
    """
    asked = False

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        announce()

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, take)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
