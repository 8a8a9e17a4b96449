"""A run says how many problems its tests have, so that nobody is sent for more than there are."""

from __future__ import annotations

from pathlib import Path

from finetrap import tasks
from finetrap.judge.arms import comparisons
from finetrap.measure.runner import run_group
from finetrap.measure.study import reading
from finetrap.measure.study.cells import cells_of
from finetrap.records import Keep
from finetrap.runs.store import Store


def test_a_measured_run_says_how_many_problems_its_task_and_probe_have(tmp_path: Path) -> None:
    table = {
        "name": "few",
        "models": ["toy:base=0.5"],
        "tasks": ["market"],
        "probes": ["sorting"],
        "strategies": ["zero-shot"],
        "limits": {"test_problems": 12, "probe_problems": 7, "max_new_tokens": 8},
    }
    cells = cells_of(reading.check(table, at="few", base=tmp_path))
    store = Store(tmp_path / "runs")
    run_group(cells, store, Keep("none"), lambda event: None)
    there = {n: len(tasks.load(tasks.reference(n)).test) for n in ("market", "sorting")}
    found = comparisons(store.runs())
    assert {one.test: one.available for one in found} == there
    assert all(count > 12 for count in there.values())
