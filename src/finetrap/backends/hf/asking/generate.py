"""Greedy decoding of many prompts: each row stops by itself, and the next prompt takes its slot.

Everything about decoding is set here; a model's own generation settings are read for one thing, the
ids that end a completion. In fp32 a completion does not depend on which rows share its batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch.nn.functional import pad

from finetrap.backends import Completion, Scored, Written
from finetrap.backends.hf.asking.plain import write_plainly
from finetrap.backends.hf.asking.score import LOGITS, nats_of_texts
from finetrap.backends.hf.asking.slots import Slots
from finetrap.backends.hf.kernels.cache import GrowingLayer, Prefix, shared_length
from finetrap.backends.hf.layout import marked, pad_left, pad_right, would_pad
from finetrap.backends.hf.memory import SHARE, Sizes, free_bytes, release, too_large
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
        written = map(tokens.as_written, stops)
        self._stops = tuple(dict.fromkeys(filter(None, (*stops, *written))))
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
    known: Mapping[int, Completion] | None = None,
) -> list[Completion]:
    """Complete each prompt, the longest first so that rows of like length share a batch.

    What all prompts start with is read once. At most `batch` rows are written at once. In fp32 they
    are fewer where memory holds fewer: a batch that exhausts it is halved, and what was finished
    stays. In bf16 they are exactly as many, because answers depend on it. Raises MemoryError.
    `golds` are read in the same pass as their prompts, where the network's way is to share what is
    read, and with about so many `logits` at once. Rows whose completion is `known` take up their
    places for as long as they did, so that all others are read and written beside as many rows as
    if none were known; as long as all rows are, nothing is computed.
    """
    known = known or {}
    if len(known) == len(prompts):
        return [known[i] for i in range(len(prompts))]
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    shared = shared_length(prompts, [len(p) for p in prompts])
    prefix = (
        network.prefix(prompts[0][:shared]) if shared and network.trials.way == "shared" else None
    )
    own = prefix.length if prefix is not None else 0
    tails = [prompt[own:] for prompt in prompts]
    reader = _Reader(network, tails, filler, prefix, golds, logits, known)
    exact = network.core.dtype == torch.float32
    if prompts:
        longest = len(prompts[order[0]]) - own + endings.cap
        fits = decoding_rows(network, longest)
        if exact and fits < min(batch, len(prompts)):
            batch = fits
            network.holds(batch)
        if not exact and batch > decoding_rows(network, longest, share=1):
            raise too_large(batch, fits)
    done: dict[int, Completion] = {}
    while len(done) < len(prompts):
        waiting = deque(i for i in order if i not in done)
        try:
            for place, completion in _complete(reader, waiting, endings, batch):
                done[place] = completion
                if written and place not in known:
                    written(place, completion)
        except (RuntimeError, MemoryError) as fault:
            if not out_of_memory(fault) or batch == 1:
                raise
            if not exact:
                raise too_large(batch, min(fits, batch // 2)) from fault
            batch = max(1, batch // 2)
            network.holds(batch)
            done.update(known)
        release(network.device)
    return [done[i] for i in range(len(prompts))]


def decoding_rows(network: Network, tokens: int, share: float = SHARE) -> int:
    """Return how many rows of `tokens` own tokens fit a share of the free memory, at least one."""
    return max(1, int(share * free_bytes(network.device) / row_bytes(network, tokens)))


def row_bytes(network: Network, tokens: int) -> int:
    """Return about how many bytes a row of so many own tokens holds.

    It keeps two vectors per token and layer in the cache, and its logits; reading its prompt takes
    about four vectors of the feed-forward's width per token on top.
    """
    sizes = Sizes.of(network.core)
    kept = 2 * sizes.layers * sizes.keys
    return sizes.number * (tokens * (kept + 4 * sizes.inner) + 3 * network.vocabulary)


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
    known: Mapping[int, Completion]
    """Of prompts that were completed before."""

    def ended(self, row: int, written: list[int], endings: Endings) -> Completion | None:
        """Return a row's completion if it ends with what was written last."""
        known = self.known.get(row)
        if known is None:
            return endings.check(written, self.tails[row][-1])
        return known if len(written) >= known.tokens else None

    def exchanges(self, cache: Any) -> bool:
        """Whether a finished row can be exchanged: every layer keeps its rows apart."""
        if cache is None:
            return self._would_exchange
        return all(isinstance(layer, GrowingLayer) for layer in cache.layers)

    @cached_property
    def _would_exchange(self) -> bool:
        one = torch.full((1, 1), self.filler, device=self.network.device)
        return self.exchanges(self.network.read(one, torch.ones_like(one))[2])

    def read(self, rows: list[int]) -> Slots:
        """Read the prompts with these numbers, the longest first."""
        if self.network.trials.way != "shared":
            return self._padded_left(rows)
        slots, *more = map(self._with_golds, self._alike(rows))
        slots.append(more)
        return slots

    def _padded_left(self, rows: list[int]) -> Slots:
        ids, mask = pad_left([self.tails[i] for i in rows], self.filler, self.network.device)
        if self._all_known(rows):
            mask = pad(mask, (self.network.virtual, 0), value=1)
            return Slots(rows, mask, mask.sum(1), None, ids[:, -1])
        logits, mask, cache = self.network.read(ids, mask, self.prefix)
        return Slots(rows, mask, mask.sum(1), cache, logits.argmax(-1))

    def _with_golds(self, rows: list[int]) -> Slots:
        """Read prompts with what their golds have beside them; only the prompts stay in the cache.

        Nothing reads what comes after it, so a gold changes nothing in its prompt.
        """
        device = self.network.device
        if self._all_known(rows):
            sizes = torch.tensor([len(self.tails[i]) for i in rows], device=device)
            mask = (torch.arange(int(sizes.max()), device=device) < sizes[:, None]).long()
            return Slots(list(rows), mask, sizes, None, torch.full_like(sizes, self.filler))
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
        return Slots(list(rows), mask, sizes, cache, first)

    def _all_known(self, rows: Sequence[int]) -> bool:
        return all(row in self.known for row in rows)

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


def _complete(
    reader: _Reader, waiting: deque[int], endings: Endings, batch: int
) -> Iterator[tuple[int, Completion]]:
    """Complete the waiting prompts in the network's way, yielding each as it finishes."""
    if reader.network.trials.way == "plain":
        return write_plainly(
            reader.network,
            reader.tails,
            waiting,
            lambda row, written: reader.ended(row, written, endings),
            cap=endings.cap,
            filler=reader.filler,
            batch=batch,
        )
    return _decode(reader, waiting, endings, batch)


def _decode(
    reader: _Reader, waiting: deque[int], endings: Endings, batch: int
) -> Iterator[tuple[int, Completion]]:
    """Complete the waiting prompts in `batch` slots, yielding each as it finishes.

    Every slot has just chosen a token when a round begins. What is finished is exchanged or taken
    out only once it is a share of all slots: either moves the keys and values of all rows.
    """

    def read(count: int) -> Slots:
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
            if completion := reader.ended(prompt, row, endings):
                slots.finished.add(slot)
                del written[prompt]
                yield prompt, completion
        live = slots.live
        # 2. Put waiting prompts in finished slots; only these have a new token then.
        crowded = len(slots.finished) >= max(1.0, IDLE * len(slots.prompts))
        if crowded and waiting and live and reader.exchanges(slots.cache):
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
