"""A context that is read once for several endings, and what each of its tokens reads.

A row holds the context and then every ending; a token of an ending reads the context and its own
ending up to itself. Padded rows say so by a mask of all pairs. Trees that stand one after another
in one row, without padding, attend by themselves: a context to itself, its endings to the tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from finetrap.backends.hf.kernels.attention import Piece
from finetrap.backends.hf.layout import marked, pad_right
from finetrap.backends.hf.network import Seen


class Tree(NamedTuple):
    """A context and the endings that are scored after it, each of at least one token."""

    context: list[int]
    endings: list[list[int]]
    members: list[int]
    """Which span each ending is."""

    @property
    def length(self) -> int:
        """Tokens to be read: an ending's last token is only ever a target."""
        return len(self.context) + sum(len(ending) - 1 for ending in self.endings)

    @property
    def kept(self) -> int:
        """Positions whose next token is scored; one serves the first token of every ending."""
        return 1 + sum(len(ending) - 1 for ending in self.endings)

    def starts(self) -> list[int]:
        """Return where each ending's own tokens begin in the row."""
        sizes = [len(ending) - 1 for ending in self.endings[:-1]]
        return list(accumulate(sizes, initial=len(self.context)))

    def ids(self) -> list[int]:
        """Return the row: the context, then every ending but its last token."""
        return self.context + [token for ending in self.endings for token in ending[:-1]]

    def places(self) -> list[int]:
        """Return where each token stands in its own text."""
        first = len(self.context)
        after = (first + at for ending in self.endings for at in range(len(ending) - 1))
        return [*range(first), *after]

    def reads(self) -> list[int]:
        """Return from where on each token reads what is not the context."""
        sizes = (len(ending) - 1 for ending in self.endings)
        return [0] * len(self.context) + [
            start for start, size in zip(self.starts(), sizes, strict=True) for _ in range(size)
        ]

    def sources(self) -> list[int]:
        """Return which kept position predicts each target, ending by ending."""
        found, at = [], 1
        for ending in self.endings:
            found += [0, *range(at, at + len(ending) - 1)]
            at += len(ending) - 1
        return found


class Laid(NamedTuple):
    """Trees laid out to be read in one pass."""

    ids: Tensor
    """[rows, length]."""
    keep: Tensor
    """[rows, length]: whether the token after this place is scored."""
    seen: Seen
    """Which tokens each one reads; None if all that are before it."""
    places: Tensor | None
    """[rows, length]: where each token stands in its own text; None if where it stands here."""


def padded(trees: Sequence[Tree], filler: int, device: torch.device) -> Laid:
    """Give every tree a row of its own."""
    ids = pad_right([tree.ids() for tree in trees], filler, device)
    keep = marked([(len(t.context) - 1, t.length) for t in trees], ids.shape[1], device)
    if all(len(tree.endings) == 1 for tree in trees):
        return Laid(ids, keep, None, None)
    places = pad_right([tree.places() for tree in trees], 0, device)
    since = pad_right([tree.reads() for tree in trees], 0, device)[:, :, None]
    context = torch.tensor([len(tree.context) for tree in trees], device=device)[:, None, None]
    seen = _reads(torch.arange(ids.shape[1], device=device)[None], since, context)
    return Laid(ids, keep, seen[:, None], places)


def joined(trees: Sequence[Tree], dtype: torch.dtype) -> Laid:
    """Lay trees one after another in one row, on a processor; scores are of this dtype."""
    ids = torch.tensor([[token for tree in trees for token in tree.ids()]])
    places = torch.tensor([[place for tree in trees for place in tree.places()]])
    keep = torch.zeros_like(ids, dtype=torch.bool)
    pieces: list[Piece] = []
    for start, tree in zip(accumulate((t.length for t in trees), initial=0), trees, strict=False):
        keep[0, start + len(tree.context) - 1 : start + tree.length] = True
        pieces += _pieces(tree, start, dtype)
    return Laid(ids, keep, pieces, places)


def _pieces(tree: Tree, start: int, dtype: torch.dtype) -> Iterator[Piece]:
    fork, stop = start + len(tree.context), start + tree.length
    if len(tree.endings) == 1:
        yield Piece(slice(start, stop), slice(start, stop), None)
        return
    yield Piece(slice(start, fork), slice(start, fork), None)
    if fork == stop:  # every ending is one token, which is only ever a target
        return
    since = torch.tensor(tree.reads())[:, None]
    reads = _reads(torch.arange(tree.length), since, len(tree.context))[len(tree.context) :]
    mask = torch.zeros(reads.shape, dtype=dtype).masked_fill_(~reads, float("-inf"))
    yield Piece(slice(fork, stop), slice(start, stop), mask[None, None])


def _reads(at: Tensor, since: Tensor, context: Tensor | int) -> Tensor:
    """Return what is read, [..., length, length]: nothing later, of earlier endings nothing."""
    return (at[..., None, :] <= at[..., :, None]) & (
        (at[..., None, :] >= since) | (at[..., None, :] < context)
    )
