"""Into which passes a step is cut, and how they compute: plainly, through merged weights, in bf16.

The study says in which precision, and the key holds it: nothing is timed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import NamedTuple

from finetrap.backends.hf.kernels.attention import whole_products
from finetrap.backends.hf.kernels.gated import made_again
from finetrap.backends.hf.kernels.norm import fewer_passes
from finetrap.backends.hf.kernels.sums import Sum
from finetrap.backends.hf.layout import Span
from finetrap.backends.hf.memory import Sizes
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.training.adapters import on_shared_tensors
from finetrap.backends.hf.training.embeddings import summed, widest
from finetrap.backends.hf.training.half import Copies, Kept, halved
from finetrap.backends.hf.training.lowrank import Merging, can_merge_each_step
from finetrap.backends.hf.training.member import Trainee
from finetrap.errors import Unsupported

ON_GPU = 2**32
"""Bytes of activations for one backward pass on a GPU: 2,300 tokens of SmolLM2-135M."""
FULL = 3 / 2
"""Bytes of activations for one of the weights, where all are trained."""


class Passes(NamedTuple):
    """The network that computes, and what it needs anew after each optimizer step."""

    network: Network
    merging: Copies | Merging | None
    together: bool
    """Whether rows stand one after another in one row, so that none is padded."""
    sums: Mapping[int, Sum]
    """Where the gradients of trained weights are added, by the ids of those that compute."""

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Let the network compute what is trained."""
        merged = self.merging.training() if self.merging else nullcontext()
        core = self.network.core
        attention = whole_products(core) if self.network.trials.attends_whole else nullcontext()
        leaner = attention, fewer_passes(core), made_again(core)
        with ExitStack() as stack:
            for way in (*leaner, merged, summed(self.network, self.sums)):
                stack.enter_context(way)
            yield


def exact(trainee: Trainee, kept: Kept) -> Passes:
    """Return passes in fp32; an adapter that can be is merged once a step.

    A frozen weight needs no second copy where `kept` finds the base one.
    """
    network = trainee.network
    if _merges(trainee):
        return Passes(network, Merging(network.core, kept), network.trials.joins, {})
    if trainee.adapter is None:
        return Passes(network, None, network.trials.joins, widest(network))
    return Passes(network, None, False, {})  # a layer of PEFT's might look at a whole row


def rounded(trainee: Trainee, kept: Kept) -> Passes:
    """Return passes in bfloat16 over fp32 weights. Raises Unsupported where PEFT's own layers,
    which take fp32 alone, compute."""
    network = trainee.network
    if trainee.adapter is None:
        copies = Copies(network)
        return Passes(copies.network, copies, copies.network.trials.joins, copies.sums)
    if _merges(trainee):
        half = Network(halved(network.core, kept))
        return Passes(half, Merging(network.core, kept, half.core), half.trials.joins, {})
    raise Unsupported(
        "this adapter on this model trains in fp32 alone, as PEFT's own layers compute it; write "
        '[train] dtype = "fp32", or leave it out'
    )


def _merges(trainee: Trainee) -> bool:
    adapter = trainee.adapter
    return (
        adapter is not None
        and can_merge_each_step(adapter.model)
        and not on_shared_tensors(adapter.model)
    )


def cut(
    batch: Sequence[Span], targets: int, places: int, *, together: bool = False
) -> Iterator[list[Span]]:
    """Cut a batch, the longest rows first, into parts that are read together.

    A part has at most `targets` scored positions, and `places` in all, padding included, or one
    row. Where rows lie `together` in one row, nothing is padded.
    """
    # 1. The longest first: rows of like length share a part, and what does not fit is met at once.
    rows = sorted(batch, key=lambda s: -len(s.ids))

    def held(part: Sequence[Span]) -> int:
        return sum(len(s.ids) for s in part) if together else len(part) * len(part[0].ids)

    # 2. Without padding, parts of about one size: a small last one is slow for its tokens. Padded
    # rows fill each part instead, so that the longest stand apart.
    enough = held(rows) / math.ceil(held(rows) / places) if together else places
    # 3. Take rows up to a limit.
    part: list[Span] = []
    for row in rows:
        longer = [*part, row]
        scored = sum(span.scored for span in longer)
        if part and (held(longer) > places or held(part) >= enough or scored > targets):
            yield part
            longer = [row]
        part = longer
    if part:
        yield part


def activation_bytes(network: Network, share: float = FULL) -> int:
    """Return the bytes of activations to keep for one backward pass.

    On a CPU passes of some hundred tokens are the fastest: what they write stays in the cache.
    Where all weights are trained each pass adds to every gradient, and activations may take this
    share of what the weights of the pass do. A GPU wants more tokens. What is free has no say: a
    step that is cut otherwise is summed in another order.
    """
    if network.device.type != "cpu":
        return ON_GPU
    weights = list(network.core.parameters())
    if not all(weight.requires_grad for weight in weights):
        return 3 * 2**28
    return max(2**28, int(share * sum(weight.nbytes for weight in weights)))


def token_bytes(network: Network) -> int:
    """Estimate the bytes of activations that one token keeps for the backward pass.

    Per layer about sixteen vectors of the model's width and four of the feed-forward's; attention
    over rows of some hundred tokens keeps less than these.
    """
    sizes = Sizes.of(network.core)
    return sizes.number * sizes.layers * (16 * sizes.width + 4 * sizes.inner)
