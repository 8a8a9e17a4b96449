"""What a model bears: the ways of reading that gave, on a few tokens, what the plain one gives."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from torch import Tensor

from finetrap.backends.hf import selftest
from finetrap.backends.hf.kernels.alike import succeeds

Network = Any
"""A `Network`, which imports this file."""
Way = Literal["shared", "padded", "plain"]
"""How prompts are completed: each part read once, with rows of a batch padded on the left, or by
transformers' own `generate`."""

_SHOWN: set[tuple[Hashable, ...]] = set()
"""What trials in this process have shown."""


@dataclass
class Outcomes:
    """What trials of one network have left."""

    failed: set[tuple[str, bool]] = field(default_factory=set)
    plain: tuple[Tensor, Tensor] | None = None
    """What they compare with; None until it is made with the weights of the moment."""
    making: tuple[Hashable, ...] | None = None
    """What the network is made of, but for its weights."""

    def forget(self) -> None:
        """Forget what other weights have left."""
        self.failed.clear()
        self.plain = None


class Trials:
    """What is relied on of a network, each tried when it is first asked for.

    It holds the network, so the network holds its outcomes alone: weights that held each other
    would stay in memory until Python looks for cycles.
    """

    def __init__(self, network: Network, outcomes: Outcomes) -> None:
        self._network, self._outcomes = network, outcomes

    @property
    def causal(self) -> bool:
        """Whether no token reads what comes after it."""
        return self.bear_out("causal", selftest.reads_only_back)

    @property
    def batches(self) -> bool:
        """Whether rows padded on the right are read together, the head shown only what is kept."""
        return self.bear_out("batches", selftest.batched_equals_apart)

    @property
    def shares(self) -> bool:
        """Whether rows can share what they read: a prefix, or a context with several endings.

        A learned prompt stands before it, a layer with a window forgets it, and an attention of a
        model's own would not know of it. The last is tried on a few tokens, not guessed.
        """
        if self._learns_prompts or not self.batches:
            return False
        return self.bear_out("shares", selftest.shared_equals_apart)

    @property
    def joins(self) -> bool:
        """Whether rows can stand one after another in one row and attend apart.

        That is for processors: a GPU reads padding at no cost that matters here. Whether a model's
        own attention allows it is tried on a few tokens.
        """
        if self._learns_prompts or self._network.device.type != "cpu" or not self.batches:
            return False
        return self.bear_out("joins", selftest.joined_equals_apart)

    @property
    def attends_whole(self) -> bool:
        """Whether the model's attention can be replaced by whole products."""
        return self.bear_out("attends whole", selftest.whole_equals_own)

    @property
    def way(self) -> Way:
        """How prompts are completed: the fastest way in which a few were completed as by itself."""
        decodes = selftest.decodes
        if self.shares and self.bear_out("shared", partial(decodes, padded=False)):
            return "shared"
        return "padded" if self.bear_out("padded", partial(decodes, padded=True)) else "plain"

    @property
    def lays_aside(self) -> bool:
        """Whether the model is read while packed copies stand in for its layers' weights."""
        return self.way != "plain" and self.bear_out("lays aside", selftest.decodes_laid_aside)

    @property
    def how_read(self) -> dict[str, str]:
        """Whose attention the model has, how it completes prompts, and which layers are adapted."""
        network = self._network
        attention = str(network.core.config.get_text_config()._attn_implementation)
        found = {"attention": attention, "completions": self.way}
        with network.within(network.window):
            if self.way != found["completions"]:
                found["window"] = str(network.window)
        return {**found, "adapted": ", ".join(network.adapted)} if network.adapted else found

    def bear_out(self, what: str, trial: Callable[[Network], bool]) -> bool:
        """Whether a trial succeeds; a success is enough in a process for all models of one making.

        A failure is this model's own: weights that a training has spoilt say nothing of others. It
        leaves no trace in the generators that a training's dropout draws from, or a training would
        depend on what its process had tried before.
        """
        known = (what, self._network.opened)
        failed, making = self._outcomes.failed, self._making()
        if known in failed or (*known, *making) in _SHOWN:
            return known not in failed
        if self._network.module.training:
            self._outcomes.plain = None
        with selftest.undisturbed(self._network.module):
            shown = succeeds(lambda: trial(self._network))
        if shown:
            _SHOWN.add((*known, *making))
        else:
            failed.add(known)
        return shown

    @property
    def plain_logits(self) -> tuple[Tensor, Tensor]:
        """What trials compare with, made once for weights that do not move."""
        if self._outcomes.plain is None:
            with selftest.undisturbed(self._network.module):
                self._outcomes.plain = selftest.plain_logits(self._network)
        return self._outcomes.plain

    @property
    def _learns_prompts(self) -> bool:
        """Whether learned places stand before every row."""
        return self._network.module is not self._network.core

    def _making(self) -> tuple[Hashable, ...]:
        if self._outcomes.making is None:
            core = self._network.core
            attention = core.config.get_text_config()._attn_implementation
            parts = frozenset(type(module) for module in self._network.module.modules())
            made_of = core.config.to_json_string(), attention, core.dtype, core.device, parts
            self._outcomes.making = made_of
        return self._outcomes.making
