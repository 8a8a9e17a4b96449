"""What charts with one series per strategy share: colours, lines, and names beside the plot.

A strategy has one colour in every chart of a page; its learning rates differ by the line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from finetrap.findings import Effect
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.charts.figure import (
    FONT,
    LINE,
    SERIES,
    Canvas,
    colour,
    mark_style,
    spread_labels,
    text_width,
)

LINES = ("-", "--", ":", "-.")


class Label(NamedTuple):
    """A text to be put in the column at the right, and the point it belongs to, in pixels."""

    text: str
    x: float
    y: float
    colour: str


def among(names: Sequence[str], name: str) -> str:
    """Return the colour of one strategy among those of a panel."""
    place = names.index(name) if name in names else len(names)
    return colour(SERIES[place % len(SERIES)])


def of(panel: Panel, arm: PanelArm) -> str:
    """Return the colour of an arm: that of its strategy."""
    return among(panel.strategies, arm.key.strategy)


def line(panel: Panel, arm: PanelArm) -> str:
    """Return the line of an arm: learning rates of one strategy differ."""
    own = [a.key for a in panel.arms if a.key.strategy == arm.key.strategy]
    return LINES[own.index(arm.key) % len(LINES)]


def mark(axes: Any, x: float, effect: Effect, own: str) -> None:
    """Draw a change with its interval: the shape is the verdict, the colour the strategy."""
    fill = "none" if effect.verdict == "inconclusive" else own
    style = {**mark_style(effect.verdict, 8), "color": own, "markerfacecolor": fill}
    axes.plot([x] * 2, [effect.low, effect.high], color=own, linewidth=1.2, alpha=0.6)
    axes.plot([x], [effect.delta], **style)


def plots(
    labels: Sequence[str],
    height: float,
    plot_width: float,
    *,
    count: int = 1,
    gap: float = 0.0,
    top: float = 12.0,
    least: float = 0.0,
) -> tuple[Canvas, list[Any]]:
    """Make a canvas with axes of a width side by side and a column of labels at their right."""
    left = 58.0
    height = max(height, LINE * len(labels) + 10)
    edge = left + count * (plot_width + gap) - gap
    width = max(edge + 40 + max(text_width(text) for text in labels), least)
    canvas = Canvas(width, top + height + 46)
    places = [left + index * (plot_width + gap) for index in range(count)]
    return canvas, [canvas.axes(place, top, plot_width, height) for place in places]


def plot(labels: Sequence[str], height: float, plot_width: float) -> tuple[Canvas, Any]:
    """Make a canvas with axes of a width and a column of labels at their right."""
    canvas, (axes,) = plots(labels, height, plot_width)
    return canvas, axes


def label_column(canvas: Canvas, axes: Any, labels: Sequence[Label]) -> None:
    """Write the labels at the right of the axes, none over another, each led to its point."""
    canvas.key += [(label.text, label.colour) for label in labels]
    box = axes.get_window_extent()
    edge, top, bottom = float(box.x1), canvas.height - float(box.y1), canvas.height - float(box.y0)
    heights = spread_labels([label.y for label in labels], LINE, top + 4, bottom - 4)
    for label, y in zip(labels, heights, strict=True):
        style = {"color": label.colour, "linewidth": 0.8, "alpha": 0.5}
        canvas.line([label.x + 6, edge + 14, edge + 20], [label.y, y, y], **style)
        canvas.text(edge + 24, y, label.text)


def apart(ticks: Mapping[float, str], axes: Any) -> dict[float, str]:
    """Return as many of these ticks, low to high, as can be written side by side."""
    kept: dict[float, str] = {}
    edge = -math.inf
    for value, text in ticks.items():
        middle, width = float(axes.transData.transform((value, 0))[0]), text_width(text, FONT - 1)
        if middle - width / 2 > edge:
            kept[value] = text
            edge = middle + width / 2 + 6
    return kept


def limit(set_limits: Callable[[float, float], object], values: Sequence[float]) -> None:
    """Set the range of an axis to these values and a little more."""
    low, high = min(values), max(values)
    pad = (high - low or 1.0) * 0.08
    set_limits(low - pad, high + pad)


def margin_band(axes: Any, effects: Sequence[Effect]) -> None:
    """Shade the margin, where it is the same for all of these changes."""
    margins = {effect.margin for effect in effects}
    if len(margins) == 1:
        size = margins.pop()
        axes.axhspan(-size, size, color=colour("band"), linewidth=0, zorder=0)


def change_axis(axes: Any, effects: Sequence[Effect], others: Sequence[float] = ()) -> None:
    """Make the upright axis one of changes, with zero, their margin and room for other values."""
    values = [v for e in effects for v in (e.low, e.high, e.margin, -e.margin)]
    limit(axes.set_ylim, [0.0, *values, *others])
    margin_band(axes, effects)
    axes.axhline(0, color=colour("muted"), linewidth=1, zorder=1)
    axes.set_ylabel(f"change on the task ({wording.unit(effects[0].measure)})")


def log_axis(axes: Any, ticks: Mapping[float, str], reach: float, title: str) -> None:
    """Make the other axis logarithmic, `reach` times beyond its ticks, low to high."""
    axes.set_xscale("log")
    axes.set_xlim(min(ticks) / reach, max(ticks) * reach)
    axes.minorticks_off()
    shown = apart(ticks, axes)
    axes.set_xticks(list(shown), list(shown.values()))
    axes.set_xlabel(title)


def dodge(place: int, count: int, step: float) -> float:
    """Return the factor that sets one of `count` strategies beside its neighbours."""
    return float(step ** (place - (count - 1) / 2))


def changes_over(
    lines: Mapping[str, Sequence[tuple[float, Effect]]],
    names: Sequence[str],
    ticks: Mapping[float, str],
    title: str,
) -> tuple[Canvas, Any]:
    """Draw each strategy's changes over a logarithmic axis; `names` decide the colours."""
    canvas, axes = plot(
        [wording.strategy_name(strategy) for strategy in lines], 290, plot_width=345
    )
    span = max(ticks) / min(ticks)
    log_axis(axes, ticks, max(span**0.12, 1.4), title)
    change_axis(axes, [effect for own in lines.values() for _, effect in own])
    column = []
    for place, (strategy, own) in enumerate(lines.items()):
        shift = dodge(place, len(lines), span**0.02)
        tint = among(names, strategy)
        known = [(x * shift, effect) for x, effect in own]
        axes.plot([x for x, _ in known], [e.delta for _, e in known], color=tint, alpha=0.5, lw=1)
        for x, effect in known:
            mark(axes, x, effect, tint)
        x, effect = known[-1]
        end = canvas.pixel(axes, x, effect.delta)
        column.append(Label(wording.strategy_name(strategy), *end, tint))
    label_column(canvas, axes, column)
    return canvas, axes
