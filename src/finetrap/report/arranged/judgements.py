"""What follows from the verdicts, arranged to be read: outcomes, advice, claims, diagnoses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from finetrap.findings import Advice, Claim, Diagnosis, Effect, Findings, Outcome, Suspect
from finetrap.report import wording
from finetrap.report.arranged import sentences
from finetrap.report.arranged.panels import Panel
from finetrap.text.visible import one_line

_GRAVEST = ("harm", "avoidable harm", "inconclusive", "no harm")


class OutcomeRow(NamedTuple):
    """What one trained strategy did at both learning rates."""

    outcome: Outcome
    fixed: Effect | None
    """The change behind each verdict; None where it was not measured."""
    tuned: Effect | None

    @property
    def label(self) -> str:
        """Name the strategy."""
        return wording.strategy(self.outcome.strategy)

    @property
    def settings(self) -> tuple[tuple[float | None, str | None, Effect | None], ...]:
        """(rate, verdict, change) at the fixed and at the tuned rate."""
        found = self.outcome
        return (
            (found.fixed_rate, found.fixed, self.fixed),
            (found.tuned_rate, found.tuned, self.tuned),
        )


class Card(NamedTuple):
    """The answer for one model and task: the sentence, what to ship, what each strategy did."""

    answer: sentences.Sentence
    advice: tuple[Advice, ...]
    outcomes: tuple[OutcomeRow, ...]


def cards(panels: Sequence[Panel], findings: Findings) -> list[Card]:
    """Put the outcomes and the advice under the panel that they are about; gravest first."""
    left = list(findings.advice)
    found = []
    for panel in panels:
        key = panel.key
        advice = tuple(a for a in left if (a.model, a.task) == (key.model, key.task))
        left = [a for a in left if a not in advice]
        rows = [
            OutcomeRow(o, _behind(o, "fixed", findings), _behind(o, "tuned", findings))
            for o in findings.outcomes
            if (o.model, o.task, o.trained_on or o.task) == key
        ]
        rows.sort(key=lambda row: _GRAVEST.index(row.outcome.outcome))
        found.append(Card(sentences.answer(panel, findings.detectable), advice, tuple(rows)))
    alone = [sentences.Sentence(f"{a.model} on {a.task}", (), 0, "") for a in left]
    return found + [Card(answer, (a,), ()) for answer, a in zip(alone, left, strict=True)]


def _behind(outcome: Outcome, setting: str, findings: Findings) -> Effect | None:
    """Return the change that an outcome's verdict is about: of accuracy unless it is at the floor,
    where the verdict may be that on bits per byte."""
    word = outcome.fixed if setting == "fixed" else outcome.tuned
    rate = outcome.fixed_rate if setting == "fixed" else outcome.tuned_rate
    own = [
        e
        for e in findings.effects
        if (e.model, e.task, e.strategy, e.trained_on, e.learning_rate, e.setting, e.verdict)
        == (outcome.model, outcome.task, outcome.strategy, outcome.trained_on, rate, setting, word)
        and e.against == "zero-shot"
        and e.kind != "probe"
    ]
    return min(own, key=lambda e: e.measure != "accuracy", default=None)


class ClaimRow(NamedTuple):
    """One claim with its verdict at each setting."""

    id: int
    statement: str
    verdicts: tuple[Claim, ...]

    @property
    def tested(self) -> bool:
        """Whether any setting could be tested."""
        return any(claim.verdict != "not tested" for claim in self.verdicts)


def claim_rows(findings: Findings) -> list[ClaimRow]:
    """Join the settings of each claim."""
    found: dict[tuple[int, str], list[Claim]] = {}
    for claim in findings.claims:
        found.setdefault((claim.id, claim.statement), []).append(claim)
    return [ClaimRow(*key, tuple(own)) for key, own in found.items()]


class DiagnosisRow(NamedTuple):
    """Why one strategy's result is worse: its suspects, sorted by verdict."""

    diagnosis: Diagnosis
    effect: Effect | None

    @property
    def title(self) -> str:
        """Name the strategy, its rate, the model and the task."""
        found = self.diagnosis
        who = wording.arm(found.strategy, found.learning_rate, found.setting, joint=" at ")
        return f"{wording.capital(who)}: {one_line(found.model, 40)} on {one_line(found.task, 40)}"

    @property
    def likely_cause(self) -> tuple[Suspect, ...]:
        """Suspects with evidence against them."""
        return self._with("likely cause")

    @property
    def ruled_out(self) -> tuple[Suspect, ...]:
        """Suspects with evidence for them."""
        return self._with("ruled out")

    @property
    def not_enough_data(self) -> tuple[Suspect, ...]:
        """Suspects of which the runs hold no evidence."""
        return self._with("not enough data")

    def _with(self, verdict: str) -> tuple[Suspect, ...]:
        return tuple(s for s in self.diagnosis.suspects if s.verdict == verdict)


def diagnosis_rows(findings: Findings) -> list[DiagnosisRow]:
    """Return every diagnosis with the change that it explains."""
    effects = {
        (e.model, e.task, e.strategy, e.learning_rate, e.setting): e
        for e in reversed(findings.effects)
        if e.against == "zero-shot" and e.kind != "probe" and e.measure == "accuracy"
    }
    return [
        DiagnosisRow(d, effects.get((d.model, d.task, d.strategy, d.learning_rate, d.setting)))
        for d in findings.diagnoses
    ]
