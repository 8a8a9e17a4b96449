"""Processes that a study starts: each has a pipe to its parent, and ends with it.

The parent never imports torch: a child is spawned, told its number of threads and its GPU by
variables before it imports anything, and talks through a pipe of its own (a queue shared by all
would break for all if one is killed while it holds the queue's lock).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import NamedTuple

from finetrap.backends.hf.device import bound_to
from finetrap.measure.engines.machine import variables_set


class Child(NamedTuple):
    """A process as its parent sees it."""

    process: SpawnProcess
    pipe: Connection

    def end(self) -> None:
        """End the process wherever it is."""
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def start(
    serve: Callable[..., None], *arguments: object, threads: int, gpu: str | None = None
) -> Child:
    """Start `serve(pipe, *arguments)` in a process that never hears Ctrl-C: its parent decides.

    With a GPU it sees that one alone.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(serve, theirs, *arguments), daemon=True)
    bound = {} if gpu is None else bound_to(gpu)
    with variables_set(OMP_NUM_THREADS=str(threads), **bound), _uninterrupted():
        process.start()
    theirs.close()
    return Child(process, ours)


def _start_tracker() -> None:
    """Start multiprocessing's tracker: at its own start it unblocks SIGINT, here and for good.

    It removes what a killed worker left, and is told not to warn of it: nobody has to act on it.
    """
    told = os.environ.get("PYTHONWARNINGS", "")
    with variables_set(PYTHONWARNINGS=f"{told},ignore:resource_tracker".lstrip(",")):
        resource_tracker.ensure_running()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Start a process inside: it inherits that SIGINT is blocked, and no start is torn.

    A signal to end is taken by this process once the start is over. Another thread may be given it
    although this one blocks it, so Python's handlers are exchanged as well.
    """
    heard: list[int] = []
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if threading.current_thread() is threading.main_thread()
        and (handler := signal.getsignal(number)) is not None
    }
    for number in before:
        signal.signal(number, lambda sent, frame: heard.append(sent))
    _start_tracker()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        for sent in heard:
            signal.raise_signal(sent)


def _child(serve: Callable[..., None], pipe: Connection, *arguments: object) -> None:
    """Serve until done, or until the parent is gone."""
    from tqdm.std import tqdm

    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_die_after, args=(parent.sentinel,), daemon=True).start()
    # tqdm's own lock is a semaphore of the system, which outlives a process that is killed.
    tqdm.set_lock(threading.RLock())
    try:
        serve(pipe, *arguments)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)


def _die_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
