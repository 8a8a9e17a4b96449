"""How a step's passes are computed: on the weights themselves, through merged ones, or in bfloat16.

Which precision is faster depends on the processor and on the model: products gain from bfloat16
where there are instructions for it, everything else mostly loses, and in a small model products are
the lesser part. So both are timed on the rows of the first step, but for models so small that they
lose by it or that two timings may disagree: a study that is resumed must go on as it began.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import torch

from finetrap.backends.hf.kernels.attention import whole_products
from finetrap.backends.hf.kernels.gated import made_again
from finetrap.backends.hf.kernels.norm import fewer_passes
from finetrap.backends.hf.kernels.sums import Sum
from finetrap.backends.hf.layout import Span
from finetrap.backends.hf.memory import return_freed
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.training.embeddings import summed, widest
from finetrap.backends.hf.training.half import Copies, Kept, fast_half, halved
from finetrap.backends.hf.training.lowrank import Merging, can_merge_each_step
from finetrap.backends.hf.training.member import Trainee
from finetrap.backends.hf.training.step import backward

SMALL = 2**23
"""Weights below which a model is always trained in fp32."""
TOKENS = 512
"""Read in a pass that is timed, or one row where that is longer."""
GAIN = 1.1
"""Times as fast as fp32 from which on bfloat16 is used: what differs by less may be chance."""


class Passes(NamedTuple):
    """The network that computes, and what it needs anew after each optimizer step."""

    network: Network
    merging: Copies | Merging | None
    joined: bool
    """Whether rows stand one after another in one row, so that none is padded."""
    sums: Mapping[int, Sum]
    """Where the gradients of trained weights are added, by the ids of those that compute."""

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Let the network compute what is trained."""
        merged = self.merging.training() if self.merging else nullcontext()
        core = self.network.core
        leaner = whole_products(core), fewer_passes(core), made_again(core)
        with ExitStack() as stack:
            for way in (*leaner, merged, summed(self.network, self.sums)):
                stack.enter_context(way)
            yield


def exact(trainee: Trainee, kept: Kept) -> Passes:
    """Return passes in fp32; an adapter that can be is merged once a step.

    A frozen weight needs no second copy where `kept` finds the untouched one.
    """
    network = trainee.network
    if _merges(trainee):
        return Passes(network, Merging(network.core, kept), network.joins, {})
    if trainee.adapter is None:
        return Passes(network, None, network.joins, widest(network))
    return Passes(network, None, False, {})  # a layer of PEFT's might look at a whole row


def rounded(trainee: Trainee, kept: Kept) -> Passes | None:
    """Return passes in bfloat16 over fp32 weights; None where PEFT's own layers compute."""
    network = trainee.network
    if trainee.adapter is None:
        copies = Copies(network)
        return Passes(copies.network, copies, copies.network.joins, copies.sums)
    if _merges(trainee):
        half = Network(halved(network.core, kept))
        return Passes(half, Merging(network.core, kept, half.core), half.joins, {})
    return None


def _merges(trainee: Trainee) -> bool:
    return trainee.adapter is not None and can_merge_each_step(trainee.adapter.model)


def gains_from_half(trainee: Trainee, kept: Kept, filler: int) -> bool:
    """Whether a pass over the first step's rows is faster in bfloat16, by trying both."""
    core = trainee.network.core
    if sum(weight.numel() for weight in core.parameters()) < SMALL:
        return False
    if not fast_half(trainee.network.device):
        return False
    rows = _first_rows(trainee.member.rows(1))
    targets = sum(span.scored for span in rows)

    def work(passes: Passes) -> None:
        backward(passes.network, rows, targets, filler, joined=passes.joined).item()
        for weight in trainee.member.weights:
            weight.grad = None

    seconds = []
    for way in (rounded, exact):
        passes = way(trainee, kept)
        if passes is None:
            return False
        # Dropout draws from the seeded generator: what was only timed leaves no trace in it.
        with passes.ready(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            if passes.merging:
                passes.merging.refresh()  # once a step, whatever the passes
            seconds.append(_seconds(partial(work, passes)))
        del passes
        return_freed()
    return seconds[1] > GAIN * seconds[0]


def _first_rows(spans: Sequence[Span]) -> list[Span]:
    width = max(len(span.ids) for span in spans)
    return list(spans[: max(1, TOKENS // width)])


def _seconds(act: Callable[[], None]) -> float:
    """Return the shortest of three times, after one that is not counted."""
    act()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return min(times)
