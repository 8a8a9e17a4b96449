"""Two arms' answers set in pairs, problem by problem, and the estimates of their changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetrap.judge.arms import Arm, Measure, Scores
from finetrap.records import Answer
from finetrap.runs.held import noted
from finetrap.stats.changes import (
    Components,
    Estimate,
    accuracy_components,
    bits_components,
    estimates,
)
from finetrap.stats.likelihood import all_scored, as_bits


@dataclass(frozen=True)
class Pairs:
    """One arm's answers beside its baseline's, problem by problem."""

    measure: Measure
    seeds: tuple[int | None, ...]
    before: NDArray[np.float64]
    """Scores (0 to 1) or nats: n × 1, or n × k where the baseline has seeds of its own."""
    after: NDArray[np.float64]
    """Likewise, n × k."""
    sizes: NDArray[np.float64]
    """Bytes of each text; ones for accuracy."""
    rows: NDArray[np.int64] | None
    """Row of each problem where families are the rows."""
    families: int
    """Number of named families."""
    chance: float | None
    """Share of right answers that guessing gives; None where it is not known."""

    def components(self) -> Components:
        """Analyse the variance of the change."""
        if self.measure == "accuracy":
            return accuracy_components(self.before, self.after, self.rows)
        return bits_components(self.before, self.after, self.sizes, self.rows)

    @property
    def fractional(self) -> bool:
        """Whether some answer is neither right nor wrong: what counts flips is then not known."""
        both = (self.before, self.after)
        return self.measure == "accuracy" and any(((t > 0) & (t < 1)).any() for t in both)

    @property
    def flipped(self) -> float:
        """Mean change of an answer, over all seeds: the share that flipped from right or wrong."""
        return float(np.abs(self.after - self.before).mean())

    def floor(self, margin: float) -> bool:
        """Say whether neither accuracy is above guessing by the margin (a share)."""
        if self.measure != "accuracy" or self.chance is None:
            return False
        return max(self.level(self.before), self.level(self.after)) <= self.chance + margin

    def level(self, values: NDArray[np.float64]) -> float:
        """Return the share of right answers, or the bits per byte, over all seeds."""
        mean = float(values.sum() / (values.size / len(self.sizes)) / self.sizes.sum())
        return mean if self.measure == "accuracy" else as_bits(mean)


def measures(arm: Arm) -> tuple[Measure, ...]:
    """Return what can be compared with this arm: right answers, and where a gold solution was
    scored for every problem its bits per byte; for prose, which has no right answer, only these.
    """
    return noted(next(iter(arm.answers.values()), ()), _measures)


def _measures(answers: Sequence[Answer]) -> tuple[Measure, ...]:
    if all(a.correct is None for a in answers):
        return ("bits_per_byte",)
    scored = all_scored(answers)
    return ("accuracy", "bits_per_byte") if scored and len(answers) > 1 else ("accuracy",)


class LeftOut(NamedTuple):
    """A seed that cannot be paired with the baseline."""

    strategy: str
    seed: int | None
    reason: str

    def __str__(self) -> str:
        """Say so in a note."""
        which = self.strategy if self.seed is None else f"{self.strategy} seed {self.seed}"
        return f"{which} left out: {self.reason}"


def pair(arm: Arm, base: Arm, measure: Measure) -> tuple[Pairs | None, list[LeftOut]]:
    """Pair by problem id; also say which seeds cannot be used, and why.

    A baseline without seeds, or with one, is set against every seed. One with several is paired
    one seed with one, in order, so that the spread of its own seeds is in the interval too; seeds
    that the baseline has no partner for are left out.
    """
    reference = next(iter(base.columns.values()), None)
    if reference is None:
        return None, []
    before, faults = _usable(base, reference, measure)
    after, more = _usable(arm, reference, measure)
    faults += more
    if not before or not after:
        return None, faults
    seeds = tuple(after) if len(before) == 1 else tuple(after)[: len(before)]
    partners = f"{base.label} has {len(before)} seeds to pair it with"
    faults += [LeftOut(arm.label, seed, partners) for seed in tuple(after)[len(seeds) :]]
    pairs = Pairs(
        measure,
        seeds,
        _problems_by_seeds(list(before.values())[: len(seeds)], reference, measure),
        _problems_by_seeds([after[seed] for seed in seeds], reference, measure),
        np.ones(len(reference.ids)) if measure == "accuracy" else reference.sizes,
        *base.clusters,
    )
    return pairs, faults


_Seeds = dict[int | None, Scores]


def _usable(arm: Arm, reference: Scores, measure: Measure) -> tuple[_Seeds, list[LeftOut]]:
    """Return the seeds that answered exactly the reference's problems, and what the others lack."""
    kept: _Seeds = {}
    faults = []
    for seed, column in arm.columns.items():
        fault = _why_unpaired(reference, column, measure)
        if fault is None:
            kept[seed] = column
        else:
            faults.append(LeftOut(arm.label, seed, fault))
    return kept, faults


def _why_unpaired(reference: Scores, found: Scores, measure: Measure) -> str | None:
    """Say why these answers cannot be paired with the reference; None if they can."""
    n, distinct = len(found.ids), len(set(found.ids))
    if distinct < n:
        return f"{n - distinct} duplicate ids"
    if (found.ids, found.golds) != (reference.ids, reference.golds):
        golds = dict(zip(reference.ids, reference.golds, strict=True))
        own = dict(zip(found.ids, found.golds, strict=True))
        if unpaired := golds.keys() ^ own.keys():
            return (
                f"{len(unpaired)} ids, such as '{min(unpaired)}', are not in both it and its "
                "baseline"
            )
        if other := sum(own[i] != gold for i, gold in golds.items()):
            return f"{other} problems have another gold answer than in its baseline"
    if measure == "accuracy":
        unscored = int(np.isnan(found.scores).sum())
    else:
        unscored = int((np.isnan(found.nats) | (found.sizes == 0)).sum())
        if n < 2:
            return "a change of bits per byte needs at least two texts"
    what = "score" if measure == "accuracy" else "likelihood of the gold text"
    return f"{unscored} answers have no {what}" if unscored else None


def _problems_by_seeds(
    seeds: Sequence[Scores], reference: Scores, measure: Measure
) -> NDArray[np.float64]:
    """Return scores (0 to 1) or nats as problems × seeds, in the order of the reference."""
    columns = []
    for own in seeds:
        values = own.scores if measure == "accuracy" else own.nats
        if own.ids != reference.ids:
            places = {name: place for place, name in enumerate(own.ids)}
            values = values[[places[name] for name in reference.ids]]
        columns.append(values)
    table: NDArray[np.float64] = np.array(columns).T
    return table


def estimate_arms(arms: Sequence[tuple[Arm, Components]]) -> list[Estimate]:
    """Estimate each arm; trained arms share seed variance among themselves, prompts among theirs.

    The seeds of a prompt draw exemplars, those of training draw weights and order: another spread.
    """
    found: dict[int, Estimate] = {}
    for trains in (False, True):
        places = [i for i, (arm, _) in enumerate(arms) if arm.spec.trains == trains]
        shared = estimates([arms[i][1] for i in places])
        found.update(zip(places, shared, strict=True))
    return [found[i] for i in range(len(arms))]
