"""Attention of many rows to one prefix: its keys and values are read once, not once a row.

A softmax over a prefix and a row's own tokens falls into a softmax over each, weighed by their sums
of exponentials (Juravsky et al. 2024, "Hydragen", section 3.1). So the queries of all rows meet the
prefix in one matrix product, and no row holds a copy of it. The split is exact; sums are rounded in
another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from finetrap.backends.hf.prefix import Prefix

NAME = "finetrap_shared"
_before: ContextVar[Prefix | None] = ContextVar("_before", default=None)


@contextmanager
def after(core: Any, prefix: Prefix | None) -> Iterator[None]:
    """Let every row that the model reads inside stand after the prefix, if there is one."""
    if prefix is None:
        yield
        return
    config = core.config.get_text_config()
    plain, token = config._attn_implementation, _before.set(prefix)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = plain
        _before.reset(token)


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
    prefix = _before.get()
    if prefix is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return output
    rows, heads, new, width = query.shape
    shared_key, shared_value = prefix.layers[module.layer_idx]
    grouped = query.reshape(rows, key.shape[1], -1, width)
    theirs, their_mass = _softmax(
        grouped.transpose(0, 1).reshape(1, key.shape[1], -1, width),
        shared_key,
        shared_value,
        None,
        scaling,
        causal=False,
    )
    theirs = theirs.reshape(key.shape[1], rows, -1, width).transpose(0, 1)
    their_mass = their_mass.reshape(key.shape[1], rows, -1).transpose(0, 1)
    if new == 1:
        own, own_mass = _softmax(grouped, key, value, attention_mask, scaling, causal=False)
    else:
        times = heads // key.shape[1]
        key, value = repeat_kv(key, times), repeat_kv(value, times)
        own, own_mass = _softmax(
            query, key, value, attention_mask, scaling, causal=attention_mask is None
        )
    shape = (rows, heads, new, width)
    share = torch.sigmoid(their_mass.reshape(shape[:3]) - own_mass.reshape(shape[:3]))
    own = own.reshape(shape)
    return torch.lerp(own, theirs.reshape(shape), share[..., None].to(own.dtype)).transpose(
        1, 2
    ), None


def _softmax(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    *,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    """Return attention's output and the log of its sum of exponentials, [rows, heads, new].

    A mask [rows, 1, 1 or new, own] is boolean. On a CPU this is torch's fused kernel, which gives
    both; elsewhere it is written out.
    """
    if mask is not None:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, float("-inf"))
        mask = mask.expand(-1, -1, query.shape[2], -1)
    if query.device.type == "cpu":
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        output, mass = fused(query, key, value, 0.0, causal, attn_mask=mask, scale=scaling)
        return output, mass
    scores = query @ key.transpose(-1, -2) * (scaling or query.shape[-1] ** -0.5)
    scores = scores.float()
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    if mask is not None:
        scores = scores + mask
    mass = scores.logsumexp(-1)
    return (scores - mass[..., None]).exp().to(value.dtype) @ value, mass


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
