"""The choice among what could be shipped: which strategy it is, how sure, and what is left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from finetrap.findings import Effect, Findings
from finetrap.judge.advice.candidates import Candidate, Wishes, gather_candidates, overall_level
from finetrap.judge.advice.noninferior import shown_worse, standings
from finetrap.judge.arms import Comparison, Measure
from finetrap.judge.pairing import measures
from finetrap.judge.pairwise import Contrast, contrast, declared
from finetrap.records import Judge, Run
from finetrap.stats.changes import estimate


@dataclass(frozen=True)
class Choice:
    """Every candidate for one model and task, cheapest first, and the one to ship."""

    comparison: Comparison
    margins: Judge
    measure: Measure
    """Accuracy, or bits per byte of a text that has no right answers."""
    floor: bool
    """Whether the accuracy of all is at the floor: then none of them solves the task."""
    every: tuple[Candidate, ...]
    forgetful: frozenset[str] = frozenset()
    """Names of candidates that are shown to lose more on some probe than another candidate."""

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
        """Those shown to be within the margin of the best; none where nothing solves the task."""
        return () if self.floor else tuple(c for c in self.every if c.shown and not c.at_floor)

    @property
    def pick(self) -> Candidate | None:
        """The one to ship: shown to be as good as the best, or else provisionally."""
        return self.sure or self.provisional

    @property
    def grade(self) -> Literal["shown", "provisional", ""]:
        """How sure the pick is; empty where there is none."""
        if self.sure:
            return "shown"
        return "provisional" if self.provisional else ""

    @property
    def sure(self) -> Candidate | None:
        """The cheapest as good as the best, without a doubt about forgetting.

        A dearer one than the base model is shipped only where some strategy as good as the best
        is shown to improve on it.
        """
        first = next((c for c in self.shown if not c.doubts), None)
        if first is None or first.arm.is_base or any(map(self.improves, self.shown)):
            return first
        return None

    @property
    def provisional(self) -> Candidate | None:
        """Where something is shown against the base model: of those better than the base or
        equivalent to it, and not shown worse than any, the one that risks least, then the cheapest.
        A large loss that is inconclusive does not win over a small shown one."""
        if self.floor or not self.decided:
            return None
        fit = [c for c in self.rated if self._holds_its_own(c)]
        return min(fit, key=lambda c: (c.risk, c.cost), default=None)

    @property
    def decided(self) -> bool:
        """Whether any strategy has a verdict on the task against the base model."""
        gains = (e for c in self.every for e in self.gain(c)[:1])
        return any(e.verdict != "inconclusive" for e in gains)

    @property
    def best(self) -> Candidate | None:
        """The one that looks best; the cheapest of equals."""
        return max(self.rated, key=self.merit, default=None)

    @property
    def cheaper(self) -> tuple[Candidate, ...]:
        """Those cheaper than the pick that are shown neither as good as the best nor inferior."""
        pick = self.sure
        return tuple(
            c
            for c in self.every
            if c.standing and not c.shown and not c.standing.inferior
            if pick is None or c.cost < pick.cost
        )

    def improves(self, one: Candidate) -> bool:
        """Say whether a candidate is shown to be better on the task than the base model."""
        return any(e.verdict == "improved" for e in self.gain(one)[:1])

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
        """Return the contrast that most stands between these runs and a sure answer."""
        if self.floor:
            return None
        if self.cheaper and (standing := self.cheaper[0].standing):
            return standing.contrast
        if self.sure is None and self.shown and self.base:
            return contrast(self.comparison, self.shown[0].arm, self.base.arm, self.measure)
        return None

    def _holds_its_own(self, one: Candidate) -> bool:
        """Say whether a candidate may be shipped provisionally."""
        if one.standing is None or one.standing.worse or one.name in self.forgetful:
            return False
        if one.arm.is_base:
            return not any(map(self.improves, self.rated))
        words = [e.verdict for e in self.gain(one)[:1]]
        return not one.at_floor and words in (["improved"], ["equivalent"])


def make_choice(
    findings: Findings,
    runs: Sequence[Run],
    gathered: Sequence[Comparison],
    comparison: Comparison,
    wishes: Wishes,
) -> Choice:
    """Rate every strategy of one of the gathered comparisons that was trained for its own task."""
    margins = declared(findings)
    every = gather_candidates(findings, runs, comparison, wishes)
    free = [c for c in every if c.arm.answers and not c.barred and not c.harms]
    fit = [c for c in free if not _was_tuned(c, free)]
    base = next((c.arm for c in every if c.arm.is_base and c.arm.answers), None)
    measure: Measure = measures(base)[0] if base else "accuracy"
    strategies = [c for c in every if any(e.kind == "task" for e in c.effects)]
    floor = bool(strategies) and all(c.at_floor for c in strategies)
    found = standings(comparison, [c.arm for c in fit], measure, margins)
    standing = {id(c): one for c, one in zip(fit, found, strict=True)}
    every = [replace(c, standing=standing.get(id(c))) for c in every]
    forgetful = _forgetful(fit, gathered, comparison, margins)
    return Choice(comparison, margins, measure, floor, tuple(every), forgetful)


def _was_tuned(one: Candidate, others: Sequence[Candidate]) -> bool:
    """Say whether a search chose another rate for this strategy, which then speaks for it.

    To take the rate that does better on the test would be to search on the test.
    """
    if "tuned" in one.arm.settings:
        return False
    return any(c.arm.label == one.arm.label and "tuned" in c.arm.settings for c in others)


def _forgetful(
    fit: Sequence[Candidate],
    gathered: Sequence[Comparison],
    comparison: Comparison,
    margins: Judge,
) -> frozenset[str]:
    """Name those that are shown to be worse on some probe than another one that could be shipped.

    A prompt changes no weights: on a probe it is the base model.
    """
    trained = {(c.arm.label, c.arm.learning_rate): c.name for c in fit if c.arm.spec.trains}
    pairs = []
    for probe in (c for c in gathered if c.probe and c.model == comparison.model):
        arms = [
            arm
            for arm in probe.arms
            if arm.answers
            and (
                arm.is_base
                or ((arm.label, arm.learning_rate) in trained and arm.trained_on == comparison.test)
            )
        ]
        pairs += [
            (arm, made)
            for arm in arms
            for rival in arms
            if not arm.is_base and rival is not arm and (made := contrast(probe, arm, rival))
        ]
    return frozenset(
        trained[arm.label, arm.learning_rate]
        for arm, made in pairs
        if shown_worse(made, estimate(made.components), margins, len(pairs))
    )
