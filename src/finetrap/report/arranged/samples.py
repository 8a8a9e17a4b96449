"""Answers that each arm lost and gained, a few of each: what the page shows without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import NamedTuple

from finetrap.levels import CellRow
from finetrap.records import Answer, Run
from finetrap.report.arranged.panels import Panel, PanelArm

MOST_SAMPLES = 10
"""Answers shown for each of lost and gained."""


class Change(NamedTuple):
    """One problem whose answer turned right or wrong."""

    before: Answer
    after: Answer
    question: str
    """Empty where the base model's run did not record it."""

    @property
    def sides(self) -> tuple[tuple[str, Answer], tuple[str, Answer]]:
        """Both answers with their names."""
        return ("before", self.before), ("after", self.after)


class AnswerSample(NamedTuple):
    """Answers that one run lost and gained against the base model."""

    title: str
    label: str
    seed: int | None
    kinds: tuple[tuple[str, int, tuple[Change, ...]], ...]
    """(`lost` or `gained`, how many in all, the sample)."""


def draw_samples(panels: Sequence[Panel], runs: Mapping[str, Run]) -> list[AnswerSample]:
    """Draw answers of each arm's first finished seed; `runs` by key."""
    found = []
    for panel in panels:
        base = next(_finished(panel.base.cells if panel.base else (), runs), None)
        for arm in panel.arms:
            run = next(_finished(arm.cells, runs), None)
            if base is not None and run is not None:
                found.append(_sample_answers(panel, arm, base, run))
    return [s for s in found if any(total for _, total, _ in s.kinds)]


def _finished(cells: Sequence[CellRow], runs: Mapping[str, Run]) -> Iterator[Run]:
    done = (runs[c.key] for c in cells if c.key in runs)
    return (run for run in done if run.status == "done")


def _sample_answers(panel: Panel, arm: PanelArm, base: Run, run: Run) -> AnswerSample:
    asked_before = {a.id: a for a in base.answers if a.correct is not None}
    asked = base.evidence.get("problems", {}).get(panel.key.task, {})
    pairs = [
        Change(asked_before[a.id], a, asked.get(a.id, {}).get("question", ""))
        for a in run.answers
        if a.id in asked_before
    ]
    kinds = []
    for kind, right_before in (("lost", True), ("gained", False)):
        turned = [
            pair
            for pair in pairs
            if pair.before.correct is right_before and pair.after.correct is (not right_before)
        ]
        drawn = Random(f"report/{kind}/{run.cell.key}").sample(
            turned, min(MOST_SAMPLES, len(turned))
        )
        kinds.append((kind, len(turned), tuple(sorted(drawn, key=lambda pair: pair.after.id))))
    return AnswerSample(panel.title, arm.label, run.cell.seed, tuple(kinds))
