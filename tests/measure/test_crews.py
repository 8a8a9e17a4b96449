"""How cells are grouped, and how many workers of how many threads and GPUs there are."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from finetrap.errors import BadInput
from finetrap.measure.engines import local, machine
from finetrap.measure.study import reading
from finetrap.measure.study.cells import cells_of
from finetrap.records import (
    Keep,
    Limits,
    ModelSpec,
    TrainSpec,
)
from finetrap.runs.store import Store
from tests.builders.workers import (
    A,
    B,
    cell,
    fake_group,
    model,
    run,
    study_cells,
)


def measured(store: Store) -> dict[str, bytes]:
    """Return the files of all runs that hold no time and no machine."""
    return {
        f"{file.parent.name}/{file.name}": file.read_bytes()
        for file in store.root.glob("*--*/*")
        if file.name in ("cell.json", "answers.jsonl")
    }


def test_cells_that_share_a_training_stay_together() -> None:
    cells = [cell(seed=seed, task=task) for task in (A, B) for seed in range(6)]
    groups = local.group(cells, workers=2)
    assert len(groups) > 2
    where = {c.key: i for i, members in enumerate(groups) for c in members}
    for seed in range(6):
        assert where[cell(seed=seed, task=A).key] == where[cell(seed=seed, task=B).key]
    for members in groups:
        keys = [c.training_key() for c in members]
        assert keys == sorted(keys, key=keys.index)


def test_untouched_models_come_first_and_then_the_longest() -> None:
    long = replace(cell(seed=9), train=TrainSpec(epochs=50))
    groups = local.group([*study_cells(), long], workers=2)
    assert groups[0][0].trained_on is None
    assert any(long in members for members in groups[:2])


def test_one_worker_opens_each_model_once() -> None:
    other = [replace(c, model=model("other", 10**6)) for c in study_cells()]
    groups = local.group([*study_cells(), *other], workers=1)
    assert [{c.model.name for c in members} for members in groups] == [{"other"}, {"m"}]
    assert all(members[0].trained_on is None for members in groups)


def test_a_group_never_mixes_models_or_precisions() -> None:
    cells = study_cells() + [replace(c, limits=Limits(dtype="bf16")) for c in study_cells()]
    for members in local.group(cells, workers=2):
        assert len({c.limits.dtype for c in members}) == 1


def test_workers_are_as_many_as_cores_and_memory_allow() -> None:
    eight = machine.Machine(cores=8, memory=32 * 2**30)
    assert machine.crew(model(parameters=1_000_000), on=eight) == (8, 1)
    assert machine.crew(model(parameters=500_000_000), on=eight) == (2, 4)
    assert machine.crew(model(parameters=7_000_000_000), on=eight) == (1, 8)
    assert machine.crew(model(parameters=500_000_000), workers=4, on=eight) == (4, 4)
    assert machine.crew(model(parameters=500_000_000), workers=1, on=eight) == (1, 4)
    assert machine.crew(model(), workers=4, on=eight._replace(threads=3)) == (4, 3)


def test_each_gpu_has_as_many_workers_as_fit_its_memory_or_are_asked_for() -> None:
    two = machine.Machine(16, 64 * 2**30, gpus=("0", "1"), gpu_memory=40 * 2**30)
    assert machine.crew(model(parameters=1_000_000), on=two) == (8, 2)
    assert machine.crew(model(parameters=700_000_000), on=two) == (4, 4)
    assert machine.crew(model(parameters=7_000_000_000), on=two) == (2, 8)
    assert machine.crew(model(), on=two._replace(gpu_memory=None)) == (2, 8)
    assert machine.crew(model(), on=two._replace(cores=2)) == (2, 1)
    asked = two._replace(per_gpu=3)
    assert machine.crew(model(parameters=7_000_000_000), on=asked) == (6, 8)
    assert machine.crew(model(parameters=7_000_000_000), workers=1, on=asked) == (1, 8)


@pytest.mark.parametrize(
    ("workers", "gpus", "said"),
    [(None, (), "there is no GPU to be shared here"), (4, ("0",), "give one of them")],
)
def test_workers_that_no_gpu_can_have_are_refused(
    tmp_path: Path, workers: int | None, gpus: tuple[str, ...], said: str
) -> None:
    on = machine.Machine(2, 2**30, gpus=gpus, per_gpu=2)
    with (
        pytest.raises(BadInput, match=said),
        local.ready(Store(tmp_path), keep=Keep("none"), workers=workers, on=on),
    ):
        pass


TWO_GPUS = machine.Machine(2, 8 * 2**30, gpus=("4", "GPU-7"), threads=1)
"""Shown, though not there: what a worker sees of them is known, and it computes on the CPU."""


def test_every_worker_sees_one_gpu_alone_and_no_gpu_has_more_of_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    on = TWO_GPUS._replace(per_gpu=2)
    with local.ready(store, keep=Keep("none"), run_group=fake_group, on=on) as run_remaining:
        run_remaining(study_cells(40), lambda event: None)
    seen = {(run.environment["pid"], run.environment["gpu"]) for run in store.runs()}
    assert len(seen) == len({pid for pid, _ in seen})
    assert sorted(gpu for _, gpu in seen) == ["4", "4", "GPU-7", "GPU-7"]
    assert os.environ.get("CUDA_VISIBLE_DEVICES") is None


def test_two_processes_with_a_gpu_each_give_the_bytes_of_one_process(tmp_path: Path) -> None:
    plan = reading.check(
        {
            "name": "gpus",
            "models": ["mini-0.3m"],
            "tasks": ["market"],
            "strategies": ["zero-shot", "lora"],
            "seeds": [0, 1],
            "limits": {"test_problems": 6, "max_new_tokens": 12},
            "train": {"problems": 8, "epochs": 1},
        },
        at="gpus",
        base=tmp_path,
    )
    cells, found = cells_of(plan), []
    for workers, on in ((1, TWO_GPUS._replace(gpus=())), (None, TWO_GPUS)):
        store = Store(tmp_path / f"{workers}")
        with local.ready(store, keep=Keep("none"), workers=workers, on=on) as run_remaining:
            run_remaining(cells, lambda event: None)
        assert {run.status for run in store.runs()} == {"done"}
        found.append(measured(store))
    assert len(found[0]) == 2 * len(cells)
    assert found[0] == found[1]


def test_a_processor_says_what_it_multiplies_and_small_models_gain_nothing() -> None:
    assert machine.multiplies_bf16(["processor: 0", "flags\t: fpu avx2 amx_bf16 amx_tile"])
    assert machine.multiplies_bf16(["Features\t: fp asimd bf16"])
    assert not machine.multiplies_bf16(["flags\t: fpu avx2 avx512f"])
    assert not machine.multiplies_bf16([])
    assert not machine.faster_in_bf16(model(parameters=3_000_000))


def test_threads_depend_neither_on_how_much_remains_nor_on_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)  # it is told otherwise once imported
    monkeypatch.setattr(machine, "cores", lambda: 6)
    monkeypatch.setattr(machine, "memory_total", lambda: 3 * machine.BYTES_PER_WORKER)
    store, _ = run([cell()], tmp_path, workers=1)
    (alone,) = store.runs()
    assert alone.environment["threads"] == "3"
    assert "OMP_NUM_THREADS" not in os.environ


def test_one_process_computes_in_the_threads_of_a_worker_and_leaves_them_as_they_were() -> None:
    import torch

    before = torch.get_num_threads()
    with machine.computing(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_folder_of_weights_bounds_the_parameters(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 4000)
    (tmp_path / "tokenizer.json").write_bytes(b"\0" * 9999)
    assert machine.parameters(ModelSpec("x", str(tmp_path), "r")) == 2000
    assert machine.parameters(ModelSpec("x", "org/none", "r")) == machine.UNKNOWN_PARAMETERS
