"""Runs remaining cells on a cluster of Ray, or in Ray on this machine.

The driver gives out groups in the order of the local engine, asks each actor for what it has to
tell, and commits the runs that come back to the folder beside it. A lost actor costs no more than
the cell it was at, which another runs again.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from finetrap import __version__
from finetrap.backends.hf.device import device_wanted
from finetrap.errors import BadInput, FinetrapError, MissingPackage, in_a_line
from finetrap.events import CrewBegins, Emit
from finetrap.measure.engines.local import shifts
from finetrap.measure.engines.machine import (
    Crew,
    bytes_needed,
    cores,
    crew,
    this_machine,
    variables_set,
)
from finetrap.measure.engines.ray_actor import Actor, ActorState
from finetrap.measure.engines.sending import (
    TRIES,
    Assigned,
    Message,
    Receiver,
    held_by,
    only_driver,
)
from finetrap.measure.engines.workers import RunGroup, Stopping
from finetrap.records import Cell, Keep, ModelSpec, content_hash
from finetrap.runs.store import Store

NAMESPACE = "finetrap"
LOOK_AGAIN = 5.0
"""Seconds after which the nodes of a cluster are counted anew."""
_PATIENCE = 0.2
_OBJECTS = 2**28
"""Bytes of shared memory for what is on its way between processes of one machine."""


class Slot(NamedTuple):
    """What an actor is started with."""

    threads: int
    memory: int
    """Bytes."""


@dataclass(kw_only=True)
class _Member(Assigned):
    """An actor as its driver sees it."""

    handle: Any
    kind: Slot
    hearing: Any
    """What its next messages come through."""
    heard: bool = False


@contextmanager
def on_cluster(
    store: Store,
    *,
    keep: Keep,
    workers: int | None = None,
    run_group: RunGroup | None = None,
    stopping: Stopping | None = None,
    address: str | None = None,
) -> Iterator[Callable[[Iterable[Cell], Emit], None]]:
    """Lend what runs remaining cells, to be called for one round after another.

    Without an address Ray starts on this machine, and ends with the caller. `workers` counts
    actors; None takes as many as fit on the nodes. Raises MissingPackage, BadInput where no cluster
    answers, and StoreError where another driver works on this folder.
    """
    ray = _imported()
    with only_driver(store, "ray"), _connected(ray, address):
        fleet = Fleet(ray, store, keep, workers, run_group, stopping, bool(address))
        try:
            yield fleet.run
        finally:
            fleet.close()


class Fleet(Receiver):
    """The actors of one runs folder."""

    def __init__(
        self,
        ray: Any,
        store: Store,
        keep: Keep,
        workers: int | None,
        run_group: RunGroup | None,
        stopping: Stopping | None,
        detached: bool,
    ) -> None:
        super().__init__(store)
        self.ray, self.keep = ray, keep
        self.workers, self.run_group, self.stopping = workers, run_group, stopping
        self.detached = detached
        self.prefix = f"{content_hash([str(store.root.resolve()), __version__])[:16]}-"
        self.actors: list[_Member] = []
        self.unstarted = 0
        self._nodes: tuple[float, list[Mapping[str, float]]] = (-LOOK_AGAIN, [])
        self._crew: CrewBegins | None = None
        self._found = not detached
        self._per_gpu = this_machine().per_gpu or 1

    def run(self, cells: Iterable[Cell], emit: Emit) -> None:
        """Run the cells that remain. Raises FinetrapError, KeyboardInterrupt."""
        self.emit = emit
        self.store.sweep()
        if not self._found:
            self._find()
        held = held_by(self.actors)
        remaining = [cell for cell in self.store.remaining(cells) if cell.key not in held]
        crews = {model: self._team(model) for model in {cell.model for cell in remaining}}
        self.waiting = deque(
            (members[0].model, members)
            for _, groups in shifts(remaining, crews)
            for members in groups
        )
        while self.waiting or any(actor.members for actor in self.actors):
            self._fill()
            self._listen()
        self.end_round()

    def close(self) -> None:
        """End all actors."""
        for actor in self.actors:
            self._end(actor)
        self.actors = []

    def _find(self) -> None:
        """Take over the actors of a driver that is gone, and what they have to tell."""
        self._found = True
        for known in self.ray.util.list_named_actors(all_namespaces=True):
            if known["namespace"] != NAMESPACE or not known["name"].startswith(self.prefix):
                continue
            with suppress(ValueError, self.ray.exceptions.RayError):
                handle = self.ray.get_actor(known["name"], NAMESPACE)
                state: ActorState = self.ray.get(handle.state.remote(), timeout=60)
                found = _Member(
                    members=state.members,
                    handle=handle,
                    kind=Slot(*state.kind),
                    hearing=None,
                    heard=True,
                )
                messages = self.ray.get(handle.hear.remote(0, 0.0), timeout=60)
                self.actors.append(found)
                self._take_all(found, messages)

    def _fill(self) -> None:
        """Give groups to actors that wait for one, and start those that fit beside them."""
        for actor in list(self.actors):
            if not self.waiting or self.stopped:
                break
            if not actor.heard or actor.members:
                continue
            if actor.kind == self._kind(self.waiting[0][0]):
                self._assign(actor)
            else:  # what it holds is needed for others
                self._end(actor)
                self.actors.remove(actor)
        idle = sum(not actor.members for actor in self.actors)
        wanted = min(len(self.waiting) - idle, self._room())
        for _ in range(0 if self.stopped else wanted):
            self._start(self._kind(self.waiting[0][0]))

    def _room(self) -> int:
        if not self.waiting:
            return 0
        team = self._team(self.waiting[0][0])
        event = CrewBegins(*team)
        if event != self._crew:
            self._crew = event
            self.emit(event)
        return team.workers - len(self.actors)

    def _assign(self, actor: _Member) -> None:
        actor.members, actor.current, actor.ended = self.waiting.popleft()[1], None, set()
        actor.handle.give.remote(actor.members)

    def _start(self, kind: Slot) -> None:
        """Start an actor: the number of its threads is set before it imports anything."""
        passed = {name: v for name, v in os.environ.items() if name.startswith("FINETRAP_")}
        options: dict[str, Any] = {
            "num_cpus": min(kind.threads, self._most("CPU")),
            "memory": min(kind.memory, int(self._most("memory"))),
            "max_concurrency": 4,
            "runtime_env": {"env_vars": {**passed, "OMP_NUM_THREADS": str(kind.threads)}},
            "name": self.prefix + secrets.token_hex(6),
            "namespace": NAMESPACE,
        }
        if self._gpus():
            options |= {"num_cpus": 1, "num_gpus": 1 / self._per_gpu}
        if self.detached:
            options["lifetime"] = "detached"
        remote = self.ray.remote(Actor).options(**options)
        handle = remote.remote(kind, self.keep, self.run_group)
        hearing = handle.hear.remote(0, 0.0)
        self.actors.append(_Member(handle=handle, kind=kind, hearing=hearing))

    def _listen(self) -> None:
        """Wait for messages and deaths."""
        if not self.stopped and self.stopping is not None and self.stopping():
            self.stop()
        hearing = {actor.hearing: actor for actor in self.actors}
        if not hearing:
            time.sleep(_PATIENCE)
            return
        self.ray.wait(list(hearing), num_returns=1, timeout=_PATIENCE)
        told, _ = self.ray.wait(list(hearing), num_returns=len(hearing), timeout=0)
        for one in told:
            actor = hearing[one]
            try:
                messages = self.ray.get(one)
            except self.ray.exceptions.RayError as fault:
                self._lose(actor, _lost_by(fault))
            else:
                self._take_all(actor, messages)

    def stop(self) -> None:
        """Give out no more groups, and ask every actor to leave the one it has."""
        super().stop()
        for actor in self.actors:
            actor.handle.stop.remote()

    def _take_all(self, actor: _Member, messages: Sequence[Message]) -> None:
        actor.heard, self.unstarted = True, 0
        for kind, content in messages:
            if kind == "died":
                self._lose(actor, content)
                return
            self.take(actor, kind, content)
        actor.hearing = actor.handle.hear.remote(len(messages))

    def _lose(self, actor: _Member, cause: str) -> None:
        """Put back what a lost actor had."""
        self._end(actor)
        self.actors.remove(actor)
        if not actor.heard:
            self.unstarted += 1
            if self.unstarted > TRIES:
                raise FinetrapError(f"no worker can start on the cluster: {cause}")
        self.put_back(actor, cause)

    def _end(self, actor: _Member) -> None:
        with suppress(self.ray.exceptions.RayError, ValueError):
            self.ray.kill(actor.handle)

    def _kind(self, model: ModelSpec) -> Slot:
        """Return what a model's actors are started with: threads as the local engine has them."""
        return Slot(crew(model).threads, bytes_needed(model))

    def _team(self, model: ModelSpec) -> Crew:
        """Return how many of a model's actors fit on the nodes by now, or as many as asked for."""
        kind = self._kind(model)
        if self.workers is not None:
            return Crew(self.workers, kind.threads)
        if self._gpus():
            gpus = sum(int(has.get("GPU", 0)) for has in self._has())
            return Crew(max(1, gpus * self._per_gpu), kind.threads)
        fits = sum(
            int(min(has.get("CPU", 0) // kind.threads, has.get("memory", 0) // kind.memory))
            for has in self._has()
        )
        return Crew(max(1, fits), kind.threads)

    def _gpus(self) -> bool:
        return device_wanted() != "cpu" and self._most("GPU") > 0

    def _most(self, resource: str) -> float:
        """Return the most of a resource that any node has."""
        return max((has.get(resource, 0.0) for has in self._has()), default=0.0)

    def _has(self) -> list[Mapping[str, float]]:
        """Return the resources of each node that is alive."""
        counted, _ = self._nodes
        if time.monotonic() - counted > LOOK_AGAIN:
            alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
            self._nodes = (time.monotonic(), alive)
        return self._nodes[1]


def _lost_by(fault: BaseException) -> str:
    """Return what became of an actor, in a line."""
    named, said = type(fault).__name__, in_a_line(fault)
    return f"worker lost ({named})" if said == named else f"worker lost ({named}: {said})"


def _imported() -> Any:
    try:
        import ray
        import ray.util
    except ImportError as missing:
        raise MissingPackage(
            f'--engine ray: {missing}; install it with pip install "finetrap[ray]"'
        ) from None
    return ray


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start Ray on this machine, quietly; what is connected stays."""
    if ray.is_initialized():
        yield
        return
    here: dict[str, Any] = {
        "num_cpus": cores(),
        "include_dashboard": False,
        "object_store_memory": _OBJECTS,
    }
    with _own_signals(), variables_set(RAY_USAGE_STATS_ENABLED="0"):
        try:
            ray.init(
                address=address or "local",
                namespace=NAMESPACE,
                logging_level="ERROR",
                log_to_driver=False,
                **({} if address else here),
            )
        except (ConnectionError, ValueError) as fault:
            if address is None:
                raise
            raise BadInput(
                f"--address {address}: no Ray cluster answers there ({fault}); start one with "
                "`ray start --head`, or leave --address out to use this machine alone"
            ) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray takes for itself."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
