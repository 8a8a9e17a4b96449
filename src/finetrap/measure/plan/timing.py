"""What calls take on this machine: each sort of call is timed at a small size and at a large one.

A sort's seconds are a part for each batch (of a decoding: for each step) and a part for each token,
which two points determine. Calls are timed on the study's own rows, evenly spread over their
lengths, after one that is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapreplace
from itertools import pairwise
from random import Random
from typing import NamedTuple, TypeVar

import numpy as np

from finetrap.backends import Counting, Interpolating, Row
from finetrap.errors import Diverged
from finetrap.measure.meter import Meter
from finetrap.measure.plan.ledger import Call, Ledger, Sort
from finetrap.records import Cell, Limits, StrategySpec, content_hash
from finetrap.text import prompts

PATIENCE = 0.3
"""Seconds that a timed call may take; a slow model takes what its smallest sizes take."""
NO_HARM = 1e-6
"""Learning rate of a timed training: no rate may end it before its time."""
FEW = 8
"""New tokens from which the time of a step is told, and completions that are always sampled."""

Item = TypeVar("Item")
Pairs = Sequence[tuple[str, str]]


class Sample(NamedTuple):
    """One timed call."""

    units: float
    """Batches; of a decoding its steps; of a training its optimizer steps."""
    tokens: float
    seconds: float
    at_once: float
    """Tokens in one batch."""
    bytes: int | None
    """Most memory that the process held."""


@dataclass
class TimedTraining:
    """What a kind of training takes."""

    steps: list[Sample] = field(default_factory=list)
    """Of one optimizer step each."""
    rest_s: float = 0.0
    """Setting up, settling and what else is no step."""
    trainable: int = 0
    drag: float = 1.0
    """How many times slower the trained model is asked than the base model."""


@dataclass
class Timings:
    """What was timed of one model."""

    parameters: int
    calls: dict[Sort, list[Sample]] = field(default_factory=dict)
    written: dict[Sort, tuple[float, ...]] = field(default_factory=dict)
    """Tokens of the base model's completions."""
    trainings: dict[str, TimedTraining] = field(default_factory=dict)
    """By `method`."""
    rewind_s: float = 0.0
    reset_s: float = 0.0
    open_s: float = 0.0
    """Opening the model once its backend is imported."""
    first_s: float = 0.0
    """What a worker takes before that: starting, importing, and the first call of each kind."""


def method(strategy: StrategySpec) -> str:
    """Name what decides the pace of a training: the strategy without its rate and its batch."""
    return content_hash([strategy.kind, dict(strategy.peft or {})])


def steps_of(call: Call, lengths: Sequence[float]) -> tuple[float, float]:
    """Return the steps of a decoding and the tokens that it reads and writes.

    `lengths` are a sample of what its rows write. A row that ends hands its slot to the next.
    """
    order = sorted(lengths)
    rows = [order[(2 * i + 1) * len(order) // (2 * call.rows)] for i in range(call.rows)]
    Random("plan/lengths").shuffle(rows)
    slots = [0.0] * min(call.batch, call.rows)
    for length in rows:
        heapreplace(slots, slots[0] + length)
    return max(slots), call.tokens + sum(rows)


def fitted(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return the seconds of a unit and of a token, neither negative (Lawson & Hanson 1974, NNLS).

    Errors count relative to the root of the seconds: long calls, which a study is made of, weigh
    more than short ones, and do not drown them.
    """
    from scipy.optimize import nnls  # calibrators import this module and need none of it

    weights = np.array([1 / max(s.seconds, 1e-6) ** 0.5 for s in samples])
    features = np.array([(s.units, s.tokens) for s in samples], dtype=float) * weights[:, None]
    scale = np.maximum(features.max(0), 1e-12)
    found, _ = nnls(features / scale, np.array([s.seconds for s in samples]) * weights)
    unit_s, token_s = found / scale
    return float(unit_s), float(token_s)


def uncut(lengths: Sequence[int], timed_cap: int, cap: int) -> tuple[float, ...]:
    """Return completions' lengths where they were timed with a lower cap than the study's.

    Rows that were cut go on for the tokens in which one row ended on average.
    """
    ended = sum(n < timed_cap for n in lengths)
    more = sum(lengths) / ended if ended else cap
    return tuple(
        float(n if n < timed_cap or timed_cap >= cap else min(cap, n + more)) for n in lengths
    )


def extrapolated(samples: Sequence[Sample], tokens: float) -> int | None:
    """Return the bytes held with so many tokens at once, on the line through what was measured."""
    held = [(s.at_once, s.bytes) for s in samples if s.bytes is not None]
    if not held:
        return None
    small, large = min(held), max(held)
    most = max(size for _, size in held)
    if tokens <= large[0] or large[0] == small[0]:
        return most
    slope = max(0.0, (large[1] - small[1]) / (large[0] - small[0]))
    return int(most + slope * (tokens - large[0]))


class Stopwatch:
    """Times the calls that cells ask of one opened model."""

    def __init__(
        self, model: Counting, ledger: Ledger, limits: Limits, say: Callable[[str], None]
    ) -> None:
        self.model, self.ledger, self.limits, self.say = model, ledger, limits, say
        self.found = Timings(model.parameters)
        self._warm: set[str] = set()
        self._recording = True

    def evaluation(self) -> None:
        """Time every sort of decoding and scoring, with the base model."""
        for sort, pairs in list(self.ledger.asked.items()):
            if sort.kind != "divergence":
                self.say(f"{sort.kind} {sort.test}{' after exemplars' if sort.shots else ''}")
                (self._decode if sort.kind == "decode" else self._score)(sort, pairs)

    def training(self, cell: Cell, rows: Sequence[Row]) -> None:
        """Time a cell's training at two batches, then what is asked of a trained model."""
        name, strategy = method(cell.strategy), cell.strategy
        self.say(f"train {strategy.name}")
        timed = self.found.trainings.setdefault(name, TimedTraining())
        most = min(cell.train.of(strategy).batch, len(rows))
        self._warm_up("train", lambda: self._step(cell, rows, 1, TimedTraining(), steps=1))
        step_s = self._step(cell, rows, 1, timed)
        self._step(cell, rows, _larger(most, step_s / 4), timed)
        self._changed(strategy, timed)
        start = time.perf_counter()
        self.model.reset()
        self.found.reset_s = max(self.found.reset_s, time.perf_counter() - start)

    def _score(self, sort: Sort, pairs: Pairs) -> None:
        groups = by_context(pairs) if sort.kind == "score" else [[pair] for pair in pairs]
        self._warm_up(sort.kind, lambda: self._scored(sort, groups, 1))
        seconds = self._scored(sort, groups, 1)
        self._scored(sort, groups, _larger(min(len(groups), self.limits.batch), seconds / 4))

    def _scored(self, sort: Sort, groups: Sequence[Pairs], count: int) -> float:
        """Time so many contexts with all that follows each."""
        chosen = [pair for group in evenly(groups, count, _characters) for pair in group]
        call, meter, start = self._called(sort, chosen), Meter(), time.perf_counter()
        if sort.kind == "divergence" and isinstance(self.model, Interpolating):
            self.model.divergence(chosen, batch=call.batch)
        else:
            self.model.score(chosen, batch=call.batch, windows=sort.kind == "prose")
        return self._note(sort, meter, start, call.batches, call.tokens, call.tokens)

    def _decode(self, sort: Sort, pairs: Pairs) -> None:
        """Decode one row to its end, then as many as patience allows, the longest among them."""
        asked = [prompt for prompt, _ in pairs]
        cap = self.limits.max_new_tokens
        few = min(FEW, cap)
        self._warm_up("decode", lambda: self._decoded(sort, asked, 1, few))
        step_s = self._decoded(sort, asked, 1, few) / few
        self.found.calls[sort].clear()  # its prompt is most of it
        cap = min(cap, max(2 * FEW, int(8 * PATIENCE / step_s)))
        seconds = self._decoded(sort, asked, 1, cap)
        most = min(len(asked), self.limits.batch)
        self._decoded(sort, asked, min(most, max(FEW, _larger(most, seconds / 16))), cap)

    def _decoded(self, sort: Sort, asked: Sequence[str], rows: int, cap: int) -> float:
        # The longest prompt is one of several: one that does not fit is better told now.
        ordered = sorted(asked, key=len)
        chosen = evenly(ordered, 1, len)
        if rows > 1:
            chosen = [ordered[-1], *evenly(ordered[:-1], rows - 1, len)]
        call = self._called(sort, [(prompt, "") for prompt in chosen])
        meter, start = Meter(), time.perf_counter()
        done = self.model.generate(
            chosen,
            max_new_tokens=cap,
            stops=prompts.stops(self.model.chat),
            batch=len(chosen),
        )
        lengths = [max(1, completion.tokens) for completion in done]
        self.found.written[sort] = uncut(lengths, cap, self.limits.max_new_tokens)
        tokens = call.tokens + sum(lengths)
        return self._note(sort, meter, start, max(lengths), tokens, tokens)

    def _step(
        self, cell: Cell, rows: Sequence[Row], batch: int, timed: TimedTraining, steps: int = 4
    ) -> float:
        """Train a few steps at a batch size, with a rate that harms nothing; time one step."""
        chosen = evenly(rows, min(len(rows), steps * batch), lambda r: len(r.prompt + r.target))
        spec = replace(
            cell.strategy, learning_rate=NO_HARM, batch=batch, epochs=steps * batch / len(chosen)
        )
        ends: list[float] = []
        meter, start = Meter(), time.perf_counter()
        try:
            training = self.model.train(
                chosen, spec, cell.train, 0, lambda event, facts: ends.append(time.perf_counter())
            )
        except Diverged:  # at such a rate only a broken model does: it ends a run at once, too
            timed.steps.append(Sample(1, 1, 0.0, 1, None))
            return PATIENCE
        spent = time.perf_counter() - start
        later = sorted(b - a for a, b in pairwise(ends))
        step_s = later[len(later) // 2] if later else spent
        tokens = training.tokens / training.steps
        timed.steps.append(Sample(1, tokens, step_s, tokens, meter.peak_bytes()))
        timed.rest_s = max(0.0, spent - training.steps * step_s)
        timed.trainable = training.trainable
        timed.drag = 1.0 if training.evidence.get("merged") is not False else 0.0
        return step_s

    def _changed(self, strategy: StrategySpec, timed: TimedTraining) -> None:
        """Time what is asked of a trained model alone."""
        for sort, pairs in self.ledger.asked.items():
            if sort.kind == "divergence" and sort not in self.found.calls:
                self.say(f"divergence {sort.test}")
                self._score(sort, pairs)
        if strategy.rewind and isinstance(self.model, Interpolating):
            start = time.perf_counter()
            self.model.rewind(0.5)
            self.model.rewind(1.0)
            self.found.rewind_s = (time.perf_counter() - start) / 2
        if timed.drag == 0.0:
            sort = next(s for s in self.ledger.asked if s.kind in ("score", "prose"))
            few = [[pair] for pair in self.ledger.asked[sort][:4]]
            changed = self._scored(sort, few, 4)
            self.model.reset()
            timed.drag = max(1.0, changed / max(self._scored(sort, few, 4), 1e-6))
            del self.found.calls[sort][-2:]

    def _warm_up(self, kind: str, run: Callable[[], float]) -> None:
        """Make the first call of a kind twice; what the first takes more is told apart."""
        if kind in self._warm:
            return
        self._warm.add(kind)
        self._recording = False
        first = run()
        if first < 4 * PATIENCE:
            self.found.first_s += max(0.0, first - run())
        self._recording = True

    def _note(
        self, sort: Sort, meter: Meter, start: float, units: float, tokens: float, at_once: float
    ) -> float:
        seconds = time.perf_counter() - start
        sample = Sample(units, tokens, seconds, at_once, meter.peak_bytes())
        if self._recording:
            self.found.calls.setdefault(sort, []).append(sample)
        return seconds

    def _called(self, sort: Sort, pairs: Pairs) -> Call:
        """Return a call of these rows as the ledger counts it."""
        counting = Ledger(self.model, test=sort.test, known=self.ledger.known)
        return counting.count(sort.kind, pairs, max(1, min(len(pairs), self.limits.batch)))


def evenly(items: Sequence[Item], count: int, size: Callable[[Item], int]) -> list[Item]:
    """Return items spread evenly over their sizes: one is of the middle size."""
    order, count = sorted(items, key=size), min(count, len(items))
    return [order[(2 * i + 1) * len(order) // (2 * count)] for i in range(count)]


def by_context(pairs: Pairs) -> list[Pairs]:
    """Return the pairs in groups that share a context."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for pair in pairs:
        groups.setdefault(pair[0], []).append(pair)
    return list(groups.values())


def _larger(most: int, row_s: float) -> int:
    """Return how many rows fit into `PATIENCE`, at least two."""
    return min(most, max(2, int(PATIENCE / max(row_s, 1e-6))))


def _characters(pairs: Pairs) -> int:
    return len(pairs[0][0]) + sum(len(follow) for _, follow in pairs)
