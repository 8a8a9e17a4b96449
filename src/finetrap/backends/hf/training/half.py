"""Training passes in bfloat16, with fp32 weights that the optimizer moves.

bfloat16 has eight bits of mantissa: a step of an optimizer would be rounded away, so the weights
proper stay in fp32 (Micikevicius et al. 2018, section 3.1) and passes run on copies.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from finetrap.backends.hf.kernels.sums import Sum
from finetrap.backends.hf.network import Network

Kept = Callable[[Tensor], Tensor | None]
"""Finds the kept copy of a base weight, None where there is none."""


def halved(core: Any, kept: Kept = lambda _: None) -> Any:
    """Copy a module tree with its parameters in bfloat16; buffers stay as precise as they are.

    Where a frozen one is `kept` in bfloat16 already, as of a checkpoint that was stored so, that is
    taken instead of a copy.
    """
    copies = {}
    for p in core.parameters():
        same = None if p.requires_grad else kept(p)
        half = p.detach() if same is None else same
        half = half.to(device=p.device, dtype=torch.bfloat16)
        copies[id(p)] = torch.nn.Parameter(half, requires_grad=p.requires_grad)
    return copy.deepcopy(core, copies)


class Copies:
    """A bfloat16 copy of a network whose gradients reach the fp32 weights as they come."""

    def __init__(self, network: Network) -> None:
        self.network = Network(halved(network.core))
        self._pairs = [
            (weight, half)
            for weight, half in zip(
                network.core.parameters(), self.network.core.parameters(), strict=True
            )
            if weight.requires_grad
        ]
        self.sums = {id(half): Sum(weight) for weight, half in self._pairs}
        """Where the gradient of each copy is added, by its id."""
        for _, half in self._pairs:
            half.register_post_accumulate_grad_hook(self.sums[id(half)].take)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold the copies as long as training goes on."""
        yield

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the weights anew, after the optimizer has moved them."""
        for weight, half in self._pairs:
            half.copy_(weight)
