"""The choice among what could be shipped: which strategy it is, and what is left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetrap.findings import Effect, Findings
from finetrap.judge.advice.candidates import Candidate, Wishes, gather_candidates, overall_level
from finetrap.judge.advice.noninferior import standings
from finetrap.judge.arms import Comparison, Measure, measures
from finetrap.judge.pairwise import Contrast, contrast, declared
from finetrap.records import Judge, Run


@dataclass(frozen=True)
class Choice:
    """Every candidate for one model and task, cheapest first, and the one to ship."""

    comparison: Comparison
    margins: Judge
    measure: Measure
    """Bits per byte where the accuracy of all is at the floor."""
    floor: bool
    every: tuple[Candidate, ...]

    @property
    def rated(self) -> tuple[Candidate, ...]:
        """Those with answers, within the limits and not shown harmed; each at its tuned rate."""
        return tuple(c for c in self.every if c.standing)

    @property
    def base(self) -> Candidate | None:
        """The model as it came, if it was measured."""
        return next((c for c in self.every if c.arm.is_base and c.arm.answers), None)

    @property
    def shown(self) -> tuple[Candidate, ...]:
        """Those shown to be within the margin of the best; none if the floor hides everything."""
        if self.floor and self.measure == "accuracy":
            return ()
        return tuple(c for c in self.every if c.shown)

    @property
    def pick(self) -> Candidate | None:
        """The cheapest of those without a doubt about forgetting; None where there is none."""
        first = next((c for c in self.shown if not c.doubts), None)
        if first is None or first.arm.is_base or self.pays:
            return first
        return None

    @property
    def pays(self) -> bool:
        """Whether some strategy as good as the best is shown to improve on the base model."""
        return any(
            effect.verdict == "improved" for one in self.shown for effect in self.gain(one)[:1]
        )

    @property
    def best(self) -> Candidate | None:
        """The one that looks best; the cheapest of equals."""
        return max(self.rated, key=self.merit, default=None)

    @property
    def cheaper(self) -> tuple[Candidate, ...]:
        """Those cheaper than the pick that are shown neither as good as the best nor inferior."""
        pick = self.pick
        return tuple(
            c
            for c in self.every
            if c.standing and not c.shown and not c.standing.inferior
            if pick is None or c.cost < pick.cost
        )

    def gain(self, one: Candidate) -> list[Effect]:
        """Return the change on the task by the deciding measure; empty for the base model."""
        return [e for e in one.effects if e.kind == "task" and e.measure == self.measure]

    def merit(self, one: Candidate) -> float:
        """Return points of accuracy, or bits per byte with their sign turned: more is better."""
        value = overall_level(one.arm, self.measure)
        if value is None:
            return float("-inf")
        return value if self.measure == "accuracy" else -value

    def unsettled(self) -> Contrast | None:
        """Return the contrast that most stands between these runs and an answer."""
        if self.cheaper and (standing := self.cheaper[0].standing):
            return standing.contrast
        if self.pick is None and self.shown and not self.pays and self.base:
            return contrast(self.comparison, self.shown[0].arm, self.base.arm, self.measure)
        return None


def make_choice(
    findings: Findings, runs: Sequence[Run], comparison: Comparison, wishes: Wishes
) -> Choice:
    """Rate every strategy of a comparison that was trained for its own task."""
    margins = declared(findings)
    every = gather_candidates(findings, runs, comparison, wishes)
    free = [c for c in every if c.arm.answers and not c.barred and not c.harms]
    fit = [c for c in free if not _was_tuned(c, free)]
    measure, floor = _deciding_measure(every)
    found = standings(comparison, [c.arm for c in fit], measure, margins)
    standing = {id(c): one for c, one in zip(fit, found, strict=True)}
    every = [replace(c, standing=standing.get(id(c))) for c in every]
    return Choice(comparison, margins, measure, floor, tuple(every))


def _was_tuned(one: Candidate, others: Sequence[Candidate]) -> bool:
    """Say whether a search chose another rate for this strategy, which then speaks for it.

    To take the rate that does better on the test would be to search on the test.
    """
    if "tuned" in one.arm.settings:
        return False
    return any(c.arm.label == one.arm.label and "tuned" in c.arm.settings for c in others)


def _deciding_measure(every: Sequence[Candidate]) -> tuple[Measure, bool]:
    """Return what decides, and whether the accuracy of all is at the floor."""
    own = [e for c in every for e in c.effects if e.kind == "task" and e.measure == "accuracy"]
    floor = bool(own) and all(e.floor and e.verdict == "inconclusive" for e in own)
    scored = [measures(c.arm) for c in every if c.arm.answers]
    bits = floor and all("bits_per_byte" in each for each in scored)
    return ("bits_per_byte" if bits else "accuracy"), floor
