"""Which arms are shown to be as good as the best, whichever that is.

The arm that looks best was picked by its luck too, so a test against it alone is no test against
the best. An arm is within the margin of the best exactly if it is within the margin of every other
arm: all pairs are tested, and its p is the largest of theirs (intersection-union test, Berger
1982). That is the lower bound of Hsu's multiple comparisons with the best (1984), with the margin
in place of zero, and problems, seeds and pairing as in `stats.changes`. The arms' own p are
adjusted by Holm (1979) with at most one true hypothesis fewer than arms: the best is not inferior
to itself (Shaffer 1986).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from finetrap.judge.arms import Arm, Comparison, Measure
from finetrap.judge.pairing import estimate_arms
from finetrap.judge.pairwise import Contrast, contrast, in_margins, p_above
from finetrap.records import Judge
from finetrap.stats.changes import ALPHA, Estimate, estimate


class Standing(NamedTuple):
    """What is shown of one arm beside all others; `p` are one-sided."""

    p: float
    """Of its being worse than the best by the margin or more."""
    p_adjusted: float
    contrast: Contrast | None
    """Against the rival that it is hardest to be shown within the margin of."""
    inferior: bool
    """Shown to be worse than some other arm by more than the margin."""
    worse: bool = False
    """Shown to be worse than some other arm, and not shown to be within the margin of it."""
    below: float | None = None
    """How far it may be below the best, in margins: whichever that is, at the end of the 95%
    interval of the difference. None without a rival that it shares problems with."""

    @property
    def shown(self) -> bool:
        """Whether it is shown to be within the margin of the best."""
        return self.p_adjusted <= ALPHA


def standings(
    comparison: Comparison, arms: Sequence[Arm], measure: Measure, margins: Judge
) -> list[Standing]:
    """Set every arm against every other one on the same problems."""
    table = [_against(comparison, arms, place, measure) for place in range(len(arms))]
    found = [_standing(place, table, margins) for place in range(len(arms))]
    return adjusted_by_holm(found)


def _against(
    comparison: Comparison, arms: Sequence[Arm], base: int, measure: Measure
) -> dict[int, tuple[Contrast, Estimate]]:
    """Estimate every other arm minus one."""
    pairs = {
        place: made
        for place, arm in enumerate(arms)
        if place != base and (made := contrast(comparison, arm, arms[base], measure))
    }
    found = estimate_arms([(arms[place], made.components) for place, made in pairs.items()])
    return {place: (pairs[place], own) for place, own in zip(pairs, found, strict=True)}


def _standing(
    place: int, table: Sequence[dict[int, tuple[Contrast, Estimate]]], margins: Judge
) -> Standing:
    rivals = [base for base in range(len(table)) if base != place]
    if not rivals:
        return Standing(0.0, 0.0, None, False)
    p, gaps, inferior, worse = {}, [], False, False
    for base in rivals:
        if place not in table[base]:
            p[base] = 1.0
            continue
        made, estimated = table[base][place]
        found = in_margins(made, estimated, margins)
        p[base] = p_above(found, -1.0)
        gaps.append(-found.low)
        # Over all other arms, as each may be the one that it is shown to be behind.
        inferior |= (1 - p[base]) * len(rivals) <= ALPHA
        worse |= shown_worse(made, estimated, margins, len(rivals))
    hardest = max(p, key=lambda base: p[base])
    own = table[hardest].get(place)
    # Where it is the best itself, it may still be below the next.
    below = max(0.0, *gaps) if gaps else None
    return Standing(p[hardest], p[hardest], own[0] if own else None, inferior, worse, below)


def shown_worse(made: Contrast, estimated: Estimate, margins: Judge, tests: int) -> bool:
    """Say whether a contrast shows a loss, among so many tests, that is not within the margin."""
    found = in_margins(made, estimated, margins)
    behind = found.centre < 0 and found.p * tests <= ALPHA and abs(estimated.delta) > made.noise
    return behind and p_above(found, -1.0) > ALPHA


def adjusted_by_holm(found: Sequence[Standing]) -> list[Standing]:
    """Adjust by Holm (1979) with Shaffer's (1986) count of what may still be true.

    The best arm's hypothesis is false whichever arm is best, so of m at most m - 1 are true: of
    those left after a rejection, too, as the one rejected may be the best arm's.
    """
    adjusted: dict[int, float] = {}
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(found)), key=lambda i: found[i].p)):
        left = max(min(len(found) - 1, len(found) - rank), 1)
        largest = max(largest, min(1.0, found[place].p * left))
        adjusted[place] = largest
    return [one._replace(p_adjusted=adjusted[place]) for place, one in enumerate(found)]


def outright(comparison: Comparison, arms: Sequence[Arm], measure: Measure) -> list[float]:
    """Return, for each arm, the adjusted p of its not being the best.

    The best is better than every arm of another strategy; rates of one strategy are no rivals.

    It is better than all of them if it is better than each: the largest of the one-sided p
    (intersection-union test, Berger 1982), times the number of arms, as any of them may have come
    out on top by luck (Bonferroni). An arm that does not lead has p 1, and so has every arm where
    one of them shares no usable problems with the first.
    """
    unit = Judge()
    table = [contrast(comparison, arm, arms[0], measure) for arm in arms]
    if not all(table):
        return [1.0] * len(arms)
    leads = [in_margins(c, estimate(c.components), unit).delta for c in table if c]
    found = [1.0] * len(arms)
    for place, arm in enumerate(arms):
        rivals = [i for i, other in enumerate(arms) if other.label != arm.label]
        if rivals and all(leads[place] > leads[i] for i in rivals):
            worst = max(_not_better(comparison, arm, arms[i], measure, unit) for i in rivals)
            found[place] = min(1.0, worst * len(arms))
    return found


def _not_better(
    comparison: Comparison, arm: Arm, rival: Arm, measure: Measure, unit: Judge
) -> float:
    """Return the one-sided p of an arm's being no better than one rival, 1 within the noise."""
    made = contrast(comparison, arm, rival, measure)
    if made is None:
        return 1.0
    found = estimate(made.components)
    if abs(found.delta) <= made.noise:
        return 1.0
    return p_above(in_margins(made, found, unit), 0.0)
