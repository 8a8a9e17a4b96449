"""Log-likelihood in nats: of a continuation given its context, and of whole texts in windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from finetrap.backends import Moved, Scored
from finetrap.backends.hf.asking.trees import gather
from finetrap.backends.hf.kernels.cache import Prefix, shared_length
from finetrap.backends.hf.kernels.head import Predictions
from finetrap.backends.hf.layout import Laid, Span, Tree, in_one_row, padded, would_pad
from finetrap.backends.hf.memory import multiplying_for, release, too_large
from finetrap.backends.hf.network import Network
from finetrap.errors import out_of_memory

LOGITS = 2**25
"""Logits held at once (128 MiB in fp32). A constant: batches are the same on every machine."""

Lay = Callable[[Sequence[Tree]], Laid]
"""Lays trees out to be read in one pass."""


def whole_texts(windows: Sequence[int], scored: Scored) -> Scored:
    """Return what takes the nats of windows and tells a text once all of its windows are known.

    `windows` are how many each text has, in order.
    """
    owner = [text for text, count in enumerate(windows) for _ in range(count)]
    left, nats = list(windows), [0.0] * len(windows)

    def window(number: int, value: float) -> None:
        text = owner[number]
        left[text] -= 1
        nats[text] += value
        if not left[text]:
            scored(text, nats[text])

    return window


def known_windows(windows: Sequence[int], known: Mapping[int, float]) -> dict[int, float]:
    """Return the nats of windows whose texts are known: a text's all stand in its first."""
    starts = accumulate(windows, initial=0)
    return {
        start + n: 0.0 if n else known[text]
        for text, (start, count) in enumerate(zip(starts, windows, strict=False))
        if text in known
        for n in range(count)
    }


def score_in_parts(
    network: Network,
    spans: Sequence[Span],
    *,
    filler: int,
    batch: int,
    scored: Scored | None,
    known: Mapping[int, float],
) -> list[float]:
    """Return what `score` does: of spans that fit the network's window, then of the longer ones."""
    nats = [0.0] * len(spans)
    fits = [i for i, span in enumerate(spans) if len(span.ids) <= network.window]
    longer = [i for i, span in enumerate(spans) if len(span.ids) > network.window]
    for part in filter(None, (fits, longer)):
        own = [spans[i] for i in part]
        lengths = [len(span.ids) for span in own]
        told = partial(_tell_of_part, part, scored) if scored else None
        past = {at: known[i] for at, i in enumerate(part) if i in known}
        with network.within(max(lengths)), multiplying_for(sum(lengths), network):
            found = score(network, own, filler=filler, batch=batch, scored=told, known=past)
        for i, value in zip(part, found, strict=True):
            nats[i] = value
    return nats


def _tell_of_part(part: Sequence[int], scored: Scored, at: int, value: float) -> None:
    scored(part[at], value)


@torch.no_grad()
def score(
    network: Network,
    spans: Sequence[Span],
    *,
    filler: int,
    batch: int,
    scored: Scored | None = None,
    logits: int = LOGITS,
    known: Mapping[int, float] | None = None,
) -> list[float]:
    """Return the negative log-likelihood of each span's scored tokens, in nats.

    What all spans start with is read once, and a context that several spans continue is read once
    for them. At most `batch` rows, with about so many `logits`, are read at once. A batch that
    exhausts the memory is halved, but in bf16, where likelihoods depend on it. Raises MemoryError.
    What is `known` is read only in a batch with others, which are then read as if it were not.
    """
    known = known or {}
    if len(known) == len(spans):
        return [known[i] for i in range(len(spans))]
    order = [i for i in range(len(spans)) if spans[i].scored > 0]
    shared = shared_length([spans[i].ids for i in order], [spans[i].start for i in order])
    prefix = network.prefix(spans[order[0]].ids[:shared]) if shared else None
    own = prefix.length if prefix is not None else 0
    tails = [(i, Span(spans[i].ids[own:], spans[i].start - own)) for i in order]
    trees = gather(tails, share=network.trials.shares)
    lengths, kept = [tree.length for tree in trees], [tree.kept for tree in trees]
    nats = [known.get(i, 0.0) for i in range(len(spans))]
    most = logits // network.vocabulary
    lay: Lay = partial(padded, filler=filler, device=network.device)
    one_row = network.trials.joins and any(len(tree.endings) > 1 for tree in trees)
    if one_row:
        lay = partial(in_one_row, dtype=network.core.dtype)
    for group in _groups(lengths, kept, batch, most, alike=not one_row):
        asked = [trees[i] for i in group]
        if all(i in known for tree in asked for i in tree.members):
            continue
        for tree, values in _halving(network, asked, lay, prefix):
            for i, value in zip(tree.members, values, strict=True):
                if i in known:
                    continue
                nats[i] = value
                if scored:
                    scored(i, value)
    return nats


def _halving(
    network: Network, trees: Sequence[Tree], lay: Lay, prefix: Prefix | None
) -> Iterator[tuple[Tree, list[float]]]:
    """Score a batch, in fp32 in halves where it does not fit the memory."""
    try:
        yield from zip(trees, _nats(network, trees, lay, prefix), strict=True)
        return
    except (RuntimeError, MemoryError) as fault:
        if not out_of_memory(fault) or len(trees) == 1:
            raise
        if network.core.dtype != torch.float32:
            raise too_large(len(trees), len(trees) // 2) from fault
    release(network.device)
    half = len(trees) // 2
    network.holds(half)
    yield from _halving(network, trees[:half], lay, prefix)
    yield from _halving(network, trees[half:], lay, prefix)


@torch.no_grad()
def divergence(
    network: Network,
    other: Network,
    spans: Sequence[Span],
    *,
    filler: int,
    batch: int,
    moved: Moved | None = None,
    known: Mapping[int, tuple[float, float]] | None = None,
) -> list[tuple[float, float]]:
    """Return KL(network‖other) and KL(other‖network), the mean over each span's scored places.

    In nats, over the whole vocabulary; both distributions are held for one batch at a time. A batch
    of which all is `known` is not read again.
    """
    known = known or {}
    found = [known.get(i, (0.0, 0.0)) for i in range(len(spans))]
    order = [i for i in range(len(spans)) if spans[i].scored > 0]
    lengths, scored = [len(spans[i].ids) for i in order], [spans[i].scored for i in order]
    most = LOGITS // (2 * network.vocabulary)
    for places in _groups(lengths, scored, batch, most):
        group = [order[at] for at in places]
        if all(i in known for i in group):
            continue
        rows = [spans[i] for i in group]
        ids, keep, *_ = padded([Tree.of(span) for span in rows], filler, network.device)
        own = torch.log_softmax(network.logits(ids, keep).float(), -1)
        theirs = torch.log_softmax(other.logits(ids, keep).float(), -1)
        there, back = (
            [float(part.mean()) for part in torch.split(kl, [s.scored for s in rows])]
            for kl in (_kl(own, theirs), _kl(theirs, own))
        )
        for i, pair in zip(group, zip(there, back, strict=True), strict=True):
            found[i] = pair
            if moved:
                moved(i, pair)
    return found


def _kl(one: Tensor, other: Tensor) -> Tensor:
    """Return KL(one‖other) of log-probabilities [places, vocabulary], for each place."""
    return torch.nn.functional.kl_div(other, one, log_target=True, reduction="none").sum(-1)


def _nats(
    network: Network, trees: Sequence[Tree], lay: Lay, prefix: Prefix | None
) -> list[list[float]]:
    """Score one batch; the head sees only positions whose next token is scored."""
    laid = lay(trees)
    predictions = network.predict(laid.ids, laid.keep, prefix, laid.seen, laid.places)
    starts = accumulate((tree.kept for tree in trees[:-1]), initial=0)
    sources = [s + at for s, tree in zip(starts, trees, strict=True) for at in tree.sources()]
    endings = [ending for tree in trees for ending in tree.endings]
    nats = iter(nats_of_texts(predictions, sources, endings))
    return [[next(nats) for _ in tree.endings] for tree in trees]


def nats_of_texts(
    predictions: Predictions, sources: Sequence[int], texts: Sequence[Sequence[int]]
) -> list[float]:
    """Return the nats of each text's ids; `sources` says which place predicts each id of all."""
    device = predictions.states.device
    targets = torch.tensor([token for text in texts for token in text], device=device)
    losses = predictions.nats(torch.tensor(sources, device=device), targets)
    parts = torch.split(losses.double(), [len(text) for text in texts])
    found: list[float] = torch.stack([part.sum() for part in parts]).tolist()
    return found


def _groups(
    lengths: Sequence[int], scored: Sequence[int], batch: int, most: int, *, alike: bool = True
) -> Iterator[list[int]]:
    """Group indices, the longest first, into batches of at most `batch` rows.

    A batch has about `most` scored positions at most, and rows of like length if they are to be
    `alike`.
    """
    group: list[int] = []
    positions = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        full = len(group) == batch or positions + scored[i] > most
        if group and (full or (alike and would_pad(lengths[i], len(group), lengths[group[0]]))):
            yield group
            group, positions = [], 0
        group.append(i)
        positions += scored[i]
    if group:
        yield group
