"""What is read of a run is let go when other runs need the room, and read again unchanged."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from finetrap.errors import StoreError
from finetrap.judge import judge_study
from finetrap.records import FORMAT, Run
from finetrap.runs.held import LEAVES, HeldAnswers, Part, Shelf
from finetrap.runs.store import Store
from tests.builders.documents import REPOSITORY
from tests.builders.stored import answer, make_cell, make_run

NONE = 1
"""Bytes: room for the last file alone."""


def counted(times: list[str], name: str, size: int = 10) -> Part[str]:
    def read() -> str:
        times.append(name)
        return f"content of {name}"

    return Part(read, size)


def test_what_was_not_used_for_longest_makes_room() -> None:
    times: list[str] = []
    shelf, (a, b, c) = Shelf(room=20), [counted(times, name) for name in "abc"]
    for part in (a, b, a, c, a, b):
        assert shelf.content(part).startswith("content")
    assert times == ["a", "b", "c", "b"]


def test_a_part_larger_than_the_room_is_held_until_the_next() -> None:
    times: list[str] = []
    shelf, large, small = Shelf(room=5), counted(times, "large", 99), counted(times, "small", 1)
    for part in (large, large, small, large):
        shelf.content(part)
    assert times == ["large", "small", "large"]


def test_changed_answers_are_as_many_and_changed_whenever_they_are_read() -> None:
    given = (answer("p1"), answer("p2"))
    held = HeldAnswers(Part(lambda: given, 1), 2, Shelf(NONE))
    turned = held.changed(lambda found: tuple(reversed(found)))
    assert (len(turned), turned, held) == (2, given[::-1], given)
    assert (held[0], held[-1:], given[1] in held) == (given[0], given[1:], True)
    assert held != given[:1]


@pytest.mark.parametrize("version", range(1, FORMAT + 1))
def test_runs_that_are_never_held_are_those_that_are(version: int, tmp_path: Path) -> None:
    packed = REPOSITORY / f"tests/data/formats/format-{version}.tar.xz"
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path)
    amply, barely = Store(tmp_path), Store(tmp_path, room=NONE)
    assert barely.runs() == amply.runs() == barely.sound_runs()[0]
    assert judge_study(barely)[0] == judge_study(amply)[0]


def test_long_evidence_is_read_again_and_short_evidence_is_at_hand(tmp_path: Path) -> None:
    kept = {"loss": [0.5] * (LEAVES + 1), "rows": [[["x" * 99_999, True]]], "merged": True}
    folder = Store(tmp_path).commit(make_run(evidence={**kept, "problems": {}}))
    Store(tmp_path).commit(make_run(make_cell(seed=1)))
    runs = {run.cell.seed: run for run in Store(tmp_path, room=NONE).runs()}
    found = runs[0].evidence
    assert dict(found) == {**kept, "problems": {}} == found
    assert len(list(runs[1].answers)) == 2  # takes the room
    (folder / "evidence.json").unlink()
    assert (found["merged"], found["problems"], found.get("none")) == (True, {}, None)
    with pytest.raises(StoreError, match=r"evidence\.json cannot be read"):
        found["loss"]


def test_a_file_that_changed_since_is_named_when_it_is_read_again(tmp_path: Path) -> None:
    first = Store(tmp_path).commit(make_run(make_cell(seed=0)))
    Store(tmp_path).commit(make_run(make_cell(seed=1)))
    runs: list[Run] = Store(tmp_path, room=NONE).runs()
    text = (first / "answers.jsonl").read_text()
    (first / "answers.jsonl").write_text(text.replace("4", "5", 1))
    with pytest.raises(StoreError, match="was edited after it was committed"):
        [list(run.answers) for run in runs]
