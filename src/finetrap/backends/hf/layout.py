"""How texts are laid out to be read: as spans and trees, padded or one after another in one row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from finetrap.backends.hf.kernels.joined import Joined, Piece
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
    head, ids, _ = tokens.pair(context, continuation)
    return Span([*head, *ids], max(1, len(head)))


def cut_windows(tokens: Tokens, prefix: str, text: str, room: int | None) -> Iterator[Span]:
    """Cut a text into disjoint spans of at most `room` tokens, each read after the prefix.

    Without a prefix each stands after the tokenizer's begin token (BOS, else EOS); a tokenizer that
    has neither leaves the first token of each window unscored.
    """
    head, ids, _ = tokens.pair(prefix, text)
    size = len(ids) if room is None else room - len(head)
    if ids and size < 2:
        raise ContextTooLong(
            f"the exemplars before a text take {len(head)} tokens of the model's context of "
            f"{room}, which leaves no room for the text; use fewer shots"
        )
    for at in range(0, len(ids), max(1, size)):
        yield Span([*head, *ids[at : at + size]], max(1, len(head)))


class Tree(NamedTuple):
    """A context and the endings that are scored after it, each of at least one token.

    Its row holds the context and then every ending; a token of an ending reads the context and its
    own ending up to itself. A tree with one ending is plain text.
    """

    context: list[int]
    endings: list[list[int]]
    members: list[int]
    """Which span each ending is."""

    @classmethod
    def of(cls, span: Span) -> Tree:
        """Return the tree of one span."""
        return cls(span.ids[: span.start], [span.ids[span.start :]], [])

    @property
    def length(self) -> int:
        """Tokens to be read: an ending's last token is only ever a target."""
        return len(self.context) + sum(max(0, len(ending) - 1) for ending in self.endings)

    @property
    def kept(self) -> int:
        """Positions whose next token is scored; one serves the first token of every ending."""
        return 1 + sum(len(ending) - 1 for ending in self.endings)

    @property
    def fork(self) -> int:
        """Place of the context's last token, which predicts the first of every ending."""
        return len(self.context) - 1

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
    seen: Tensor | Joined | None
    """Which tokens each one reads: a mask [rows, 1, length, length], or the pieces of one row; None
    if all that are before it."""
    places: Tensor | None
    """[rows, length]: where each token stands in its own text; None if where it stands here."""


def padded(trees: Sequence[Tree], filler: int, device: torch.device) -> Laid:
    """Give every tree a row of its own."""
    ids = pad_right([tree.ids() for tree in trees], filler, device)
    keep = marked([(t.fork, t.fork + t.kept) for t in trees], ids.shape[1], device)
    if all(len(tree.endings) == 1 for tree in trees):
        return Laid(ids, keep, None, None)
    places = pad_right([tree.places() for tree in trees], 0, device)
    since = pad_right([tree.reads() for tree in trees], 0, device)[:, :, None]
    context = torch.tensor([len(tree.context) for tree in trees], device=device)[:, None, None]
    seen = _reads(torch.arange(ids.shape[1], device=device)[None], since, context)
    return Laid(ids, keep, seen[:, None], places)


def in_one_row(trees: Sequence[Tree], dtype: torch.dtype) -> Laid:
    """Lay trees one after another in one row, on a processor; scores are of this dtype.

    A context attends to itself, its endings to the whole tree, and plain text to itself.
    """
    ids = torch.tensor([[token for tree in trees for token in tree.ids()]])
    places = torch.tensor([[place for tree in trees for place in tree.places()]])
    keep = torch.zeros_like(ids, dtype=torch.bool)
    pieces: list[Piece] = []
    for start, tree in zip(accumulate((t.length for t in trees), initial=0), trees, strict=False):
        keep[0, start + tree.fork : start + tree.fork + tree.kept] = True
        pieces += _pieces(tree, start, dtype)
    return Laid(ids, keep, Joined(pieces), places)


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
