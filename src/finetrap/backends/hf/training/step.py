"""The training step: loss on targets and end tokens, mean over the targets of a whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from finetrap.backends import Progress
from finetrap.backends.hf.kernels.head import HeadLoss
from finetrap.backends.hf.layout import Span, Tree, in_one_row, padded
from finetrap.backends.hf.memory import release
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.training import kept
from finetrap.backends.hf.training.half import Copies
from finetrap.backends.hf.training.lowrank import Merging
from finetrap.backends.hf.training.member import Member
from finetrap.backends.hf.training.passes import activation_bytes, cut, token_bytes
from finetrap.errors import out_of_memory
from finetrap.runs.unfinished import Checkpoint

LOGITS = 2**26
"""Logits held at once (256 MiB in fp32; their gradient takes as much again)."""


def fit(
    network: Network,
    member: Member,
    *,
    filler: int,
    merging: Merging | Copies | None = None,
    together: bool = False,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train a member to its last step, or to the one at which it diverges.

    `merging` is what is computed once a step from its weights. `together` is `Passes`'s. It goes on
    from what the `checkpoint` has, which is written anew when it is due, at the end, and where the
    training is interrupted.
    """
    done = kept.restore(member, checkpoint) if checkpoint else 0
    steps = len(member.batches)
    for step in range(done + 1, steps + 1):
        if merging:
            merging.refresh()
        loss = _gradient_that_fits(network, member, step, filler, together=together)
        member.update(step, loss)
        if checkpoint and not member.fault and (step == steps or checkpoint.due()):
            kept.keep(member, step, checkpoint)
        if progress:
            facts = {"step": step, "steps": steps, "loss": loss}
            try:
                tokens = sum(len(span.ids) for span in member.rows(step))
                progress("step", {**facts, "tokens": tokens})
            except KeyboardInterrupt:
                if checkpoint and not member.fault and step < steps:
                    kept.keep(member, step, checkpoint)
                raise
        if member.fault:
            return


def _gradient_that_fits(
    network: Network, member: Member, step: int, filler: int, *, together: bool
) -> float:
    """Add a step's gradient; return its loss.

    Where a pass exhausts the memory, the step is made anew in passes half as large, as are all
    that follow: the same step but for the order of its sums. Raises what a pass of one row raises.
    """
    rows, halved = member.rows(step), member.curve.micro_batch_halved
    while True:
        room = _room(network, member, len(halved))
        try:
            return accumulate(network, rows, filler, room=room, together=together)
        except (RuntimeError, MemoryError) as fault:
            longest = max(len(span.ids) for span in rows)
            if not out_of_memory(fault) or room <= longest * token_bytes(network):
                raise
        halved.append(step)
        for weight in (*member.weights, *network.core.parameters()):
            weight.grad = None
        release(network.device)


def _room(network: Network, member: Member, halvings: int) -> int:
    """Return the bytes of activations for one pass, after so many halvings of the largest."""
    room = activation_bytes(network)
    if not halvings:
        return room
    lengths: list[int] = member.spans.lengths.tolist()
    batches = [[lengths[i] for i in batch] for batch in member.batches]
    largest = max(len(batch) * max(batch) for batch in batches) * token_bytes(network)
    return min(room, largest) >> halvings


def accumulate(
    network: Network,
    batch: Sequence[Span],
    filler: int,
    logits: int = LOGITS,
    *,
    room: int | None = None,
    together: bool = False,
) -> float:
    """Add the gradient of a batch's mean loss; return the loss, in nats per target.

    A batch that holds more activations than there is `room` for in bytes (`activation_bytes`), or
    more than `logits` at once where the head's loss cannot be taken in chunks, is cut, the longest
    rows first. Each pass divides its summed loss by the targets of the *whole* batch, so that the
    step does not depend on how it is cut.
    """
    targets = max(1, sum(span.scored for span in batch))
    total = torch.zeros((), device=network.device)
    room = activation_bytes(network) if room is None else room
    places = room // token_bytes(network)
    most = logits // network.vocabulary if network.head is None else targets
    for part in cut(batch, most, places, together=together):
        total += backward(network, part, targets, filler, together=together)
    return float(total)


def backward(
    network: Network,
    spans: Sequence[Span],
    targets: int,
    filler: int,
    *,
    together: bool = False,
) -> Tensor:
    """Add the gradient of one pass; return its summed loss over `targets`, a scalar."""
    device = network.device
    chosen = torch.tensor([t for s in spans for t in s.ids[s.start :]], device=device)
    weights = torch.full((len(chosen),), 1 / targets, device=device)
    trees = [Tree.of(span) for span in spans]
    laid = in_one_row(trees, network.core.dtype) if together else padded(trees, filler, device)
    head = network.head
    if head is not None:
        hidden = network.hidden(laid.ids, laid.keep, seen=laid.seen, places=laid.places)
        total, losses = HeadLoss.apply(  # type: ignore[no-untyped-call]
            hidden, head, chosen, weights, network.into
        )
    else:
        logits = network.logits(laid.ids, laid.keep, seen=laid.seen, places=laid.places).float()
        losses = torch.nn.functional.cross_entropy(logits, chosen, reduction="none")
        total = (losses * weights).sum()
    total.backward()
    loss: Tensor = (losses * weights).detach().sum()
    return loss
