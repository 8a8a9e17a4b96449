"""Problems of large data on disk: checked once, then read one by one, in every process.

    CACHE/<key>/problems.jsonl   a problem a line: those to train on, then those of the test
    CACHE/<key>/starts           where each line starts, and where the last ends: 8 bytes each
    CACHE/<key>/task.json        what else a task is
    CACHE/<key>/said.json        what a study says of its data before it runs

The key is of everything that decides the problems: the bytes of the data, its place and options,
and the code that reads them. The folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import secrets
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, overload

from finetrap import text
from finetrap.records import Problem, TaskRef, content_hash
from finetrap.runs.prepared import cache_folder, make_whole

FROM = 50_000
"""Problems from which they are put on disk."""
_COLUMNS = tuple(field.name for field in fields(Problem))


class Stored(Sequence[Problem]):
    """Problems in a file, each made when it is asked for."""

    def __init__(self, file: mmap.mmap, starts: Sequence[int], places: Sequence[int]) -> None:
        self._file, self._starts, self._places = file, starts, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Problem: ...
    @overload
    def __getitem__(self, place: slice) -> Stored: ...
    def __getitem__(self, place: int | slice) -> Problem | Stored:
        if isinstance(place, slice):
            return Stored(self._file, self._starts, self._places[place])
        at = self._places[place]
        values = json.loads(self._file[self._starts[at] : self._starts[at + 1]])
        named = dict(zip(_COLUMNS, values, strict=True))
        return Problem(**{**named, "choices": tuple(named["choices"])})

    def __iter__(self) -> Iterator[Problem]:
        return (self[place] for place in range(len(self)))

    def at(self, places: Iterable[int]) -> Stored:
        """Return those at some places."""
        return Stored(self._file, self._starts, array("Q", (self._places[i] for i in places)))

    def beside(self, chosen: Collection[int]) -> Stored:
        """Return all but those at some places."""
        return self.at(place for place in range(len(self)) if place not in chosen)


class Kept:
    """The place on disk of one task's problems."""

    def __init__(self, ref: TaskRef) -> None:
        known = [ref.name, ref.revision, ref.source, dict(ref.options), _code()]
        self.folder = cache_folder("data") / content_hash(known)

    def read(self) -> tuple[Stored, Stored, dict[str, Any]] | None:
        """Return the problems to train on, those of the test and what was noted; None if they are
        not there."""
        try:
            note = json.loads((self.folder / "task.json").read_text("utf-8"))
            file, starts = (_mapped(self.folder / name) for name in ("problems.jsonl", "starts"))
        except (OSError, ValueError):
            return None
        places = memoryview(starts).cast("Q")
        train, test = note.pop("train"), note.pop("test")
        if len(places) != train + test + 1 or places[-1] != len(file):
            return None
        whole = Stored(file, places, range(train + test))
        return whole[:train], whole[train:], note

    def write(
        self, train: Sequence[Problem], test: Sequence[Problem], note: Mapping[str, Any]
    ) -> None:
        """Put them there, as a whole or not at all; a disk that is full or read-only is let be."""

        def fill(draft: Path) -> None:
            starts = array("Q", [0])
            with (draft / "problems.jsonl").open("wb") as file:
                for problem in chain(train, test):
                    values = [getattr(problem, name) for name in _COLUMNS]
                    size = file.write(json.dumps(values).encode() + b"\n")
                    starts.append(starts[-1] + size)
            (draft / "starts").write_bytes(starts.tobytes())
            told = {**note, "train": len(train), "test": len(test)}
            (draft / "task.json").write_text(json.dumps(told), "utf-8")

        make_whole(self.folder, fill)


def recalled(folder: Path | None, name: str) -> list[str] | None:
    """Return what was said of the problems in a folder under a task's name, if anything was."""
    if folder is None:
        return None
    with suppress(OSError, ValueError):
        said: dict[str, list[str]] = json.loads((folder / "said.json").read_text("utf-8"))
        return said.get(name)
    return None


def recall(folder: Path | None, name: str, said: Sequence[str]) -> None:
    """Keep what was said of them; a disk that takes nothing is let be."""
    if folder is not None:
        draft = folder / f".{secrets.token_hex(6)}"
        with suppress(OSError):
            draft.write_text(json.dumps({name: list(said)}), "utf-8")
            draft.replace(folder / "said.json")


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@cache
def _code() -> str:
    """Return a hash of the code that makes problems of rows."""
    rooms = Path(__file__).parent, Path(str(text.__file__)).parent
    files = sorted(path for room in rooms for path in room.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
