"""Products with a model's weights where nothing is trained: on a processor, by oneDNN.

torch multiplies fp32 by MKL there. On the processors that were measured, EPYCs, oneDNN is faster,
of few rows above all if a weight lies in the order in which it is read (docs/log.md). And what it
makes of a row in fp32 does not depend on how many other rows there are; with torch 2.8 to 2.10 it
does, and on the order of the weight too: there torch multiplies fp32 itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
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
def multiplying(
    core: Any, tokens: int = 0, room: int = 0, *, aside: bool = False
) -> Iterator[bool]:
    """Let the plain layers of a model multiply by oneDNN inside; no weight may change meanwhile.

    For so many `tokens` weights are laid in the order in which oneDNN reads them, where that pays
    and copies of them fit into `room` bytes; whether they are is yielded. In fp32 that changes no
    bit. `aside` leaves such weights empty meanwhile, so that none but the head's is held twice: for
    models that were seen to read no layer's weight themselves (`Trials.lays_aside`).
    """
    layers = [module for module in core.modules() if _is_plain(module)]
    alone = _alone(core, layers) if aside else []
    size = sum(layer.weight.nbytes for layer in layers if layer not in alone)
    size += max((layer.weight.nbytes for layer in alone), default=0)
    packed = tokens >= ENOUGH and size <= room and operator(REORDER) is not None
    if not packed:  # torch itself multiplies bfloat16 by oneDNN
        layers = [layer for layer in layers if layer.weight.dtype == torch.float32]
    emptied = []
    try:
        for layer in layers:
            _stand_in(layer, packed)
            if packed and layer in alone:
                emptied.append(layer)
                layer.weight.data = torch.empty(0, dtype=layer.weight.dtype)
        yield packed
    finally:
        for layer in layers:  # one by one, as none is to be held twice
            stood_in = vars(layer).pop("forward", None)
            if layer in emptied:
                layer.weight.data = stood_in.keywords["weight"].to_dense()


def _stand_in(layer: Any, packed: bool) -> None:
    """Let oneDNN multiply in the place of a torch.nn.Linear's forward."""
    weight = layer.weight.detach()
    reorder = operator(REORDER) if packed else None
    weight = weight if reorder is None else reorder(weight)
    layer.forward = partial(_by_onednn, weight=weight, bias=layer.bias)


def _alone(core: Any, layers: Sequence[Any]) -> list[Any]:
    """Return the layers whose weights are nobody else's, and not the head's, which is read by
    itself."""
    named = core.named_parameters(remove_duplicate=False)
    users = Counter(weight.data_ptr() for _, weight in named)
    head = core.get_output_embeddings()
    return [layer for layer in layers if layer is not head and users[layer.weight.data_ptr()] == 1]


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
    found = {torch.float32} if _sums_alike() else set()
    has_half = operator(HAS_BF16)
    if has_half is not None and has_half():
        found.add(torch.bfloat16)
    return frozenset(found)


def _sums_alike() -> bool:
    """Whether few rows, many, and a weight in oneDNN's order give the same bits in fp32."""
    multiply, reorder = operator(LINEAR), operator(REORDER)
    if multiply is None or reorder is None:
        return multiply is not None
    with torch.no_grad():
        drawn = torch.Generator("cpu").manual_seed(0)
        exact: dict[str, Any] = {"generator": drawn, "dtype": torch.float32, "device": "cpu"}
        weight, rows = (torch.randn(n, 300, **exact) for n in (256, 64))
        many = multiply(rows, weight, None, "none", [], "")
        few = multiply(rows[:2], weight, None, "none", [], "")
        packed = multiply(rows, reorder(weight), None, "none", [], "")
    return torch.equal(many[:2], few) and torch.equal(many, packed)
