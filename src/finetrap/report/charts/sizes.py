"""Size against effect: what each strategy changed on every size, and the threshold of harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from finetrap.findings import Cliff, Effect, Setting
from finetrap.judge.paper.population import size_of
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.arranged.sentences import describe
from finetrap.report.charts import series
from finetrap.report.charts.figure import Chart, colour, mark_style
from finetrap.text.visible import one_line

SETTINGS: tuple[Setting, ...] = ("fixed", "tuned")
_PLOT = 360.0
_DODGE = 0.025
"""Share of the axis between the marks of neighbouring strategies at one size."""


class SizePoint(NamedTuple):
    """One strategy on one model."""

    parameters: float
    model: str
    effect: Effect


Lines = Mapping[str, Sequence[SizePoint]]
"""The points of each strategy, by size."""


def size_charts(panels: Sequence[Panel], found: Sequence[Cliff]) -> list[Chart]:
    """Draw one chart per task and setting for which a strategy was measured on two sizes."""
    drawn: list[Chart] = []
    for key in dict.fromkeys((p.key.task, p.key.trained_on) for p in panels):
        own = [p for p in panels if (p.key.task, p.key.trained_on) == key]
        names = list(dict.fromkeys(name for p in own for name in p.strategies))
        for setting in SETTINGS:
            lines = by_size(own, setting)
            threshold = next((c for c in found if c.setting == setting), None)
            if lines:
                title = f"{one_line(key[0], 40)}, {_SETTING[setting]}"
                drawn.append(_draw(lines, names, threshold, title, f"sizes-{len(drawn) + 1}"))
    return drawn


_SETTING = {"fixed": "one learning rate for all", "tuned": "each at its tuned rate"}


def by_size(panels: Sequence[Panel], setting: Setting) -> dict[str, list[SizePoint]]:
    """Return what each trained strategy did at every size, where one was measured on two sizes.

    A strategy with several rates of one setting has no one value there and is left out.
    """
    found: dict[str, list[SizePoint]] = {}
    for panel in panels:
        size = _size(panel)
        if size is None:
            continue
        for name in panel.strategies:
            own = [a for a in panel.arms if a.key.strategy == name and _at(a, setting)]
            if len(own) == 1 and own[0].effect is not None:
                found.setdefault(name, []).append(SizePoint(size, panel.key.model, own[0].effect))
    lines = {name: sorted(own, key=lambda p: p.parameters) for name, own in found.items()}
    return {name: own for name, own in lines.items() if len({p.parameters for p in own}) > 1}


def _at(arm: PanelArm, setting: Setting) -> bool:
    return arm.trains and setting in arm.key.setting.split("+")


def _size(panel: Panel) -> float | None:
    sizes = (cell.parameters for arm in panel.with_base for cell in arm.cells)
    return next((size for size in sizes if size), None)


def _draw(
    lines: Lines, names: Sequence[str], threshold: Cliff | None, title: str, name: str
) -> Chart:
    labels = [wording.strategy(strategy) for strategy in lines]
    canvas, axes = series.plot(labels, 290, plot_width=_PLOT)
    every = [point for own in lines.values() for point in own]
    sizes = sorted({p.parameters for p in every})
    _axes(axes, every, sizes)
    if threshold is not None and threshold.low and threshold.high and threshold.middle:
        band = {"color": colour("orange"), "alpha": 0.25, "linewidth": 0, "zorder": 0}
        axes.axvspan(threshold.low, threshold.high, **band)
        middle = {"color": colour("orange"), "linewidth": 1.2, "linestyle": "--", "zorder": 1}
        axes.axvline(threshold.middle, **middle)
    column = []
    span = (sizes[-1] / sizes[0]) ** _DODGE
    for place, (strategy, own) in enumerate(lines.items()):
        shift, tint = span ** (place - (len(lines) - 1) / 2), series.among(names, strategy)
        xs = [p.parameters * shift for p in own]
        axes.plot(xs, [p.effect.delta for p in own], color=tint, linewidth=1, alpha=0.5)
        for x, point in zip(xs, own, strict=True):
            _mark(axes, x, point.effect, tint)
        end = canvas.pixel(axes, xs[-1], own[-1].effect.delta)
        column.append(series.Label(wording.strategy(strategy), *end, tint))
    series.label_column(canvas, axes, column)
    said = [
        f"{wording.strategy(strategy)} on {one_line(p.model, 40)}: {describe(p.effect)}"
        for strategy, own in lines.items()
        for p in own
    ]
    return canvas.chart(name, f"Size against effect: {title}", _caption(threshold), "; ".join(said))


def _axes(axes: Any, every: Sequence[SizePoint], sizes: Sequence[float]) -> None:
    axes.set_xscale("log")
    reach = (sizes[-1] / sizes[0]) ** 0.12
    axes.set_xlim(sizes[0] / reach, sizes[-1] * reach)
    axes.minorticks_off()
    ticks = series.apart({size: size_of(int(size)) for size in sizes}, axes)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xlabel("parameters of the model")
    effects = [point.effect for point in every]
    values = [v for e in effects for v in (e.low, e.high, e.margin, -e.margin)]
    series.limit(axes.set_ylim, [0.0, *values])
    series.margin_band(axes, effects)
    axes.axhline(0, color=colour("muted"), linewidth=1, zorder=1)
    axes.set_ylabel(f"change on the task ({wording.unit(every[0].effect.measure)})")


def _mark(axes: Any, x: float, effect: Effect, tint: str) -> None:
    mark = {**mark_style(effect.verdict, 8), **series.tint(effect, tint)}
    axes.plot([x] * 2, [effect.low, effect.high], color=tint, linewidth=1.2, alpha=0.6)
    axes.plot([x], [effect.delta], **mark)


def _caption(threshold: Cliff | None) -> str:
    text = "Line: 95% interval; marks are the verdicts. Grey: margin."
    if threshold is None:
        return text
    if threshold.middle is None:
        return f"{text} The size below which full fine-tuning harms: {threshold.reason}."
    middle = size_of(round(threshold.middle))
    return (
        f"{text} Shaded: the size below which full fine-tuning harms: {threshold.reason}; dashed: "
        f"{middle}, the middle in log parameters."
    )
