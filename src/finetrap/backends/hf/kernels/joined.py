"""Rows one after another in one row: no place of a training batch is padding.

All but attention reads a token by itself, so a batch of rows can be one row of all their tokens.
Attention takes it apart again: each row by itself, or with others of about its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from finetrap.backends.hf.kernels.attention import LONGEST, attending, causal, to_whole, whole

NAME = "finetrap_joined"
PADDED = 2**12
"""Scores of a head that may be padding: about what a row's own products cost by being more."""


class Group:
    """Rows that stand one after another from `start` and attend together, as if equally long."""

    def __init__(self, start: int, lengths: Sequence[int]) -> None:
        self.width = max(lengths)
        self._shape = len(lengths), self.width
        self._stretch = slice(start, start + sum(lengths))
        self._inside: Tensor | None = None
        self._masks: dict[int, Tensor] = {}
        if min(lengths) < self.width:
            place = torch.arange(self.width).expand(self._shape)
            self._inside = place < torch.tensor(lengths)[:, None]
            firsts = (torch.tensor(lengths).cumsum(0) - torch.tensor(lengths) + start)[:, None]
            # Padding is the row's own: what is not finite in one row stays there.
            self._sources = (firsts + place).where(self._inside, firsts)

    def mask(self, heads: int, device: torch.device) -> Tensor:
        """Return `causal`'s, made once for all layers."""
        if heads not in self._masks:
            self._masks[heads] = causal(self.width, heads, device)
        return self._masks[heads]

    def take(self, states: Tensor) -> Tensor:
        """Return [rows, heads, width, size] of [heads, tokens, size]; what is padding is zero."""
        if self._inside is None:
            apart = self._stretched(states)
        else:
            apart = states[:, self._sources].mul_(self._inside[..., None])
        return apart.transpose(0, 1)

    def put(self, states: Tensor, parts: Tensor) -> None:
        """Write [rows, heads, width, size] to where it was taken from."""
        apart = parts.transpose(0, 1)
        if self._inside is None:
            self._stretched(states).copy_(apart)
        else:
            states[:, self._stretch] = apart[:, self._inside]

    def _stretched(self, states: Tensor) -> Tensor:
        heads, _, size = states.shape
        return states[:, self._stretch].view(heads, *self._shape, size)


class Rows:
    """Where each row of a joined batch stands, and which attend together."""

    def __init__(self, lengths: Sequence[int], padded: int = PADDED) -> None:
        """Take the rows in their order; each joins the one before it if little is padded by it."""
        self.places = torch.cat([torch.arange(length) for length in lengths])
        """Of every token in its own row, [tokens]."""
        self.groups: list[Group] = []
        first = start = 0
        for at in range(1, len(lengths) + 1):
            if at < len(lengths) and 0 <= lengths[first] ** 2 - lengths[at] ** 2 <= padded:
                continue
            self.groups.append(Group(start, lengths[first:at]))
            start += sum(lengths[first:at])
            first = at


_joined: ContextVar[Rows] = ContextVar("_joined")


@contextmanager
def joining(core: Any, rows: Rows | None) -> Iterator[None]:
    """Let the one row that the model reads inside be many, if it is."""
    if rows is None:
        yield
        return
    token = _joined.set(rows)
    try:
        with attending(core, NAME):
            yield
    finally:
        _joined.reset(token)


def attend_joined(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend causally within each row; transformers' interface of attention.

    query is [1, heads, tokens, size], key and value are [1, key heads, tokens, size]. Returns
    [1, tokens, heads, size].
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended: Tensor = _Joined.apply(  # type: ignore[no-untyped-call]
        query, key, value, scale, _joined.get()
    )
    return attended, None


class _Joined(torch.autograd.Function):
    """Each group in whole products, or by torch's kernel where its rows are too long for them."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, rows: Rows
    ) -> Tensor:
        _, heads, tokens, size = query.shape
        output = query.new_empty(tokens, heads, size)
        kept: list[Tensor] = []
        ctx.kernels = {}
        for group in rows.groups:
            parts = [group.take(states[0]) for states in (query, key, value)]
            if group.width > LONGEST.get(query.dtype, 0):
                _, attended = ctx.kernels[group] = _by_kernel(parts, scale)
            else:
                mask = group.mask(heads // key.shape[1], query.device)
                attended, needed = whole(parts, scale, mask)
                kept += needed
            group.put(output.transpose(0, 1), attended)
        ctx.save_for_backward(*kept)
        ctx.scale, ctx.rows, ctx.heads = scale, rows, (heads, key.shape[1], key.shape[1])
        return output[None]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        _, tokens, _, size = gradient.shape
        found = [gradient.new_empty(tokens, heads, size) for heads in ctx.heads]
        kept = iter(ctx.saved_tensors)
        for group in ctx.rows.groups:
            over = group.take(gradient[0].transpose(0, 1))
            if group in ctx.kernels:
                leaves, attended = ctx.kernels.pop(group)
                slopes = torch.autograd.grad(attended, leaves, over)
            else:
                slopes = to_whole(over, list(islice(kept, 4)), ctx.scale)
            for states, slope in zip(found, slopes, strict=True):
                group.put(states.transpose(0, 1), slope)
        return *(states.transpose(0, 1)[None] for states in found), None, None


def _by_kernel(parts: Sequence[Tensor], scale: float) -> tuple[Sequence[Tensor], Tensor]:
    """Return query, key and value apart from what made them, and what torch's kernel makes."""
    with torch.enable_grad():
        leaves = [part.detach().requires_grad_() for part in parts]
        query, key, value = leaves
        attended = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=True
        )
    return leaves, attended


AttentionInterface.register(NAME, attend_joined)  # and no mask: rows know their places
