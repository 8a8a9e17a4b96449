"""A training as a checkpoint keeps it: weights, moments, curve and the generators' states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import torch
from torch import Tensor

from finetrap.backends.hf.device import generators, set_generators
from finetrap.backends.hf.training.member import Curve, Member
from finetrap.runs.unfinished import Checkpoint


def keep(member: Member, step: int, checkpoint: Checkpoint) -> None:
    """Write what the training is after a step; after the last one no moments are needed."""
    steps = len(member.batches)
    blocks = map(_bytes, [*generators(), *_state(member, moments=step < steps)])
    checkpoint.write(step, steps, {"curve": asdict(member.curve)}, blocks)


@torch.no_grad()
def restore(member: Member, checkpoint: Checkpoint) -> int:
    """Bring a training that was just prepared to the step that is kept, and return that."""
    step = checkpoint.step
    if not step:
        return 0
    with checkpoint.reading() as file:

        def read(like: Tensor) -> Tensor:
            found = torch.empty(like.shape, dtype=like.dtype)
            file.readinto(_bytes(found))
            return found

        states = [read(state) for state in generators()]
        for tensor in _state(member, moments=step < checkpoint.steps):
            tensor.copy_(read(tensor))
    set_generators(states)
    for state in member.optimizer.state.values():
        state["step"].fill_(step)
    member.curve = Curve(**checkpoint.facts["curve"])
    return step


def _state(member: Member, *, moments: bool) -> Iterator[Tensor]:
    yield from (weight.detach() for weight in member.weights)
    if moments:
        for weight in member.weights:
            state = member.optimizer.state[weight]
            yield from (state["exp_avg"], state["exp_avg_sq"])


def _bytes(tensor: Tensor) -> memoryview:
    """Return a tensor's bytes, in place where it lies in the memory of the processor."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]
