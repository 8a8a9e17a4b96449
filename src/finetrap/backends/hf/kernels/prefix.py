"""The tokens that all prompts start with, such as exemplars: read once, and shared by every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

LEAST = 32
"""Tokens from which on sharing is worth a pass of its own."""


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
