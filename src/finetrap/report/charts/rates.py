"""Learning rates on the test: what each strategy changed at every rate it was measured at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.arranged.sentences import describe
from finetrap.report.charts import series
from finetrap.report.charts.figure import Canvas, Chart, colour, mark_style

_DODGE = 0.012
"""Decades between the marks of neighbouring strategies at the same rate."""


def rate_chart(panel: Panel, name: str) -> Chart | None:
    """Draw the change on the task over the learning rate; None unless one strategy has two."""
    own = by_rate(panel)
    if all(len(arms) < 2 for arms in own.values()):
        return None
    effects = [a.effect for arms in own.values() for a in arms if a.effect]
    labels = [wording.strategy(strategy) for strategy in own]
    canvas, axes = series.plot(labels, 290, plot_width=330)
    _axes(axes, sorted({_rate(a) for arms in own.values() for a in arms}))
    values = [v for e in effects for v in (e.low, e.high, e.margin, -e.margin)]
    series.limit(axes.set_ylim, [0.0, *values])
    series.margin_band(axes, effects)
    axes.axhline(0, color=colour("muted"), linewidth=1, zorder=1)
    axes.set_ylabel(f"change on the task ({wording.unit(effects[0].measure)})")
    column = []
    for place, (strategy, arms) in enumerate(own.items()):
        shift = 10 ** (_DODGE * (place - (len(own) - 1) / 2))
        tint = series.among(panel.strategies, strategy)
        column.append(_line(canvas, axes, arms, shift, tint))
    series.label_column(canvas, axes, column)
    return canvas.chart(
        name,
        f"Learning rates on the test: {panel.title}",
        "Line: 95% interval over problems and seeds; marks are the verdicts. Grey: margin. To take "
        "the best of these would be to search on the test: rates are chosen on held-out problems.",
        "; ".join(f"{a.label}: {describe(a.effect)}" for o in own.values() for a in o if a.effect),
    )


def by_rate(panel: Panel) -> dict[str, list[PanelArm]]:
    """Return the judged arms of each trained strategy, by learning rate."""
    found: dict[str, list[PanelArm]] = {}
    for arm in panel.arms:
        if arm.trains and arm.effect:
            found.setdefault(arm.key.strategy, []).append(arm)
    return {name: sorted(arms, key=_rate) for name, arms in found.items()}


def _rate(arm: PanelArm) -> float:
    return arm.key.learning_rate or 0.0


def _axes(axes: Any, tried: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(tried[0] / 1.6, tried[-1] * 1.6)
    axes.minorticks_off()
    ticks = series.apart({rate: wording.rate(rate) for rate in tried}, axes)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xlabel("learning rate")


def _line(
    canvas: Canvas, axes: Any, arms: Sequence[PanelArm], shift: float, tint: str
) -> series.Label:
    """Draw one strategy and return its name, led to its highest rate."""
    known = [(_rate(a) * shift, a.effect) for a in arms if a.effect]
    axes.plot(
        [x for x, _ in known], [e.delta for _, e in known], color=tint, linewidth=1, alpha=0.6
    )
    for x, effect in known:
        axes.plot([x] * 2, [effect.low, effect.high], color=tint, linewidth=1.2, alpha=0.6)
        mark = {**mark_style(effect.verdict, 8), **series.tint(effect, tint)}
        axes.plot([x], [effect.delta], **mark)
    x, effect = known[-1]
    where = canvas.pixel(axes, x, effect.delta)
    return series.Label(wording.strategy(arms[0].key.strategy), where[0], where[1], tint)
