"""What is tried on a few tokens of this very model before anything relies on it.

Each trial compares with the plain way: one row by itself, as transformers reads it. Whether it
holds is for the caller to say: a model may raise anything where it is read unlike its own way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from finetrap.backends.hf.kernels.alike import alike, succeeds
from finetrap.backends.hf.kernels.attention import whole_products
from finetrap.backends.hf.kernels.cache import keeps_all, select_rows
from finetrap.backends.hf.kernels.onednn import ENOUGH, multiplying
from finetrap.backends.hf.layout import Span, Tree, in_one_row, marked, pad_left, pad_right

Network = Any
"""A `Network`, which imports this file."""
LONG, SHORT, COMMON = 12, 10, 8
"""Tokens of the two texts that are read, and of what both start with."""
COLUMNS = 2**12
"""Logits of a place that are compared, evenly spread over the vocabulary."""


def texts(network: Network) -> tuple[list[int], list[int]]:
    """Return two texts that start alike, in any vocabulary."""
    ids = [(7 * i + 3) % network.vocabulary for i in range(LONG + SHORT - COMMON)]
    return ids[:LONG], ids[:COMMON] + ids[LONG:]


@contextmanager
def undisturbed(module: torch.nn.Module) -> Iterator[None]:
    """Try something without dropout, and leave the generators that it draws from as they were.

    What a training draws would else depend on whether this process has made the trial already.
    """
    training = [part for part in module.modules() if part.training]
    with torch.random.fork_rng():
        module.eval()
        try:
            yield
        finally:
            for part in training:
                part.training = True


@torch.no_grad()
def plain_logits(network: Network) -> tuple[Tensor, Tensor]:
    """Return some logits at every place of both texts, each read by itself."""
    rows = [torch.tensor([text], device=network.device) for text in texts(network)]
    long, short = (_some(network.by_itself(row, torch.ones_like(row).bool())) for row in rows)
    return long, short


def _some(logits: Tensor) -> Tensor:
    return logits[:, :: max(1, logits.shape[1] // COLUMNS)]


@torch.no_grad()
def reads_only_back(network: Network) -> bool:
    """Compare what both texts start with: what comes after it must not change it.

    A model that cannot be read at all is not found out here.
    """
    if not succeeds(lambda: all(part.isfinite().all() for part in network.trials.plain_logits)):
        return True
    long, short = network.trials.plain_logits
    return alike(short[:COMMON], long[:COMMON])


@torch.no_grad()
def batched_equals_apart(network: Network) -> bool:
    """Read both texts, the shorter padded on the right, and keep some places of each."""
    ids = pad_right(texts(network), 0, network.device)
    keep = marked([(3, LONG), (0, SHORT)], LONG, network.device)
    long, short = network.trials.plain_logits
    return alike(_some(network.together(ids, keep)), torch.cat([long[3:], short]))


@torch.no_grad()
def head_is_product(network: Network, head: Tensor) -> bool:
    """Multiply what the head is shown by its weight."""
    row = torch.tensor([texts(network)[0]], device=network.device)
    states = network.hidden(row, torch.ones_like(row).bool())
    return alike(_some(states @ head.mT), network.trials.plain_logits[0])


@torch.no_grad()
def shared_equals_apart(network: Network) -> bool:
    """Read six tokens once, then in one row two more and what each text goes on with."""
    if not _attends_as_torch_does(network):
        return False
    long, short = texts(network)
    prefix = network.read_prefix(long[:6])
    row = torch.tensor([[*long[6:], *short[COMMON:]]], device=network.device)
    fork, end = COMMON - 6, LONG - 6
    length = row.shape[1]
    seen = torch.ones(length, length, dtype=torch.bool, device=network.device).tril()
    seen[end:, fork:end] = False
    places = [*range(end), *range(fork, fork + SHORT - COMMON)]
    keep = torch.arange(length, device=network.device)[None] >= fork
    at = torch.tensor([places], device=network.device)
    together = network.together(row, keep, prefix, seen[None, None], at)
    apart = torch.cat([logits[COMMON:] for logits in network.trials.plain_logits])
    return alike(_some(together), apart)


def joined_equals_apart(network: Network) -> bool:
    """Read both texts in one row, as rows are read in asking and in training."""
    if not _attends_as_torch_does(network):
        return False
    trees = [Tree.of(Span([*text, 0], 1)) for text in texts(network)]
    laid = in_one_row(trees, network.core.dtype)
    apart = torch.cat(network.trials.plain_logits)
    for training in (False, True):
        with torch.set_grad_enabled(training):
            together = network.together(laid.ids, laid.keep, seen=laid.seen, places=laid.places)
        if not alike(_some(together.detach()), apart):
            return False
    return True


def _attends_as_torch_does(network: Network) -> bool:
    """Whether attention is torch's own and every layer keeps all that it has read."""
    config = network.core.config
    if config.get_text_config()._attn_implementation != "sdpa":
        return False
    return keeps_all(network.cache())


@torch.no_grad()
def whole_equals_own(network: Network) -> bool:
    """Read a text with attention in whole products."""
    row = torch.tensor([texts(network)[0]], device=network.device)
    with whole_products(network.core):
        logits = network.by_itself(row, torch.ones_like(row).bool())
    return alike(_some(logits), network.trials.plain_logits[0])


@torch.no_grad()
def decodes(network: Network, *, padded: bool) -> bool:
    """Go on with the starts of both texts in one batch, and take the shorter out as it ends."""
    long, short = texts(network)
    there, here = network.trials.plain_logits
    # 1. The shorter first, so that taking it out moves the other.
    rows, starts = [short, long], [len(short) - 3, len(long) - 3]
    logits, mask, places, cache = _read_starts(network, [short[:-3], long[:-3]], padded=padded)
    for step in range(4):
        apart = [p[s + step - 1] for p, s in zip((here, there)[-len(rows) :], starts, strict=True)]
        if not alike(_some(logits), torch.stack(apart)):
            return False
        if step == 2:
            last = torch.tensor([1], device=network.device)
            select_rows(cache, last)
            mask, places = mask[last], places[last]
            rows, starts = rows[1:], starts[1:]
        if step < 3:
            # 2. One more token of what is left.
            new = [row[start + step] for row, start in zip(rows, starts, strict=True)]
            mask = pad(mask, (0, 1), value=1)
            logits = network.step(torch.tensor(new, device=network.device), mask, places, cache)
            places = places + 1
    return True


def decodes_laid_aside(network: Network) -> bool:
    """Go on likewise while the layers' weights are empty, and packed copies multiply."""
    padded = network.trials.way == "padded"
    _ = network.trials.plain_logits  # made while the weights are there
    with multiplying(network.core, ENOUGH, sys.maxsize, aside=True):
        return decodes(network, padded=padded)


def _read_starts(
    network: Network, rows: list[list[int]], *, padded: bool
) -> tuple[Tensor, Tensor, Tensor, DynamicCache]:
    """Return the logits after each prompt, what may be read of the cache, next places, and it."""
    if padded:
        ids, mask = pad_left(rows, 0, network.device)
        logits, seen, cache = network.read(ids, mask)
        return logits, seen, seen.sum(1), cache
    ids = pad_right(rows, 0, network.device)
    sizes = torch.tensor([len(row) for row in rows], device=network.device)
    keep = marked([(len(row) - 1, len(row)) for row in rows], ids.shape[1], network.device)
    predictions, cache = network.begin(ids, keep)
    mask = (torch.arange(ids.shape[1], device=network.device) < sizes[:, None]).long()
    return predictions.logits(torch.arange(len(rows), device=network.device)), mask, sizes, cache
