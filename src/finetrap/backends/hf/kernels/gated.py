"""Gated feed-forwards in training: what is quickly made again is not kept for the backward pass.

down(silu(gate)·up) has autograd keep four vectors of the feed-forward's width for each token: gate,
silu(gate), up and the product, half of all activations. From gate and up the others are made again
in less time than any product of matrices takes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu
from torch.nn.utils import skip_init

from finetrap.backends.hf.kernels.alike import succeeds
from finetrap.backends.hf.kernels.private import SILU_GRADIENT, operator

SAME = 1e-5
"""Relative difference up to which two feed-forwards are the same."""
LINES = 64
"""Tokens at a time: what lies between two operations stays in a processor's cache."""


@contextmanager
def made_again(core: Any) -> Iterator[None]:
    """Let the model's plain gated feed-forwards keep less inside, on a processor."""
    changed = []
    alike: dict[type, bool] = {}
    try:
        for module in core.modules():
            if not _looks_gated(module):
                continue
            if type(module) not in alike:
                alike[type(module)] = succeeds(partial(_is_gated, module))
            if alike[type(module)]:
                module.forward = partial(gated, module)
                changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward


def gated(module: Any, states: Tensor) -> Tensor:
    """Return down(silu(gate)·up) of states [..., width]."""
    gate, up = module.gate_proj(states), module.up_proj(states)
    product: Tensor = _Gated.apply(gate, up)  # type: ignore[no-untyped-call]
    place, kept = product.data_ptr(), (gate.detach(), up.detach())

    def pack(saved: Tensor) -> Tensor | torch.Size:
        return saved.shape if saved.data_ptr() == place else saved

    def unpack(packed: Tensor | torch.Size) -> Tensor:
        return packed if isinstance(packed, Tensor) else _product(*kept).view(packed)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        down: Tensor = module.down_proj(product)
    return down


def _looks_gated(module: Any) -> bool:
    parts = ("gate_proj", "up_proj", "down_proj", "act_fn")
    if not all(isinstance(getattr(module, part, None), torch.nn.Module) for part in parts):
        return False
    if "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks:
        return False
    return all(weight.device.type == "cpu" for weight in module.parameters())


@torch.no_grad()
def _is_gated(module: Any) -> bool:
    """Whether a feed-forward is this one. Tried on a few states, with small layers in it."""
    generator = torch.Generator().manual_seed(0)
    small = copy.copy(module)
    sizes = {"gate_proj": (8, 16), "up_proj": (8, 16), "down_proj": (16, 8)}
    small._modules = {**module._modules}
    for name, size in sizes.items():
        small._modules[name] = skip_init(torch.nn.Linear, *size)  # type: ignore[no-untyped-call]
        for weight in small._modules[name].parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    states = torch.randn(4, 8, generator=generator)
    theirs, ours = small(states), gated(small, states)
    return bool((ours - theirs).norm() <= SAME * theirs.norm())


def _product(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate)·up."""
    product = gate.new_empty(gate.shape)
    for one, other, into in _few_at_a_time(gate, up, product):
        torch.mul(silu(one), other, out=into)
    return product


def _few_at_a_time(*states: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield a few tokens of each at a time."""
    return zip(*(torch.split(s.reshape(-1, s.shape[-1]), LINES) for s in states), strict=True)


def silu_gradient(gradient: Tensor, states: Tensor) -> Tensor:
    """Return the gradient of silu's input from that of what it returned."""
    fused = operator(SILU_GRADIENT)
    if fused is not None:
        found: Tensor = fused(gradient, states)
        return found
    share = torch.sigmoid(states.float())
    return (gradient.float() * share * (1 + states.float() * (1 - share))).to(states.dtype)


class _Gated(torch.autograd.Function):
    """silu(gate)·up, of which gate and up are kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return _product(gate, up)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        to_gate, to_up = gate.new_empty(gate.shape), up.new_empty(up.shape)
        for one, other, over, into_one, into_other in _few_at_a_time(
            gate, up, gradient, to_gate, to_up
        ):
            torch.mul(over, silu(one), out=into_other)
            into_one.copy_(silu_gradient(over * other, one))
        return to_gate, to_up
