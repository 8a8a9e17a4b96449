"""Gradients that are added up in fp32 where they lie.

What autograd makes of an embedding and a head is each time a matrix as large as they are, though a
pass reads some hundred rows of it; and it adds the two of one weight in the precision of the pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from finetrap.backends.hf.kernels.sums import Sum
from finetrap.backends.hf.network import Network


@contextmanager
def summed(network: Network, sums: Mapping[int, Sum]) -> Iterator[None]:
    """Let embedding and head add to their `sums` inside, by the weights' ids, on a processor.

    Others, and a head that is more than a product, are left to autograd.
    """
    if not sums:
        yield
        return
    lookup, head = network.core.get_input_embeddings(), network.head
    into = sums.get(id(lookup.weight)) if _is_lookup(lookup) else None
    if into is not None:
        lookup.forward = partial(_looked_up, lookup, into)
    network.into = None if head is None else sums.get(id(head))
    try:
        yield
    finally:
        network.into = None
        if into is not None:
            del lookup.forward


def widest(network: Network) -> dict[int, Sum]:
    """Return sums for a network's own embedding and head, as far as they are trained."""
    layers = (network.core.get_input_embeddings(), network.core.get_output_embeddings())
    weights = {id(layer.weight): layer.weight for layer in layers}
    return {key: Sum(weight) for key, weight in weights.items() if weight.requires_grad}


def _is_lookup(lookup: Any) -> bool:
    """Whether a layer looks up rows and does no more."""
    if type(lookup) is not torch.nn.Embedding or lookup.weight.device.type != "cpu":
        return False
    if lookup._forward_hooks or lookup._forward_pre_hooks or "forward" in vars(lookup):
        return False
    return lookup.max_norm is None and not lookup.scale_grad_by_freq and not lookup.sparse


def _looked_up(lookup: Any, into: Sum, ids: Tensor) -> Tensor:
    found: Tensor = _Lookup.apply(  # type: ignore[no-untyped-call]
        lookup.weight, ids, lookup.padding_idx, into
    )
    return found


class _Lookup(torch.autograd.Function):
    """Rows of a weight; their gradients go to its sum, but for the row that is padding."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding: int | None, into: Sum) -> Tensor:
        ctx.ids, ctx.padding, ctx.into = ids, padding, into
        return torch.nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None, None]:
        rows, slopes = ctx.ids.flatten(), gradient.flatten(0, -2)
        if ctx.padding is not None:
            kept = rows != ctx.padding
            rows, slopes = rows[kept], slopes[kept]
        ctx.into.add_rows(rows, slopes)
        return None, None, None, None
