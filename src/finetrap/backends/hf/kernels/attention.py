"""Attention where transformers' own is the bottleneck: after a shared prefix, and in training.

Of many rows after one prefix, its keys and values are read once, not once a row.

A softmax over a prefix and a row's own tokens falls into a softmax over each, weighed by their sums
of exponentials (Juravsky et al. 2024, "Hydragen", section 3.1). So the queries of all rows meet the
prefix in one matrix product, and no row holds a copy of it. The split is exact; sums are rounded in
another order.

In training on a processor torch's fused kernel takes blocks too small for the matrix units, and
smaller ones backwards. Rows of some hundred tokens are attended to faster in whole products, at the
cost of keeping [rows, heads, length, length] shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from finetrap.backends.hf.kernels.cache import Prefix
from finetrap.backends.hf.kernels.private import FLASH, SOFTMAX_GRADIENT, operator

NAME = "finetrap_shared"
WHOLE = "finetrap_whole"
LONGEST = {torch.float32: 256, torch.bfloat16: 512}
"""Tokens up to which whole products are faster than the fused kernel's blocks."""
FEW = 16
"""Queries of a row on one head's keys up to which products are faster than the fused kernel."""


_prefix: ContextVar[Prefix] = ContextVar("_prefix")


@contextmanager
def reading_after(core: Any, prefix: Prefix | None) -> Iterator[None]:
    """Let every row that the model reads inside stand after the prefix, if there is one."""
    if prefix is None:
        yield
        return
    token = _prefix.set(prefix)
    try:
        with attending(core, NAME):
            yield
    finally:
        _prefix.reset(token)


@contextmanager
def attending(core: Any, name: str) -> Iterator[None]:
    """Let the model attend by the implementation of this name inside."""
    config = core.config.get_text_config()
    plain, config._attn_implementation = config._attn_implementation, name
    try:
        yield
    finally:
        config._attn_implementation = plain


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend to the prefix and to a row's own tokens; transformers' interface of attention.

    query is [rows, heads, new, width], key and value are [rows, key heads, own, width], and a mask
    [rows, 1, new, own] is true where a token is read. Returns [rows, new, heads, width].
    """
    rows, _, new, width = query.shape
    if new == 1:  # while decoding: the queries of one key head meet its keys in one product
        grouped = query.reshape(rows, key.shape[1], -1, width)
        own, mass = softmax(grouped, key, value, attention_mask, scaling)
    else:
        times = query.shape[1] // key.shape[1]
        parts = query, repeat_kv(key, times), repeat_kv(value, times)
        own, mass = softmax(*parts, attention_mask, scaling, causal=attention_mask is None)
    return with_prefix(query, own, mass, _prefix.get().layers[module.layer_idx], scaling), None


def with_prefix(
    query: Tensor,
    own: Tensor,
    own_mass: Tensor,
    prefix: tuple[Tensor, Tensor],
    scaling: float | None,
) -> Tensor:
    """Return what rows read in all, [rows, new, heads, width], from what they read of their own.

    query is [rows, heads, new, width]; `own` has as many numbers, and `own_mass` [rows, heads, new]
    is the log of its sums of exponentials. The prefix is a layer's keys and values, each
    [1, key heads, length, width].
    """
    rows, heads, new, width = query.shape
    key, value = prefix
    # 1. The queries of all rows meet the prefix in one product: [1, key heads, rows · …, width].
    grouped = query.reshape(rows, key.shape[1], -1, width)
    together = grouped.transpose(0, 1).reshape(1, key.shape[1], -1, width)
    theirs, their_mass = softmax(together, key, value, None, scaling)
    # 2. Back to rows.
    theirs = theirs.reshape(key.shape[1], rows, -1, width).transpose(0, 1)
    their_mass = their_mass.reshape(key.shape[1], rows, -1).transpose(0, 1)
    # 3. One softmax over both: each part weighs what its exponentials sum up to.
    shape = (rows, heads, new, width)
    share = torch.sigmoid(their_mass.reshape(shape[:3]) - own_mass.reshape(shape[:3]))
    own = own.reshape(shape)
    read = torch.lerp(own, theirs.reshape(shape), share[..., None].to(own.dtype))
    return read.transpose(1, 2).contiguous()  # as torch's is: some models view it in another shape


def softmax(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    *,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return attention's output and the log of its sum of exponentials, [rows, heads, new].

    query is [rows, heads, new, width], key and value are [rows, heads, own, width]; a mask
    [rows, 1, 1 or new, own] is true where a token is read. On a CPU this is torch's fused kernel,
    which gives both, unless many rows have a few fp32 queries each; these and others are written
    out.
    """
    if mask is not None:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, float("-inf"))
        mask = mask.expand(-1, -1, query.shape[2], -1)
    few = query.dtype == torch.float32 and query.shape[2] <= FEW and query.shape[0] > 1
    if few:
        return _written_out(query, key, value, mask, scaling, causal=causal)
    return fused(query, key, value, mask, scaling, causal=causal)


def fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    *,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    """Return what `softmax` does by torch's fused kernel where it has one that tells the sums.

    The mask is what is added to the scores.
    """
    kernel = operator(FLASH) if query.device.type == "cpu" else None
    if kernel is None:
        return _written_out(query, key, value, mask, scaling, causal=causal)
    output, mass = kernel(query, key, value, 0.0, causal, attn_mask=mask, scale=scaling)
    return output, mass


def _written_out(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    *,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    scores = query @ key.transpose(-1, -2) * (scaling or query.shape[-1] ** -0.5)
    scores = scores.float()
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    if mask is not None:
        scores = scores + mask
    mass = scores.logsumexp(-1)
    return (scores - mass[..., None]).exp().to(value.dtype) @ value, mass


@contextmanager
def whole_products(core: Any) -> Iterator[None]:
    """Let the model attend in whole products inside, where that is faster: on a processor."""
    name: str = core.config.get_text_config()._attn_implementation
    if name == "sdpa" and next(core.parameters()).device.type == "cpu":
        name = WHOLE
    with attending(core, name):
        yield


def attend_whole(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend causally in whole products; what is not plain causal attention is left to torch.

    Shapes are those of `attend`.
    """
    short = query.shape[2] == key.shape[2] <= LONGEST.get(query.dtype, 0)
    plain = short and query.shape[-1] == value.shape[-1] and getattr(module, "is_causal", True)
    if attention_mask is not None or dropout or not plain:
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended: Tensor = _Causal.apply(query, key, value, scale)  # type: ignore[no-untyped-call]
    return attended.transpose(1, 2).contiguous(), None


class _Causal(torch.autograd.Function):
    """Whole products for rows of one length."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        mask = causal(query.shape[2], query.shape[1] // key.shape[1], query.device)
        output, kept = whole((query, key, value), scale, mask)
        ctx.save_for_backward(*kept)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return *to_whole(gradient, ctx.saved_tensors, ctx.scale), None


def causal(length: int, heads: int, device: torch.device) -> Tensor:
    """Return what is added to the scores of as many heads, stacked on their one key."""
    later = torch.full((length, length), float("-inf"), device=device).triu(1)
    return later.repeat(heads, 1)


def whole(parts: Sequence[Tensor], scale: float, mask: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return softmax(scale · q·kᵀ + mask)·v, shaped as the query, and what `to_whole` needs.

    The parts are the query, [rows, heads, length, width], and key and value, [rows, key heads,
    length, width]; the mask is `causal`'s.
    """
    query, key, value = parts
    rows, _, length, width = query.shape
    groups = rows * key.shape[1]
    flat = query.reshape(groups, -1, width)
    key, value = (t.reshape(groups, length, width) for t in (key, value))
    # In fp32 whatever the inputs: bfloat16 would round a score of ten by its eightieth part.
    scores = torch.baddbmm(mask[None], flat.float(), key.float().mT, alpha=scale)
    shares = torch.softmax(scores, -1).to(query.dtype)
    return (shares @ value).view(query.shape), (flat, key, value, shares)


def to_whole(
    gradient: Tensor, kept: Sequence[Tensor], scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of what `whole` was given from that of what it returned."""
    flat, key, value, shares = kept
    shape, (groups, length, width) = gradient.shape, key.shape
    over = gradient.reshape(flat.shape)
    to_shares = over @ value.mT
    to_scores = _through_softmax(to_shares, shares)
    to_query = (to_scores @ key).mul_(scale)
    to_key = (to_scores.mT @ flat).mul_(scale)
    to_value = shares.mT @ over
    own = (shape[0], groups // shape[0], length, width)
    return to_query.view(shape), to_key.view(own), to_value.view(own)


def _through_softmax(gradient: Tensor, shares: Tensor) -> Tensor:
    """Return the gradient of scores from that of their softmax, both [groups, queries, keys]."""
    kernel = operator(SOFTMAX_GRADIENT)
    if kernel is not None:
        found: Tensor = kernel(gradient, shares, -1, shares.dtype)
        return found
    weighed = (gradient * shares).float()
    return (weighed - shares.float() * weighed.sum(-1, keepdim=True)).to(shares.dtype)


AttentionInterface.register(NAME, attend)
AttentionInterface.register(WHOLE, attend_whole)
AttentionMaskInterface.register(WHOLE, sdpa_mask)
AttentionMaskInterface.register(NAME, sdpa_mask)
