"""Two arms of one model set against each other, problem by problem: what claims and advice need.

Verdicts are against the base model or the best prompt. "LoRA beats full fine-tuning" and "as
good as the best" are about two arms, and the difference of two verdicts is no test of either: these
pairs are formed anew from the answers, problems × seeds, and go through the same estimates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetrap.findings import Contender, Findings
from finetrap.judge.arms import Arm, Comparison, Measure
from finetrap.judge.pairing import Pairs, measures, pair
from finetrap.levels import Setting
from finetrap.records import Judge
from finetrap.stats.changes import Components, Estimate, Judged, estimate, judge_family
from finetrap.stats.disagreement import noise_floor
from finetrap.stats.power import Spread, accuracy_spread, observed_spread

TINY = 1e-9
"""Stands in for a margin of zero where a change is measured in margins."""


@dataclass(frozen=True)
class Contrast:
    """One arm minus another on the same problems."""

    test: str
    pairs: Pairs
    components: Components
    noise: float = 0.0
    """Share of the base model's answers that changed when it was asked again."""

    @property
    def bits(self) -> bool:
        """Whether bits per byte are compared: there a rise is for the worse."""
        return self.pairs.measure == "bits_per_byte"

    @property
    def unit(self) -> float:
        """Points in a share; bits per byte stay as they are."""
        return 1.0 if self.bits else 100.0

    def margin(self, margins: Judge) -> float:
        """Return the declared margin in the unit of the estimate, a share or bits per byte."""
        return margins.bits_margin if self.bits else margins.margin / 100

    def floor(self, margins: Judge) -> bool:
        """Say whether neither arm's accuracy is above guessing by the margin."""
        return self.pairs.floor(margins.margin / 100)


class Result(NamedTuple):
    """A contrast with its estimate, and its verdict among the tests made together."""

    contrast: Contrast
    found: Estimate
    judged: Judged


def contrast(
    comparison: Comparison, arm: Arm, base: Arm, measure: Measure | None = None
) -> Contrast | None:
    """Pair two arms of a comparison; None where they share no usable problems.

    Without a measure right answers are compared, and on prose bits per byte.
    """
    measure = measure or measures(base)[0]
    # Paired the usual way, an arm with one seed would meet only the first of its base's.
    turned = len(arm.answers) == 1 < len(base.answers)
    pairs, _ = pair(base, arm, measure) if turned else pair(arm, base, measure)
    if pairs is None:
        return None
    if turned:
        pairs = replace(pairs, before=pairs.after, after=pairs.before)
    again = next((a.self_flips for a in comparison.arms if a.is_base), None)
    noise = again if again and measure == "accuracy" else 0.0
    return Contrast(comparison.test, pairs, pairs.components(), noise)


def pooled(parts: Sequence[Contrast]) -> Contrast:
    """Join contrasts of the same two arms on several tests into one, over all their problems.

    A column is a seed on every test; where tests have unlike numbers of seeds the fewest count.
    """
    if len(parts) == 1:
        return parts[0]
    tables = [part.pairs for part in parts]
    seeds = min((t.seeds for t in tables), key=len)
    sizes = np.concatenate([t.sizes for t in tables])
    pairs = Pairs(
        measure=tables[0].measure,
        seeds=seeds,
        before=np.vstack([_first_columns(t.before, len(seeds)) for t in tables]),
        after=np.vstack([_first_columns(t.after, len(seeds)) for t in tables]),
        sizes=sizes,
        rows=_joined_rows(tables),
        families=sum(t.families for t in tables),
        chance=_pooled_chance(tables),
    )
    tests = ", ".join(part.test for part in parts)
    return Contrast(tests, pairs, pairs.components(), max(part.noise for part in parts))


def _pooled_chance(tables: Sequence[Pairs]) -> float | None:
    known = [t.chance * len(t.sizes) for t in tables if t.chance is not None]
    return sum(known) / sum(len(t.sizes) for t in tables) if len(known) == len(tables) else None


def judge_together(contrasts: Sequence[Contrast], margins: Judge) -> list[Result]:
    """Judge tests as one family; accuracy and bits per byte meet in units of their margins."""
    found = [estimate(c.components) for c in contrasts]
    scaled = [in_margins(c, e, margins) for c, e in zip(contrasts, found, strict=True)]
    judged = judge_family(
        scaled,
        1.0,
        floors=[c.floor(margins) for c in contrasts],
        noise=max((c.noise / max(c.margin(margins), TINY) for c in contrasts), default=0.0),
    )
    return [Result(*row) for row in zip(contrasts, found, judged, strict=True)]


def in_margins(own: Contrast, found: Estimate, margins: Judge) -> Estimate:
    """Return the estimate in units of its margin, with a rise always for the better."""
    size = max(own.margin(margins), TINY)
    sign = -1.0 if own.bits else 1.0
    return replace(
        found,
        delta=sign * found.delta / size,
        centre=sign * found.centre / size,
        variance=found.variance / size**2,
        lowest=found.lowest / size,  # Bits per byte have no ends that could change places.
        highest=found.highest / size,
    )


def p_above(found: Estimate, bound: float) -> float:
    """Return the one-sided p of a change of at most `bound`: small where it is shown to be more."""
    shifted = replace(found, centre=found.centre - bound)
    half = shifted.p / 2
    return half if shifted.centre > 0 else 1 - half


def contrast_spread(own: Contrast, margins: Judge) -> Spread:
    """Return the variances that a plan of further problems and seeds starts from."""
    found, pairs = estimate(own.components), own.pairs
    if own.bits or pairs.fractional:
        return observed_spread(own.components, found)
    noise = sum(noise_floor(side) or 0.0 for side in (pairs.before, pairs.after))
    return accuracy_spread(own.components, found, pairs.flipped, noise, own.margin(margins))


def declared(findings: Findings) -> Judge:
    """Return the margins that the findings were judged by."""
    stated = {effect.measure: effect.margin for effect in findings.effects}
    default = Judge()
    return Judge(
        margin=stated.get("accuracy", default.margin),
        bits_margin=stated.get("bits_per_byte", default.bits_margin),
    )


def arms_at(comparison: Comparison, setting: Setting) -> list[Arm]:
    """Return the arms of a setting, failed ones too; prompts have no rate and belong to both.

    Where strategies were measured at several fixed rates, it is the rate that most of them share.
    """
    prompts = [a for a in comparison.arms if not a.spec.trains]
    trained = [a for a in comparison.arms if a.spec.trains and setting in a.settings]
    return prompts + (_at_shared_rate(trained) if setting == "fixed" else trained)


def named_arm(arm: Arm) -> str:
    """Name an arm with its learning rate, as it stands in a sentence."""
    return str(Contender(arm.label, arm.learning_rate))


def _at_shared_rate(arms: Sequence[Arm]) -> list[Arm]:
    """Keep, of each strategy, the rates that as many strategies as possible were measured at."""
    strategies = {(a.label, a.trained_on, a.learning_rate) for a in arms}
    shared = Counter(rate for _, _, rate in strategies)
    most: Counter[tuple[str, str]] = Counter()
    for label, trained_on, rate in strategies:
        most[label, trained_on] = max(most[label, trained_on], shared[rate])
    return [a for a in arms if shared[a.learning_rate] == most[a.label, a.trained_on]]


def _first_columns(table: NDArray[np.float64], seeds: int) -> NDArray[np.float64]:
    """Return the first columns of a table, or its only one as often as there are seeds."""
    return np.repeat(table, seeds, axis=1) if table.shape[1] == 1 else table[:, :seeds]


def _joined_rows(tables: Sequence[Pairs]) -> NDArray[np.int64] | None:
    """Return the rows of joined tests: families where a test has them as rows, else problems."""
    if all(t.rows is None for t in tables):
        return None
    codes: list[NDArray[np.int64]] = []
    start = 0
    for t in tables:
        own = np.arange(len(t.sizes)) if t.rows is None else t.rows
        codes.append(own + start)
        start += int(own.max()) + 1
    return np.concatenate(codes)
