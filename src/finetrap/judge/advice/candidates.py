"""What could be shipped for a model and training task: each strategy's costs, harms, limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from finetrap.findings import Contender, Effect, Findings
from finetrap.judge.advice.noninferior import Standing
from finetrap.judge.arms import (
    Arm,
    Comparison,
    Measure,
    learning_rate,
    right_of,
    strategy_labels,
    tuned_for,
)
from finetrap.judge.forgetting import forgetting_of, telling
from finetrap.levels import Forgetting
from finetrap.records import Run
from finetrap.runs.held import noted
from finetrap.stats.likelihood import bits_per_byte
from finetrap.stats.retention import percent_of


@dataclass(frozen=True)
class Wishes:
    """A user's limits; None sets no limit."""

    max_memory: int | None = None
    """Bytes that training and evaluating may hold at their peak."""
    min_retention: float | None = None
    """Points of every probe's ability above chance that must be left; a probe on which the base
    model is not clearly above chance has none to lose."""
    must_ship_one_file: bool = False
    """One set of weights and nothing beside it: no exemplars, no adapter that cannot be merged."""


@dataclass(frozen=True)
class Candidate:
    """One strategy that could be shipped, and what speaks against it."""

    arm: Arm
    runs: tuple[Run, ...]
    """On the training task's own test, failed ones too."""
    effects: tuple[Effect, ...]
    """Against the base model, one for each test and measure."""
    barred: str = ""
    """The limit that it breaks, or is not known to keep; empty if none."""
    standing: Standing | None = None
    """Beside the others; None where it has no answers, is harmed, barred, or not at its rate."""

    @property
    def shown(self) -> bool:
        """Whether it is shown to be within the margin of the best."""
        return self.standing is not None and self.standing.shown

    @property
    def contender(self) -> Contender:
        """The same as it stands in the advice."""
        return Contender(self.arm.label, self.arm.learning_rate)

    @property
    def name(self) -> str:
        """The strategy with its learning rate."""
        return str(self.contender)

    @property
    def cost(self) -> tuple[int, float, float, str]:
        """What is sorted by to find the cheapest; an unknown number is the dearest.

        What has to be shipped comes first, because it is paid for on every device: nothing, a
        longer prompt, an adapter, whole weights (a rewound strategy has weights of its own). Then
        the seconds of training, then those of evaluation.
        """
        spec = self.arm.spec
        tier = {"prompt": 1, "peft": 2, "full": 3, "given": 3}[spec.kind]
        if self.arm.is_base:
            tier = 0
        elif spec.rewind:
            tier = 3
        train = _mean_known(run.costs.train_s for run in self.runs if run.status == "done")
        evaluate = _mean_known(run.costs.eval_s for run in self.runs if run.status == "done")
        return tier, train, evaluate, self.name

    @property
    def telling(self) -> tuple[Effect, ...]:
        """One effect for each test whose harm is the model's own.

        What exemplars do on other tests is transfer of a prompt, which need not be used there.
        """
        return telling(e for e in self.effects if self.arm.spec.trains or e.kind == "task")

    @property
    def harms(self) -> tuple[Effect, ...]:
        """Where it is shown to be harmed."""
        return tuple(e for e in self.telling if e.verdict == "harmed")

    @property
    def slight_harms(self) -> tuple[Effect, ...]:
        """Where it is detectably worse, by less than the margin."""
        return tuple(e for e in self.telling if e.small and e.harm > 0)

    @property
    def at_floor(self) -> bool:
        """Whether it solves no more of its task than guessing does, and its base no more."""
        return any(e.floor for e in self.effects if (e.kind, e.measure) == ("task", "accuracy"))

    @property
    def forgetting(self) -> Forgetting | None:
        """What it lost elsewhere; None for a prompt."""
        return forgetting_of(self.effects, self.arm.trained_on) if self.arm.spec.trains else None

    @property
    def at_worst(self) -> Effect | None:
        """Where most may be lost off its task, by the worse end of the intervals; None where all
        of them lie within the margin."""
        elsewhere = (e for e in self.telling if e.kind != "task" and e.worst > 1)
        return max(elsewhere, key=lambda e: e.worst, default=None)

    @property
    def risk(self) -> float:
        """The most that shipping it may lose, in margins, on its task beside the best strategy or
        off it beside the base model: the minimax criterion (Wald 1950), so that neither learning
        nor forgetting is bought at any price of the other."""
        on_task = (self.standing.below if self.standing else None) or 0.0
        return max(on_task, self.at_worst.worst if self.at_worst else 0.0)

    @property
    def doubts(self) -> tuple[Effect, ...]:
        """Where more than the margin seems lost off its task, and nothing is shown either way."""
        return tuple(e for e in self.open if e.harm > 1)

    @property
    def open(self) -> tuple[Effect, ...]:
        """Where it is not shown whether it forgets."""
        return tuple(e for e in self.telling if e.kind != "task" and e.verdict == "inconclusive")


def gather_candidates(
    findings: Findings, runs: Sequence[Run], comparison: Comparison, wishes: Wishes
) -> list[Candidate]:
    """Return every strategy trained for this comparison's own task, cheapest first.

    The base model is one, and strategies that ended without answers are too.
    """
    runs = [run for run in runs if run.cell.model.shown == comparison.model]
    labels = strategy_labels(runs)
    found = []
    for arm in comparison.arms:
        if not arm.is_base and arm.trained_on != comparison.test:
            continue
        own = tuple(run for run in runs if _is_run_of(run, labels, comparison, arm))
        # A rate that serves both settings has two like lines.
        effects = {
            (e.task, e.kind, e.measure): e
            for e in findings.effects
            if e.against == "zero-shot"
            and (e.model, e.strategy) == (comparison.model, arm.label)
            and (e.learning_rate, e.trained_on) == (arm.learning_rate, arm.trained_on)
        }
        one = Candidate(arm, own, tuple(effects.values()))
        found.append(replace(one, barred=_barred(one, wishes)))
    return sorted(found, key=lambda candidate: candidate.cost)


def overall_level(arm: Arm, measure: Measure) -> float | None:
    """Return an arm's accuracy in points, or its bits per byte, over all seeds."""
    columns = arm.columns.values()
    if measure == "accuracy":
        scores = [score for own in columns for score in own.scores.tolist()]
        return percent_of(None if math.isnan(score) else score for score in scores)
    scored = [
        (nats, size)
        for own in columns
        for nats, size in zip(own.nats.tolist(), own.sizes.tolist(), strict=True)
        if size and not math.isnan(nats)
    ]
    return bits_per_byte(*map(sum, zip(*scored, strict=True))) if scored else None


def most_right(arm: Arm) -> tuple[int, int]:
    """Return how many of its problems an arm solves, the mean over seeds, and how many it has."""
    own = list(arm.answers.values())
    right = sum(noted(answers, right_of) for answers in own)
    return round(right / len(own)), len(own[0])


def _is_run_of(run: Run, labels: dict[str, str], comparison: Comparison, arm: Arm) -> bool:
    cell = run.cell
    return (
        cell.split == "test"
        and (cell.model.shown, cell.task.name) == (comparison.model, comparison.test)
        and (labels[cell.key], learning_rate(cell)) == (arm.label, arm.learning_rate)
        and tuned_for(cell) == arm.trained_on
    )


def _barred(one: Candidate, wishes: Wishes) -> str:
    """Say which limit a candidate breaks, or is not known to keep; empty if none."""
    faults = [_memory_fault(one, wishes), _retention_fault(one, wishes), _file_fault(one, wishes)]
    return ", ".join(filter(None, faults))


def _memory_fault(one: Candidate, wishes: Wishes) -> str:
    if wishes.max_memory is None:
        return ""
    peaks = [run.costs.peak_bytes for run in one.runs if run.status == "done"]
    known = [peak for peak in peaks if peak is not None]
    if not known:
        return "its memory is not known"
    if max(known) <= wishes.max_memory:
        return ""
    return f"it held {max(known) / 1e9:.3g} GB of {wishes.max_memory / 1e9:.3g} GB allowed"


def _retention_fault(one: Candidate, wishes: Wishes) -> str:
    if wishes.min_retention is None or not one.arm.spec.trains:
        return ""
    known = [(e.retention, e.task) for e in one.effects if e.retention is not None]
    if not known:
        return "its retention is not known"
    least, probe = min(known)
    if least >= wishes.min_retention:
        return ""
    return f"it retains {least:.0f}% on {probe}, {wishes.min_retention:g}% are asked for"


def _file_fault(one: Candidate, wishes: Wishes) -> str:
    spec = one.arm.spec
    if not wishes.must_ship_one_file or one.arm.is_base or spec.kind == "full" or spec.rewind:
        return ""
    if not spec.trains:
        return "its exemplars are shipped beside the model"
    done = [run for run in one.runs if run.status == "done"]
    if done and all(run.evidence.get("merged") for run in done):
        return ""
    return "its adapter is not known to merge into the weights"


def _mean_known(numbers: Iterable[float | None]) -> float:
    known = [number for number in numbers if number is not None]
    return fmean(known) if known else math.inf
