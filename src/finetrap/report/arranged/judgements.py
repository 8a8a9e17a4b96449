"""What follows from the verdicts, arranged to be read: outcomes, advice, claims, diagnoses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from finetrap.findings import Claim, Diagnosis, Effect, Findings, Outcome, Suspect
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel
from finetrap.text.visible import one_line

_GRAVEST = ("harm", "avoidable harm", "inconclusive", "no harm")


def outcome_rows(
    panels: Sequence[Panel], findings: Findings
) -> list[tuple[str, tuple[Outcome, ...]]]:
    """Put the outcomes under the panel that they are about, the gravest first.

    Without a tuned rate they say no more than the verdicts.
    """
    found = []
    for panel in panels:
        own = [
            one
            for one in findings.outcomes
            if (one.model, one.task, one.trained_on or one.task) == panel.key and one.tuned
        ]
        own.sort(key=lambda one: _GRAVEST.index(one.outcome))
        found.append((panel.title, tuple(own)))
    return [one for one in found if one[1]]


class ClaimRow(NamedTuple):
    """One claim with its verdict at each setting."""

    id: int
    statement: str
    verdicts: tuple[Claim, ...]

    @property
    def tested(self) -> bool:
        """Whether any setting could be tested."""
        return any(claim.verdict != "not tested" for claim in self.verdicts)

    @property
    def analogue(self) -> bool:
        """Whether it is tested over miniature sizes instead of the paper's."""
        return any(claim.analogue for claim in self.verdicts)


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

    def suspects(self, verdict: str) -> tuple[Suspect, ...]:
        """Return those with this verdict."""
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
