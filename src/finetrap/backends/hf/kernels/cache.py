"""Keys and values: written in place as rows grow, and read once of what all rows start with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

ROOM = 64
"""Positions by which a layer's buffer grows."""
LEAST = 32
"""Tokens from which on sharing is worth a pass of its own."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """A layer whose keys and values [rows, heads, length, width] are the front of larger buffers.

    transformers' own layer allocates and copies all of them at every step.
    """

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append states [rows, heads, new, width]; return all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = [_buffer(key_states, 0), _buffer(value_states, 0)]
        filled = self.get_seq_length()
        end = filled + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            self._buffers = [_grown(buffer, filled, end + ROOM) for buffer in self._buffers]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, filled:end] = states
        self._show(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows, given in ascending order."""
        filled, rows = self.get_seq_length(), len(indices)
        for buffer in self._buffers:
            buffer[:rows, :, :filled] = buffer[indices, :, :filled]
        self._buffers = [buffer[:rows] for buffer in self._buffers]
        self._show(filled)

    def replace(self, rows: Tensor, other: GrowingLayer) -> None:
        """Put another layer's rows, which are no longer than these, in place of some of these.

        All rows end at the same column; what stands before a shorter one is not to be read.
        """
        filled, width = self.get_seq_length(), other.get_seq_length()
        for buffer, states in zip(self._buffers, (other.keys, other.values), strict=True):
            buffer[rows, :, filled - width : filled] = states

    def append(self, others: Sequence[GrowingLayer]) -> None:
        """Add the rows of layers that are no longer than this one, ending at the same column."""
        layers, filled = (self, *others), self.get_seq_length()
        rows = [layer.keys.shape[0] for layer in layers]
        grown = []
        for kind in ("keys", "values"):
            _, heads, _, width = self.keys.shape
            # Zeros stand before a shorter row: what is not read may still not be no number.
            buffer = self.keys.new_zeros(sum(rows), heads, filled + ROOM, width)
            for own, layer in zip(torch.split(buffer, rows), layers, strict=True):
                states = getattr(layer, kind)
                own[:, :, filled - states.shape[2] : filled] = states
            grown.append(buffer)
        self._buffers = grown
        self._show(filled)

    def keep_front(self, columns: int) -> None:
        """Forget all but the first columns of every row."""
        self._show(columns)

    def drop_front(self, columns: int) -> None:
        """Forget the first columns of every row."""
        filled = self.get_seq_length()
        for buffer in self._buffers:
            buffer[:, :, : filled - columns] = buffer[:, :, columns:filled].clone()
        self._show(filled - columns)

    def _show(self, length: int) -> None:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


def growing(cache: DynamicCache) -> DynamicCache:
    """Let the full-attention layers of a cache grow in place; other kinds stay as they are."""
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[number] = GrowingLayer()
            if layer.is_initialized:
                cache.layers[number].update(layer.keys, layer.values)
    return cache


def select_rows(cache: Any, rows: Tensor) -> None:
    """Keep only these rows of a cache, given in ascending order.

    Layers that keep states instead of keys and values can be put in another order, and no more.
    """
    for layer in cache.layers:
        if hasattr(layer, "recurrent_states") or not hasattr(layer, "batch_select_indices"):
            layer.reorder_cache(rows)
        else:
            layer.batch_select_indices(rows)


def window_of(config: Any) -> int | None:
    """Return how long a row may be that no layer's window cuts; None where no layer has one.

    It is 0 where attention is local by other rules, such as chunks that begin at fixed places.
    """
    local = [layer for layer in DynamicCache(config=config).layers if _is_local(layer)]
    if not local:
        return None
    if getattr(config.get_text_config(), "attention_chunk_size", None):
        return 0
    return min(int(layer.sliding_window) for layer in local)


def new_cache(config: Any, *, windows: bool) -> DynamicCache:
    """Return an empty cache; without `windows` layers that have one keep all, as the others do.

    Rows that are no longer than the window read the same in it.
    """
    cache = DynamicCache(config=config)
    if not windows:
        cache.layers = [DynamicLayer() if _is_local(layer) else layer for layer in cache.layers]
    return cache


def _is_local(layer: Any) -> bool:
    return isinstance(layer, DynamicSlidingWindowLayer)


def keeps_all(cache: DynamicCache) -> bool:
    """Whether every layer keeps all it has read, so that rows can be handed on or exchanged."""
    return all(isinstance(layer, DynamicLayer) and not layer.is_sliding for layer in cache.layers)


def blank(like: DynamicCache, rows: int, length: int) -> DynamicCache:
    """Return a cache of zeros with the layers of another, all of them growing."""
    made = copy.copy(like)
    made.layers = [GrowingLayer() for _ in like.layers]
    for layer, model in zip(made.layers, like.layers, strict=True):
        _, heads, _, width = model.keys.shape
        wide = model.values.shape[-1]
        layer.update(
            model.keys.new_zeros(rows, heads, length, width),
            model.values.new_zeros(rows, heads, length, wide),
        )
    return made


def _buffer(states: Tensor, length: int) -> Tensor:
    rows, heads, _, width = states.shape
    return torch.empty(rows, heads, length, width, dtype=states.dtype, device=states.device)


def _grown(buffer: Tensor, filled: int, length: int) -> Tensor:
    larger = _buffer(buffer, length)
    larger[:, :, :filled] = buffer[:, :, :filled]
    return larger


@dataclass(frozen=True)
class Prefix:
    """Keys and values of shared tokens, one row of [1, heads, length, width] in every layer."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    length: int


def shared_length(rows: Sequence[list[int]], ends: Sequence[int]) -> int:
    """Return how many tokens all rows start with, at most one less than the least of `ends`.

    Zero where fewer than `LEAST` tokens or two rows would share them.
    """
    if len(rows) < 2:
        return 0
    low, high = min(rows), max(rows)
    same = next(
        (i for i, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]), None
    )
    length = min(len(low) if same is None else same, min(ends) - 1)
    return length if length >= LEAST else 0
