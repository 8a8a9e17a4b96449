"""What charts with one series per strategy share: colours, lines, and names beside the plot.

A strategy has one colour in every chart of a page; its learning rates differ by the line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from finetrap.findings import Effect
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.charts.figure import FONT, LINE, SERIES, Canvas, colour, spread, text_width

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


def tint(effect: Effect, own: str) -> dict[str, str]:
    """Colour a verdict's mark by its strategy, so that panels of one figure can be followed."""
    return {"color": own, "markerfacecolor": "none" if effect.verdict == "inconclusive" else own}


def plot(labels: Sequence[str], height: float, plot_width: float) -> tuple[Canvas, Any]:
    """Make a canvas with axes of a width and a column of labels at their right."""
    left, top = 58.0, 12.0
    height = max(height, LINE * len(labels) + 10)
    width = left + plot_width + 40 + max(text_width(text) for text in labels)
    canvas = Canvas(width, top + height + 46)
    return canvas, canvas.axes(left, top, plot_width, height)


def label_column(canvas: Canvas, axes: Any, labels: Sequence[Label]) -> None:
    """Write the labels at the right of the axes, none over another, each led to its point."""
    canvas.key += [(label.text, label.colour) for label in labels]
    box = axes.get_window_extent()
    edge, top, bottom = float(box.x1), canvas.height - float(box.y1), canvas.height - float(box.y0)
    heights = spread([label.y for label in labels], LINE, top + 4, bottom - 4)
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
