"""Worker processes: started, given groups of cells, listened to, and outlived.

A worker that dies costs the cell it was at; the rest of its group goes to a new worker. That cell
is tried once more, after all others and alone on the machine: what ended it may have been the
memory of the others, or a person. What ends it there as well is recorded as its own, but for a
signal that a person sent. Workers end with their parent, however that ends.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

from finetrap.errors import AGAIN, FinetrapError, MachineFault, machine_fault, out_of_memory
from finetrap.events import (
    ENDINGS,
    CellAgain,
    CellBegins,
    CellLeft,
    Emit,
    Event,
    cell_ends,
)
from finetrap.measure.engines.children import Child, start
from finetrap.measure.engines.machine import Crew
from finetrap.measure.meter import environment
from finetrap.quota import kernel_kills
from finetrap.records import Cell, Failure, Keep, Run, Status
from finetrap.runs.store import Store

RunGroup = Callable[[Sequence[Cell], Store, Keep, Emit], None]
Group = tuple[Cell, ...]
Stopping = Callable[[], bool]
"""Says whether the run is to end after the current step."""

_PATIENCE = 0.2
"""Seconds after which a parent that hears nothing looks whether it is to stop."""


@dataclass
class _Worker:
    """A worker process as its parent sees it."""

    child: Child
    gpu: str | None = None
    """The GPU that it sees."""
    members: Group = ()
    """The group it has; empty while it waits for one."""
    current: Cell | None = None
    ended: set[str] = field(default_factory=set)
    heard: bool = False
    """Whether it has ever sent anything: one that did not could not even start."""

    @property
    def pipe(self) -> Connection:
        """What it is heard through."""
        return self.child.pipe

    @property
    def sentinel(self) -> int:
        """What is ready once it has ended."""
        return self.child.process.sentinel


class Pool:
    """Workers that are given groups, one at a time each, and are listened to."""

    def __init__(
        self,
        store: Store,
        keep: Keep,
        team: Crew,
        run_group: RunGroup | None = None,
        stopping: Stopping | None = None,
        kills: Callable[[], int] = kernel_kills,
        gpus: Sequence[str] = (),
    ) -> None:
        self.store, self.keep, self.team = store, keep, team
        self.run_group, self.stopping, self.gpus = run_group, stopping, gpus
        self.workers: list[_Worker] = []
        self.again: dict[str, tuple[Cell, str]] = {}
        """Cells that are to be tried alone, by key, and what ended them."""
        self.alone: Cell | None = None
        """The one that is."""
        self.stopped = False
        self.unheard = 0
        """Workers in a row that were killed before they could start."""
        self.fault: FinetrapError | None = None
        self.kills, self.kernel_kills = kills, kills()

    def run(self, groups: Iterable[Group], emit: Emit) -> None:
        """Work through all groups; the workers stay. Raises FinetrapError, KeyboardInterrupt."""
        self.emit = emit
        self._work(groups, self.team.workers)
        while self.again and not self.stopped:
            self.close()
            self.alone = next(iter(self.again.values()))[0]
            self._work([(self.alone,)], 1)
            self.close()
            self.again.pop(self.alone.key)
            self.alone = None
        if self.fault:
            raise self.fault
        if self.stopped:
            raise KeyboardInterrupt

    def _work(self, groups: Iterable[Group], workers: int) -> None:
        """Have each group run by a worker, so many at once."""
        self.waiting = deque(groups)
        for worker in self.workers:
            self._assign(worker)
        while self.waiting or any(worker.members for worker in self.workers):
            while self.waiting and len(self.workers) < workers:
                self._assign(self._start())
            self._listen()

    def close(self, patience: float = 10.0) -> None:
        """Let the workers go, and end those that have not left after `patience` seconds each."""
        for worker in self.workers:
            with suppress(OSError):
                worker.pipe.send(None)
        for worker in self.workers:
            worker.child.process.join(patience)
        for worker in self.workers:
            worker.child.end()
        self.workers = []

    def _start(self) -> _Worker:
        before = self.again[self.alone.key][1] if self.alone else None
        taken = [worker.gpu for worker in self.workers]
        gpu = min(self.gpus, key=taken.count, default=None)
        told = (self.store, self.keep, self.run_group, before)
        child = start(_serve, *told, threads=self.team.threads, gpu=gpu)
        self.workers.append(_Worker(child, gpu))
        return self.workers[-1]

    def _assign(self, worker: _Worker) -> None:
        """Give the next group to a worker, if there is one."""
        worker.current, worker.ended = None, set()
        worker.members = self.waiting.popleft() if self.waiting else ()
        if worker.members:
            with suppress(OSError):  # it has just died: its sentinel will tell
                worker.pipe.send(worker.members)

    def _listen(self) -> None:
        """Wait for messages and deaths; of a dead worker read first what it still said."""
        sources = [source for w in self.workers for source in (w.pipe, w.sentinel)]
        ready = set(wait(sources, _PATIENCE))
        if not self.stopped and self.stopping is not None and self.stopping():
            self._stop()
        for worker in list(self.workers):
            died = worker.sentinel in ready
            if died or worker.pipe in ready:
                self._read(worker, drain=died)
            if died:
                self._replace(worker)
            elif not worker.members:
                self._assign(worker)

    def _stop(self) -> None:
        """Give out no more groups, and ask every worker to leave the one it has."""
        self.stopped = True
        self.waiting.clear()
        for worker in self.workers:
            with suppress(OSError):
                worker.pipe.send(None)

    def _read(self, worker: _Worker, drain: bool) -> None:
        with suppress(EOFError, ConnectionResetError):
            while not drain or worker.pipe.poll():
                self._take(worker, *worker.pipe.recv())
                if not drain:
                    return

    def _take(self, worker: _Worker, kind: str, content: Any) -> None:
        worker.heard, self.unheard = True, 0
        if kind == "fault":  # the others leave what they are at, as after Ctrl-C
            self.fault = self.fault or content
            worker.members, worker.current = (), None
            self._stop()
            return
        if kind == "free":
            worker.members, worker.current = (), None
            return
        if isinstance(content, CellBegins):
            worker.current = next(c for c in worker.members if c.key == content.key)
        elif isinstance(content, ENDINGS):
            cell, worker.current = worker.current, None
            worker.ended.add(content.key)
            if isinstance(content, CellLeft) and cell and not self.alone:
                self._try_again(cell, content.message)
                return
        self.emit(content)

    def _replace(self, worker: _Worker) -> None:
        """Record the cell that a dead worker was at, and put the rest of its group back."""
        process, pipe = worker.child
        process.join()
        pipe.close()
        self.workers.remove(worker)
        if self.stopped and process.exitcode == -signal.SIGTERM:
            return  # what ends the study was sent to its workers too
        cause = _cause(process.exitcode or 0)
        if not worker.heard:
            self._start_failed(process.exitcode or 0, cause)
        if worker.current is not None:
            worker.ended.add(worker.current.key)
            self._bury(worker.current, process.exitcode or 0, cause)
        rest = tuple(cell for cell in worker.members if cell.key not in worker.ended)
        if rest and not self.stopped:
            self.waiting.appendleft(rest)

    def _start_failed(self, exit_code: int, cause: str) -> None:
        """Let the next worker try where a signal was sent; raise where that would not help."""
        self.unheard += 1
        if -exit_code not in _SENT:
            raise FinetrapError(
                f"{cause}, before it could start; what it said stands above. Run the study again, "
                "with more memory if that was short. A script that starts finetrap needs "
                '`if __name__ == "__main__":` around its call'
            )
        if self.unheard == _STARTS:
            raise MachineFault(
                f"{cause}, before it could start, {_STARTS} times; find out who sent it, {AGAIN}"
            )

    def _bury(self, cell: Cell, exit_code: int, cause: str) -> None:
        """Have a cell whose worker died tried again; the second time, settle it."""
        by_kernel = exit_code == -signal.SIGKILL and self.kills() > self.kernel_kills
        self.kernel_kills += by_kernel
        if by_kernel:
            cause = "worker killed by the system, which was out of memory"
        if not self.alone:
            self._try_again(cell, cause)
        elif by_kernel or (exit_code != _UNLOADED and -exit_code not in _SENT):
            self._record(cell, "oom" if by_kernel else "failed", f"{cause}{_TWICE}")
        else:
            remedy = "free memory" if exit_code == _UNLOADED else "find out who sent it"
            message = f"{cause}{_TWICE}; {remedy}, {AGAIN}"
            self.emit(CellLeft(cell.key, cell.slug, message))

    def _try_again(self, cell: Cell, cause: str) -> None:
        self.again[cell.key] = (cell, cause)
        self.emit(CellAgain(cell.key, cell.slug, cause))

    def _record(self, cell: Cell, status: Status, cause: str) -> None:
        with self.store.lock(cell.key) as mine:
            if mine and self.store.remaining([cell]):
                kind = "out-of-memory" if status == "oom" else "worker-died"
                failure = Failure(kind, cause)
                run = Run(cell, status, environment=environment(), failure=failure)
                self.store.commit(run)
                self.emit(cell_ends(run))


_STARTS = 3
"""Workers in a row that may be killed at their start: more of them, and something kills all."""
_TWICE = ", and again when it was tried alone"
_SENT = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Signals that another process sends; the others are a crash."""
_UNLOADED = 127
"""Exit code of the system's loader, which had no memory for a library."""


def _cause(exit_code: int) -> str:
    if exit_code >= 0:
        return f"worker ended with exit code {exit_code}"
    return f"worker killed by signal {-exit_code}"


def _serve(
    pipe: Connection, store: Store, keep: Keep, run_group: RunGroup | None, before: str | None
) -> None:
    """Be a worker: run group after group until told that there is none.

    `before` is what ended the first try of its only cell.
    """

    def tell(kind: str, content: object = None) -> None:
        try:
            pipe.send((kind, content))
        except OSError:
            os._exit(1)  # the parent is gone; raising here would be recorded as the cell's failure

    def emit(event: Event) -> None:
        tell("event", event)
        if pipe.poll():  # whatever comes before the group has ended asks to leave it
            raise KeyboardInterrupt

    try:
        act = run_group or default_run_group(before)
    except (MemoryError, ImportError, OSError, RuntimeError) as fault:
        if (lacking := _before_start(fault)) is None:
            raise
        tell("fault", lacking)
        return
    while members := pipe.recv():
        try:
            act(members, store, keep, emit)
        except FinetrapError as fault:
            known = MachineFault if isinstance(fault, MachineFault) else FinetrapError
            tell("fault", known(str(fault)))
            return
        except KeyboardInterrupt:
            pass
        tell("free")


def _before_start(fault: Exception) -> MachineFault | None:
    """Return what the machine lacks where a worker cannot import what it needs; None for others."""
    if out_of_memory(fault):
        return MachineFault(
            "the memory was exhausted before a worker could start; free some of it, raise its "
            f"limit (ulimit -v) or take fewer --workers, {AGAIN}"
        )
    return machine_fault(fault)


def default_run_group(before: str | None = None) -> RunGroup:
    """Return the runner's, with a session of its own, which serves the next group too."""
    from finetrap.measure.runner import run_group
    from finetrap.measure.session import Session

    return partial(run_group, session=Session(before=before))
