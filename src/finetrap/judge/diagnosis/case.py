"""A case: one worse result with everything on disk that may tell why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from finetrap.findings import Effect, Findings
from finetrap.judge.arms import learning_rate, tuned_for
from finetrap.levels import Word
from finetrap.records import Answer, Cell, Run, content_hash
from finetrap.runs.trials import searched
from finetrap.stats.changes import Estimate, accuracy_components, estimate, judge_family
from finetrap.stats.likelihood import all_scored, gold_bits

MARGIN = 2.0
"""Points of accuracy below which nothing is explained, where no effect says what counts."""
FEWEST = 5
"""Answers that must show a cause before it counts: two or three are luck."""


@dataclass(frozen=True)
class Rate:
    """The same strategy at another learning rate, against the base model."""

    learning_rate: float
    split: Literal["test", "dev"]
    before: float
    """Percent right of the base model."""
    after: float
    low: float
    """Of the change, in points, as is `high`."""
    high: float
    word: Word


@dataclass(frozen=True)
class Case:
    """One strategy's answers beside those of the base model."""

    before: Sequence[Answer]
    after: Sequence[Answer]
    """Of every seed, one after the other."""
    runs: tuple[Run, ...] = ()
    """The trained runs, failed ones too; none where only outputs are known."""
    base: Run | None = None
    accuracy: Effect | None = None
    bits: Effect | None = None
    probes: tuple[Effect, ...] = ()
    rates: tuple[Rate, ...] = ()
    """By learning rate, this strategy's own among them."""
    about: str = ""
    """Of files: by which scores answers count as right, and how many problems are left out."""

    @property
    def free_text(self) -> bool:
        """Whether both sides wrote answers that can be read and graded."""
        return all(
            any(a.completion.strip() and a.rule != "likelihood" for a in side)
            and all(a.correct is not None for a in side)
            for side in (self.before, self.after)
        )

    @property
    def margin(self) -> float:
        """Points within which a change is called equivalent."""
        return self.accuracy.margin if self.accuracy else MARGIN

    @property
    def harm(self) -> float:
        """Points of accuracy lost; negative where some were gained."""
        return percent_that(self.before, is_right) - percent_that(self.after, is_right)

    @property
    def knows(self) -> bool:
        """Whether the base model solves clearly more problems than none.

        Where it does not, its likelihoods say as much of the task as of the data.
        """
        right = sum(map(is_right, self.before))
        return right >= FEWEST and percent_that(self.before, is_right) >= 5 * self.margin

    def explains(self, shows: Callable[[Answer], bool]) -> bool:
        """Whether wrong answers that show a cause are so much more frequent after the training
        that they make up at least half of what was lost, and more than the margin."""

        def wrong(answer: Answer) -> bool:
            return not is_right(answer) and shows(answer)

        risen = percent_that(self.after, wrong) - percent_that(self.before, wrong)
        enough = sum(map(wrong, self.after)) >= FEWEST
        return enough and risen >= max(self.margin, self.harm / 2)

    def evidence(self, name: str) -> list[Any]:
        """Return what the runs hold under a name, one value of each run that has it."""
        found = (run.evidence.get(name) for run in self.runs)
        return [value for value in found if value is not None]

    def first(self, name: str) -> Any:
        """Return what the first run that has it holds under a name; None without any."""
        return next(iter(self.evidence(name)), None)

    def curves(self, name: str) -> list[list[float]]:
        """Return a curve of each run, steps without a number left out."""
        curves = [[v for v in curve if v is not None] for curve in self.evidence(name)]
        return [curve for curve in curves if curve]


def is_right(answer: Answer) -> bool:
    """Whether an answer was counted as right."""
    return bool(answer.correct)


def percent_that(answers: Sequence[Answer], shows: Callable[[Answer], bool]) -> float:
    """Return the percentage of answers that show something; 0 of none."""
    return 100 * sum(map(shows, answers)) / len(answers) if answers else 0.0


def bits_of_all(answers: Sequence[Answer]) -> float | None:
    """Return bits per byte of the gold solutions; None unless every one was scored."""
    return gold_bits(answers) if all_scored(answers) else None


class Ruling(NamedTuple):
    """What the records say of one suspect."""

    verdict: Literal["likely cause", "ruled out", "not enough data"]
    evidence: str
    remedy: str = ""


def likely_cause(evidence: str, remedy: str) -> Ruling:
    """Rule that a suspect is a cause, and say what to do."""
    return Ruling("likely cause", evidence, remedy)


def ruled_out(evidence: str) -> Ruling:
    """Rule that a suspect is no cause."""
    return Ruling("ruled out", evidence)


def not_enough_data(evidence: str) -> Ruling:
    """Rule that the records do not show it, and say what is missing."""
    return Ruling("not enough data", evidence)


# --- gathering cases from runs ----------------------------------------------------------------


def trained_arms(runs: Sequence[Run]) -> Iterator[tuple[Run, ...]]:
    """Yield the runs of each trained strategy on each test: the seeds of one setting."""
    arms: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.cell.strategy.trains and run.cell.split == "test":
            arms[content_hash(replace(run.cell, seed=None).identity())].append(run)
    return (tuple(arm) for arm in arms.values())


def build_case(arm: Sequence[Run], runs: Sequence[Run], effects: Iterable[Effect]) -> Case:
    """Put the runs of one strategy beside whatever else was measured.

    `effects` are those of this strategy at one setting, against the base model.
    """
    cell = arm[0].cell
    found = list(effects)
    tests = [e for e in found if e.kind != "probe"]
    base = _base_run(cell, runs)
    margin = next((e.margin for e in tests if e.measure == "accuracy"), MARGIN)
    return Case(
        before=base.answers if base else (),
        after=tuple(answer for run in arm if run.status == "done" for answer in run.answers),
        runs=tuple(arm),
        base=base,
        accuracy=next((e for e in tests if e.measure == "accuracy"), None),
        bits=next((e for e in tests if e.measure == "bits_per_byte"), None),
        probes=tuple(e for e in found if e.kind == "probe"),
        rates=tuple(_tried_rates(cell, runs, margin)),
    )


def effects_of(cell: Cell, label: str, findings: Findings) -> list[Effect]:
    """Return a strategy's effects on its test and on its probes, against the base model."""
    tests = {(False, cell.task.name), *((True, probe.name) for probe in cell.probes)}
    return [
        e
        for e in findings.effects
        if (e.model, e.strategy, e.learning_rate, e.trained_on)
        == (cell.model.shown, label, learning_rate(cell), tuned_for(cell))
        and e.against == "zero-shot"
        and (e.kind == "probe", e.task) in tests
    ]


def _base_run(cell: Cell, runs: Iterable[Run]) -> Run | None:
    """Return the run in which the model as it came was asked what this cell asks."""
    asked = _asked_as(cell)
    return next(
        (
            run
            for run in runs
            if run.status == "done" and run.cell.strategy.is_base and _asked_as(run.cell) == asked
        ),
        None,
    )


def _asked_as(cell: Cell) -> str:
    """Name the model and the problems that a cell asks it."""
    identity = cell.identity()
    dev = cell.train.dev if cell.split == "dev" else 0
    return content_hash([*(identity[part] for part in ("model", "task", "split", "limits")), dev])


def _tried_rates(cell: Cell, runs: Sequence[Run], margin: float) -> Iterator[Rate]:
    """Yield every learning rate at which this strategy was tried on all its training problems."""
    search = searched(cell)
    groups: dict[tuple[float, str], list[Run]] = defaultdict(list)
    for run in runs:
        other, rate = run.cell, learning_rate(run.cell)
        named = cell.strategy.trained_as if other.split == "dev" else cell.strategy
        if (
            run.status == "done"
            and rate is not None
            and other.strategy.name == named.name
            and searched(other) == search
            and other.train.share == 1
            and (other.split == "dev" or _asked_as(other) == _asked_as(cell))
        ):
            groups[rate, other.split].append(run)
    for (rate, _), tried in sorted(groups.items(), key=lambda item: item[0]):
        base = _base_run(tried[0].cell, runs)
        if base:
            after = [run.answers for run in tried]
            change = paired(base.answers, after)
            if change:
                yield _tried_rate(rate, tried[0].cell.split, base.answers, after, change, margin)


def _tried_rate(
    rate: float,
    split: Literal["test", "dev"],
    before: Sequence[Answer],
    after: Sequence[Sequence[Answer]],
    change: Estimate,
    margin: float,
) -> Rate:
    return Rate(
        rate,
        split,
        percent_that(before, is_right),
        percent_that([a for seed in after for a in seed], is_right),
        100 * change.low,
        100 * change.high,
        judge_family([change], margin / 100)[0].verdict,
    )


def paired(before: Sequence[Answer], after: Sequence[Sequence[Answer]]) -> Estimate | None:
    """Estimate the change of right answers, each of `after` one seed; None if they do not pair."""
    ids = [a.id for a in before]
    columns = [{a.id: is_right(a) for a in seed} for seed in after]
    if not ids or any(column.keys() != set(ids) for column in columns):
        return None
    table = np.array([[column[i] for column in columns] for i in ids], dtype=float)
    return estimate(accuracy_components([is_right(a) for a in before], table))
