"""What passes between a driver and workers on other machines: messages, and runs among them.

A worker has a store that sends each run instead of keeping it; the driver commits what comes,
passes events on, and puts back what a lost worker had. Nothing here imports Ray or submitit.
"""

from __future__ import annotations

import platform
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from finetrap.errors import AGAIN, FinetrapError, MachineFault, StoreError
from finetrap.events import ENDINGS, CellAgain, CellBegins, CellLeft, Emit
from finetrap.measure.engines.workers import Group, RunGroup
from finetrap.records import Cell, Keep, ModelSpec, Run
from finetrap.runs.store import Store

Message = tuple[str, Any]
"""`event`, `run` with a Finished, `fault` with an error, `died` with a cause, or `free`."""
TRIES = 3
"""Times that a cell is begun on a cluster before it is left to the person."""


class Finished(NamedTuple):
    """A run on its way to the driver's store."""

    run: Run
    files: Mapping[str, bytes]
    """Weights that are kept with it, by their path in its folder."""


class SendingStore(Store):
    """A folder on a worker's machine for cells that are not finished; runs go to the driver."""

    def __init__(
        self, root: Path, send: Callable[[Finished], None], sent: Iterable[str] = ()
    ) -> None:
        super().__init__(root)
        self._send = send
        self._sent = set(sent)
        """The keys of the runs that were sent, those of an earlier try as well."""

    def remaining(self, cells: Iterable[Cell]) -> tuple[Cell, ...]:
        """Return the cells whose runs were not sent."""
        return tuple(cell for cell in cells if cell.key not in self._sent)

    def commit(self, run: Run, *, weights: Callable[[Path], None] | None = None) -> Path:
        """Send a run; return where it would lie here."""
        files: dict[str, bytes] = {}
        if weights is not None:
            with TemporaryDirectory() as folder:
                weights(Path(folder))
                found = (path for path in Path(folder).rglob("*") if path.is_file())
                files = {str(path.relative_to(folder)): path.read_bytes() for path in found}
        self._send(Finished(run, files))
        self._sent.add(run.cell.key)
        return self.root / f"{run.cell.slug}--{run.cell.key}"


def run_and_send(
    act: RunGroup,
    members: Group,
    store: SendingStore,
    keep: Keep,
    tell: Callable[[str, object], None],
    emit: Emit,
) -> None:
    """Run a group, and tell what ends it but an interruption: a fault names its machine."""
    try:
        act(members, store, keep, emit)
    except FinetrapError as fault:
        known = MachineFault if isinstance(fault, MachineFault) else FinetrapError
        tell("fault", known(f"{platform.node()}: {fault}"))
    except KeyboardInterrupt:
        pass


@dataclass
class Assigned:
    """What a worker elsewhere has to do, as its driver sees it."""

    members: Group = ()
    """Its group; empty while it waits for one."""
    current: Cell | None = None
    ended: set[str] = field(default_factory=set)

    @property
    def rest(self) -> Group:
        """The cells that have not ended."""
        return tuple(cell for cell in self.members if cell.key not in self.ended)


class Receiver:
    """A driver: what it does with what workers tell."""

    emit: Emit

    def __init__(self, store: Store) -> None:
        self.store = store
        self.waiting: deque[tuple[ModelSpec, Group]] = deque()
        self.tries: Counter[str] = Counter()
        self.stopped = False
        self.fault: FinetrapError | None = None

    def stop(self) -> None:
        """Give out no more groups; whoever has one is to leave it after the current step."""
        self.stopped = True
        self.waiting.clear()

    def take(self, one: Assigned, kind: str, content: Any) -> None:
        """Take a message of a worker."""
        if kind == "run":
            write = partial(_write_files, content.files) if content.files else None
            self.store.commit(content.run, weights=write)
            return
        if kind in ("free", "fault"):
            if kind == "fault":  # the others leave what they are at, as after Ctrl-C
                self.fault = self.fault or content
                self.stop()
            one.members, one.current = (), None
            return
        if isinstance(content, CellBegins):
            one.current = next((c for c in one.members if c.key == content.key), None)
        elif isinstance(content, ENDINGS):
            cell, one.current = one.current, None
            one.ended.add(content.key)
            if isinstance(content, CellLeft) and cell:
                self._try_again(cell, content.message)
                return
        self.emit(content)

    def put_back(self, one: Assigned, cause: str) -> None:
        """Have what a lost worker had run by others; the cell it was at counts a try."""
        begun = one.current or next(iter(one.rest), None)  # its beginning may not have been heard
        if begun is not None:
            one.ended.add(begun.key)
            self._try_again(begun, cause)
        if one.rest and not self.stopped:
            self.waiting.appendleft((one.rest[0].model, one.rest))

    def end_round(self) -> None:
        """Sweep up. Raises FinetrapError for what a worker met, KeyboardInterrupt if stopped."""
        self.store.sweep()
        if self.fault:
            raise self.fault
        if self.stopped:
            raise KeyboardInterrupt

    def _try_again(self, cell: Cell, cause: str) -> None:
        self.tries[cell.key] += 1
        if self.tries[cell.key] < TRIES and not self.stopped:
            self.waiting.append((cell.model, (cell,)))
            self.emit(CellAgain(cell.key, cell.slug, cause))
            return
        many = f", as in {TRIES} tries" if self.tries[cell.key] >= TRIES else ""
        self.emit(CellLeft(cell.key, cell.slug, f"{cause}{many}; see why, {AGAIN}"))


@contextmanager
def only_driver(store: Store, engine: str) -> Iterator[None]:
    """Hold a runs folder for one driver of an engine. Raises StoreError if another has it."""
    with store.lock(engine) as mine:
        if not mine:
            raise StoreError(
                f"{store.root}: another `finetrap run --engine {engine}` works on this folder; "
                "wait until it has ended, or choose another with --runs"
            )
        yield


def held_by(workers: Sequence[Assigned]) -> set[str]:
    """Return the keys of the cells that workers have."""
    return {cell.key for one in workers for cell in one.members}


def _write_files(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
