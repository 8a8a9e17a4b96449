"""The files of one report are written together or not at all."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetrap.report.together import NAMES, put_together

WATCHED = (
    "open",
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "shutil.rmtree",
    "ctypes.dlsym",
)


def report(mark: str) -> Callable[[Path], None]:
    """Return what writes a report whose files all hold a mark."""

    def write(draft: Path) -> None:
        (draft / "figures").mkdir()
        (draft / "figures" / f"{mark}.svg").write_text(mark)
        for name in NAMES - {"figures"}:
            (draft / name).write_text(mark)

    return write


def marks(folder: Path) -> set[str]:
    """Return the marks of the report in a folder, which has all of its files."""
    found = {path.name: path for path in folder.iterdir() if path.name in NAMES}
    assert found.keys() == NAMES
    drawn = list(found.pop("figures").iterdir())
    return {path.read_text() for path in (*found.values(), *drawn)} | {p.stem for p in drawn}


def killed(folder: Path, number: int) -> bool:
    """Write a report in a fork that dies at its so-and-so-many-th operation; whether it did."""
    child = os.fork()
    if not child:
        done = 0

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal done
            if event in WATCHED:
                done += 1
                if done == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(watch)
            put_together(folder, report("new"))
            os._exit(0)
        finally:
            os._exit(1)
    _, code = os.waitpid(child, 0)
    assert os.WIFSIGNALED(code) or os.WEXITSTATUS(code) == 0
    return os.WIFSIGNALED(code)


def test_a_report_killed_at_any_file_operation_leaves_the_old_or_the_new_one(
    tmp_path: Path,
) -> None:
    number, seen = 0, set()
    while True:
        number += 1
        folder = tmp_path / str(number) / "report"
        put_together(folder, report("old"))
        died = killed(folder, number)
        (mark,) = marks(folder)
        seen.add(mark)
        for draft in folder.parent.glob(".*"):
            os.utime(draft, (0, time.time() - 7200))
        put_together(folder, report("next"))
        assert marks(folder) == {"next"}
        assert os.listdir(folder.parent) == ["report"]
        if not died:
            break
    assert number > 12
    assert seen == {"old", "new"}


@pytest.mark.parametrize("other", ["nothing else", "runs", ".hidden"])
def test_a_report_that_cannot_be_written_leaves_the_old_one_and_nothing_else(
    other: str, tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    put_together(folder, report("old"))
    if other != "nothing else":
        (folder / other).mkdir()

    def full(draft: Path) -> None:
        (draft / "report.html").write_text("new")
        raise OSError(28, "No space left on device")

    before = sorted(os.listdir(folder))
    with pytest.raises(OSError, match="No space left"):
        put_together(folder, full)
    assert marks(folder) == {"old"}
    assert sorted(os.listdir(folder)) == before
    assert os.listdir(tmp_path) == ["report"]


@pytest.mark.parametrize("other", ["runs", "figures"])
def test_what_else_lies_in_the_folder_stays(other: str, tmp_path: Path) -> None:
    kept = tmp_path / other / "kept.png"
    kept.parent.mkdir()
    kept.write_text("kept")
    for mark in ("old", "new"):
        put_together(tmp_path, report(mark))
    assert kept.read_text() == "kept"
    kept.unlink()
    assert marks(tmp_path) == {"new"}
    assert sorted(os.listdir(tmp_path)) == sorted({*NAMES, other})


def test_a_link_to_a_folder_stays_a_link_and_a_mode_stays(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o750)
    (tmp_path / "link").symlink_to("place")
    for mark in ("old", "new"):
        put_together(tmp_path / "link", report(mark))
    assert (tmp_path / "link").is_symlink()
    assert marks(place) == {"new"}
    assert place.stat().st_mode & 0o777 == 0o750
