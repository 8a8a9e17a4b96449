"""How a step's passes are computed: on the weights themselves, through merged ones, or in bfloat16.

The study says in which precision, and the key holds it: nothing is timed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import NamedTuple

from finetrap.backends.hf.kernels.attention import whole_products
from finetrap.backends.hf.kernels.gated import made_again
from finetrap.backends.hf.kernels.norm import fewer_passes
from finetrap.backends.hf.kernels.sums import Sum
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.training.embeddings import summed, widest
from finetrap.backends.hf.training.half import Copies, Kept, halved
from finetrap.backends.hf.training.lowrank import Merging, can_merge_each_step
from finetrap.backends.hf.training.member import Trainee
from finetrap.errors import Unsupported


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


def rounded(trainee: Trainee, kept: Kept) -> Passes:
    """Return passes in bfloat16 over fp32 weights. Raises Unsupported where PEFT's own layers,
    which take fp32 alone, compute."""
    network = trainee.network
    if trainee.adapter is None:
        copies = Copies(network)
        return Passes(copies.network, copies, copies.network.joins, copies.sums)
    if _merges(trainee):
        half = Network(halved(network.core, kept))
        return Passes(half, Merging(network.core, kept, half.core), half.joins, {})
    raise Unsupported(
        "this adapter on this model trains in fp32 alone, as PEFT's own layers compute it; write "
        '[train] dtype = "fp32", or leave it out'
    )


def _merges(trainee: Trainee) -> bool:
    return trainee.adapter is not None and can_merge_each_step(trainee.adapter.model)
