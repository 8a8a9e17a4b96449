"""The quick part of `make torture`: every sort of fault a few times, on planted answers."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.torture import damages, kills, table
from benchmarks.torture.scene import Scene, study_of
from benchmarks.torture.table import Count

SMALL = {
    "name": "torture",
    "models": ["toy:base=0.6,full=-0.2,seconds=0.02"],
    "tasks": ["market"],
    "strategies": ["zero-shot", "full"],
    "probes": ["school"],
    "seeds": [0],
    "train": {"problems": 12, "epochs": 1, "batch": 4},
    "limits": {"test_problems": 6, "probe_problems": 3},
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(study_of(SMALL), tmp_path_factory.mktemp("torture"))


def test_kills_at_random_moments_lose_nothing(scene: Scene) -> None:
    count = kills.at_random_moments(scene, 6, random.Random(1), "planted answers")
    assert count.tried == 6
    assert count.clean, count


@pytest.mark.skipif(not kills.can_trace(), reason="system calls are numbered for x86-64 alone")
def test_kills_at_chosen_system_calls_lose_nothing(scene: Scene) -> None:
    count = kills.at_system_calls(scene, 3, random.Random(1))
    assert count.tried >= 3
    assert count.clean, count


def test_each_damage_is_named_and_mended(scene: Scene) -> None:
    draw = random.Random(1)
    counts = [*damages.of_committed_runs(scene, 1, draw), damages.of_exchanged_runs(scene, 1, draw)]
    counts += [damages.of_drafts(scene, 1, draw), damages.of_full_disks(scene, 1, draw)]
    assert [count for count in counts if not count.clean] == []


def test_files_of_a_cell_killed_after_the_last_commit_are_swept(scene: Scene) -> None:
    count, place = Count("none", "by hand"), scene.place()
    scene.attempt(place)
    key = next(place.glob("[!.]*--*")).name.rpartition("--")[2]
    (place / ".cells" / key).mkdir(parents=True)
    scene.attempt(place)
    scene.ended(place, count)
    assert count.clean, count


def test_what_is_lost_wrong_or_left_is_counted(scene: Scene) -> None:
    count, place = Count("none", "by hand"), scene.place()
    scene.attempt(place)
    one, other = sorted(place.glob("[!.]*--*"))
    (one / "answers.jsonl").write_text("")
    (place / ".cells" / "left").mkdir(parents=True)
    scene.ended(place, count)
    assert (count.wrong, count.orphans) == (1, 1)
    before = damages.Kept(place)
    other.rename(place / "elsewhere")
    scene.held(place, count, before)
    assert count.lost == 1


def test_the_table_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.write(page, [Count("fault", "how", 1200, 1)], 3.0)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| fault | how | 1,200 | 1 | 0 | 0 |" in text
    assert "old" not in text
