"""Who has a cell: by flock, and by a file where the file system refuses flock."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import time
from pathlib import Path

import pytest

from finetrap.errors import StoreError
from finetrap.runs.store import Store
from tests.builders.stored import make_run


def refuse(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the file system answer flock as network file systems do."""

    def refused(handle: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(errno.ENOLCK, monkeypatch)


def left_behind(root: Path, **changes: object) -> Path:
    """Write the lock file of a process on another machine that was killed an hour ago."""
    told = {"host": "gone", "pid": 7, "started": 1, "since": time.time() - 3600, **changes}
    place = root / ".locks" / "k.held"
    place.parent.mkdir()
    place.write_text(json.dumps(told))
    return place


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_holds_a_cell_where_flock_is_refused(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(number, monkeypatch)
    store, run = Store(tmp_path), make_run()
    with store.lock("k") as mine, Store(tmp_path).lock("k") as second, store.lock("o") as third:
        assert (mine, second, third) == (True, False, True)
        holder = Store(tmp_path).holder("k")
        assert holder is not None
        assert (holder.host, holder.pid, holder.by_file) == (platform.node(), os.getpid(), True)
        assert abs(holder.since - time.time()) < 60
    with store.lock("k") as again:
        assert again
    assert list(tmp_path.glob(".locks/*.held")) == []
    assert store.load(store.commit(run)) == run


def test_another_fault_of_a_lock_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(errno.EIO, monkeypatch)
    with pytest.raises(StoreError, match="cannot be locked"), Store(tmp_path).lock("k"):
        pass


def test_flock_names_its_holder_too_and_needs_no_file(tmp_path: Path) -> None:
    left_behind(tmp_path)
    with Store(tmp_path).lock("o") as mine:
        holder = Store(tmp_path).holder("o")
        assert mine
        assert holder is not None
        assert (holder.pid, holder.by_file) == (os.getpid(), False)
    with Store(tmp_path).lock("k") as free:
        assert free, "the kernel knows that nobody has it"


@pytest.mark.usefixtures("without_flock")
def test_a_lock_file_is_taken_over_only_where_that_is_asked_for(tmp_path: Path) -> None:
    place = left_behind(tmp_path)
    with Store(tmp_path).lock("k") as mine:
        assert not mine
    assert "gone" in place.read_text()
    with Store(tmp_path, take_over=time.time()).lock("k") as mine:
        assert mine
        assert json.loads(place.read_text())["pid"] == os.getpid()
    assert not place.exists()


@pytest.mark.usefixtures("without_flock")
def test_a_lock_file_that_is_torn_can_be_taken_over(tmp_path: Path) -> None:
    place = left_behind(tmp_path)
    place.write_text('{"host": ')
    with Store(tmp_path, take_over=time.time() + 60).lock("k") as mine:
        assert mine


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("lives", [True, False])
def test_a_process_of_this_machine_keeps_its_cell_as_long_as_it_lives(
    lives: bool, tmp_path: Path
) -> None:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) - (0 if lives else 1)  # else another process had this number
    left_behind(tmp_path, host=platform.node(), pid=os.getpid(), started=started)
    with Store(tmp_path, take_over=time.time()).lock("k") as taken:
        assert taken is not lives


@pytest.mark.usefixtures("without_flock")
def test_what_was_made_after_the_command_began_is_not_taken_over(tmp_path: Path) -> None:
    left_behind(tmp_path, since=time.time() + 60)
    with Store(tmp_path, take_over=time.time()).lock("k") as mine:
        assert not mine


@pytest.mark.usefixtures("without_flock")
def test_whoever_was_taken_over_leaves_the_file_of_the_other(tmp_path: Path) -> None:
    with Store(tmp_path).lock("k") as mine:
        assert mine
        place = tmp_path / ".locks" / "k.held"
        place.write_text("another's")
    assert place.read_text() == "another's"


@pytest.mark.usefixtures("without_flock")
def test_a_folder_that_is_being_written_is_swept_only_when_it_is_old(tmp_path: Path) -> None:
    hidden = tmp_path / ".tmp-0123-x"
    hidden.mkdir()
    Store(tmp_path).sweep()
    assert hidden.exists()
    os.utime(hidden, (0, time.time() - 90_000))
    Store(tmp_path).sweep()
    assert not hidden.exists()
