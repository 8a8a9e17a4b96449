"""How fast this machine is with one model: seconds of any call, fitted to timed ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetrap.measure.plan.rehearsal import Call
from finetrap.measure.plan.timing import Timings, Trained, decode_features, score_features

Coefficients = tuple[float, ...]


@dataclass(frozen=True)
class TrainingPace:
    """A training's seconds: `rest_s + steps · step_s + tokens · token_s`."""

    rest_s: float
    step_s: float
    token_s: float
    trainable: int
    drag: float
    """How many times slower the trained model is asked than the untouched one."""
    held: tuple[tuple[float, int], ...]
    """(tokens in a step, most bytes held)."""


@dataclass(frozen=True)
class Pace:
    """What one model takes on this machine, with as many workers at once as the study has."""

    parameters: int
    calls: Mapping[tuple[str, bool], Coefficients]
    """By kind of call and whether exemplars stand before: seconds for each of its features."""
    written: Mapping[tuple[str, bool], tuple[float, ...]]
    """Tokens of the untouched model's completions, by test and exemplars."""
    trainings: Mapping[str, TrainingPace]
    rewind_s: float
    reset_s: float
    held: tuple[tuple[float, int], ...]
    """(tokens at once, most bytes held) of evaluation."""
    open_s: float
    """Opening the model once its backend is imported."""
    first_s: float
    """What a worker takes before that: starting, importing, and the first call of each kind."""

    def seconds(self, call: Call, lengths: Sequence[float] = ()) -> float:
        """Return the seconds of a call that is no training; `lengths` are those it will write."""
        if call.kind == "rewind":
            return self.rewind_s
        features = decode_features(call, lengths) if call.kind == "decode" else score_features(call)
        rates = self.calls.get((call.kind, call.shots)) or self.calls.get((call.kind, False))
        return float(np.dot(features, rates)) if rates else 0.0

    def completions(self, call: Call, solution_tokens: float | None = None) -> tuple[float, ...]:
        """Return a sample of the lengths that a decoding will write.

        The untouched model's on that test, or with `solution_tokens` that length for every row.
        """
        if solution_tokens:
            return (min(solution_tokens, call.cap),)
        known = self.written.get((call.test, call.shots)) or self.written.get((call.test, False))
        pooled = tuple(n for lengths in self.written.values() for n in lengths)
        return tuple(min(n, call.cap) for n in known or pooled or (call.cap,))

    def training_s(self, call: Call, method: str) -> float:
        """Return the seconds of a training."""
        pace = self.trainings[method]
        return pace.rest_s + call.batches * pace.step_s + call.tokens * pace.token_s

    def bytes(self, calls: Iterable[Call], method: str | None) -> int | None:
        """Return the most memory that a cell of these calls will hold; None where it is unknown."""
        found = []
        for call in calls:
            at_once = min(call.rows, call.batch)
            if call.kind == "train" and method:
                held = self.trainings[method].held
                found.append(extrapolated(held, call.tokens / max(1, call.batches)))
            elif call.rows:
                tokens = at_once * (call.read / call.rows + (call.cap if call.scored == 0 else 0))
                found.append(extrapolated(self.held, tokens))
        known = [size for size in found if size is not None]
        return max(known) if known else None


def pace(timings: Sequence[Timings], open_s: float, first_s: float) -> Pace:
    """Fit one pace to what several calibrators timed at the same time."""
    one = timings[0]
    samples = [sample for t in timings for sample in t.samples]
    kinds: dict[tuple[str, bool], None] = dict.fromkeys((s.kind, s.shots) for s in samples)
    calls = {
        kind: fitted([(s.features, s.seconds) for s in samples if (s.kind, s.shots) == kind])
        for kind in kinds
    }
    return Pace(
        parameters=one.parameters,
        calls=calls,
        written={test: uncut(*found, one.cap) for test, found in one.written.items()},
        trainings={
            name: _training(
                [s for t in timings for s in t.trainings[name]], one.drag.get(name, 1.0)
            )
            for name in one.trainings
        },
        rewind_s=_mean([t.rewind_s for t in timings]),
        reset_s=_mean([t.reset_s for t in timings]),
        held=tuple(one.peaks),
        open_s=open_s,
        first_s=first_s + _mean([t.warming_s for t in timings]),
    )


def fitted(samples: Sequence[tuple[Sequence[float], float]]) -> Coefficients:
    """Return non-negative seconds for each feature (Lawson & Hanson 1974, NNLS).

    Errors count relative to the root of the seconds: long calls, which a study is made of, weigh
    more than short ones, and do not drown them.
    """
    from scipy.optimize import nnls  # calibrators import this module and need none of it

    weights = np.array([1 / max(seconds, 1e-6) ** 0.5 for _, seconds in samples])
    features = np.array([found for found, _ in samples], dtype=float) * weights[:, None]
    scale = np.maximum(features.max(0), 1e-12)
    found, _ = nnls(features / scale, np.array([s for _, s in samples]) * weights)
    return tuple(map(float, found / scale))


def uncut(lengths: Sequence[int], timed_cap: int, cap: int) -> tuple[float, ...]:
    """Return completions' lengths where a calibration let them write less than the study does.

    Rows that were cut go on to end at the rate at which tokens ended the others: their lengths are
    quantiles of that geometric distribution.
    """
    cut = sum(n >= timed_cap for n in lengths)
    if timed_cap >= cap or not cut:
        return tuple(map(float, lengths))
    rate = (len(lengths) - cut) / sum(lengths)
    ended = [float(n) for n in lengths if n < timed_cap]
    if not rate:
        return (*ended, *[float(cap)] * cut)
    more = [np.log(1 - (i + 0.5) / cut) / np.log(1 - rate) for i in range(cut)]
    return (*ended, *(min(float(cap), timed_cap + float(n)) for n in more))


def extrapolated(held: Sequence[tuple[float, int]], tokens: float) -> int | None:
    """Return the bytes held with so many tokens at once, on the line through what was measured."""
    if not held:
        return None
    small, large = min(held), max(held)
    most = max(size for _, size in held)
    if tokens <= large[0] or large[0] == small[0]:
        return most
    slope = max(0.0, (large[1] - small[1]) / (large[0] - small[0]))
    return int(most + slope * (tokens - large[0]))


def _training(timed: Sequence[Trained], drag: float) -> TrainingPace:
    steps = [((1.0, one.step_tokens), one.step_s) for one in timed]
    step_s, token_s = fitted(steps)
    return TrainingPace(
        rest_s=_mean([one.rest_s for one in timed]),
        step_s=step_s,
        token_s=token_s,
        trainable=timed[0].trainable,
        drag=drag,
        held=tuple((one.step_tokens, one.bytes) for one in timed if one.bytes is not None),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
