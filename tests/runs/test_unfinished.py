"""What is done of a cell: whole, of this cell and version, or not used."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from finetrap.records import Keep, Study
from finetrap.runs.store import SPARED, Store
from finetrap.runs.unfinished import Checkpoint
from tests.builders.stored import make_cell, make_run

STUDY = Study("s", (), (), ())
BLOCK = bytes(range(256)) * 40


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def written(place: Path, made: str = "this", step: int = 3) -> Checkpoint:
    checkpoint = Checkpoint(place, made, 0.0)
    checkpoint.write(step, 9, {"curve": [0.5]}, [memoryview(BLOCK), memoryview(b"end")])
    return checkpoint


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    written(tmp_path / "training")
    found = Checkpoint(tmp_path / "training", "this", 0.0)
    assert (found.step, found.steps, found.facts) == (3, 9, {"curve": [0.5]})
    with found.reading() as file:
        assert file.read(len(BLOCK) + 3) == BLOCK + b"end"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_torn_checkpoint_is_not_used(tmp_path: Path, share: float) -> None:
    place = tmp_path / "training"
    written(place)
    data = place.read_bytes()
    place.write_bytes(data[: int(share * len(data))])
    assert Checkpoint(place, "this", 0.0).step == 0


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9999])
def test_a_checkpoint_with_a_wrong_byte_is_not_used(tmp_path: Path, share: float) -> None:
    place = tmp_path / "training"
    written(place)
    data = bytearray(place.read_bytes())
    data[int(share * len(data))] ^= 1
    place.write_bytes(data)
    assert Checkpoint(place, "this", 0.0).step == 0


def test_what_another_cell_or_version_made_is_not_used(tmp_path: Path) -> None:
    written(tmp_path / "training", made="another")
    assert Checkpoint(tmp_path / "training", "this", 0.0).step == 0


def test_a_folder_that_cannot_be_written_stops_no_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    written(tmp_path / "file" / "training")
    assert Checkpoint(tmp_path / "file" / "training", "this", 0.0).step == 0


def test_checkpoints_take_at_most_a_fiftieth_of_the_training(tmp_path: Path) -> None:
    clock = Clock()

    def slow():
        clock.now += 10.0
        yield memoryview(b"x")

    checkpoint = Checkpoint(tmp_path / "training", "this", 300.0, clock=clock)
    clock.now = 299.0
    assert not checkpoint.due()
    clock.now = 300.0
    assert checkpoint.due()
    checkpoint.write(1, 9, {}, slow())
    clock.now += 499.0
    assert not checkpoint.due()
    clock.now += 1.0
    assert checkpoint.due()


def test_seconds_of_all_processes_are_added(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(3):
        checkpoint = Checkpoint(tmp_path / "training", "this", 0.0, clock=clock)
        clock.now += 10.0
        checkpoint.write(1, 9, {}, ())
    assert Checkpoint(tmp_path / "training", "this", 0.0).earlier_s == 30.0


def test_a_training_is_handed_on_to_the_next_cell_that_needs_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, other = (store.unfinished(make_cell(seed), Keep()) for seed in (0, 1))
    written(tmp_path / ".cells" / make_cell(0).key / "training")
    one.hand_on(other)
    one.remove()
    found = other.checkpoint("this")
    assert found is not None
    assert found.step == 3
    assert [p.name for p in (tmp_path / ".cells").iterdir()] == [make_cell(1).key]


def test_never_keeps_no_training(tmp_path: Path) -> None:
    never = Store(tmp_path).unfinished(make_cell(), Keep(checkpoints=None))
    assert never.checkpoint("this") is None


def test_sweeping_removes_what_no_cell_needs_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    done, going, held, gone, spared = (make_cell(seed) for seed in range(5))
    for cell in (done, going, held, gone, spared):
        written(tmp_path / ".cells" / cell.key / "training")
    for cell in (held, gone):
        age(tmp_path / ".cells" / cell.key, SPARED + 60)
    age(tmp_path / ".cells" / spared.key, SPARED - 3600)
    store.commit(make_run(done))

    def left() -> set[str]:
        return {p.name for p in (tmp_path / ".cells").iterdir()}

    with store.lock(held.key):
        store.sweep()
        assert left() == {going.key, held.key, gone.key, spared.key}
        store.remember(STUDY, [done, going])
        store.sweep()
        assert left() == {going.key, held.key, spared.key}
    store.sweep()
    assert left() == {going.key, spared.key}


def age(folder: Path, seconds: float) -> None:
    """Make a folder and what is in it as old as that."""
    then = time.time() - seconds
    for place in (*folder.iterdir(), folder):
        os.utime(place, (then, then))


def test_a_study_narrowed_for_a_while_keeps_what_the_others_have_done(tmp_path: Path) -> None:
    store = Store(tmp_path)
    full, lora = make_cell(0), make_cell(1)
    store.remember(STUDY, [full, lora])
    written(tmp_path / ".cells" / lora.key / "training")
    store.remember(STUDY, [full])
    store.sweep()
    found = store.unfinished(lora, Keep()).checkpoint("this")
    assert found is not None
    assert found.step == 3
