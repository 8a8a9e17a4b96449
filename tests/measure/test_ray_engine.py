"""The Ray engine: the same answers as here, actors and nodes that are lost, a driver that is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from finetrap.errors import BadInput, MissingPackage, StoreError
from finetrap.events import CellLeft, Event, Resumed, StepDone
from finetrap.measure.engines import engine_named, ray_cluster
from finetrap.measure.engines.ray_actor import MOST_UNHEARD, Actor
from finetrap.measure.engines.sending import Assigned, Message, SendingStore
from finetrap.measure.study import reading
from finetrap.measure.study.cells import cells_of
from finetrap.records import Cell, Costs, Keep, Run, StrategySpec
from finetrap.runs.store import Store
from tests.builders.workers import (
    cell,
    fake_group,
    held_cell,
    is_alive,
    run_cells,
    study_cells,
    wait_for,
)

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def two_nodes() -> Iterator[Any]:
    """A cluster of two nodes with one core each, on this machine; skips where Ray is absent."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'finetrap[ray]'")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 2**27, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            cluster.second = cluster.add_node(**node)
            cluster.wait_for_nodes(30)
            yield cluster
        finally:
            cluster.shutdown()


def run(
    cells: Sequence[Cell], root: Path, cluster: Any, **options: Any
) -> tuple[Store, list[Event]]:
    """Run cells on a cluster with the fake runner, unless another is given."""
    store, events = Store(root), list[Event]()
    options = {"run_group": fake_group, **options}
    with ray_cluster.on_cluster(
        store, keep=Keep("none"), address=cluster.address, **options
    ) as run_remaining:
        run_remaining(cells, events.append)
    return store, events


def named(events: Sequence[Event], name: str) -> list[str]:
    return sorted(event.key for event in events if event.name == name)


def planted(folder: Path) -> tuple[Cell, ...]:
    plan = reading.check(
        {
            "name": "planted",
            "models": ["toy:base=0.6,full=-0.2,dora=diverge,churn=0.05"],
            "tasks": ["sums"],
            "strategies": ["few-shot-5", "full", "dora"],
            "seeds": [0, 1],
            "limits": {"test_problems": 60},
            "train": {"problems": 40},
        },
        at="planted",
        base=folder,
    )
    return cells_of(plan)


def content(store: Store) -> dict[str, bytes]:
    """Return the files of all runs that hold no time and no machine."""
    return {
        f"{file.parent.name}/{file.name}": file.read_bytes()
        for file in store.root.glob("*--*/*")
        if file.name in ("cell.json", "answers.jsonl", "evidence.json")
    }


def test_a_cluster_gives_the_bytes_of_this_machine(tmp_path: Path) -> None:
    cells, here = planted(tmp_path), Store(tmp_path / "here")
    run_cells(cells, here, lambda _: None, workers=1)
    with two_nodes() as cluster:
        there, events = run(cells, tmp_path / "there", cluster, run_group=None)
        assert content(there) == content(here)
        assert {run.status for run in there.runs()} == {"done", "diverged"}
        assert there.remaining(cells) == ()
        assert named(events, "cell-start") == sorted(c.key for c in cells)


@pytest.mark.full
def test_a_cell_that_kills_its_actor_each_time_is_left(tmp_path: Path) -> None:
    killed = cell(StrategySpec("kill", "full", learning_rate=1e-3))
    once = cell(StrategySpec(f"once@{tmp_path / 'tried'}", "full", learning_rate=1e-3))
    cells = (*study_cells(3), killed, once)
    with two_nodes() as cluster:
        store, events = run(cells, tmp_path / "killed", cluster)
    assert store.remaining(cells) == (killed,)
    assert named(events, "cell-again") == sorted([killed.key, killed.key, once.key])
    (left,) = (event for event in events if isinstance(event, CellLeft))
    assert left.key == killed.key
    assert left.message.startswith("worker lost")
    assert {run.environment["threads"] for run in store.runs()} == {"1"}


def test_what_a_lost_node_was_at_is_run_by_another(tmp_path: Path) -> None:
    places = [tmp_path / "one", tmp_path / "two"]
    cells = [*map(held_cell, places), *study_cells(2)]
    with two_nodes() as cluster:

        def lose() -> None:
            assert wait_for(
                lambda: all(place.exists() and place.read_text() for place in places), 120
            )
            cluster.remove_node(cluster.second, allow_graceful=False)
            assert wait_for(
                lambda: not all(is_alive(int(place.read_text())) for place in places), 60
            )
            for place in places:
                Path(f"{place}.go").touch()

        losing = threading.Thread(target=lose)
        losing.start()
        store, events = run(cells, tmp_path / "runs", cluster)
        losing.join()
    assert store.remaining(cells) == ()
    assert len(named(events, "cell-again")) == 1


DRIVER = """
import sys
from pathlib import Path
from finetrap.measure.engines import ray_cluster
from finetrap.records import Keep
from finetrap.runs.store import Store
from tests.builders.workers import fake_group, held_cell, study_cells
cells = [held_cell(Path(sys.argv[1])), *study_cells(2)]
with ray_cluster.on_cluster(
    Store(sys.argv[2]), keep=Keep("none"), address=sys.argv[3], workers=1, run_group=fake_group
) as run_remaining:
    run_remaining(cells, print)
"""


def test_a_driver_that_is_started_again_takes_what_its_actors_did_meanwhile(
    tmp_path: Path,
) -> None:
    place, root = tmp_path / "pid", tmp_path / "runs"
    cells = [held_cell(place), *study_cells(2)]
    path = os.pathsep.join([*(p for p in sys.path if p), str(REPOSITORY)])
    with two_nodes() as cluster:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(place), str(root), cluster.address],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
        )
        try:
            assert wait_for(lambda: place.exists() and place.read_text() != "", 120)
            with pytest.raises(StoreError, match="another `finetrap run --engine ray`"):
                run(cells, root, cluster)
        finally:
            driver.kill()
            driver.wait(10)
        measuring = int(place.read_text())
        Path(f"{place}.go").touch()
        store, _ = run(cells, root, cluster, workers=1)
        found = store.load(cells[0].key)
    assert store.remaining(cells) == ()
    assert found.environment["pid"] == measuring


@pytest.mark.full
def test_an_interruption_ends_what_every_actor_is_at(tmp_path: Path) -> None:
    cells, asked = study_cells(12), list[Event]()
    with two_nodes() as cluster:
        engine = partial(ray_cluster.on_cluster, address=cluster.address, run_group=fake_group)
        stop = partial(engine, keep=Keep("none"), stopping=lambda: bool(asked))
        with stop(Store(tmp_path)) as run_remaining, pytest.raises(KeyboardInterrupt):
            run_remaining(cells, asked.append)
    assert Store(tmp_path).remaining(cells) != ()


def test_without_ray_one_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingPackage, match=r'pip install "finetrap\[ray\]"'),
        ray_cluster.on_cluster(Store(tmp_path), keep=Keep()),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "address", "said"),
    [
        ("rey", None, "give local, ray or slurm; did you mean 'ray'"),
        ("local", "auto", "only of --engine ray"),
    ],
)
def test_an_engine_that_is_none_is_refused(name: str, address: str | None, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        engine_named(name, address)


def heard(actor: Actor, until: str) -> list[Message]:
    """Hear an actor until it tells a message of a kind."""
    told: list[Message] = []
    taken = 0
    while not any(kind == until for kind, _ in told):
        messages = actor.hear(taken)
        told, taken = [*told, *messages], len(messages)
    actor.hear(taken, 0.0)
    return told


def test_an_actor_keeps_what_it_told_until_its_driver_has_it() -> None:
    cells = tuple(study_cells(2))
    actor = Actor("kind", Keep("none"), fake_group)
    assert actor.hear(0, 0.0) == []
    actor.give(cells)
    told = heard(actor, "free")
    assert [content.run.cell.key for kind, content in told if kind == "run"] == [
        c.key for c in cells
    ]
    actor.give((cells[0],))
    assert wait_for(lambda: len(actor.hear(0)) == 4)
    first = actor.hear(0)
    assert actor.hear(0) == first  # a driver that died did not take it
    assert actor.hear(len(first), 0.0) == []


def test_an_actor_that_nobody_hears_leaves_out_progress_and_nothing_else() -> None:
    actor = Actor("kind", Keep("none"), fake_group)
    for step in range(MOST_UNHEARD + 100):
        actor._emit(StepDone("key", step, 9999, 1.0, None))
    actor._emit(Resumed("key", "train", 1, 2))
    told = actor.hear(0)
    assert len(told) == MOST_UNHEARD + 2
    assert isinstance(told[-1][1], Resumed)


UNHEARD = """
import time
from finetrap.measure.engines.ray_actor import Actor
from finetrap.records import Keep
Actor("kind", Keep(), print, unheard=0.2)
time.sleep(60)
"""


def test_an_actor_without_a_driver_ends() -> None:
    assert subprocess.run([sys.executable, "-c", UNHEARD], timeout=30).returncode == 1


def test_weights_go_with_a_run(tmp_path: Path) -> None:
    member = cell()

    def weights(folder: Path) -> None:
        (folder / "adapter").mkdir()
        (folder / "adapter" / "x.safetensors").write_bytes(b"weights")

    sent: list[Any] = []
    sending = SendingStore(tmp_path / "node", sent.append)
    sending.commit(Run(member, "done", costs=Costs()), weights=weights)
    assert sending.remaining([member]) == ()
    (finished,) = sent
    assert finished.files == {"adapter/x.safetensors": b"weights"}
    fleet = ray_cluster.Fleet(None, Store(tmp_path / "runs"), Keep(), None, None, None, False)
    fleet.take(Assigned(), "run", finished)
    (kept,) = (tmp_path / "runs").glob("*--*/adapter/x.safetensors")
    assert kept.read_bytes() == b"weights"
