"""The forward pass: one transformers model, with or without a learned prompt before every row.

The model's own forward is used as it is. Three things are added from outside: the head is shown
only the positions whose logits are asked for, rows can stand after a prefix that was read once, and
rows of different length share a batch without changing each other. Rows padded on the right need no
mask, for under causal attention nothing reads what comes after it; rows padded on the left have a
mask and positions of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from finetrap.backends.hf import selftest
from finetrap.backends.hf.kernels.attention import reading_after
from finetrap.backends.hf.kernels.cache import Prefix, growing, new_cache, window_of
from finetrap.backends.hf.kernels.head import Predictions, seen_by_head
from finetrap.backends.hf.kernels.joined import Joined, joining
from finetrap.backends.hf.kernels.sums import Sum
from finetrap.backends.hf.trials import Outcomes, Trials

Seen = Tensor | Joined | None
"""What each token reads, if not all before it: a mask, or the pieces in which a row attends."""


class Network:
    """A causal language model as it computes now.

    Prompt-learning methods of PEFT put `virtual` learned places before every row: as embeddings
    (prompt tuning, p-tuning) or as keys and values (prefix tuning). All other adapters live inside
    `core`, merged or as modules of PEFT's.
    """

    def __init__(self, core: Any, learned: Any = None) -> None:
        self.core = core
        self._tried = Outcomes()
        self._learned = learned
        config = learned.active_peft_config if learned is not None else None
        self.virtual: int = config.num_virtual_tokens if config else 0
        self._as_cache = config is not None and config.peft_type == "PREFIX_TUNING"
        self._known: tuple[tuple[int, ...], Prefix] | None = None
        """The prefix that was read last, with its ids."""
        self.opened = False
        """Whether layers with a window keep all: the rows of the moment fit it."""
        self.adapted: Sequence[str] = ()
        """Kinds of layers that an adapter changed."""
        self.into: Sum | None = None
        """Where the head's gradient is added, if not to its `grad`."""
        self.fewest_rows: int | None = None
        """Rows that the memory held at once, where those were fewer than asked for."""

    def holds(self, rows: int) -> None:
        """Note that the memory holds no more rows at once than these."""
        self.fewest_rows = min(rows, self.fewest_rows or rows)

    @property
    def module(self) -> torch.nn.Module:
        """Everything that has parameters: the core, and what learns a prompt for it."""
        module: torch.nn.Module = self.core if self._learned is None else self._learned
        return module

    @property
    def trials(self) -> Trials:
        """What this model bears, as far as a few tokens show it."""
        return Trials(self, self._tried)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.core.device
        return device

    @property
    def vocabulary(self) -> int:
        """Number of logits per position."""
        return int(self.core.get_output_embeddings().weight.shape[0])

    @cached_property
    def window(self) -> int:
        """Tokens that a row may have for no layer's window to cut it; none where none has one."""
        return (window_of(self.core.config) or 0) - self.virtual

    @contextmanager
    def within(self, tokens: int) -> Iterator[None]:
        """Let layers read as if they had no window inside, where rows of so many tokens fit it."""
        self.opened = 0 < tokens <= self.window
        try:
            yield
        finally:
            self.opened = False

    def cache(self) -> DynamicCache:
        """Return an empty cache for the rows of the moment."""
        return new_cache(self.core.config, windows=not self.opened)

    def prefix(self, ids: Sequence[int]) -> Prefix | None:
        """Read tokens that many rows start with, once; None where they cannot be shared."""
        if not ids or not self.trials.shares:
            return None
        if self._known is None or self._known[0] != tuple(ids):
            self._known = tuple(ids), self.read_prefix(ids)
        return self._known[1]

    def forget(self) -> None:
        """Forget what was read and tried with other weights."""
        self._known = None
        self._tried.forget()

    def read_prefix(self, ids: Sequence[int]) -> Prefix:
        """Read tokens that rows are to stand after."""
        row = torch.tensor([ids], device=self.device)
        cache = self.cache()
        with seen_by_head(self.core, torch.zeros_like(row, dtype=torch.bool)):
            self.core(input_ids=row, past_key_values=cache, use_cache=True)
        return Prefix(tuple((layer.keys, layer.values) for layer in cache.layers), len(ids))

    def logits(
        self,
        ids: Tensor,
        keep: Tensor,
        prefix: Prefix | None = None,
        seen: Seen = None,
        places: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Return the logits [kept, vocabulary] of rows padded on the right.

        `ids` and the boolean `keep` are [rows, length], without the prefix that all rows share;
        kept positions come row by row. A row that is no plain text says which of its tokens each
        one reads, `seen` [rows, 1, length, length], or which pieces of a single row attend by
        themselves, and where each stands after the prefix, `places` [rows, length]. An empty
        `cache` takes in the keys and values of all that is read.
        """
        if not self.trials.batches and seen is None:
            return self.by_itself(ids, keep)
        return self.together(ids, keep, prefix, seen, places, cache)

    def by_itself(self, ids: Tensor, keep: Tensor) -> Tensor:
        """Return the logits of kept places, each row read without the others or any padding."""
        found = []
        for row, kept in zip(ids, keep, strict=True):
            places = kept.nonzero()[:, 0]
            if len(places):
                inputs = self._inputs(row[None, : int(places[-1]) + 1])
                logits = self.core(**inputs, use_cache=False).logits[0]
                found.append(logits[places + len(logits) - int(places[-1]) - 1])
        return torch.cat(found)

    def together(
        self,
        ids: Tensor,
        keep: Tensor,
        prefix: Prefix | None = None,
        seen: Seen = None,
        places: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Return what `logits` does, of all rows in one pass."""
        inputs = self._reading(ids, prefix, seen, places, cache)
        with seen_by_head(self.core, self._kept(inputs, keep)), self._attending(prefix, seen):
            logits: Tensor = self.core(**inputs, use_cache=cache is not None).logits
        return logits

    def _reading(
        self,
        ids: Tensor,
        prefix: Prefix | None = None,
        seen: Seen = None,
        places: Tensor | None = None,
        cache: Any = None,
    ) -> dict[str, Any]:
        """Return the inputs of one pass."""
        inputs = self._inputs(ids)
        if isinstance(seen, Tensor):
            inputs["attention_mask"] = seen
        if cache is not None:
            inputs["past_key_values"] = cache
        if prefix is not None or places is not None:
            if places is None:
                places = torch.arange(ids.shape[1], device=ids.device)[None]
            inputs["position_ids"] = places + (prefix.length if prefix is not None else 0)
        return inputs

    def predict(
        self,
        ids: Tensor,
        keep: Tensor,
        prefix: Prefix | None = None,
        seen: Seen = None,
        places: Tensor | None = None,
        cache: Any = None,
    ) -> Predictions:
        """Return what comes next at the kept places; all else is as in `logits`."""
        read = self.logits if self.head is None else self.hidden
        return Predictions(read(ids, keep, prefix, seen, places, cache), self.head)

    def begin(
        self, ids: Tensor, keep: Tensor, prefix: Prefix | None = None
    ) -> tuple[Predictions, DynamicCache]:
        """Return what `predict` does, with the cache of what was read; for rows that can share."""
        cache = growing(self.cache())
        return self.predict(ids, keep, prefix, cache=cache), cache

    def hidden(
        self,
        ids: Tensor,
        keep: Tensor,
        prefix: Prefix | None = None,
        seen: Seen = None,
        places: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Return what the head would be shown, [kept, width]; all else is as in `logits`."""
        inputs = self._reading(ids, prefix, seen, places, cache)
        keep, shown = self._kept(inputs, keep), []

        def take(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
            shown.append(inputs[0][keep])
            return (inputs[0][:, :0],)

        hook = self.core.get_output_embeddings().register_forward_pre_hook(take)
        try:
            with self._attending(prefix, seen):
                self.core(**inputs, use_cache=cache is not None)
        finally:
            hook.remove()
        states: Tensor = shown[0]
        return states

    @property
    def head(self) -> Tensor | None:
        """The head's weight [vocabulary, width]; None unless logits are its product and no more.

        Some models cap or scale their logits afterwards: that is tried on a few tokens.
        """
        module = self.core.get_output_embeddings()
        if type(module) is not torch.nn.Linear or module.bias is not None:
            return None
        is_product = partial(selftest.head_is_product, head=module.weight)
        borne_out = self.trials.batches and self.trials.bear_out("head", is_product)
        return module.weight if borne_out else None

    def _kept(self, inputs: Mapping[str, Any], keep: Tensor) -> Tensor:
        """Return the kept places of what is read, a learned prompt's included."""
        if "inputs_embeds" in inputs:
            return torch.nn.functional.pad(keep, (self.virtual, 0))
        return keep

    def read(
        self, ids: Tensor, mask: Tensor, prefix: Prefix | None = None
    ) -> tuple[Tensor, Tensor, Any]:
        """Read prompts [rows, length] padded on the left, after the prefix that all share.

        Returns the logits after each prompt, [rows, vocabulary], the mask of what the cache holds,
        [rows, places], and the cache, which is without the prefix.
        """
        inputs = self._inputs(ids)
        inputs["past_key_values"] = growing(inputs.get("past_key_values") or self.cache())
        mask = torch.nn.functional.pad(mask, (self.virtual, 0), value=1)
        width = mask.shape[1] if "inputs_embeds" in inputs else ids.shape[1]
        places = (mask.cumsum(1) - 1).clamp(min=0)[:, -width:]
        last = torch.zeros(ids.shape[0], width, dtype=torch.bool, device=ids.device)
        last[:, -1] = True
        seen = mask
        if prefix is not None:
            places = places + prefix.length
            # A padded place reads itself: a row that reads nothing would have no numbers.
            own = torch.eye(width, dtype=torch.bool, device=ids.device)
            seen = (mask[:, None].bool() & own.new_ones(width, width).tril() | own)[:, None]
        with seen_by_head(self.core, last), reading_after(self.core, prefix):
            output = self.core(**inputs, attention_mask=seen, position_ids=places, use_cache=True)
        return output.logits, mask, output.past_key_values

    def step(
        self,
        ids: Tensor,
        mask: Tensor,
        places: Tensor,
        cache: Any,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Read one more token per row, [rows]: the next logits [rows, vocabulary].

        `mask` [rows, places] covers the cache and the new token; `places` [rows] counts from the
        first token that is not the prefix's.
        """
        seen = mask
        if prefix is not None:
            places, seen = places + prefix.length, mask[:, None, None].bool()
        with reading_after(self.core, prefix):
            output = self.core(
                input_ids=ids[:, None],
                attention_mask=seen,
                position_ids=places[:, None],
                past_key_values=cache,
                use_cache=True,
            )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _inputs(self, ids: Tensor) -> dict[str, Any]:
        """Return the first forward's inputs, the learned prompt before every row."""
        if self._learned is None:
            return {"input_ids": ids}
        prompt = self._learned.get_prompt(batch_size=ids.shape[0])
        if self._as_cache:
            return {"input_ids": ids, "past_key_values": prompt}
        words = self.core.get_input_embeddings()(ids)
        return {"inputs_embeds": torch.cat([prompt.to(words.dtype), words], dim=1)}

    def _attending(self, prefix: Prefix | None, seen: Seen) -> AbstractContextManager[None]:
        """Let rows stand after the prefix, and one row that is joined attend in its pieces."""
        if isinstance(seen, Joined):
            return joining(self.core, seen, prefix)
        return reading_after(self.core, prefix)
