"""What is made once of large data, beside no study: each folder whole, or not there at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar, overload

Thing = TypeVar("Thing")


class Lazy(Sequence[Thing], Generic[Thing]):
    """Things in an order, each made anew when it is asked for: none is held."""

    def __init__(self, count: int, make: Callable[[int], Thing]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Thing: ...
    @overload
    def __getitem__(self, place: slice) -> list[Thing]: ...
    def __getitem__(self, place: int | slice) -> Thing | list[Thing]:
        if isinstance(place, slice):
            return [self._make(one) for one in range(*place.indices(self._count))]
        return self._make(range(self._count)[place])

    def __iter__(self) -> Iterator[Thing]:
        return map(self._make, range(self._count))


def cache_folder(sort: str) -> Path:
    """Return where prepared data of one sort is kept; it can be deleted at any time."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "finetrap" / sort


def make_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that `fill` writes; a disk that is full or read-only is let be."""
    draft = folder.with_name(f".{secrets.token_hex(6)}")
    with suppress(OSError):
        try:
            draft.mkdir(parents=True)
            fill(draft)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
