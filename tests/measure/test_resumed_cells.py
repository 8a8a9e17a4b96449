"""A cell that is stopped anywhere goes on there, and its files are those of an undisturbed one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from finetrap.backends import Model, open_model
from finetrap.events import Event, PhaseBegins, Resumed, RowsDone, StepDone
from finetrap.measure.problems import Problems
from finetrap.measure.runner import run_group
from finetrap.measure.session import Session
from finetrap.measure.study import reading
from finetrap.measure.study.cells import cells_of
from finetrap.records import Cell, Keep, Limits, ModelSpec
from finetrap.runs.store import Store
from tests.builders.cases import standing_for_all

KEEP = Keep(checkpoints=0.0)
STUDY = {
    "name": "small",
    "models": ["mini-0.3m"],
    "tasks": ["market"],
    "probes": ["prose"],
    "seeds": [0],
    "train": {"problems": 40, "epochs": 1, "batch": 8, "dev": 8},
    "limits": {"test_problems": 24, "probe_problems": 6, "max_new_tokens": 24, "batch": 8},
}
NAMES = ("zero-shot", "few-shot-5", "full", "lora", "dora", "prompt-tuning", "full+rewind")
Stop = Callable[[Event], bool]
STOPS: dict[str, Stop] = {
    "first step": lambda event: isinstance(event, StepDone),
    "last step": lambda event: isinstance(event, StepDone) and event.step == event.steps,
    "first answer": lambda event: isinstance(event, RowsDone) and event.phase == "answer",
    "last answer": lambda event: isinstance(event, RowsDone) and event.done == event.of == 24,
    "prose": lambda event: isinstance(event, RowsDone) and event.part == "texts",
    "end": lambda event: isinstance(event, PhaseBegins) and event.phase == "after",
}
PROBLEMS = Problems()


class Killed(BaseException):
    """Ends a cell without letting it write anything more."""


@cache
def opened() -> Model:
    return open_model(cells("zero-shot")[0].model, Limits())


def base_model(spec: ModelSpec, limits: Limits) -> Model:
    """Return the one open model, as a new process would open it."""
    opened().reset()
    return opened()


def cells(*names: str) -> list[Cell]:
    table = {**STUDY, "strategies": list(names)}
    found = cells_of(reading.check(table, at="small", base=Path()))
    return [cell for cell in found if cell.strategy.name in names]


def run(members: list[Cell], place: Path, stop: Stop = lambda event: False) -> list[Event]:
    """Run cells as a new process would; at the event of a `stop` it is killed."""
    events: list[Event] = []

    def emit(event: Event) -> None:
        if stop(event):
            raise Killed
        events.append(event)

    store = Store(place)
    store.sweep()
    run_group(members, store, KEEP, emit, Session(base_model, PROBLEMS))
    return events


def files(place: Path) -> dict[str, bytes]:
    """Return what decides a run's numbers, by run and file; `run.json` holds its costs."""
    found = sorted(place.glob("*--*/*.json*"))
    return {str(p.relative_to(place)): p.read_bytes() for p in found if p.name != "run.json"}


@pytest.mark.parametrize("name", standing_for_all(NAMES, "zero-shot", "lora"))
def test_a_cell_killed_anywhere_ends_with_the_bytes_of_an_undisturbed_one(name, tmp_path):
    members = cells(name)
    passed = run(members, tmp_path / "whole")
    expected = files(tmp_path / "whole")
    assert len(expected) == 4
    for where, stop in STOPS.items():
        if not any(map(stop, passed)):
            continue
        place = tmp_path / where
        with pytest.raises(Killed):
            run(members, place, stop)
        events = run(members, place)
        assert files(place) == expected, where
        assert list((place / ".cells").iterdir()) == [], where
        assert any(isinstance(event, Resumed) for event in events) or where == "first answer"


def test_a_training_is_not_made_again_for_the_next_cell_nor_after_a_kill_in_it(tmp_path):
    (one,) = cells("lora")
    other = replace(one, task=replace(one.task, name="school"))

    def in_the_second(event: Event) -> bool:
        return isinstance(event, RowsDone) and event.key == other.key

    with pytest.raises(Killed):
        run([one, other], tmp_path, in_the_second)
    events = run([one, other], tmp_path)
    assert not any(isinstance(event, StepDone) for event in events)
    assert Store(tmp_path).remaining([one, other]) == ()
    assert list((tmp_path / ".cells").iterdir()) == []


def test_seconds_of_both_processes_are_counted(tmp_path):
    members = cells("lora")
    with pytest.raises(Killed):
        run(members, tmp_path, STOPS["end"])
    (training,) = (tmp_path / ".cells").glob("*/training")
    trained = json.loads(training.read_bytes().partition(b"\n")[0])["seconds"]
    lines = training.with_name("answers").read_text().splitlines()[1:]
    rows = [row for _, row in (json.loads(line[9:]) for line in lines)]
    (*_, answered) = (row[-1] for row in rows if row[0] == "text")
    run(members, tmp_path)
    (found,) = Store(tmp_path).runs()
    assert found.costs.train_s >= trained
    assert found.costs.eval_s >= answered
