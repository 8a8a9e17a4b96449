"""How much memory is free, how many rows fit, and that freed memory is used again."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from functools import cache
from typing import Any

import torch

from finetrap.quota import memory_free

SHARE = 1 / 4
"""Of the free memory, for the rows of one batch: other workers and the system want some too."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of mallopt(3)."""
_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
"""Products of bfloat16 that oneDNN and torch keep ready, not 1,024: half a megabyte for each
shape that was ever met, and every batch has its own."""


@cache
def _c_library() -> Any:
    """Return the C library if it is glibc, whose allocator has these settings; None elsewhere."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        _ = library.mallopt, library.malloc_trim
        return library
    return None


@cache
def keep_freed() -> None:
    """Let the C library keep what is freed: each step asks for the same large blocks again.

    Otherwise each goes back to the system and is cleared, page by page, when it is next wanted.
    """
    for name, count in _KEPT.items():  # read at the first product
        os.environ.setdefault(name, count)
    if library := _c_library():
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def return_freed() -> None:
    """Give what is freed back to the system, after more was held than will be again."""
    if library := _c_library():
        library.malloc_trim(0)


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free now, a container's limit included."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return memory_free()


def packing_room(dtype: torch.dtype) -> int:
    """Return the bytes that packed weights may take.

    Packing weights changes bits in bf16, so there free memory has no say in it.
    """
    exact = dtype == torch.float32
    return int(SHARE * free_bytes(torch.device("cpu"))) if exact else sys.maxsize


def too_large(batch: int, fits: int) -> MemoryError:
    """Return what ends a cell whose batch, which is part of its key, does not fit the memory."""
    return MemoryError(
        f"{batch} rows at once do not fit the memory, and in bf16 their number decides answers, so "
        f"it is not cut: write batch = {max(1, fits)} in [limits]"
    )


def release(device: torch.device) -> None:
    """Give memory that torch holds for reuse back to the GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
