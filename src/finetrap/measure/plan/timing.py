"""Timed calls of an opened model, at growing sizes: what its pace is fitted to.

Every kind of call that a study makes is timed on the study's own rows, evenly spread over their
lengths. Sizes grow from one row until `PATIENCE` is spent, so that a small model is timed at the
size of the study, and a large one on one or a few rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heapreplace
from itertools import pairwise
from random import Random
from typing import Literal, NamedTuple, TypeVar

from finetrap.backends import Counting, Interpolating, Row, interpolating
from finetrap.errors import Diverged
from finetrap.measure.meter import Meter
from finetrap.measure.plan.rehearsal import Call, Counted, Ledger
from finetrap.records import Cell, Limits, StrategySpec, TrainSpec, content_hash
from finetrap.text import prompts

PATIENCE = 0.3
"""Seconds for timing one kind of call; a slow model takes what its smallest sizes take."""
STEPS = (2, 6)
"""Optimizer steps of a timed training, slow and quick; the first sets the optimizer up."""
NO_HARM = 1e-6
"""Learning rate of a timed training: no rate may end it before its time."""
FIRST_ROWS = 8
"""Completions that are always sampled."""
FIRST_WORDS = 8
"""New tokens from which the time of a decoding step is told before more is risked."""

Timed = Literal["decode", "score", "divergence"]
Item = TypeVar("Item")
Pairs = list[tuple[str, str]]


class Sample(NamedTuple):
    """One timed call."""

    kind: Timed
    shots: bool
    features: tuple[float, ...]
    seconds: float


class Trained(NamedTuple):
    """One timed training."""

    batch: int
    step_tokens: float
    step_s: float
    rest_s: float
    """Setting up, settling and what else is no step."""
    trainable: int
    merged: bool
    bytes: int | None
    """Most memory that the process held."""


@dataclass
class Timings:
    """What was timed of one model."""

    parameters: int
    cap: int
    """Most new tokens of a completion in the study."""
    samples: list[Sample] = field(default_factory=list)
    written: dict[tuple[str, bool], tuple[tuple[int, ...], int]] = field(default_factory=dict)
    """Tokens of each completion of the untouched model, and the cap, by test and exemplars."""
    trainings: dict[str, list[Trained]] = field(default_factory=dict)
    """By `method`."""
    drag: dict[str, float] = field(default_factory=dict)
    """How many times slower a method makes the model, where it cannot be merged."""
    rewind_s: float = 0.0
    reset_s: float = 0.0
    peaks: list[tuple[float, int]] = field(default_factory=list)
    """(tokens at once, most bytes held) of evaluation."""
    warming_s: float = 0.0
    """Seconds that the first calls of a process take more than later ones."""


def method(strategy: StrategySpec) -> str:
    """Name what decides the pace of a training: the strategy without its rate and its batch."""
    return content_hash([strategy.kind, dict(strategy.peft or {})])


def decode_features(call: Call, lengths: Sequence[float]) -> tuple[float, ...]:
    """Return (batches, prompt tokens, steps, tokens written) of a decoding.

    `lengths` are a sample of what its rows write. A row that ends hands its slot to the next.
    """
    order = sorted(lengths)
    rows = [order[(2 * i + 1) * len(order) // (2 * call.rows)] for i in range(call.rows)]
    Random("plan/lengths").shuffle(rows)
    slots = [0.0] * min(call.batch, call.rows)
    for length in rows:
        heapreplace(slots, slots[0] + length)
    return (call.batches, call.tokens, max(slots), sum(rows))


def score_features(call: Call) -> tuple[float, ...]:
    """Return (batches, tokens, scored tokens) of a scoring or a comparison of likelihoods."""
    return (call.batches, call.tokens, call.scored)


def spread(items: Sequence[Item], count: int, size: Callable[[Item], int]) -> list[Item]:
    """Return items spread evenly over their sizes: one is of the middle size."""
    order, count = sorted(items, key=size), min(count, len(items))
    return [order[(2 * i + 1) * len(order) // (2 * count)] for i in range(count)]


def by_context(pairs: Sequence[tuple[str, str]]) -> list[Pairs]:
    """Return the pairs in groups that share a context; a text without one is a group of its own."""
    groups: dict[object, Pairs] = {}
    for number, pair in enumerate(pairs):
        groups.setdefault(pair[0] or number, []).append(pair)
    return list(groups.values())


def _characters(pairs: Pairs) -> int:
    return len(pairs[0][0]) + sum(len(follow) for _, follow in pairs)


def grow(run: Callable[[int], float], most: int, patience: float, least: int = 1) -> None:
    """Call `run` with growing sizes while they fit, and up to `least` in any case."""
    size, spent = 1, 0.0
    while True:
        seconds = run(size)
        spent += seconds
        room = (patience - spent) / max(seconds, 1e-4)
        if size >= most or (size >= least and room < 1.5):
            return
        size = min(most, max(size + 1, int(size * min(8.0, room))))


@dataclass
class Stopwatch:
    """Times the calls that cells ask of one opened model."""

    model: Counting
    ledger: Ledger
    limits: Limits
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.found = Timings(self.model.parameters, self.limits.max_new_tokens)
        self._steps: dict[bool, _Steps] = {}

    def evaluation(self) -> None:
        """Time every decoding and scoring that was rehearsed, with the untouched model."""
        for (test, kind, shots), pairs in list(self.ledger.asked.items()):
            self.say(f"{kind} {test}{' after exemplars' if shots else ''}")
            if kind == "decode":
                self._decode(test, shots, [prompt for prompt, _ in pairs])
            elif kind == "prose":
                grow(self._reading(shots, pairs), len(pairs), PATIENCE)
            elif kind == "score":
                groups = by_context(pairs)
                grow(self._scoring(shots, groups), len(groups), PATIENCE)

    def training(self, cell: Cell, rows: Sequence[Row]) -> None:
        """Time a cell's training at growing batches, then what is asked of a trained model."""
        name, spec = method(cell.strategy), cell.strategy
        if name in self.found.trainings:
            return
        self.say(f"train {spec.name}")
        timed = self.found.trainings.setdefault(name, [])

        def run(batch: int) -> float:
            slow = not timed or timed[-1].step_s > PATIENCE / STEPS[1]
            try:
                timed.append(self._train(spec, cell.train, rows, batch, STEPS[not slow]))
            except Diverged:  # at such a rate only a broken model does: it ends a run at once, too
                timed.append(Trained(batch, 1.0, 0.0, 0.0, 0, True, None))
            return STEPS[not slow] * timed[-1].step_s

        most = min(cell.train.of(spec).batch, len(rows))
        grow(run, most, 4 * PATIENCE, least=2)  # a step has a part that is the same for any batch
        self._trained(spec, name, merged=timed[-1].merged)
        with self._timed() as spent:
            self.model.reset()
        self.found.reset_s = max(self.found.reset_s, spent.seconds)

    def warm_up(self, trained: Sequence[tuple[Cell, Sequence[Row]]]) -> None:
        """Make every kind of call once, so that what is loaded by the first is timed apart."""
        decoded, scored = self._rows("decode")[:1], self._rows("score")[:1]
        if decoded:
            self._first(lambda: self._generate([decoded[0][0]], 2))
        if scored:
            self._first(lambda: self.model.score(scored, batch=1))
        for cell, rows in trained:
            with suppress(Diverged):
                self._first(partial(self._train, cell.strategy, cell.train, rows, 1, 1))

    def _first(self, run: Callable[[], object]) -> None:
        """Add what the first of two equal calls took more; a slow one is made once."""
        with self._timed() as once:
            run()
        if once.seconds < 4 * PATIENCE:
            with self._timed() as again:
                run()
            self.found.warming_s += max(0.0, once.seconds - again.seconds)

    def _decode(self, test: str, shots: bool, asked: Sequence[str]) -> None:
        """Decode some rows to their ends: as many as patience allows, the longest among them.

        The seconds of a step, and what each row adds to them, are told from one row and from some.
        """
        pace = self._steps.setdefault(shots, _Steps())
        cap, most = self.limits.max_new_tokens, min(len(asked), self.limits.batch)
        if not pace.step_s:
            few = min(FIRST_WORDS, cap)
            first, more = (self._timed_decode(test, shots, asked, 1, n) for n in (1, few))
            pace.step_s = max(1e-5, (more - first) / max(1, few - 1))
        cap = min(cap, max(2 * FIRST_WORDS, int(8 * PATIENCE / pace.step_s)))
        if not pace.row_s:
            rows = min(FIRST_ROWS, most)
            seconds = self._timed_decode(test, shots, asked, rows, cap)
            steps = max(self.found.written[test, shots][0])
            pace.row_s = max(1e-6, (seconds / steps - pace.step_s) / rows)
        rows = min(most, max(FIRST_ROWS, int((4 * PATIENCE / cap - pace.step_s) / pace.row_s)))
        if len(self.found.written.get((test, shots), ((), 0))[0]) < rows:
            self._timed_decode(test, shots, asked, rows, cap)

    def _timed_decode(
        self, test: str, shots: bool, asked: Sequence[str], rows: int, cap: int
    ) -> float:
        # The longest prompt is one of them: one that does not fit is better told now.
        *others, longest = sorted(asked, key=len)
        chosen, meter = [longest, *spread(others, rows - 1, len)], Meter()
        with self._timed() as spent:
            lengths = self._generate(chosen, cap)
        call = self._called("decode", shots, [(prompt, "") for prompt in chosen])
        features = (call.batches, call.tokens, max(lengths), sum(lengths))
        self.found.samples.append(Sample("decode", shots, features, spent.seconds))
        self.found.written[test, shots] = (tuple(lengths), cap)
        self._peak(meter, call.read + sum(lengths))
        return spent.seconds

    def _generate(self, asked: Sequence[str], cap: int) -> list[int]:
        """Decode all rows in one batch; return the tokens of each completion."""
        stops = prompts.stops(self.model.chat)
        batch = len(asked)
        done = self.model.generate(asked, max_new_tokens=cap, stops=stops, batch=batch)
        return [completion.tokens for completion in done]

    def _scoring(self, shots: bool, groups: Sequence[Pairs]) -> Callable[[int], float]:
        """Return what times the scoring of so many contexts with all that follows them."""

        def run(count: int) -> float:
            chosen = [pair for group in spread(groups, count, _characters) for pair in group]
            call = self._called("score", shots, chosen)
            return self._scored(call, lambda: self.model.score(chosen, batch=call.batch))

        return run

    def _reading(self, shots: bool, pairs: Sequence[tuple[str, str]]) -> Callable[[int], float]:
        """Return what times the reading of so many whole texts."""

        def run(count: int) -> float:
            chosen = spread(pairs, count, lambda pair: len(pair[1]))
            call = self._called("prose", shots, chosen)
            return self._scored(
                call, lambda: self.model.score(chosen, batch=call.batch, windows=True)
            )

        return run

    def _scored(self, call: Call, run: Callable[[], object]) -> float:
        meter = Meter()
        with self._timed() as spent:
            run()
        features = score_features(call)
        self.found.samples.append(Sample("score", call.shots, features, spent.seconds))
        self._peak(meter, call.tokens / call.batches)
        return spent.seconds

    def _train(
        self,
        strategy: StrategySpec,
        train: TrainSpec,
        rows: Sequence[Row],
        batch: int,
        steps: int,
    ) -> Trained:
        """Train a few steps at a batch size, with a rate that harms nothing."""
        chosen = spread(rows, min(len(rows), steps * batch), lambda r: len(r.prompt + r.target))
        spec = replace(
            strategy, learning_rate=NO_HARM, batch=batch, epochs=steps * batch / len(chosen)
        )
        ends: list[float] = []
        meter, start = Meter(), time.perf_counter()
        training = self.model.train(
            chosen, spec, train, 0, lambda event, facts: ends.append(time.perf_counter())
        )
        spent = time.perf_counter() - start
        later = sorted(b - a for a, b in pairwise(ends))
        step_s = later[len(later) // 2] if later else spent / max(1, training.steps)
        return Trained(
            batch=batch,
            step_tokens=training.tokens / training.steps,
            step_s=step_s,
            rest_s=max(0.0, spent - training.steps * step_s),
            trainable=training.trainable,
            merged=training.evidence.get("merged") is not False,
            bytes=meter.peak_bytes(),
        )

    def _trained(self, strategy: StrategySpec, name: str, merged: bool) -> None:
        """Time what is asked of a trained model alone."""
        compared, scored = self._rows("divergence"), self._rows("score")[:4]
        timed = any(sample.kind == "divergence" for sample in self.found.samples)
        if compared and isinstance(self.model, Interpolating) and not timed:
            self.say("divergence")
            grow(lambda n: self._diverge(compared, n), len(compared), PATIENCE)
        if strategy.rewind:
            model = interpolating(self.model)
            with self._timed() as spent:
                model.rewind(0.5)
                model.rewind(1.0)
            self.found.rewind_s = spent.seconds / 2
        if not merged and scored:
            with self._timed() as changed:
                self.model.score(scored, batch=4)
            self.model.reset()
            with self._timed() as plain:
                self.model.score(scored, batch=4)
            self.found.drag[name] = max(1.0, changed.seconds / max(plain.seconds, 1e-6))

    def _diverge(self, pairs: Sequence[tuple[str, str]], count: int) -> float:
        chosen = spread(pairs, count, lambda pair: _characters([pair]))
        with self._timed() as spent:
            interpolating(self.model).divergence(chosen, batch=self.limits.batch)
        features = score_features(self._called("divergence", False, chosen))
        self.found.samples.append(Sample("divergence", False, features, spent.seconds))
        return spent.seconds

    def _called(self, kind: Counted, shots: bool, pairs: Sequence[tuple[str, str]]) -> Call:
        """Return a call of these rows as the ledger counts it."""
        counting = Ledger(self.model, known=self.ledger.known)
        counting.shots = shots
        counting.note(kind, pairs, max(1, min(len(pairs), self.limits.batch)))
        return counting.calls[""][-1]

    def _rows(self, kind: Counted) -> Sequence[tuple[str, str]]:
        """Return the first rows that were asked for in this way, none if none were."""
        return next((rows for sort, rows in self.ledger.asked.items() if sort.kind == kind), ())

    def _peak(self, meter: Meter, tokens: float) -> None:
        held = meter.peak_bytes()
        if held is not None:
            self.found.peaks.append((tokens, held))

    @contextmanager
    def _timed(self) -> Iterator[_Spent]:
        spent = _Spent()
        start = time.perf_counter()
        yield spent
        spent.seconds = time.perf_counter() - start


@dataclass
class _Steps:
    """What a step of a decoding takes, as far as is known: zero until then."""

    step_s: float = 0.0
    row_s: float = 0.0


@dataclass
class _Spent:
    """Seconds of what was timed, once it has ended."""

    seconds: float = 0.0
