"""The local engine: grouping, workers that die, workers that are orphaned, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetrap.backends import open_model
from finetrap.errors import FinetrapError, MachineFault
from finetrap.events import CellLeft
from finetrap.measure.engines import local, machine
from finetrap.measure.engines.workers import Pool
from finetrap.measure.runner import run_group
from finetrap.measure.session import Session
from finetrap.measure.study import reading
from finetrap.measure.study.cells import cells_of
from finetrap.records import (
    Failure,
    Keep,
    Limits,
    ModelSpec,
    StrategySpec,
)
from finetrap.runs.store import Store
from tests.builders.workers import (
    ZERO,
    Events,
    cell,
    fake_group,
    is_alive,
    model,
    run,
    run_cells,
    study_cells,
    wait_for,
    waiting_cell,
)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_remaining_cell_is_run_once_and_told(tmp_path: Path, workers: int) -> None:
    cells = study_cells()
    store, events = run(cells, tmp_path, workers)
    assert store.remaining(cells) == ()
    assert sorted(events.named("cell-done")) == sorted(c.key for c in cells)
    again, events = run(cells, tmp_path, workers)
    assert events == []
    pids = {r.environment["pid"] for r in again.runs()}
    assert (os.getpid() in pids) == (workers == 1)


def test_a_dead_worker_costs_no_other_cell_and_its_own_is_tried_once_more(tmp_path: Path) -> None:
    killed = cell(StrategySpec("kill", "full", learning_rate=1e-3))
    crashed = cell(StrategySpec("exit", "full", learning_rate=1e-3))
    once = cell(StrategySpec(f"once@{tmp_path / 'tried'}", "full", learning_rate=1e-3))
    cells = [*study_cells(3), killed, crashed, once]
    store, events = run(cells, tmp_path / "runs", 2)
    assert sorted(events.named("cell-again")) == sorted(c.key for c in (killed, crashed, once))
    # A signal may have been a person's: no finding about the cell.
    assert store.remaining(cells) == (killed,)
    (left,) = (event for event in events if isinstance(event, CellLeft))
    assert left.key == killed.key
    said = "worker killed by signal 9, and again when it was tried alone; find out who sent it"
    assert left.message.startswith(said)
    failure = Failure(
        "worker-died", "worker ended with exit code 3, and again when it was tried alone"
    )
    assert store.load(crashed.key).failure == failure
    assert events.named("cell-failed") == [crashed.key]
    assert len(events.named("cell-done")) == 5


def test_a_worker_that_the_kernel_kills_twice_has_run_out_of_memory(tmp_path: Path) -> None:
    doomed = cell(StrategySpec("kill", "full", learning_rate=1e-3))
    counts = iter(range(100))
    store, events = Store(tmp_path), Events()
    pool = Pool(store, Keep(), machine.Crew(2, 1), fake_group, kills=lambda: next(counts))
    pool.run([(doomed,)], events.append)
    pool.close()
    run = store.load(doomed.key)
    assert run.failure is not None
    assert (run.status, run.failure.cause) == ("oom", "out-of-memory")
    assert run.failure.message.startswith("worker killed by the system, which was out of memory")
    assert events.named("cell-again") == [doomed.key]


def test_a_cell_that_lacked_memory_beside_others_is_tried_alone(tmp_path: Path) -> None:
    taken = cell(StrategySpec(f"taken@{tmp_path / 'tried'}", "full", learning_rate=1e-3))
    cells = [*study_cells(3), taken]
    store, events = run(cells, tmp_path / "runs", 2)
    assert store.remaining(cells) == ()
    assert events.named("cell-again") == [taken.key]
    assert events.named("cell-left") == []


def test_a_full_disk_ends_the_study_and_lets_the_others_leave(tmp_path: Path) -> None:
    cells = [cell(StrategySpec("full-disk", "full", learning_rate=1e-3)), *study_cells(60)]
    with pytest.raises(MachineFault, match="No space left on device"):
        run(cells, tmp_path, 2)
    remaining = Store(tmp_path).remaining(cells)
    assert cells[0] in remaining
    assert len(remaining) > 2


def test_workers_stay_from_round_to_round_and_leave_at_the_end(tmp_path: Path) -> None:
    cells, store, pids = study_cells(8), Store(tmp_path), set()
    with local.ready(store, keep=Keep("none"), workers=2, run_group=fake_group) as run_remaining:
        for part in (cells[:4], cells[4:]):
            run_remaining(part, lambda event: None)
            assert store.remaining(part) == ()
        pids = {run.environment["pid"] for run in store.runs()}
        assert len(pids) <= 2
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))


def test_a_worker_opens_a_model_once_for_all_its_groups(tmp_path: Path) -> None:
    opened: list[str] = []

    def counted(spec: ModelSpec, limits: Limits) -> Any:
        opened.append(spec.name)
        return open_model(spec, limits)

    plan = reading.check(
        {
            "name": "groups",
            "models": ["toy:base=0.6"],
            "tasks": ["sums"],
            "strategies": ["few-shot-5", "full"],
            "seeds": [0, 1],
            "limits": {"test_problems": 20},
            "train": {"problems": 20},
        },
        at="groups",
        base=tmp_path,
    )
    store, session = Store(tmp_path / "runs"), Session(counted)
    groups = local.group(cells_of(plan), workers=2)
    assert len(groups) > 2
    for members in groups:
        run_group(members, store, Keep("none"), lambda event: None, session)
    assert store.remaining(cells_of(plan)) == ()
    assert len(opened) == 1


def test_a_planted_study_runs_to_the_end_through_the_real_runner(tmp_path: Path) -> None:
    rows = ({"question": f"What is {i} + {i % 7}?", "answer": f"{i + i % 7}"} for i in range(400))
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = reading.check(
        {
            "name": "planted",
            "models": ["toy:base=0.6,full=-0.2,lora=die,dora=diverge,churn=0.05"],
            "tasks": ["jsonl:sums.jsonl"],
            "strategies": ["few-shot-5", "full", "lora", "dora"],
            "seeds": [0, 1],
            "limits": {"test_problems": 60},
            "train": {"problems": 40},
        },
        at="planted",
        base=tmp_path,
    )
    cells = cells_of(plan)
    store, events = Store(tmp_path / "runs"), Events()
    run_cells(cells, store, events.append, keep=Keep(), workers=2)
    assert {c.strategy.name for c in store.remaining(cells)} == {"lora"}
    found = {(r.cell.strategy.name, r.status) for r in store.runs()}
    assert found == {
        ("zero-shot", "done"),
        ("few-shot-5", "done"),
        ("full", "done"),
        ("dora", "diverged"),
    }
    shares = {
        r.cell.strategy.name: sum(a.correct is True for a in r.answers) / len(r.answers)
        for r in store.runs()
        if r.status == "done"
    }
    assert shares["full"] < shares["zero-shot"] - 0.1
    assert len(events.named("cell-start")) == len(cells) + 2


def test_a_fault_outside_the_cells_ends_the_run_with_its_message(tmp_path: Path) -> None:
    cells = [cell(StrategySpec("fault", "full", learning_rate=1e-3))]
    with pytest.raises(FinetrapError, match="the disk is full"):
        run(cells, tmp_path, 2)
    assert Store(tmp_path).remaining(cells) == tuple(cells)


def unstartable(*_: object) -> None:
    """Stand for a runner that the worker cannot import."""


def test_a_worker_that_cannot_start_is_an_error_and_not_an_endless_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unstartable, "__module__", "no_such_module")
    monkeypatch.setitem(sys.modules, "no_such_module", sys.modules[__name__])
    with pytest.raises(FinetrapError, match="before it could start"):
        run_cells([cell()], Store(tmp_path), lambda _: None, workers=2, run_group=unstartable)


@pytest.mark.parametrize(
    "fault", ["MemoryError", "ImportError('libx.so: failed to map segment from shared object')"]
)
def test_memory_that_a_workers_imports_exhaust_is_one_message(
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "numpy.py").write_text(f"raise {fault}\n")
    monkeypatch.syspath_prepend(tmp_path)
    pool = Pool(Store(tmp_path / "runs"), Keep("none"), machine.Crew(1, 1))
    try:
        with pytest.raises(MachineFault, match="the memory was exhausted before a worker could"):
            pool.run([(cell(),)], lambda _: None)
    finally:
        pool.close()
    assert capfd.readouterr().err == ""


def test_a_worker_that_the_loader_ends_says_nothing_of_its_cell(tmp_path: Path) -> None:
    killed = cell(StrategySpec("unloadable", "full", learning_rate=1e-3))
    store, events = run([killed], tmp_path, 2)
    assert store.remaining([killed]) == (killed,)
    assert events.named("cell-left") == [killed.key]


@pytest.mark.parametrize("kills", [2, 3])
def test_a_worker_that_is_killed_at_its_start_is_started_again(
    kills: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "killed_at_start.py").write_text(
        "import os, signal\n"
        "try:\n"
        f"    left = [n for n in range({kills}) if not os.path.exists(f'{{__file__}}.{{n}}')]\n"
        "    open(f'{__file__}.{left[0]}', 'w').close()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "except IndexError:\n"
        "    from tests.builders.workers import fake_group as unstartable\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(unstartable, "__module__", "killed_at_start")
    monkeypatch.setitem(sys.modules, "killed_at_start", sys.modules[__name__])
    store = Store(tmp_path / "runs")

    def study() -> None:
        pool = Pool(store, Keep("none"), machine.Crew(1, 1), unstartable)
        try:
            pool.run([(cell(),)], lambda _: None)
        finally:
            pool.close()

    if kills == 3:
        with pytest.raises(MachineFault, match="signal 9, before it could start, 3 times"):
            study()
    else:
        study()
        assert store.remaining([cell()]) == ()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_ends_the_workers_and_tears_nothing(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    cells = [cell(ZERO, None), waiting_cell(place)]

    def interrupt() -> None:
        wait_for(lambda: place.exists() and place.read_text() != "")
        wait_for(lambda: cells[0] not in Store(tmp_path / "runs").remaining(cells))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run(cells, tmp_path / "runs", 2)
    assert wait_for(lambda: not is_alive(int(place.read_text())), 5)
    store = Store(tmp_path / "runs")
    assert cells[1] in store.remaining(cells)
    assert list((tmp_path / "runs").glob(".tmp-*")) == []
    with store.lock(cells[1].key) as mine:
        assert mine


PARENT = """
import sys
from pathlib import Path
from finetrap.runs.store import Store
from tests.builders.workers import fake_group, run_cells, waiting_cell
if __name__ == "__main__":
    cells = [waiting_cell(Path(sys.argv[1]))]
    store = Store(sys.argv[2])
    run_cells(cells, store, print, workers=2, run_group=fake_group)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    path = os.pathsep.join([*(p for p in sys.path if p), str(Path(__file__).parents[2])])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(place), str(tmp_path / "runs")],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
    )
    try:
        assert wait_for(lambda: place.exists() and place.read_text() != "")
        worker = int(place.read_text())
        assert is_alive(worker)
    finally:
        parent.kill()
        parent.wait(10)
    assert wait_for(lambda: not is_alive(worker), 5)
    cells = [waiting_cell(place)]
    assert Store(tmp_path / "runs").remaining(cells) == tuple(cells)


BAR = """
import os, signal, sys
from finetrap.measure.engines.children import start
def serve(pipe):
    from multiprocessing import get_context
    from tqdm import tqdm
    list(tqdm(range(3), disable=True))
    lock = get_context("spawn").Lock()
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
if __name__ == "__main__":
    child = start(serve, threads=1)
    child.process.join()
    print(child.process.exitcode)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_nobody_is_warned_of_what_a_killed_worker_left(name: str, tmp_path: Path) -> None:
    script = tmp_path / "bar.py"
    script.write_text(BAR)
    done = subprocess.run([sys.executable, script, name], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (str(-getattr(signal, name)), "")


def test_the_engine_does_not_import_torch() -> None:
    script = "import sys, finetrap.measure.engines.local; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("asked", "here", "alone"),
    [
        ("auto", ("darwin", "arm64"), True),
        ("mps", ("linux", "x86_64"), True),
        ("cpu", ("darwin", "arm64"), False),
        ("auto", ("linux", "x86_64"), False),
    ],
)
def test_the_gpu_of_an_apple_machine_has_one_worker(
    monkeypatch: pytest.MonkeyPatch, asked: str, here: tuple[str, str], alone: bool
) -> None:
    monkeypatch.setenv("FINETRAP_DEVICE", asked)
    monkeypatch.setattr("finetrap.backends.hf.device.sys.platform", here[0])
    monkeypatch.setattr("finetrap.backends.hf.device.platform.machine", lambda: here[1])
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "memory_total", lambda: 32 * 2**30)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert (machine.crew(model(parameters=1_000_000)) == (1, 8)) == alone
    assert machine.crew(model(), workers=3).workers == 3
