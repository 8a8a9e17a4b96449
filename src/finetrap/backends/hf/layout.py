"""Rows of ids as tensors: padded, marked, cut into windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from finetrap.backends.hf.tokens import Tokens
from finetrap.errors import ContextTooLong

PADDED, ENOUGH = 1 / 8, 256
"""Share of a row that may be padding, and tokens of a batch from which on rows are that choosy."""


class Span(NamedTuple):
    """Ids of which those from `start` on are scored; `start` is at least 1."""

    ids: list[int]
    start: int

    @property
    def scored(self) -> int:
        """Number of scored tokens."""
        return len(self.ids) - self.start


def join(tokens: Tokens, context: str, continuation: str) -> Span:
    """Return the span of a continuation. Without any context its first token is not scored."""
    head = tokens.prompt(context)
    return Span(head + tokens.continuation(continuation), max(1, len(head)))


def windows(tokens: Tokens, prefix: str, text: str, room: int | None) -> Iterator[Span]:
    """Cut a text into disjoint spans of at most `room` tokens, each read after the prefix.

    Without a prefix each stands after the tokenizer's begin token (BOS, else EOS); a tokenizer that
    has neither leaves the first token of each window unscored.
    """
    head = tokens.prompt(prefix)
    ids = tokens.continuation(text)
    size = len(ids) if room is None else room - len(head)
    if ids and size < 2:
        raise ContextTooLong(
            f"the exemplars before a text take {len(head)} tokens of the model's context of "
            f"{room}, which leaves no room for the text; use fewer shots"
        )
    for at in range(0, len(ids), max(1, size)):
        yield Span(head + ids[at : at + size], max(1, len(head)))


def pad_right(rows: Sequence[Sequence[int]], filler: int, device: torch.device) -> Tensor:
    """Return rows of ids as one tensor [rows, longest]."""
    width = max(map(len, rows))
    return torch.tensor([[*r, *[filler] * (width - len(r))] for r in rows], device=device)


def would_pad(length: int, rows: int, longest: int) -> bool:
    """Whether a row is too short to be read with `rows` others that are up to `longest` long.

    A batch of few tokens takes it all the same: products of few rows are slow.
    """
    return longest - length > PADDED * longest and rows * longest >= ENOUGH


def pad_left(
    rows: Sequence[Sequence[int]], filler: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return ids and mask, both [rows, longest], of rows that end at the same place."""
    width = max(map(len, rows))
    ids = torch.tensor([[*[filler] * (width - len(r)), *r] for r in rows], device=device)
    lengths = torch.tensor([len(r) for r in rows], device=device)
    mask = torch.arange(width, device=device) >= width - lengths[:, None]
    return ids, mask.long()


def marked(spans: Sequence[tuple[int, int]], width: int, device: torch.device) -> Tensor:
    """Return a boolean [rows, width] that is true from start to stop of each row's span."""
    starts, stops = torch.tensor(spans, device=device).T
    places = torch.arange(width, device=device)
    inside: Tensor = (places >= starts[:, None]) & (places < stops[:, None])
    return inside
