"""Temporary folders: gone with their process, however that ends."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from finetrap.runs.scratch import Scratch, locked_folder, sweep_left, sweep_scratch
from finetrap.runs.store import Store

HOLD = "from finetrap.runs.scratch import Scratch; own = Scratch(); print(own.path, flush=True);"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def held_elsewhere(folder: Path, then: str) -> tuple[subprocess.Popen[str], Path]:
    """Start a process with such a folder; return both once it has it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD + then],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_leaves_is_removed_by_the_next_and_what_a_living_one_has_is_not(
    temporary: Path,
) -> None:
    process, place = held_elsewhere(temporary, "input()")
    (place / "originals").write_bytes(b"weights")
    sweep_scratch()
    other = Scratch()
    assert place.exists()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    Store(temporary / "runs").sweep()
    assert not place.exists()
    assert other.path.exists()
    other.cleanup()
    assert list(temporary.glob("finetrap-scratch-*")) == []


@pytest.mark.parametrize("end", ["pass", "raise SystemExit(3)", "del own"])
def test_a_process_that_ends_leaves_nothing(end: str, temporary: Path) -> None:
    process, place = held_elsewhere(temporary, end)
    process.communicate()
    assert not place.exists()


def test_a_fork_that_ends_removes_nothing_of_its_parents(temporary: Path) -> None:
    fork = "import os; child = os.fork(); child and (os.waitpid(child, 0), print(), input())"
    process, place = held_elsewhere(temporary, fork)
    assert process.stdout is not None
    process.stdout.readline()  # the child has ended
    assert place.exists()
    process.communicate("\n")
    assert not place.exists()


def test_only_its_owner_may_read_it_and_a_link_is_not_followed(temporary: Path) -> None:
    own = Scratch()
    assert stat.S_IMODE(own.path.stat().st_mode) == 0o700
    target = temporary / "mine"
    target.mkdir()
    (target / "file").write_text("kept")
    link = temporary / "finetrap-scratch-link"
    link.symlink_to(target)
    sweep_scratch()
    assert (target / "file").exists()
    own.cleanup()


def test_a_folder_to_be_renamed_is_as_open_as_any_other(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    folder, handle = locked_folder(tmp_path, ".tmp-*-run")
    assert folder.stat().st_mode == plain.stat().st_mode
    sweep_left([folder])
    assert folder.exists()
    os.close(handle)
    sweep_left([folder])
    assert not folder.exists()
