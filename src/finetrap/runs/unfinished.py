"""What is done of a cell that is not committed, so that it goes on where its process died.

RUNS/.cells/<key>/training   the last checkpoint of its training, replaced as a whole
RUNS/.cells/<key>/answers    what its models were asked and found, a line each, appended in groups

Each file says what made it. What another cell, version or machine made, and what is torn, is never
used. Nothing here makes a cell fail: where it cannot be written, the cell goes on without it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from finetrap.records import Keep

VERSION = 1
"""Of these files."""
MOST = 0.02
"""Share of training time that checkpoints may take: where one takes long, they are rarer."""
GROUP = 2.0
"""Seconds of answers that are brought to the disk at once."""
_CHUNK = 2**24
_SUM = 8
"""Hexadecimal digits of a checksum."""


class Unfinished:
    """The folder of one cell; without one nothing is kept."""

    def __init__(self, folder: Path | None = None, keep: Keep | None = None) -> None:
        self.folder, self.keep = folder, keep or Keep(checkpoints=None)
        self._journal: Journal | None = None

    def checkpoint(self, made: str) -> Checkpoint | None:
        """Return where a training is kept, every so many seconds; None where it is not."""
        if self.folder is None or self.keep.checkpoints is None:
            return None
        return Checkpoint(self.folder / "training", made, self.keep.checkpoints)

    def journal(self, made: str) -> Journal:
        """Return what is kept of what a cell's models were asked."""
        self.close()
        self._journal = Journal(self.folder and self.folder / "answers", made)
        return self._journal

    def hand_on(self, heir: Unfinished) -> None:
        """Leave a finished training to another cell that needs the same one."""
        if self.folder is not None and heir.folder is not None:
            with suppress(OSError):
                heir.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / "training").replace(heir.folder / "training")

    def close(self) -> None:
        """Let its files go; what is in them stays."""
        if self._journal is not None:
            self._journal.close()

    def remove(self) -> None:
        """Remove all of it, once nothing needs it."""
        self.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


NOWHERE = Unfinished()
"""Of a cell that is not gone on with."""


class Checkpoint:
    """The last state of a training, in one file.

    A line of JSON, whatever bytes the backend needs, and the CRC-32 of both. `made` names the
    training and what computes it.
    """

    def __init__(
        self,
        place: Path,
        made: str,
        every: float,
        most: float = MOST,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._place, self._made, self._clock = place, made, clock
        self._every, self._most = every, most
        self._start = self._last = clock()
        self._cost = 0.0
        self._head, self._at = _checked_head(place, made)

    @property
    def step(self) -> int:
        """Training steps that are taken; 0 where nothing is kept."""
        return int(self._head["step"]) if self._head else 0

    @property
    def steps(self) -> int:
        """Steps that there are in all, where any are kept."""
        return int(self._head["steps"]) if self._head else 0

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the backend wrote beside its bytes."""
        facts: Mapping[str, Any] = self._head["facts"] if self._head else {}
        return facts

    @property
    def earlier_s(self) -> float:
        """Seconds that other processes trained up to the step that is kept."""
        return float(self._head["seconds"]) if self._head else 0.0

    def due(self) -> bool:
        """Say whether it is time to write the next one."""
        return self._clock() - self._last >= max(self._every, self._cost / self._most)

    def write(
        self, step: int, steps: int, facts: Mapping[str, Any], blocks: Iterable[memoryview]
    ) -> None:
        """Replace what is kept; a process that dies meanwhile leaves the old or the new."""
        begin = self._clock()
        head = {
            "version": VERSION,
            "made": self._made,
            "step": step,
            "steps": steps,
            "seconds": self.earlier_s + begin - self._start,
            "facts": facts,
        }
        draft = self._place.with_name("training.new")
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                _write_summed(file, [memoryview(json.dumps(head).encode() + b"\n"), *blocks])
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._place)
            sync_to_disk(self._place.parent)
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
        self._last = self._clock()
        self._cost = self._last - begin

    @contextmanager
    def reading(self) -> Any:
        """Open the bytes that were written, from their start."""
        with self._place.open("rb") as file:
            file.seek(self._at)
            yield file


class Journal:
    """Rows that belong to calls, in the order in which they were found.

    Each line is a CRC-32 and a JSON list: a call's name and a row. The first names what made the
    file. What follows a torn line is dropped.
    """

    def __init__(
        self,
        place: Path | None = None,
        made: str = "",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._place, self._clock = place, clock
        self._head = [VERSION, made]
        self.found, self._whole = _whole_rows(place, self._head)
        self._waiting: list[bytes] = []
        self._last = clock()
        self._file: BinaryIO | None = None

    def rows(self, call: str) -> list[list[Any]]:
        """Return what processes before this one found of a call."""
        return [row for name, row in self.found if name == call]

    def add(self, call: str, row: Sequence[Any]) -> None:
        """Keep a row; it is on the disk after `GROUP` seconds or the next `flush`."""
        if self._place is not None:
            self._waiting.append(_summed_line([call, row]))
            if self._clock() - self._last >= GROUP:
                self.flush()

    def flush(self) -> None:
        """Bring what waits to the disk, or give up where that cannot be."""
        if self._waiting and self._place is not None:
            try:
                file = self._file = self._file or self._opened(self._place)
                file.write(b"".join(self._waiting))
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                self._place = None
        self._waiting, self._last = [], self._clock()

    def close(self) -> None:
        """Flush, and let the file go."""
        self.flush()
        if self._file is not None:
            with suppress(OSError):  # what could not be written is tried once more, in vain
                self._file.close()
            self._file = None

    def _opened(self, place: Path) -> BinaryIO:
        """Open the file to be appended to, without what is torn or of another cell."""
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.open("r+b" if self._whole else "wb")
        file.truncate(self._whole)
        file.seek(self._whole)
        if not self._whole:
            file.write(_summed_line(self._head))
        return file


def _whole_rows(place: Path | None, head: list[Any]) -> tuple[list[list[Any]], int]:
    """Return a journal's rows up to the first torn line, and how many bytes they take."""
    found: list[list[Any]] = []
    size = 0
    with suppress(OSError, ValueError, RecursionError):
        for line in place.read_bytes().splitlines(keepends=True) if place else ():
            body = line[_SUM + 1 :]
            if not line.endswith(b"\n") or line[:_SUM] != b"%08x" % zlib.crc32(body):
                break
            found.append(json.loads(body))
            size += len(line)
    return (found[1:], size) if found and found[0] == head else ([], 0)


def _summed_line(content: list[Any]) -> bytes:
    body = json.dumps(content).encode() + b"\n"  # in ASCII: half a surrogate pair is no text
    return b"%08x %s" % (zlib.crc32(body), body)


def _checked_head(place: Path, made: str) -> tuple[dict[str, Any] | None, int]:
    """Return a checkpoint's first line and where its bytes start; None if it is not to be used."""
    try:
        with place.open("rb") as file:
            head = json.loads(file.readline())
            at = file.tell()
            if head["version"] != VERSION or head["made"] != made or not _is_whole(file):
                return None, 0
            return head, at
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, 0


def _is_whole(file: BinaryIO) -> bool:
    """Hold all bytes of a file against the checksum at its end."""
    left = os.fstat(file.fileno()).st_size - _SUM
    file.seek(0)
    total = 0
    while left > 0:
        part = file.read(min(left, _CHUNK))
        if not part:
            return False
        total = zlib.crc32(part, total)
        left -= len(part)
    return file.read() == b"%08x" % total


def _write_summed(file: BinaryIO, blocks: Iterable[memoryview]) -> None:
    total = 0
    for block in blocks:
        for at in range(0, len(block), _CHUNK):
            total = zlib.crc32(block[at : at + _CHUNK], total)
            file.write(block[at : at + _CHUNK])
    file.write(b"%08x" % total)


def sync_to_disk(path: Path) -> None:
    """Wait until the disk holds a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
