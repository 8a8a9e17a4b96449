"""Products with a model's weights where nothing is trained: on a processor, by oneDNN.

torch multiplies fp32 by MKL there. On the processors that were measured, EPYCs, oneDNN is faster,
of few rows above all if a weight lies in the order in which it is read (docs/log.md). And what it
makes of a row in fp32 does not depend on how many other rows there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from finetrap.backends.hf.kernels.private import HAS_BF16, LINEAR, REORDER, operator

LEAST = 2**16
"""Numbers of a weight above which a product takes much longer than oneDNN's call: 15 µs."""
ENOUGH = 2**10
"""Tokens whose products gain more by packed weights than packing takes."""


def product(states: Tensor, weight: Tensor) -> Tensor:
    """Return states [places, width] times a weight [outputs, width], transposed."""
    return _by_onednn(states, weight) if _gains(weight) else linear(states, weight)


@contextmanager
def multiplying(core: Any, tokens: int = 0, room: int = 0) -> Iterator[bool]:
    """Let the plain layers of a model multiply by oneDNN inside; no weight may change meanwhile.

    For so many `tokens` weights are laid in the order in which oneDNN reads them, where that pays
    and copies of them fit into `room` bytes; whether they are is yielded. In fp32 that changes no
    bit.
    """
    layers = [module for module in core.modules() if _is_plain(module)]
    size = sum(layer.weight.nbytes for layer in layers)
    packed = tokens >= ENOUGH and size <= room and operator(REORDER) is not None
    if not packed:  # torch itself multiplies bfloat16 by oneDNN
        layers = [layer for layer in layers if layer.weight.dtype == torch.float32]
    for layer in layers:
        layer.forward = _forward(layer, packed)
    try:
        yield packed
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: Any, packed: bool) -> Callable[[Tensor], Tensor]:
    """Return what stands in for the forward of a torch.nn.Linear."""
    weight = layer.weight.detach()
    reorder = operator(REORDER) if packed else None
    if reorder is not None:
        weight = reorder(weight)
    return lambda states: _by_onednn(states, weight, layer.bias)


def _by_onednn(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    multiply = operator(LINEAR)
    if multiply is None:
        return linear(states, weight, bias)
    flat = states.reshape(-1, states.shape[-1])
    rows = flat.shape[0]
    if rows < 2:  # a single row would be summed up in another order
        flat = pad(flat, (0, 0, 0, 2 - rows))
    found: Tensor = multiply(flat.contiguous(), weight, bias, "none", [], "")
    return found[:rows].view(*states.shape[:-1], weight.shape[0])


def _is_plain(module: Any) -> bool:
    if type(module) is not torch.nn.Linear or "forward" in vars(module):
        return False
    return _gains(module.weight)


def _gains(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or weight.numel() <= LEAST or not weight.is_contiguous():
        return False
    return operator(LINEAR) is not None and weight.dtype in _types()


@cache
def _types() -> frozenset[torch.dtype]:
    """What oneDNN multiplies well on this processor; elsewhere than on x86 torch does it all."""
    has: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not has or torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return frozenset()
    has_half = operator(HAS_BF16)
    if has_half is not None and has_half():
        return frozenset({torch.float32, torch.bfloat16})
    return frozenset({torch.float32})
