"""Greedy decoding of many prompts: each row stops by itself, and the next prompt takes its slot.

Everything about decoding is set here; a model's own generation settings are read for one thing, the
ids that end a completion. In fp32 a completion does not depend on which rows share its batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from finetrap.backends import Completion, Scored, Written
from finetrap.backends.hf.asking.score import LOGITS, nats_of_texts
from finetrap.backends.hf.kernels.cache import GrowingLayer, Prefix, shared_length
from finetrap.backends.hf.layout import marked, pad_left, pad_right, would_pad
from finetrap.backends.hf.memory import SHARE, free_bytes, release, too_large
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.tokens import Tokens
from finetrap.errors import out_of_memory
from finetrap.records import StopReason

IDLE = 1 / 16
"""Share of finished rows at which they are replaced or taken out: either moves keys and values,
which costs about what the finished rows cost in as many steps."""
PERIOD = 64
"""Tokens of the longest cycle that is looked for."""
REPEATED = 4
"""Times that a cycle must have been written, and more often where it is short:"""
LOOPED = 64
"""tokens that all its repetitions must span."""


class Endings:
    """Decides when a row is finished.

    A stop string can only be completed by a token that holds its last character; the text is
    decoded and searched after such tokens alone. A token that is no text by itself (a part of a
    character) is always a candidate, and so is every token where a stop string ends in a space,
    which decoding one token can lose.
    """

    def __init__(self, tokens: Tokens, stops: Sequence[str], max_new_tokens: int) -> None:
        self._tokens = tokens
        self._stops = tuple(filter(None, stops))
        self._last = {stop[-1] for stop in self._stops}
        self._any_token = any(c.isspace() and c != "\n" for c in self._last)
        self.cap = max_new_tokens
        self._candidates: dict[int, bool] = {}

    def check(self, written: list[int], after: int | None = None) -> Completion | None:
        """Return the completion if the token written last ends it.

        `after` is the last token of its prompt.
        """
        ended, capped = written[-1] in self._tokens.ends, len(written) >= self.cap
        reason: StopReason | None = "eos" if ended else "cap" if capped else None
        if reason is None and in_cycle(written, self.cap):
            reason = "loop"
        if reason or self._is_candidate(written[-1]):
            return self._complete(written, after, reason)
        return None

    def _complete(
        self, written: list[int], after: int | None, reason: StopReason | None
    ) -> Completion | None:
        text = self._tokens.text(written[:-1] if reason == "eos" else written, after)
        places = [at for at in map(text.find, self._stops) if at >= 0]
        if places:
            return Completion(text[: min(places)], len(written), "stop")
        return Completion(text, len(written), reason) if reason else None

    def _is_candidate(self, token: int) -> bool:
        if not self._last:
            return False
        known = self._candidates.get(token)
        if known is None:
            piece = self._tokens.piece(token)
            known = self._any_token or "\ufffd" in piece or not self._last.isdisjoint(piece)
            self._candidates[token] = known
        return known


def in_cycle(written: Sequence[int], cap: int) -> bool:
    """Whether a row only repeats what it wrote, and stands where the cap would have cut it.

    Greedy decoding rarely leaves a cycle that it has gone through often. Waiting until whole cycles
    are left to the cap keeps the end of the text, where an answer is looked for, as it would be.
    """
    left = cap - len(written)
    return any(
        left % period == 0
        and written[-1] == written[-1 - period]
        and written[-span:] == written[-span - period : -period]
        for period in range(1, min(PERIOD, len(written) // REPEATED) + 1)
        if (span := max(LOOPED, REPEATED * period) - period) + period <= len(written)
    )


class Golds:
    """Texts that are scored after their prompts on the way, and what takes the nats of each."""

    def __init__(self, ids: Sequence[list[int]], scored: Scored) -> None:
        self._left = {row: gold for row, gold in enumerate(ids) if gold}
        self._scored = scored

    def wanted(self, row: int) -> list[int]:
        """Return the ids that are to be scored after a prompt; none if they were already."""
        return self._left.get(row, [])

    def tell(self, row: int, value: float) -> None:
        """Take a gold's nats: if memory runs out, only its prompt is read again."""
        del self._left[row]
        self._scored(row, value)


@torch.no_grad()
def generate(
    network: Network,
    prompts: Sequence[list[int]],
    endings: Endings,
    *,
    filler: int,
    batch: int,
    written: Written | None = None,
    golds: Golds | None = None,
    logits: int = LOGITS,
) -> list[Completion]:
    """Complete each prompt, the longest first so that rows of like length share a batch.

    What all prompts start with is read once. At most `batch` rows are written at once. In fp32 they
    are fewer where memory holds fewer: a batch that exhausts it is halved, and what was finished
    stays. In bf16 they are exactly as many, because answers depend on it. Raises MemoryError.
    `golds` are read in the same pass as their prompts, where `network.shares` says that rows can,
    and with about so many `logits` at once.
    """
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    shared = shared_length(prompts, [len(p) for p in prompts])
    prefix = network.prefix(prompts[0][:shared]) if shared else None
    own = prefix.length if prefix is not None else 0
    reader = _Reader(network, [prompt[own:] for prompt in prompts], filler, prefix, golds, logits)
    exact = network.core.dtype == torch.float32
    if prompts:
        longest = len(prompts[order[0]]) - own + endings.cap
        fits = decoding_rows(network, longest)
        if exact:
            batch = min(batch, fits)
        elif batch > decoding_rows(network, longest, share=1):
            raise too_large(batch, fits)
    done: dict[int, Completion] = {}
    while len(done) < len(prompts):
        waiting = deque(i for i in order if i not in done)
        try:
            for place, completion in _decode(reader, waiting, endings, batch):
                done[place] = completion
                if written:
                    written(place, completion)
        except (RuntimeError, MemoryError) as fault:
            if not out_of_memory(fault) or batch == 1:
                raise
            if not exact:
                raise too_large(batch, min(fits, batch // 2)) from fault
            batch = max(1, batch // 2)
        release(network.device)
    return [done[i] for i in range(len(prompts))]


def decoding_rows(network: Network, tokens: int, share: float = SHARE) -> int:
    """Return how many rows of `tokens` own tokens fit a share of the free memory, at least one.

    A row keeps two vectors per token and layer in the cache, and its logits; reading its prompt
    takes about four vectors of the feed-forward's width per token on top.
    """
    config = network.core.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    wide = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    size = next(network.core.parameters()).element_size()
    kept = 2 * config.num_hidden_layers * heads * width
    row = size * (tokens * (kept + 4 * wide) + 3 * network.vocabulary)
    return max(1, int(share * free_bytes(network.device) / row))


@dataclass
class _Slots:
    """The rows being written; tensors and cache hold one entry per slot."""

    prompts: list[int]
    """Which prompt is in each slot."""
    mask: Tensor
    """[slots, columns]: what each row may read of the cache; all rows end at the last column."""
    places: Tensor
    """[slots]: place of the next token in its row."""
    cache: Any
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
        logits = network.step(self.chosen, self.mask, self.places, self.cache, prefix)
        self.places = self.places + 1
        self.chosen = logits.argmax(-1)

    def takes_new(self) -> bool:
        """Whether a finished row can be exchanged: every layer keeps its rows apart."""
        return all(isinstance(layer, GrowingLayer) for layer in self.cache.layers)

    def refill(self, other: _Slots) -> list[int]:
        """Put rows that are no longer than the longest here in finished slots; return the slots."""
        slots = sorted(self.finished)[: len(other.prompts)]
        index = torch.tensor(slots, device=self.mask.device)
        self._drop_unread()
        for layer, states in zip(self.cache.layers, other.cache.layers, strict=True):
            layer.replace(index, states)
        self.mask[index] = 0
        self.mask[index, -other.mask.shape[1] :] = other.mask
        self.places[index], self.chosen[index] = other.places, other.chosen
        for slot, prompt in zip(slots, other.prompts, strict=True):
            self.prompts[slot] = prompt
        self.finished -= set(slots)
        return slots

    def append(self, others: Sequence[_Slots]) -> None:
        """Add the rows of others, whose prompts are no longer than the longest here."""
        if not others:
            return
        for layer, *more in zip(
            self.cache.layers, *(other.cache.layers for other in others), strict=True
        ):
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
        self.cache.batch_select_indices(index)
        self.finished = set()

    def _drop_unread(self) -> None:
        """Forget leading columns that no live row reads, once they are a quarter of all."""
        read = self.mask[self.live].any(0) if self.live else self.mask.any(0)
        unread = int(read.int().argmax())
        if unread * 4 >= read.shape[0]:
            for layer in self.cache.layers:
                layer.drop_front(unread)
            self.mask = self.mask[:, unread:].clone()


@dataclass
class _Reader:
    """Reads prompts for the first time: their keys and values, and the first token of each."""

    network: Network
    tails: Sequence[list[int]]
    """Every prompt without the prefix."""
    filler: int
    prefix: Prefix | None
    golds: Golds | None
    logits: int
    """How many are kept at once to score golds."""

    def read(self, rows: list[int]) -> _Slots:
        """Read the prompts with these numbers, the longest first."""
        if not self.network.shares:
            return self._padded_left(rows)
        slots, *more = map(self._with_golds, self._alike(rows))
        slots.append(more)
        return slots

    def _padded_left(self, rows: list[int]) -> _Slots:
        ids, mask = pad_left([self.tails[i] for i in rows], self.filler, self.network.device)
        logits, mask, cache = self.network.read(ids, mask, self.prefix)
        return _Slots(rows, mask, mask.sum(1), cache, logits.argmax(-1))

    def _with_golds(self, rows: list[int]) -> _Slots:
        """Read prompts with what their golds have beside them; only the prompts stay in the cache.

        Nothing reads what comes after it, so a gold changes nothing in its prompt.
        """
        device = self.network.device
        tails, golds = [self.tails[i] for i in rows], [self._gold(i) for i in rows]
        sizes = torch.tensor([len(tail) for tail in tails], device=device)
        kept = [max(1, len(gold)) for gold in golds]
        read = [tail + gold[:-1] for tail, gold in zip(tails, golds, strict=True)]
        ids = pad_right(read, self.filler, device)
        spans = [(len(t) - 1, len(t) - 1 + k) for t, k in zip(tails, kept, strict=True)]
        keep = marked(spans, ids.shape[1], device)
        predictions, cache = self.network.begin(ids, keep, self.prefix)
        starts = list(accumulate(kept[:-1], initial=0))
        if self.golds is not None and any(golds):
            found = [(r, s, gold) for r, s, gold in zip(rows, starts, golds, strict=True) if gold]
            sources = [start + at for _, start, gold in found for at in range(len(gold))]
            nats = nats_of_texts(predictions, sources, [gold for _, _, gold in found])
            for (row, _, _), value in zip(found, nats, strict=True):
                self.golds.tell(row, value)
        first = predictions.logits(torch.tensor(starts, device=device)).argmax(-1)
        width = max(map(len, tails))
        for layer in cache.layers:
            layer.keep_front(width)
        mask = (torch.arange(width, device=device) < sizes[:, None]).long()
        return _Slots(list(rows), mask, sizes, cache, first)

    def _gold(self, row: int) -> list[int]:
        return [] if self.golds is None else self.golds.wanted(row)

    def _alike(self, rows: Sequence[int]) -> list[list[int]]:
        """Cut rows, the longest first, into groups that are read with little padding.

        A group keeps no more logits of its golds than a batch that is only scored.
        """
        most = self.logits // self.network.vocabulary
        lengths = {row: len(self.tails[row]) + len(self._gold(row)) for row in rows}
        groups: list[list[int]] = []
        scored = 0
        for row in sorted(rows, key=lambda row: -lengths[row]):
            own = len(self._gold(row))
            longest = lengths[groups[-1][0]] if groups else 0
            if (
                not groups
                or scored + own > most
                or would_pad(lengths[row], len(groups[-1]), longest)
            ):
                groups.append([])
                scored = 0
            groups[-1].append(row)
            scored += own
        return sorted(groups, key=lambda group: -max(len(self.tails[row]) for row in group))


def _decode(
    reader: _Reader, waiting: deque[int], endings: Endings, batch: int
) -> Iterator[tuple[int, Completion]]:
    """Complete the waiting prompts in `batch` slots, yielding each as it finishes.

    Every slot has just chosen a token when a round begins. What is finished is exchanged or taken
    out only once it is a share of all slots: either moves the keys and values of all rows.
    """

    def read(count: int) -> _Slots:
        return reader.read([waiting.popleft() for _ in range(min(count, len(waiting)))])

    written: dict[int, list[int]] = {}
    slots = read(batch)
    fresh = slots.live
    while True:
        # 1. Note the tokens that are new, and yield the rows that they end.
        tokens = slots.chosen.tolist()
        for slot in fresh:
            prompt = slots.prompts[slot]
            row = written.setdefault(prompt, [])
            row.append(tokens[slot])
            if completion := endings.check(row, reader.tails[prompt][-1]):
                slots.finished.add(slot)
                del written[prompt]
                yield prompt, completion
        live = slots.live
        # 2. Put waiting prompts in finished slots; only these have a new token then.
        crowded = len(slots.finished) >= max(1.0, IDLE * len(slots.prompts))
        if crowded and waiting and live and slots.takes_new():
            fresh = slots.refill(read(len(slots.finished)))
            continue
        # 3. Where that cannot be, as in layers with a window, start anew once all are finished.
        if not live:
            if not waiting:
                return
            slots = read(batch)
            fresh = slots.live
            continue
        # 4. With none waiting, finished rows are taken out: each costs as much as a live one.
        if crowded:
            slots.compact()
        # 5. Read the tokens chosen last, and choose the next.
        slots.step(reader.network, reader.prefix)
        fresh = slots.live
