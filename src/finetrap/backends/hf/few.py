"""Products of a few rows on a processor: writing completions multiplies a handful of states.

Most of such a product is reading the weight. For fewer than a processor's own block of rows x·Wᵀ
takes as long as for the whole block in fp32 there, and W·xᵀ does not. Which is faster is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

MOST = 64
"""Rows up to which the other order is tried."""
SIZES = 1024, 512
"""Of the weight that is timed: larger than a core's own cache holds."""
GAIN = 1.2


@contextmanager
def few_rows(core: Any) -> Iterator[None]:
    """Let the model's plain layers multiply few rows in the faster order inside."""
    changed = [module for module in core.modules() if _is_plain(module)]
    if not changed or not other_order_is_faster():
        changed = []
    for module in changed:
        module.forward = partial(multiplied, module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def multiplied(module: Any, states: Tensor) -> Tensor:
    """Return what the layer makes of states [..., width]."""
    rows = states.numel() // states.shape[-1]
    if rows > MOST or rows < 2:  # of one row both orders are the same
        return linear(states, module.weight, module.bias)
    product: Tensor = (module.weight @ states.reshape(rows, -1).mT).mT.contiguous()
    if module.bias is not None:
        product += module.bias
    return product.view(*states.shape[:-1], -1)


@cache
def other_order_is_faster() -> bool:
    """Whether W·xᵀ beats x·Wᵀ for four rows in fp32 here, by timing both."""
    weights = [torch.ones(SIZES) for _ in range(8)]
    states = torch.ones(4, SIZES[1])

    def seconds(act: Callable[[Tensor], Tensor]) -> float:
        start = time.perf_counter()
        for weight in weights:
            act(weight)
        return time.perf_counter() - start

    ways: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda weight: linear(states, weight),
        lambda weight: (weight @ states.mT).mT.contiguous(),
    )
    plain, other = (min(seconds(way) for _ in range(5)) for way in ways)
    return plain > GAIN * other


def _is_plain(module: Any) -> bool:
    if type(module) is not torch.nn.Linear or "forward" in vars(module):
        return False
    return module.weight.device.type == "cpu" and module.weight.dtype == torch.float32
