"""Log-likelihood in nats: of a continuation given its context, and of whole texts in windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from finetrap.backends.hf.network import Network, marked, pad_right
from finetrap.backends.hf.prefix import Prefix, shared_length
from finetrap.backends.hf.tokens import Tokens
from finetrap.errors import ContextTooLong

LOGITS = 2**25
"""Logits held at once (128 MiB in fp32). A constant: batches are the same on every machine."""


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


def windows(tokens: Tokens, text: str, prefix: str, room: int | None) -> Iterator[Span]:
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


@torch.no_grad()
def score(network: Network, spans: Sequence[Span], *, filler: int, batch: int) -> list[float]:
    """Return the negative log-likelihood of each span's scored tokens, in nats.

    What all spans start with is read once.
    """
    nats = [0.0] * len(spans)
    order = [i for i in range(len(spans)) if spans[i].scored > 0]
    order.sort(key=lambda i: -len(spans[i].ids))
    shared = shared_length([spans[i].ids for i in order], [spans[i].start for i in order])
    prefix = network.prefix(spans[order[0]].ids[:shared]) if shared else None
    own = prefix.length if prefix is not None else 0
    tails = [Span(s.ids[own:], s.start - own) for s in spans]
    most = LOGITS // network.vocabulary
    for group in _groups(order, [s.scored for s in spans], batch, most):
        values = _nats(network, [tails[i] for i in group], filler, prefix)
        for i, value in zip(group, values, strict=True):
            nats[i] = value
    return nats


@torch.no_grad()
def divergence(
    network: Network, other: Network, spans: Sequence[Span], *, filler: int, batch: int
) -> list[tuple[float, float]]:
    """Return KL(network‖other) and KL(other‖network), the mean over each span's scored places.

    In nats, over the whole vocabulary; both distributions are held for one batch at a time.
    """
    found = [(0.0, 0.0)] * len(spans)
    order = [i for i in range(len(spans)) if spans[i].scored > 0]
    most = LOGITS // (2 * network.vocabulary)
    for group in _groups(order, [s.scored for s in spans], batch, most):
        rows = [spans[i] for i in group]
        ids, keep = _inputs(network, rows, filler)
        own = torch.log_softmax(network.logits(ids, keep).float(), -1)
        theirs = torch.log_softmax(other.logits(ids, keep).float(), -1)
        there, back = (
            [float(part.mean()) for part in torch.split(kl, [s.scored for s in rows])]
            for kl in (_kl(own, theirs), _kl(theirs, own))
        )
        for i, pair in zip(group, zip(there, back, strict=True), strict=True):
            found[i] = pair
    return found


def _kl(one: Tensor, other: Tensor) -> Tensor:
    """Return KL(one‖other) of log-probabilities [places, vocabulary], for each place."""
    return torch.nn.functional.kl_div(other, one, log_target=True, reduction="none").sum(-1)


def _inputs(network: Network, spans: Sequence[Span], filler: int) -> tuple[Tensor, Tensor]:
    """Return ids and the places whose next token is scored, both [rows, length]."""
    ids = pad_right([s.ids[:-1] for s in spans], filler, network.device)
    places = [(s.start - 1, len(s.ids) - 1) for s in spans]
    return ids, marked(places, ids.shape[1], network.device)


def _nats(
    network: Network, spans: Sequence[Span], filler: int, prefix: Prefix | None
) -> list[float]:
    """Score one batch; the head sees only positions whose next token is scored."""
    ids, keep = _inputs(network, spans, filler)
    targets = torch.tensor([t for s in spans for t in s.ids[s.start :]], device=network.device)
    logits = network.logits(ids, keep, prefix).float()
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none").double()
    parts = torch.split(losses, [s.scored for s in spans])
    return [float(part.sum()) for part in parts]


def _groups(
    order: Sequence[int], scored: Sequence[int], batch: int, most: int
) -> Iterator[list[int]]:
    """Group indices into batches of at most `batch` rows and about `most` scored positions."""
    group: list[int] = []
    positions = 0
    for i in order:
        if group and (len(group) == batch or positions + scored[i] > most):
            yield group
            group, positions = [], 0
        group.append(i)
        positions += scored[i]
    if group:
        yield group
