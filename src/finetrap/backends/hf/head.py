"""Cross-entropy of a linear head in chunks: no tensor of all targets times the vocabulary exists.

The gradient of a weighted sum of losses is known as soon as the logits are, so each chunk's logits
become its gradient in place and are used up at once; TRL and Liger fuse the two likewise on GPUs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 2**24
"""Logits held at once: 64 MiB in fp32. Each chunk adds to the whole head's gradient."""


class HeadLoss(torch.autograd.Function):
    """Σ wᵢ·(logsumexp(W·hᵢ) − (W·hᵢ)[targetᵢ]), and each term without its weight.

    Takes hidden states [targets, width], W [vocabulary, width], ids [targets] and weights
    [targets]; returns the sum, which has a gradient, and losses [targets] in nats, which have none.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted sum and each loss; the gradients are kept, the logits are not."""
        rows = max(1, CHUNK // weight.shape[0])
        losses = torch.empty(len(targets), device=hidden.device)
        to_hidden = torch.empty_like(hidden)
        to_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for at in range(0, len(targets), rows):
            part = slice(at, at + rows)
            logits = hidden[part] @ weight.mT
            logs = torch.log_softmax(logits, -1, dtype=torch.float32)
            chosen = torch.arange(len(logs), device=hidden.device), targets[part]
            losses[part] = -logs[chosen]
            gradient = logs.exp_()
            gradient[chosen] -= 1
            gradient = gradient.to(weight.dtype)
            torch.mm(gradient, weight, out=to_hidden[part])
            if to_weight is not None:  # weighing hidden states takes less than weighing logits
                weighed = (hidden[part] * weights[part, None]).to(weight.dtype)
                to_weight.addmm_(gradient.mT, weighed)
        to_hidden.mul_(weights[:, None])
        ctx.save_for_backward(to_hidden, to_weight)
        ctx.mark_non_differentiable(losses)
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Any, ...]:
        """Hand out the gradients of hidden states and head."""
        to_hidden, to_weight = ctx.saved_tensors
        scaled = None if to_weight is None else to_weight.mul_(gradient)
        return to_hidden * gradient, scaled, None, None
