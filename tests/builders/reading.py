"""What a model reads, seen by a hook on it; and a memory that is too small for some of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn


class Read(NamedTuple):
    """One forward pass."""

    rows: int
    length: int
    """Tokens of each row, padding included."""
    caches: bool
    """Whether keys and values are kept."""
    before: int
    """Places that were in the cache already."""

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def is_step(self) -> bool:
        """Whether it is one more token of rows that are being written."""
        return self.length == 1 and self.before > 0


@contextmanager
def reading(
    core: nn.Module, too_large: Callable[[Read], bool] = lambda read: False
) -> Iterator[list[Read]]:
    """Note the passes of a model inside, and of what is copied from it; refuse some for memory."""
    found: list[Read] = []

    def note(_: nn.Module, __: Any, given: dict[str, Any]) -> None:
        ids = given.get("input_ids")
        cache = given.get("past_key_values")
        rows, length = (given["inputs_embeds"] if ids is None else ids).shape[:2]
        before = cache.get_seq_length() if cache is not None else 0
        found.append(Read(rows, length, bool(given.get("use_cache")), before))
        if too_large(found[-1]):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    hook = core.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield found
    finally:
        hook.remove()


def steps(found: list[Read]) -> list[int]:
    """Rows of each step of decoding."""
    return [read.rows for read in found if read.is_step]
