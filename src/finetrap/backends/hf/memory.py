"""How much memory is free, how many rows fit, and that freed memory is used again."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NamedTuple

import torch

from finetrap.backends.hf import device as devices
from finetrap.backends.hf.kernels.onednn import ENOUGH, multiplying
from finetrap.quota import memory_free

SHARE = 1 / 4
"""Of the free memory, for the rows of one batch: other workers and the system want some too."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of mallopt(3)."""
_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
"""Products of bfloat16 that oneDNN and torch keep ready, not 1,024: half a megabyte for each
shape that was ever met, and every batch has its own."""


class Sizes(NamedTuple):
    """What a model's memory is estimated from."""

    layers: int
    width: int
    keys: int
    """Numbers of one token's keys in one layer."""
    inner: int
    """Width of the feed-forward."""
    number: int
    """Bytes of one number."""

    @classmethod
    def of(cls, core: Any) -> Sizes:
        """Return the sizes that a model's configuration states, or what they usually are.

        Some configurations have them by layer, under other names, or not at all: an estimate stops
        no run.
        """
        config = core.config.get_text_config()
        deepest = (len(m) for m in core.modules() if isinstance(m, torch.nn.ModuleList))
        layers = _configured(config, "num_hidden_layers") or max(deepest, default=1)
        width = _configured(config, "hidden_size") or core.get_input_embeddings().weight.shape[-1]
        heads = _configured(config, "num_attention_heads") or 1
        size = _configured(config, "head_dim") or width // heads
        keys = (_configured(config, "num_key_value_heads") or heads) * size
        inner = _configured(config, "intermediate_size") or 4 * width
        number = next(core.parameters()).element_size()
        return cls(layers, width, keys, inner, number)


def _configured(config: Any, name: str) -> int | None:
    """Return a size that a configuration states, the largest of several; None if it states none."""
    try:
        value = getattr(config, name, None)
        found = max(value) if isinstance(value, list | tuple) else value
        return int(found) if found else None
    except (RuntimeError, TypeError, ValueError):  # as of what differs from layer to layer
        return None


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
    known = None if device.type == "cpu" else devices.memory()
    return known[0] if known else memory_free()


@contextmanager
def multiplying_for(tokens: int, network: Any) -> Iterator[None]:
    """Let a `Network` multiply as is best for so many tokens.

    Packed copies of weights come and go, each as large as a layer: what is freed is given back.
    """
    if tokens < ENOUGH:
        with multiplying(network.core):
            yield
        return
    aside, room = network.trials.lays_aside, _packing_room(network.core.dtype)
    try:
        return_freed()
        with multiplying(network.core, tokens, room, aside=aside):
            return_freed()
            yield
    finally:
        return_freed()


def _packing_room(dtype: torch.dtype) -> int:
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
    """Give memory that torch holds for reuse back to its device."""
    if device.type != "cpu":
        devices.empty_cache()
