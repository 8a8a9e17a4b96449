"""Gradients of weights, added up in fp32 where they lie."""

from __future__ import annotations

import torch
from torch import Tensor

PIECE = 2**18
"""Numbers that are added at once: they stay in a processor's cache."""
BLOCK = 2**12
"""Rows of a head's gradient that are made at once, where they are rounded."""


class Sum:
    """The fp32 gradient of one weight, in a place of its own from the start.

    What comes and goes between activations would leave gaps in memory.
    """

    def __init__(self, weight: Tensor, piece: int = PIECE, block: int = BLOCK) -> None:
        self._weight, self._piece, self._block = weight, piece, block
        flat = torch.contiguous_format
        self._place = torch.empty_like(weight, requires_grad=False, memory_format=flat)

    def take(self, half: Tensor) -> None:
        """Add the gradient of the weight's copy, and free it."""
        gradient, half.grad = half.grad, None
        if gradient is not None and self._weight.grad is None:
            self._weight.grad = self._place.copy_(gradient)
        elif gradient is not None:
            self._add(self._opened(), gradient)

    def add_rows(self, rows: Tensor, gradient: Tensor) -> None:
        """Add [tokens, width] to the rows [tokens], some of which may be the same."""
        self._opened().index_add_(0, rows, gradient.to(self._place.dtype))

    def add_product(self, one: Tensor, other: Tensor) -> None:
        """Add oneᵀ·other of [places, rows] and [places, width]."""
        summed = self._opened()
        if one.dtype == summed.dtype:
            summed.addmm_(one.mT, other)
            return
        blocks = torch.split(summed, self._block), torch.split(one, self._block, 1)
        for into, part in zip(*blocks, strict=True):
            self._add(into, part.mT @ other)

    def _opened(self) -> Tensor:
        if self._weight.grad is None:
            self._weight.grad = self._place.zero_()
        return self._weight.grad

    def _add(self, summed: Tensor, more: Tensor) -> None:
        """Add in pieces: a sum of two dtypes takes three times as long as casting and adding."""
        pieces = (torch.split(t.reshape(-1), self._piece) for t in (summed, more))
        for into, part in zip(*pieces, strict=True):
            into += part.to(into.dtype)
