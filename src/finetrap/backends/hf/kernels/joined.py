"""Texts one after another in one row, so that no place of a batch is padding.

All but attention reads a token by itself, so a batch of texts can be one row of all their tokens
(sequence packing). Attention takes the row apart again, into pieces that attend by themselves: a
text, a context, or the endings that follow one. Where nothing is trained each piece is read by
itself. In training, which has whole texts alone, those of about one length attend together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv

from finetrap.backends.hf.kernels.attention import (
    LONGEST,
    attending,
    causal,
    fused,
    to_whole,
    whole,
    with_prefix,
)
from finetrap.backends.hf.kernels.cache import Prefix

NAME = "finetrap_joined"
PADDED = 2**12
"""Scores of a head that may be padding: about what a row's own products cost by being more."""


class Piece(NamedTuple):
    """Places of the row that attend by themselves."""

    queries: slice
    keys: slice
    mask: Tensor | None
    """What is added to the scores, [1, 1, queries, keys]; without it each reads what is before."""


class Group:
    """Texts that stand one after another from `start` and attend together, as if equally long."""

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


class Joined:
    """The pieces in which one row attends."""

    def __init__(self, pieces: Sequence[Piece], padded: int = PADDED) -> None:
        self.pieces, self._padded = pieces, padded

    @cached_property
    def groups(self) -> list[Group]:
        """Whole texts, in their order, each with the one before it if that pads it by little."""
        lengths = [piece.queries.stop - piece.queries.start for piece in self.pieces]
        groups: list[Group] = []
        first = start = 0
        for at in range(1, len(lengths) + 1):
            if at < len(lengths) and 0 <= lengths[first] ** 2 - lengths[at] ** 2 <= self._padded:
                continue
            groups.append(Group(start, lengths[first:at]))
            start += sum(lengths[first:at])
            first = at
        return groups


_joined: ContextVar[tuple[Joined, Prefix | None]] = ContextVar("_joined")


@contextmanager
def joining(core: Any, joined: Joined, prefix: Prefix | None = None) -> Iterator[None]:
    """Let the one row that the model reads inside be many texts, each after the prefix if any."""
    token = _joined.set((joined, prefix))
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
    """Attend within each piece; transformers' interface of attention.

    query is [1, heads, tokens, size], key and value are [1, key heads, tokens, size]. Returns
    [1, tokens, heads, size].
    """
    joined, prefix = _joined.get()
    if torch.is_grad_enabled():
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        attended: Tensor = _InGroups.apply(  # type: ignore[no-untyped-call]
            query, key, value, scale, joined.groups
        )
        return attended, None
    times = query.shape[1] // key.shape[1]
    parts = query, repeat_kv(key, times), repeat_kv(value, times)
    own, mass = _in_pieces(*parts, joined.pieces, scaling)
    if prefix is None:
        return own.transpose(1, 2).contiguous(), None
    return with_prefix(query, own, mass, prefix.layers[module.layer_idx], scaling), None


def _in_pieces(
    query: Tensor, key: Tensor, value: Tensor, pieces: Sequence[Piece], scaling: float | None
) -> tuple[Tensor, Tensor]:
    """Return attention's output and the log of its sum of exponentials, piece by piece."""
    output = query.new_empty(query.transpose(1, 2).shape).transpose(1, 2)
    mass = query.new_empty(query.shape[:3], dtype=torch.float32)
    for queries, keys, mask in pieces:
        output[:, :, queries], mass[:, :, queries] = fused(
            query[:, :, queries],
            key[:, :, keys],
            value[:, :, keys],
            mask,
            scaling,
            causal=mask is None,
        )
    return output, mass


class _InGroups(torch.autograd.Function):
    """Each group in whole products, or by torch's kernel where its rows are too long for them."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, groups: Sequence[Group]
    ) -> Tensor:
        _, heads, tokens, size = query.shape
        output = query.new_empty(tokens, heads, size)
        kept: list[Tensor] = []
        ctx.kernels = {}
        for group in groups:
            parts = [group.take(states[0]) for states in (query, key, value)]
            if group.width > LONGEST.get(query.dtype, 0):
                _, attended = ctx.kernels[group] = _by_kernel(parts, scale)
            else:
                mask = group.mask(heads // key.shape[1], query.device)
                attended, needed = whole(parts, scale, mask)
                kept += needed
            group.put(output.transpose(0, 1), attended)
        ctx.save_for_backward(*kept)
        ctx.scale, ctx.groups, ctx.heads = scale, groups, (heads, key.shape[1], key.shape[1])
        return output[None]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        _, tokens, _, size = gradient.shape
        found = [gradient.new_empty(tokens, heads, size) for heads in ctx.heads]
        kept = iter(ctx.saved_tensors)
        for group in ctx.groups:
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


AttentionInterface.register(NAME, attend_joined)  # and no mask: pieces know what they read
