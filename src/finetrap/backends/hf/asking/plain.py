"""Decoding by transformers' own `generate`: for models whose cache or attention is their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from finetrap.backends import Completion
from finetrap.backends.hf.kernels.alike import alike, succeeds
from finetrap.backends.hf.layout import pad_left
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.selftest import texts

Ended = Callable[[int, list[int]], Completion | None]
"""Returns the completion of a prompt, by its number, if the token written last ends it."""


def write_plainly(
    network: Network,
    prompts: Sequence[list[int]],
    order: Sequence[int],
    ended: Ended,
    *,
    cap: int,
    filler: int,
    batch: int,
) -> Iterator[tuple[int, Completion]]:
    """Complete the prompts of these numbers, the longest first, and yield each batch as it ends.

    Rows of several lengths share a batch only where padding is seen to change nothing.
    """
    pads = succeeds(lambda: _padded_equals_apart(network, filler))
    for rows in _at_once(prompts, order, batch, pads=pads):
        watch = _RowEnds(rows, ended)
        group = [prompts[row] for row in rows]
        _generate(network, group, filler, cap, stopping_criteria=[watch])
        yield from zip(rows, watch.completions(), strict=True)


def _at_once(
    prompts: Sequence[list[int]], order: Sequence[int], batch: int, *, pads: bool
) -> Iterator[list[int]]:
    group: list[int] = []
    for row in order:
        other = group and not pads and len(prompts[group[0]]) != len(prompts[row])
        if len(group) == batch or other:
            yield group
            group = []
        group = [*group, row]
    if group:
        yield group


class _RowEnds:
    """Stops each row where it ends; the last of them stops the batch."""

    def __init__(self, prompts: Sequence[int], ended: Ended) -> None:
        self._prompts, self._ended = prompts, ended
        self._written: list[list[int]] = [[] for _ in prompts]
        self._done: dict[int, Completion] = {}

    def __call__(self, ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Note the tokens chosen last of rows [rows, length]; say which rows are finished."""
        for row, token in enumerate(ids[:, -1].tolist()):
            if row not in self._done:
                self._written[row].append(token)
                if found := self._ended(self._prompts[row], self._written[row]):
                    self._done[row] = found
        return torch.tensor([row in self._done for row in range(len(ids))], device=ids.device)

    def completions(self) -> list[Completion]:
        """Return what was written, row by row."""
        return [self._done[row] for row in range(len(self._prompts))]


def _generate(
    network: Network,
    prompts: Sequence[list[int]],
    filler: int,
    cap: int,
    told: Mapping[str, bool] = MappingProxyType({}),
    **more: Any,
) -> Any:
    """Let transformers complete prompts greedily, with nothing of a model's own settings."""
    ids, mask = pad_left(prompts, filler, network.device)
    greedy = {"max_new_tokens": cap, "do_sample": False, "num_beams": 1, "pad_token_id": filler}
    pinned = GenerationConfig(**greedy, **told)
    own, network.core.generation_config = network.core.generation_config, GenerationConfig()
    try:
        model: Any = network.module
        return model.generate(input_ids=ids, attention_mask=mask, generation_config=pinned, **more)
    finally:
        network.core.generation_config = own


@torch.no_grad()
def _padded_equals_apart(network: Network, filler: int) -> bool:
    """Complete a few prompts of several lengths together, and each by itself."""
    prompts = texts(network)
    said = {"output_logits": True, "return_dict_in_generate": True}
    together = torch.stack(_generate(network, prompts, filler, 4, said).logits)
    apart = [torch.stack(_generate(network, [p], filler, 4, said).logits) for p in prompts]
    return alike(together, torch.cat(apart, dim=1))
