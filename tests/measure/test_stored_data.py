"""Large data of a person's own: its problems lie on disk, and are those that were read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from finetrap import tasks
from finetrap.records import TaskRef, TrainSpec
from finetrap.tasks._stored import Kept
from tests.builders.studies import write_rows


@pytest.fixture
def ref(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskRef:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = [{"question": f"Was ist {i} ½?", "answer": i, "of": f"text {i // 4}"} for i in range(90)]
    return tasks.reference(f"jsonl:{write_rows(tmp_path / 'mine.jsonl', *rows)}")


def kept_on_disk(ref: TaskRef, task: tasks.Task) -> tasks.Task:
    Kept(ref).write(task.train, task.test, {"left_out": task.left_out})
    found = Kept(ref).read()
    assert found is not None
    train, test, note = found
    assert note == {"left_out": 0}
    return replace(task, train=train, test=test)


def test_problems_on_disk_are_those_that_were_read(ref: TaskRef) -> None:
    task = tasks.load(ref)
    stored = kept_on_disk(ref, task)
    assert tuple(stored.train) == task.train
    assert tuple(stored.test) == task.test
    assert [p.named for p in stored.train] == [p.named for p in task.train]
    assert stored.train[-1] == task.train[-1]
    assert tuple(stored.train[3:9]) == task.train[3:9]
    assert tasks.counts(stored) == tasks.counts(task)
    assert tasks.held_data({ref.name: stored}) == tasks.held_data({ref.name: task})


@pytest.mark.parametrize("options", [{}, {"group": "of"}])
def test_what_is_drawn_of_them_is_the_same(ref: TaskRef, options: dict[str, str]) -> None:
    ref = tasks.reference(f"jsonl:{ref.source}", options=options)
    task = tasks.load(ref)
    stored = kept_on_disk(ref, task)
    for budget in (TrainSpec(problems=20), TrainSpec(problems=20, dev=9, with_dev=True)):
        assert tasks.training(stored, budget) == tasks.training(task, budget)
    assert tasks.asked(stored, None, "dev", 9) == tasks.asked(task, None, "dev", 9)
    assert tasks.asked(stored, 7, "test", 0) == tasks.asked(task, 7, "test", 0)
    assert tasks.probed(stored, 7, "dev") == tasks.probed(task, 7, "dev")


@pytest.mark.parametrize("options", [{}, {"group": "of"}])
def test_many_that_are_trained_on_stay_on_disk(
    ref: TaskRef, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = tasks.reference(f"jsonl:{ref.source}", options=options)
    task = tasks.load(ref)
    stored = kept_on_disk(ref, task)
    monkeypatch.setattr(tasks, "FROM", 10)
    for budget in (TrainSpec(problems=None), TrainSpec(problems=20, dev=9, with_dev=True)):
        found, expected = tasks.training(stored, budget), tuple(tasks.training(task, budget))
        assert not isinstance(found, (tuple, list))
        assert tuple(found) == expected
        assert found[-1] == expected[-1]
        assert tuple(found[3:5]) == expected[3:5]
    both = tasks.joined(stored.train, stored.test)
    assert list(both) == [*task.train, *task.test]
    assert both[len(task.train)] == task.test[0]


def test_a_later_reading_takes_them_from_the_disk_unless_the_data_changed(ref: TaskRef) -> None:
    task = tasks.load(ref)
    note = {"name": task.name, "kind": task.kind}
    Kept(ref).write(task.train[:5], task.test[:2], note)
    assert len(tasks.load(ref).train) == 5
    assert ref.source is not None
    with open(ref.source, "a", encoding="utf-8") as file:
        file.write('{"question": "Was ist hundert?", "answer": 100}\n')
    assert len(tasks.load(tasks.reference(f"jsonl:{ref.source}")).train) > 5


def test_what_large_data_holds_is_said_again_without_reading_it(
    ref: TaskRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tasks.load(ref)
    expected = tasks.held_data({ref.name: plain})
    monkeypatch.setattr(tasks, "FROM", 10)
    stored = tasks.load(ref)
    assert stored.kept == Kept(ref).folder
    assert tasks.held_data({ref.name: stored}) == expected
    monkeypatch.setattr(tasks, "counts", lambda task: {"rows": 0})
    assert tasks.held_data({ref.name: stored}) == expected
    assert tasks.held_data({ref.name: plain}) != expected
    (Kept(ref).folder / "said.json").write_text('{"jsonl')
    assert tasks.held_data({ref.name: stored})[0] == f"{ref.name}: 0 rows"


def test_what_is_torn_on_disk_is_read_anew(ref: TaskRef) -> None:
    task = tasks.load(ref)
    Kept(ref).write(task.train[:5], task.test[:2], {"name": task.name, "kind": task.kind})
    file = Kept(ref).folder / "problems.jsonl"
    file.write_bytes(file.read_bytes()[:-3])
    assert tasks.load(ref) == task


def test_a_disk_that_takes_nothing_is_let_be(ref: TaskRef, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, no folder")
    task = tasks.load(ref)
    Kept(ref).write(task.train, task.test, {})
    assert Kept(ref).read() is None
    assert tasks.load(ref) == task
