"""Root-mean-square norms in training: half the passes over memory of what autograd makes of them.

transformers writes x·rsqrt(mean(x²) + ε)·w in six operations, and their gradients take nine more,
each of which reads and writes all states: on a processor a sixth of a small model's step. With
h = x/r, r the root mean square, the gradient is (g∘w − h·mean(g∘w∘h)) / r (Zhang & Sennrich 2019).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from finetrap.backends.hf.kernels.alike import succeeds

SAME = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Relative difference up to which two norms are the same."""


@contextmanager
def fewer_passes(core: Any) -> Iterator[None]:
    """Let the model's plain root-mean-square norms compute so inside, on a processor."""
    changed = []
    alike: dict[tuple[type, float, int], bool] = {}
    try:
        for module in core.modules():
            epsilon = _epsilon(module)
            if epsilon is None or module.weight.device.type != "cpu":
                continue
            kind = (type(module), epsilon, len(module.weight))
            if kind not in alike:
                alike[kind] = succeeds(partial(_is_rms_norm, module, epsilon))
            if alike[kind]:
                module.forward = partial(normed, weight=module.weight, epsilon=epsilon)
                changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward


def normed(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Return states [..., width] over their root mean square, times the weight [width]."""
    output: Tensor = _Norm.apply(states, weight, epsilon)  # type: ignore[no-untyped-call]
    return output


def _epsilon(module: Any) -> float | None:
    """Return the ε of what looks like a root-mean-square norm, None for anything else.

    A weight that is no parameter may be of another width than what is normed (Falcon-Mamba).
    """
    weight = getattr(module, "weight", None)
    if not type(module).__name__.endswith("RMSNorm") or not isinstance(weight, torch.nn.Parameter):
        return None
    if weight.ndim != 1:
        return None
    if "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks:
        return None
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    return epsilon if isinstance(epsilon, float) else None


@torch.no_grad()
def _is_rms_norm(module: Any, epsilon: float) -> bool:
    """Whether a norm is this one: some add one to their weight. Tried on a few states."""
    weight: Tensor = module.weight
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(4, len(weight), generator=generator).to(weight.dtype)
    theirs = module(states).float()
    ours = normed(states, weight, epsilon).float()
    return bool((ours - theirs).norm() <= SAME.get(weight.dtype, 0.0) * theirs.norm())


class _Norm(torch.autograd.Function):
    """Computed in fp32 whatever the states are, as transformers does; rounded once."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = states.float()
        mean = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(states.shape[-1])
        inverse = mean.add_(epsilon).rsqrt_()
        ctx.save_for_backward(states, inverse, weight)
        output: Tensor = (wide * inverse).mul_(weight).to(states.dtype)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        states, inverse, weight = ctx.saved_tensors
        unit, over = states * inverse, gradient.float()
        to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = (over * unit).flatten(0, -2).sum(0).to(weight.dtype)
        over = over * weight
        along = (over * unit).mean(-1, keepdim=True)
        return over.addcmul_(unit, along, value=-1).mul_(inverse).to(states.dtype), to_weight, None
