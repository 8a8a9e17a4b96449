"""Two commands on one runs folder, and a runs folder that goes while a study runs."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from finetrap.cli import main
from finetrap.events import Event
from finetrap.measure.engines import local, rounds
from finetrap.measure.study import reading, search
from finetrap.records import Cell
from finetrap.runs.store import Store
from tests.builders.studies import small, write

SMALL = small(seeds="[0, 1]", train="[train]\nproblems = 20", limits="[limits]\ntest_problems = 10")


def cells_of(folder: Path) -> tuple[Cell, ...]:
    return search.named_cells(reading.load_study(write(folder, SMALL)), Store(folder / "runs"))[0]


def measured(folder: Path, *flags: str) -> int | str | None:
    runs = str(folder / "runs")
    with pytest.raises(SystemExit) as ended:
        main(["run", str(write(folder, SMALL)), "--runs", runs, "--workers", "1", *flags])
    return ended.value.code


def test_what_is_left_to_another_command_is_said_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells, store = cells_of(tmp_path), Store(tmp_path / "runs")
    with store.lock(cells[1].key) as mine:
        assert mine
        assert measured(tmp_path) == 0
    said = capsys.readouterr().out
    assert store.remaining(cells) == (cells[1],)
    assert f"left to other processes, which measure them:\n  {cells[1].slug}: process " in said
    assert f"process {os.getpid()} on " in said
    assert "if they end without them: finetrap run " in said
    assert "--take-over" not in said
    assert measured(tmp_path) == 0
    assert "left to other processes" not in capsys.readouterr().out
    assert store.remaining(cells) == ()


def test_where_flock_is_refused_a_dead_commands_cell_is_named_and_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    cells, store = cells_of(tmp_path), Store(tmp_path / "runs")
    told = {"host": "gone\x1b[31m", "pid": 7, "started": 1, "since": time.time() - 3600}
    locks = store.root / ".locks"
    locks.mkdir(parents=True)
    (locks / f"{cells[1].key}.held").write_text(json.dumps(told))
    assert measured(tmp_path) == 0
    said = capsys.readouterr().out
    assert f"{cells[1].slug}: process 7 on gone" in said
    assert "\x1b" not in said
    assert "if such a process has ended, to measure its cells here: finetrap run " in said
    assert store.remaining(cells) == (cells[1],)
    assert measured(tmp_path, "--take-over") == 0
    assert store.remaining(cells) == ()
    assert list(locks.glob("*.held")) == []


@pytest.mark.parametrize("replaced", [True, False])
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.full)])
def test_a_runs_folder_that_goes_while_a_study_runs_ends_it_and_is_not_begun_anew(
    workers: int, replaced: bool, tmp_path: Path
) -> None:
    from finetrap.errors import MachineFault

    study, root = reading.load_study(write(tmp_path, SMALL)), tmp_path / "runs"
    gone = False

    def emit(event: Event) -> None:
        nonlocal gone
        if event.name == "cell-done" and not gone:
            gone = True
            root.rename(tmp_path / "elsewhere")
            if replaced:
                root.mkdir()

    with pytest.raises(MachineFault, match="was renamed or removed while the study ran; put it"):
        rounds.run_study(study, Store(root), workers=workers, emit=emit, engine=local.ready)
    assert replaced == root.exists()
    assert not list(root.glob("*--*"))
    moved = Store(tmp_path / "elsewhere")
    cells = search.named_cells(study, moved)[0]
    assert 0 < len(moved.remaining(cells)) < len(cells)
    rounds.run_study(study, moved, workers=workers, emit=lambda event: None, engine=local.ready)
    assert moved.remaining(cells) == ()
