"""A linear head in pieces: no tensor of all targets times the vocabulary exists.

A likelihood needs one logit and the log of the sum of all exponentials, which is added up block by
block of the vocabulary: a block of logits stays in a processor's cache. In training the gradient of
a weighted sum of losses is known as soon as the logits are, so each chunk's logits become its
gradient in place and are used up at once; TRL and Liger fuse the two likewise on GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from finetrap.backends.hf.kernels.onednn import product
from finetrap.backends.hf.kernels.sums import Sum

CHUNK = 2**24
"""Logits held at once: 64 MiB in fp32. Each chunk adds to the whole head's gradient."""
LINES = 8
"""Rows of logits that are summed at once: their exponentials stay in a processor's cache."""
BLOCK, BLOCK_ON_GPU = 2**11, 2**15
"""Rows of the head whose logits are summed at once; a GPU wants few and large products."""


@contextmanager
def seen_by_head(core: Any, keep: Tensor) -> Iterator[None]:
    """Show a model's head only the kept places [rows, length]; it dominates small models."""
    head = core.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][keep],))
    try:
        yield
    finally:
        hook.remove()


class Predictions(NamedTuple):
    """What a model says comes next at some places; logits are made only where they are needed."""

    states: Tensor
    """What the head is shown, [places, width]; without a head the logits, [places, vocabulary]."""
    head: Tensor | None
    """The head's weight, [vocabulary, width]."""

    def logits(self, places: Tensor) -> Tensor:
        """Return the logits of some of the places, [their number, vocabulary]."""
        states = self.states[places]
        return states if self.head is None else product(states, self.head)

    def nats(self, sources: Tensor, targets: Tensor) -> Tensor:
        """Return the negative log-likelihood of ids [targets], in nats and fp32.

        `sources` says which place predicts each.
        """
        if self.head is None:
            logits = self.states.float()
            sums = torch.cat([rows.logsumexp(-1) for rows in torch.split(logits, LINES)])
            return sums[sources] - logits[sources, targets]
        shown = self.states[sources].float() * self.head[targets].float()
        # Rounded as the logits are that the sums are made of.
        chosen = shown.sum(-1).to(self.states.dtype).float()
        return log_sums(self.states, self.head)[sources] - chosen


def log_sums(hidden: Tensor, weight: Tensor) -> Tensor:
    """Return the log of the sum of all logits' exponentials, [places], in fp32.

    The sums of blocks are joined as in Milakov & Gimelshein 2018, algorithm 3.
    """
    most = total = None
    for rows in torch.split(weight, BLOCK if hidden.device.type == "cpu" else BLOCK_ON_GPU):
        logits = product(hidden, rows).float()
        top = logits.amax(1)
        part = logits.sub_(top[:, None]).exp_().sum(1)
        if most is None or total is None:
            most, total = top, part
            continue
        higher = torch.maximum(most, top)
        total = total * (most - higher).exp_() + part * (top - higher).exp_()
        most = higher
    if most is None or total is None:
        raise ValueError("the head has no rows")
    return total.log_().add_(most)


class HeadLoss(torch.autograd.Function):
    """Σ wᵢ·(logsumexp(W·hᵢ) − (W·hᵢ)[targetᵢ]), and each term without its weight.

    Takes hidden states [targets, width], W [vocabulary, width], ids [targets] and weights
    [targets]; returns the sum, which has a gradient, and losses [targets] in nats, which have none.
    The gradient of W is added `into` a sum, where there is one, whatever comes of the sum.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        weights: Tensor,
        into: Sum | None = None,
        chunk: int = CHUNK,
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted sum and each loss; the gradients are kept, the logits are not."""
        rows = max(1, chunk // weight.shape[0])
        losses = torch.empty(len(targets), device=hidden.device)
        to_hidden = torch.empty_like(hidden)
        trained = ctx.needs_input_grad[1]
        to_weight = torch.empty_like(weight) if trained and into is None else None
        if to_weight is not None and not len(targets):  # no chunk writes it
            to_weight.zero_()
        for at in range(0, len(targets), rows):
            part = slice(at, at + rows)
            # 1. Logits of one chunk, which become their own gradient in place: [rows, vocabulary].
            logits = hidden[part] @ weight.mT
            losses[part] = _to_gradient(logits, targets[part])
            # 2. Used up at once for both gradients, before the next chunk takes their place.
            torch.mm(logits, weight, out=to_hidden[part])
            if trained:  # weighing hidden states takes less than weighing logits
                weighed = (hidden[part] * weights[part, None]).to(weight.dtype)
                if to_weight is not None:
                    to_weight.addmm_(logits.mT, weighed, beta=1 if at else 0)
                elif into is not None:
                    into.add_product(logits, weighed)
        # 3. The weights of the losses, which `backward` multiplies by the gradient of their sum.
        to_hidden.mul_(weights[:, None])
        ctx.save_for_backward(to_hidden, to_weight)
        ctx.mark_non_differentiable(losses)
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Any, ...]:
        """Hand out the gradients of hidden states and head."""
        to_hidden, to_weight = ctx.saved_tensors
        scaled = None if to_weight is None else to_weight.mul_(gradient)
        return to_hidden * gradient, scaled, None, None, None, None


def _to_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """Make logits [places, vocabulary] the gradient of each place's loss, and return the losses.

    A few lines at a time, which stay in a processor's cache; in fp32, rounded once.
    """
    losses = []
    for lines, chosen in zip(
        torch.split(logits, LINES), torch.split(targets[:, None], LINES), strict=True
    ):
        shares = lines.float()
        target = shares.gather(1, chosen)
        top = shares.amax(1, keepdim=True)
        total = shares.sub_(top).exp_().sum(1, keepdim=True)
        losses.append(total.log() + top - target)
        shares.div_(total)
        shares.scatter_add_(1, chosen, shares.new_full(chosen.shape, -1.0))
        if shares is not lines:
            lines.copy_(shares)
    return torch.cat(losses)[:, 0]
