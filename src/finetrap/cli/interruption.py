"""Ctrl-C and SIGTERM: once to end after the current step, twice to end at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A study was interrupted; the message says what is saved and how to go on."""


def listen() -> None:
    """Let SIGTERM, which schedulers and containers send before they kill, end as Ctrl-C does."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def interruptible(announce: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Give what says whether the first signal to end has come; the second raises KeyboardInterrupt.

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

    both = (signal.SIGINT, signal.SIGTERM)
    heard = [n for n in both if signal.getsignal(n) is signal.default_int_handler]
    for number in heard:
        signal.signal(number, take)
    try:
        yield lambda: asked
    finally:
        for number in heard:
            signal.signal(number, signal.default_int_handler)
