"""What a model takes on this machine: each test and training is timed at a small and a large size.

Seconds are a part for each batch (of a decoding: for each step) and a part for each token, which
two points determine. What is timed is what a run does, on the study's own problems, evenly spread
over their lengths, after one call that is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np

from finetrap.backends import Row
from finetrap.errors import Diverged
from finetrap.measure import strategies
from finetrap.measure.meter import Meter
from finetrap.measure.plan.counting import Asked, Counter, Sort
from finetrap.measure.strategies import Questions, Solver
from finetrap.records import Cell, Limits, Problem, StrategySpec, content_hash

PATIENCE = 0.3
"""Seconds that a timed call may take; a slow model takes what its smallest sizes take."""
NO_HARM = 1e-6
"""Learning rate of a timed training: no rate may end it before its time."""
FEW = 8
"""New tokens from which the time of a step is told, and rows that are always sampled."""

Item = TypeVar("Item")


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
    asked: dict[Sort, list[Sample]] = field(default_factory=dict)
    written: dict[Sort, tuple[float, ...]] = field(default_factory=dict)
    """Tokens of the base model's completions."""
    row_bytes: dict[Sort, int] = field(default_factory=dict)
    """What a row holds when it has been written to the cap."""
    trainings: dict[str, TimedTraining] = field(default_factory=dict)
    """By `method`."""
    open_s: float = 0.0
    """Opening the model once its backend is imported."""
    first_s: float = 0.0
    """What a worker takes before that: starting, importing, and the first call of each kind."""


def method(strategy: StrategySpec) -> str:
    """Name what decides the pace of a training: the strategy without its rate and its batch."""
    return content_hash([strategy.kind, dict(strategy.peft or {})])


def steps_of(asked: Asked, mean: float, longest: float) -> float:
    """Return the steps of a decoding: a row that ends hands its slot to the next."""
    return max(longest, asked.rows * mean / min(asked.batch, asked.rows))


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
    """Times what cells ask of one opened model."""

    def __init__(self, counter: Counter, limits: Limits, say: Callable[[str], None]) -> None:
        self.model, self.counter, self.limits, self.say = counter.model, counter, limits, say
        self.found = Timings(self.model.parameters)

    def evaluation(self) -> None:
        """Time every test with the base model: one problem, then as many as patience allows."""
        for sort, (_, test) in self.counter.tests.items():
            self.say(f"answer {sort.test}{' after exemplars' if sort.shots else ''}")
            cap = self.limits.max_new_tokens
            few = replace(self.limits, max_new_tokens=min(FEW, cap))
            first, again = (self._ask(sort, few, 1)[0].seconds for _ in range(2))
            self.found.first_s += max(0.0, first - again)
            timed_cap = min(cap, max(2 * FEW, int(8 * PATIENCE * FEW / max(again, 1e-6))))
            limits = replace(self.limits, max_new_tokens=timed_cap)
            small, _ = self._ask(sort, limits, 1)
            most = max(FEW, int(8 * PATIENCE / max(small.seconds, 1e-6)))
            large, lengths = self._ask(sort, limits, min(most, self.limits.batch))
            self.found.asked[sort] = [small, large]
            if test.kind == "math":
                self.found.written[sort] = uncut(lengths, timed_cap, cap)
                prompt = round((large.tokens - sum(lengths)) / len(lengths))
                self.found.row_bytes[sort] = self.model.row_bytes(prompt + cap)

    def training(self, cell: Cell, rows: Sequence[Row]) -> None:
        """Time a cell's training at two batches."""
        name, strategy = method(cell.strategy), cell.strategy
        self.say(f"train {strategy.name}")
        most = min(cell.train.of(strategy).batch, len(rows))
        if not self.found.trainings:
            first, again = (self._train(cell, rows, 1, TimedTraining(), steps=1) for _ in range(2))
            self.found.first_s += max(0.0, first - again)
        timed = self.found.trainings.setdefault(name, TimedTraining())
        step_s = self._train(cell, rows, 1, timed)
        large = max(2, int(4 * PATIENCE / max(step_s, 1e-6)))
        self._train(cell, rows, min(most, large), timed)
        if timed.drag == 0.0:  # it is not merged into the weights
            sort = next(iter(self.counter.tests))
            changed, _ = self._ask(sort, self.limits, 1)
            self.model.reset()
            timed.drag = max(1.0, changed.seconds / self._ask(sort, self.limits, 1)[0].seconds)
        self.model.reset()

    def _ask(self, sort: Sort, limits: Limits, count: int) -> tuple[Sample, list[int]]:
        """Ask so many problems, the longest among several; return what each wrote as well."""
        solver, test = self.counter.tests[sort]
        # One that does not fit is better told now.
        ordered = sorted(test.problems, key=_characters)
        chosen = evenly(ordered, 1)
        if count > 1:
            chosen = [*evenly(ordered[:-1], count - 1), ordered[-1]]
        asked = self.counter.asked(solver, sort, Questions(test.kind, tuple(chosen)), limits)
        meter, start = Meter(), time.perf_counter()
        answers = strategies.ask(Solver(self.model, solver.shots), test.kind, chosen, limits)
        seconds = time.perf_counter() - start
        lengths = [max(1, answer.tokens) for answer in answers] if asked.cap else []
        tokens = asked.tokens + sum(lengths)
        units = max(lengths, default=asked.batches)
        return Sample(units, tokens, seconds, tokens, meter.peak_bytes()), lengths

    def _train(
        self, cell: Cell, rows: Sequence[Row], batch: int, timed: TimedTraining, steps: int = 4
    ) -> float:
        """Train a few steps at a batch size, with a rate that harms nothing; time one step."""
        ordered = sorted(rows, key=lambda row: len(row.prompt + row.target))
        chosen = evenly(ordered, steps * batch)
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


def evenly(ordered: Sequence[Item], count: int) -> list[Item]:
    """Return items spread evenly over an order: one is the middle one."""
    count = min(count, len(ordered))
    return [ordered[(2 * i + 1) * len(ordered) // (2 * count)] for i in range(count)]


def _characters(problem: Problem) -> int:
    return len(problem.question) + len(problem.solution) + sum(map(len, problem.choices))
