"""The Slurm engine, with submitit's local executor in Slurm's place: a job is a process here."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetrap.errors import BadInput, MissingPackage, StoreError
from finetrap.events import CellLeft, Event
from finetrap.measure.engines import engine_named, slurm
from finetrap.measure.engines.slurm_job import Mail
from finetrap.measure.study import reading
from finetrap.measure.study.cells import cells_of
from finetrap.records import Cell, Keep, StrategySpec
from finetrap.runs.store import Store
from tests.builders.workers import (
    cell,
    fake_group,
    held_cell,
    model,
    run_cells,
    study_cells,
    wait_for,
)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    submitit = pytest.importorskip(
        "submitit", reason="submitit is not installed: pip install 'finetrap[slurm]'"
    )
    path = os.pathsep.join([*(p for p in sys.path if p), str(REPOSITORY)])
    monkeypatch.setenv("PYTHONPATH", path)
    found = submitit.LocalExecutor(tmp_path / "logs")
    found.update_parameters(timeout_min=60)
    return found


def run(
    cells: Sequence[Cell], root: Path, executor: Any, **options: Any
) -> tuple[Store, list[Event]]:
    """Run cells as jobs with the fake runner, unless another is given."""
    store, events = Store(root), list[Event]()
    options = {"run_group": fake_group, "workers": 1, "every": 0.05, **options}
    with slurm.on_slurm(store, keep=Keep("none"), executor=executor, **options) as run_remaining:
        run_remaining(cells, events.append)
    return store, events


def named(events: Sequence[Event], name: str) -> list[str]:
    return sorted(event.key for event in events if event.name == name)


def measured(store: Store) -> dict[str, bytes]:
    """Return the files of all runs that hold no time and no machine."""
    return {
        f"{file.parent.name}/{file.name}": file.read_bytes()
        for file in store.root.glob("*--*/*")
        if file.name in ("cell.json", "answers.jsonl", "evidence.json")
    }


def test_an_array_of_jobs_gives_the_bytes_of_this_machine(tmp_path: Path, executor: Any) -> None:
    plan = reading.check(
        {
            "name": "planted",
            "models": ["toy:base=0.6,full=-0.2,dora=diverge", "toy:base=0.5,full=0.1"],
            "tasks": ["sums"],
            "strategies": ["few-shot-5", "full", "dora"],
            "seeds": [0],
            "limits": {"test_problems": 60},
            "train": {"problems": 40},
        },
        at="planted",
        base=tmp_path,
    )
    cells, here = cells_of(plan), Store(tmp_path / "here")
    run_cells(cells, here, lambda _: None, workers=1)
    there, events = run(cells, tmp_path / "there", executor, run_group=None)
    assert measured(there) == measured(here)
    assert len(measured(there)) >= 2 * len(cells)
    assert {found.status for found in there.runs()} == {"done", "diverged"}
    assert named(events, "cell-start") == sorted(c.key for c in cells)
    assert not (there.root / ".slurm").exists()


def test_a_job_that_is_requeued_goes_on_with_the_cell_it_was_at(
    tmp_path: Path, executor: Any
) -> None:
    place = tmp_path / "pid"
    cells = [*study_cells(1), held_cell(place)]

    def preempt() -> None:
        wait_for(lambda: place.exists() and place.read_text() != "", 60)
        first = place.read_text()
        os.kill(int(first), signal.SIGUSR2)  # what Slurm sends before a limit or a preemption
        wait_for(lambda: place.read_text() not in ("", first), 60)
        Path(f"{place}.go").touch()

    preempting = threading.Thread(target=preempt)
    preempting.start()
    store, events = run(cells, tmp_path / "runs", executor)
    preempting.join()
    assert store.remaining(cells) == ()
    assert named(events, "cell-again") == []
    started = [event.key for event in events if event.name == "cell-start"]
    assert [started.count(c.key) for c in cells] == [1, 1, 2]
    assert store.load(cells[2].key).environment["pid"] == int(place.read_text())


@pytest.mark.full
def test_a_cell_that_kills_its_job_each_time_is_left(tmp_path: Path, executor: Any) -> None:
    killed = cell(StrategySpec("kill", "full", learning_rate=1e-3))
    cells = (*study_cells(1), killed)
    store, events = run(cells, tmp_path / "runs", executor)
    assert store.remaining(cells) == (killed,)
    assert named(events, "cell-again") == [killed.key] * 2
    (left,) = (event for event in events if isinstance(event, CellLeft))
    assert "ended without its runs, as in 3 tries" in left.message


def test_a_driver_that_is_started_again_takes_what_its_jobs_did_meanwhile(
    tmp_path: Path, executor: Any
) -> None:
    place = tmp_path / "pid"
    cells = [held_cell(place), *study_cells(1)]

    def ends_here() -> bool:
        if not place.exists() or not place.read_text():
            return False
        with pytest.raises(StoreError, match="another `finetrap run --engine slurm`"):
            run(cells, tmp_path / "runs", executor)
        raise OSError("the login node is gone")

    with pytest.raises(OSError, match="login node"):
        run(cells, tmp_path / "runs", executor, stopping=ends_here)
    Path(f"{place}.go").touch()
    logs = tmp_path / "runs" / ".slurm"
    (folder,) = (file.parent for file in logs.glob("*/job"))
    assert wait_for(lambda: any(kind == "free" for kind, _ in Mail(folder).read()), 60)
    store, events = run(cells, tmp_path / "runs", executor)
    assert store.remaining(cells) == ()
    assert store.load(cells[0].key).environment["pid"] == int(place.read_text())
    assert named(events, "cell-again") == []


def test_an_interruption_ends_a_job_after_its_step(tmp_path: Path, executor: Any) -> None:
    place = tmp_path / "pid"
    cells = [replace(held_cell(place), seed=5), *study_cells(1)]

    def stopping() -> bool:
        return place.exists() and place.read_text() != ""

    def release() -> None:
        wait_for(lambda: any((tmp_path / "runs" / ".slurm").glob("*/stop")), 60)
        Path(f"{place}.go").touch()

    releasing = threading.Thread(target=release)
    releasing.start()
    with pytest.raises(KeyboardInterrupt):
        run(cells, tmp_path / "runs", executor, stopping=stopping)
    releasing.join()
    assert Store(tmp_path / "runs").remaining(cells) != ()


def test_a_message_that_is_still_on_its_way_waits_for_its_rest(tmp_path: Path) -> None:
    import pickle

    told = pickle.dumps(("event", "whole"))
    whole = len(told).to_bytes(8, "big") + told
    mail, file = Mail(tmp_path), tmp_path / "mail-0000"
    file.write_bytes(whole + whole[:-3])
    assert mail.read() == [("event", "whole")]
    assert mail.read() == []
    file.write_bytes(whole + whole)
    (tmp_path / "mail-0001").write_bytes(whole)
    assert mail.read() == [("event", "whole")] * 2
    assert mail.files == 2


def test_a_job_asks_for_what_its_model_needs_and_a_person_has_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETRAP_DEVICE", "cuda")
    array = slurm.Array(Store(tmp_path), Keep(), 3, None, None, None, tmp_path)
    array.settings = {"time": 30, "partition": "gpu"}
    asked = array._asked_of(*array._size(model(parameters=100_000_000)))
    assert (asked["time"], asked["partition"], asked["gpus_per_node"]) == (30, "gpu", 1)
    assert (asked["mem"], asked["array_parallelism"]) == ("3313M", 3)
    assert asked["additional_parameters"] == {"requeue": True}


def test_without_submitit_one_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with (
        pytest.raises(MissingPackage, match=r'pip install "finetrap\[slurm\]"'),
        engine_named("slurm")(Store(tmp_path), keep=Keep()),
    ):
        pass


def test_without_slurm_one_message_says_where_to_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(BadInput, match="there is no sbatch here; run it on a login node"),
        engine_named("slurm")(Store(tmp_path), keep=Keep()),
    ):
        pass


@pytest.mark.parametrize(
    ("setting", "said"), [("partition", "expected KEY=VALUE"), ("partion=gpu", "Unavailable")]
)
def test_a_setting_that_slurm_does_not_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, said: str
) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    for name in ("sbatch", "srun"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(BadInput, match=said),
        engine_named("slurm", slurm_settings=[setting])(Store(tmp_path), keep=Keep()),
    ):
        pass


def test_settings_of_slurm_belong_to_its_engine() -> None:
    with pytest.raises(BadInput, match="only of --engine slurm"):
        engine_named("ray", slurm_settings=["partition=gpu"])
