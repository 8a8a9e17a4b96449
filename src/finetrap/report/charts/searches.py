"""The search for learning rates: every rate tried, against dev accuracy and against retention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from finetrap.findings import Findings, Trial
from finetrap.report import wording
from finetrap.report.charts import series
from finetrap.report.charts.figure import Canvas, Chart, colour, text_width
from finetrap.text.visible import one_line

DODGE = 0.012
"""Decades between the marks of neighbouring strategies that tried the same rate."""
_CROSS = {"marker": "x", "markersize": 8, "markeredgewidth": 2}


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


def search_chart(search: SearchCurves, strategies: Sequence[str], name: str) -> Chart:
    """Draw dev accuracy and retention over the learning rate; `strategies` decide the colours."""
    labels = [curve.label for curve in search.curves]
    retained = any(t.retention is not None for t in search.trials)
    canvas, (accuracy, *others) = series.plots(
        labels, 270, 300, count=1 + retained, gap=66, top=40, least=620
    )
    _search_legend(canvas, search)
    _rate_axis(accuracy, search, "dev accuracy (%)")
    accuracy.set_ylim(-8, 104)
    if search.base is not None:
        accuracy.axhline(search.base, color=colour("muted"), linewidth=1, linestyle=":")
    kept = others[0] if others else None
    if kept is not None:
        _rate_axis(kept, search, "probe accuracy retained (%)")
        most = max((t.retention for t in search.trials if t.retention is not None), default=100.0)
        kept.set_ylim(-8, max(104.0, most * 1.04))
        kept.axhline(100, color=colour("muted"), linewidth=1, linestyle=":")
    column = []
    for place, curve in enumerate(search.curves):
        shift = series.dodge(place, len(search.curves), 10**DODGE)
        own = series.among(strategies, curve.strategy)
        _draw_accuracy(accuracy, curve, shift, own)
        if kept is not None:
            _draw_line(kept, curve, [t.retention for t in curve.trials], shift, own)
        column.append(_led_to(canvas, accuracy if kept is None else kept, curve, shift, own, kept))
    series.label_column(canvas, accuracy if kept is None else kept, column)
    return canvas.chart(
        name,
        f"Learning-rate search: {search.title}",
        "On held-out training problems, never on the test; line: 95% Wilson interval; names: the "
        "rate that was chosen. Dotted: the base model.",
        "; ".join(_trial_words(trial) for trial in search.trials),
    )


def _rate_axis(axes: Any, search: SearchCurves, title: str) -> None:
    """Put ticks at the rates that were tried."""
    rates = sorted({t.learning_rate for t in search.trials})
    series.log_axis(axes, {rate: wording.rate(rate) for rate in rates}, 1.5, "learning rate")
    axes.set_ylabel(title)


def _draw_accuracy(axes: Any, curve: SearchCurve, shift: float, own: str) -> None:
    _draw_line(axes, curve, [t.accuracy for t in curve.trials], shift, own)
    for trial in curve.trials:
        if trial.low is not None and trial.high is not None:
            x = trial.learning_rate * shift
            axes.plot([x] * 2, [trial.low, trial.high], color=own, linewidth=1.4, alpha=0.55)


def _draw_line(
    axes: Any, curve: SearchCurve, values: Sequence[float | None], shift: float, own: str
) -> None:
    """Draw one strategy's line and its marks; a trial without a value lies at the bottom."""
    known = [(t, v) for t, v in zip(curve.trials, values, strict=True) if v is not None]
    axes.plot(
        [t.learning_rate * shift for t, _ in known],
        [v for _, v in known],
        color=own,
        linewidth=1.3,
        alpha=0.8,
    )
    for trial, value in zip(curve.trials, values, strict=True):
        x = trial.learning_rate * shift
        if trial.status != "done":
            axes.plot([x], [-4], color=own, clip_on=False, **_CROSS)
        elif value is not None:
            axes.plot([x], [value], color=own, **_trial_mark(trial, own))
            if trial.chosen:
                ring = {"marker": "o", "markersize": 14, "markerfacecolor": "none"}
                axes.plot([x], [value], color=own, markeredgewidth=1.4, clip_on=False, **ring)


def _trial_mark(trial: Trial, own: str) -> dict[str, Any]:
    """Return a trial's mark: a square beyond the planned range, hollow on part of the problems."""
    return {
        "marker": "s" if trial.extended else "o",
        "markersize": 6.5,
        "markerfacecolor": own if trial.share >= 1 else "none",
        "markeredgewidth": 1.4,
        "clip_on": False,
    }


def _led_to(
    canvas: Canvas, axes: Any, curve: SearchCurve, shift: float, own: str, kept: Any
) -> series.Label:
    """Lead the name of a strategy to its chosen trial, else to its last one with a value."""
    values = [t.accuracy if kept is None else t.retention for t in curve.trials]
    known = [(t, v) for t, v in zip(curve.trials, values, strict=True) if v is not None]
    trial, value = next(
        ((t, v) for t, v in known if t.chosen), known[-1] if known else (curve.trials[-1], -4.0)
    )
    return series.Label(curve.label, *canvas.pixel(axes, trial.learning_rate * shift, value), own)


_HOLLOW = {"marker": "o", "markerfacecolor": "none"}
_MARKS: tuple[tuple[str, Mapping[str, Any], Callable[[Trial], bool]], ...] = (
    ("chosen", {**_HOLLOW, "markersize": 12}, lambda t: t.chosen),
    ("beyond the planned range", {"marker": "s", "markersize": 6.5}, lambda t: t.extended),
    ("first rung, on part of the problems", {**_HOLLOW, "markersize": 6.5}, lambda t: t.share < 1),
    ("failed or diverged", _CROSS, lambda t: t.status != "done"),
)


def _search_legend(canvas: Canvas, search: SearchCurves) -> None:
    """Explain the marks that occur."""
    x, y = 16.0, 14.0
    for text, mark, shows in _MARKS:
        if any(map(shows, search.trials)):
            canvas.line([x], [y], color=colour("muted"), **mark)
            canvas.text(x + 11, y, text)
            x += 34 + text_width(text)


def _trial_words(trial: Trial) -> str:
    text = f"{wording.arm(trial.strategy, trial.learning_rate, joint=' at ')}: "
    if trial.status != "done":
        return text + trial.status
    text += f"{wording.percent(trial.accuracy)} of dev right"
    if trial.retention is not None:
        text += f", {wording.percent(trial.retention)} kept on probes"
    return text + (", chosen" if trial.chosen else "")
