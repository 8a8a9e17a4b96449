"""The search for learning rates: every rate tried, against dev accuracy and against retention."""

from __future__ import annotations

from typing import NamedTuple

from finetrap.findings import Findings, Trial
from finetrap.report import wording
from finetrap.report.charts.drawing import Axis, Chart, Plot, linear, logarithmic
from finetrap.report.charts.looks import Looks
from finetrap.text.visible import one_line

LOST = -5.0
"""Where a trial without a value is marked: below zero percent."""


class SearchCurve(NamedTuple):
    """One strategy's search."""

    strategy: str
    trials: tuple[Trial, ...]
    """By learning rate."""

    @property
    def label(self) -> str:
        """Name the strategy and the rate that was chosen."""
        rate = next((t.learning_rate for t in self.trials if t.chosen), None)
        chosen = wording.rate(rate) if rate is not None else "none chosen"
        return f"{wording.strategy_name(self.strategy)}: {chosen}"


class SearchCurves(NamedTuple):
    """The searches of every strategy for one model and task."""

    model: str
    task: str
    curves: tuple[SearchCurve, ...]
    base: float | None
    """Percent of the dev problems that the base model gets right."""

    @property
    def title(self) -> str:
        """Name the model and the task."""
        return f"{one_line(self.model, 40)} on {one_line(self.task, 40)}"

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, by strategy and rate."""
        return tuple(trial for curve in self.curves for trial in curve.trials)


def arrange_searches(findings: Findings) -> list[SearchCurves]:
    """Arrange the trials by model and task, in the order of the findings."""
    found: dict[tuple[str, str], dict[str, list[Trial]]] = {}
    for trial in findings.trials:
        own = found.setdefault((trial.model, trial.task), {})
        own.setdefault(trial.strategy, []).append(trial)
    return [
        SearchCurves(
            *place,
            tuple(
                SearchCurve(name, tuple(sorted(tried, key=lambda t: t.learning_rate)))
                for name, tried in by_strategy.items()
            ),
            next((t.base_accuracy for own in by_strategy.values() for t in own), None),
        )
        for place, by_strategy in found.items()
    ]


def search_charts(search: SearchCurves, looks: Looks, name: str) -> list[Chart]:
    """Draw dev accuracy, and what was kept on the probes where that was asked."""
    charts = [_draw(search, looks, f"{name}-dev", kept=False)]
    if any(t.retention is not None for t in search.trials):
        charts.append(_draw(search, looks, f"{name}-kept", kept=True))
    return charts


def _draw(search: SearchCurves, looks: Looks, name: str, *, kept: bool) -> Chart:
    rates = {t.learning_rate: wording.rate(t.learning_rate) for t in search.trials}
    plot = Plot(logarithmic("learning rate", rates), _percent_axis(search, kept=kept))
    base = 100.0 if kept else search.base
    if base is not None:
        plot.level(base, "dotted")
    for curve in search.curves:
        look = looks.of(curve.strategy)
        known = [(t, v) for t in curve.trials if (v := _trial_value(t, kept=kept)) is not None]
        if len(known) > 1:
            plot.line([(t.learning_rate, v) for t, v in known], f"series {look.colour}", 0.6)
        for trial in curve.trials:
            _mark_trial(plot, trial, looks, kept=kept)
        plot.name(look, curve.label)
    what = "Kept on other tasks" if kept else "Dev accuracy"
    return plot.chart(
        name,
        f"{what} by learning rate: {search.title}",
        f"Dotted: the base model. {_marks(search)}",
        "; ".join(_trial_words(trial) for trial in search.trials),
    )


def _percent_axis(search: SearchCurves, *, kept: bool) -> Axis:
    """Make the upright axis, the same for every search unless more than all was kept."""
    most = max((t.retention or 0.0 for t in search.trials), default=0.0) if kept else 0.0
    title = "kept on other tasks (% above chance)" if kept else "accuracy on dev (%)"
    return linear(title, [0.0], lambda v: f"{v:g}", low=-8.0, high=max(104.0, most * 1.04))


def _trial_value(trial: Trial, *, kept: bool) -> float | None:
    return trial.retention if kept else trial.accuracy


def _mark_trial(plot: Plot, trial: Trial, looks: Looks, *, kept: bool) -> None:
    value = _trial_value(trial, kept=kept)
    look = looks.of(trial.strategy)._replace(shade=1.0 if trial.share >= 1 else 0.0)
    ends = None
    if not kept and trial.low is not None and trial.high is not None:
        ends = trial.low, trial.high
    tip, rate = _trial_words(trial), trial.learning_rate
    if trial.status != "done":
        plot.mark(rate, LOST, look, tip, lost=True)
    elif value is not None:
        plot.mark(rate, value, look, tip, ends, ring=trial.chosen)


def _marks(search: SearchCurves) -> str:
    """Explain the marks that occur."""
    parts = ["Ring: chosen."] * any(t.chosen for t in search.trials)
    parts += ["Hollow: first rung, on part of the problems."] * any(
        t.share < 1 for t in search.trials
    )
    parts += ["✕: failed or diverged."] * any(t.status != "done" for t in search.trials)
    return " ".join(parts)


def _trial_words(trial: Trial) -> str:
    text = f"{wording.arm(trial.strategy, trial.learning_rate, joint=' at ')}: "
    if trial.status != "done":
        return text + trial.status
    text += f"{wording.percent(trial.accuracy)} of dev right"
    if trial.retention is not None:
        text += f", {wording.percent(trial.retention)} kept on other tasks"
    text += ", beyond the planned range" * trial.extended
    return text + (", chosen" if trial.chosen else "")
