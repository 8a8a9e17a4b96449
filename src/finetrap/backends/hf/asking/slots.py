"""The rows that are written at once: their masks, places, keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from finetrap.backends.hf.kernels.cache import Prefix, blank, select_rows
from finetrap.backends.hf.network import Network


@dataclass
class Slots:
    """The rows being written; tensors and cache hold one entry per slot."""

    prompts: list[int]
    """Which prompt is in each slot."""
    mask: Tensor
    """[slots, columns]: what each row may read of the cache; all rows end at the last column."""
    places: Tensor
    """[slots]: place of the next token in its row."""
    cache: Any
    """None as long as every row is known: nothing reads it then."""
    chosen: Tensor
    """[slots]: the token written last."""
    finished: set[int] = field(default_factory=set)
    """Slots whose row is finished."""

    @property
    def live(self) -> list[int]:
        """Slots whose row is still being written."""
        return [slot for slot in range(len(self.prompts)) if slot not in self.finished]

    def step(self, network: Network, prefix: Prefix | None) -> None:
        """Read the token written last and choose the next."""
        self.mask = pad(self.mask, (0, 1), value=1)
        if self.cache is not None:
            logits = network.step(self.chosen, self.mask, self.places, self.cache, prefix)
            self.chosen = logits.argmax(-1)
        self.places = self.places + 1

    def refill(self, other: Slots) -> list[int]:
        """Put rows that are no longer than the longest here in finished slots; return the slots."""
        slots = sorted(self.finished)[: len(other.prompts)]
        index = torch.tensor(slots, device=self.mask.device)
        self._drop_unread()
        _fill_in([self, other])
        for layer, states in zip(self._layers, other._layers, strict=True):
            layer.replace(index, states)
        self.mask[index] = 0
        self.mask[index, -other.mask.shape[1] :] = other.mask
        self.places[index], self.chosen[index] = other.places, other.chosen
        for slot, prompt in zip(slots, other.prompts, strict=True):
            self.prompts[slot] = prompt
        self.finished -= set(slots)
        return slots

    def append(self, others: Sequence[Slots]) -> None:
        """Add the rows of others, whose prompts are no longer than the longest here."""
        if not others:
            return
        _fill_in([self, *others])
        for layer, *more in zip(self._layers, *(other._layers for other in others), strict=True):
            layer.append(more)
        width, all_ = self.mask.shape[1], (self, *others)
        self.mask = torch.cat([pad(s.mask, (width - s.mask.shape[1], 0)) for s in all_])
        self.places = torch.cat([s.places for s in all_])
        self.chosen = torch.cat([s.chosen for s in all_])
        self.prompts = [prompt for s in all_ for prompt in s.prompts]

    def compact(self) -> None:
        """Take finished rows out."""
        keep = self.live
        index = torch.tensor(keep, device=self.mask.device)
        self.prompts = [self.prompts[slot] for slot in keep]
        self.mask, self.places = self.mask[index], self.places[index]
        self.chosen = self.chosen[index]
        if self.cache is not None:
            select_rows(self.cache, index)
        self.finished = set()

    @property
    def _layers(self) -> Sequence[Any]:
        return () if self.cache is None else self.cache.layers

    def _drop_unread(self) -> None:
        """Forget leading columns that no live row reads, once they are a quarter of all."""
        read = self.mask[self.live].any(0) if self.live else self.mask.any(0)
        unread = int(read.int().argmax())
        if unread * 4 >= read.shape[0]:
            for layer in self._layers:
                layer.drop_front(unread)
            self.mask = self.mask[:, unread:].clone()


def _fill_in(parts: Sequence[Slots]) -> None:
    """Give rows that were not computed a cache where they stand beside others.

    It holds zeros: no row reads another's, and what these rows wrote is known.
    """
    like = next((part.cache for part in parts if part.cache is not None), None)
    for part in parts:
        if like is not None and part.cache is None:
            part.cache = blank(like, *part.mask.shape)
