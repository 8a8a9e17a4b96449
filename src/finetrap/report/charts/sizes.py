"""Size against effect: what each strategy changed on every size, and the threshold of harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from finetrap.findings import Cliff, Effect
from finetrap.judge.paper.population import size_of
from finetrap.levels import Setting
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.arranged.sentences import describe
from finetrap.report.charts import series
from finetrap.report.charts.figure import Chart, colour
from finetrap.text.visible import one_line

SETTINGS: tuple[Setting, ...] = ("fixed", "tuned")


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
                drawn.append(_draw_sizes(lines, names, threshold, title, f"sizes-{len(drawn) + 1}"))
    return drawn


_SETTING = {"fixed": "one learning rate for all", "tuned": "each at its tuned rate"}


def by_size(panels: Sequence[Panel], setting: Setting) -> dict[str, list[SizePoint]]:
    """Return what each trained strategy did at every size, where one was measured on two sizes.

    A strategy with several rates of one setting has no one value there and is left out.
    """
    found: dict[str, list[SizePoint]] = {}
    for panel in panels:
        size = _model_size(panel)
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


def _model_size(panel: Panel) -> float | None:
    sizes = (cell.parameters for arm in panel.with_base for cell in arm.cells)
    return next((size for size in sizes if size), None)


def _draw_sizes(
    lines: Lines, names: Sequence[str], threshold: Cliff | None, title: str, name: str
) -> Chart:
    drawn = {who: [(p.parameters, p.effect) for p in own] for who, own in lines.items()}
    sizes = sorted({size for own in drawn.values() for size, _ in own})
    ticks = {size: size_of(int(size)) for size in sizes}
    canvas, axes = series.changes_over(drawn, names, ticks, "parameters of the model")
    if threshold is not None and threshold.low and threshold.high and threshold.middle:
        band = {"color": colour("orange"), "alpha": 0.25, "linewidth": 0, "zorder": 0}
        axes.axvspan(threshold.low, threshold.high, **band)
        middle = {"color": colour("orange"), "linewidth": 1.2, "linestyle": "--", "zorder": 1}
        axes.axvline(threshold.middle, **middle)
    said = [
        f"{wording.strategy_name(strategy)} on {one_line(p.model, 40)}: {describe(p.effect)}"
        for strategy, own in lines.items()
        for p in own
    ]
    return canvas.chart(
        name, f"Size against effect: {title}", _size_note(threshold), "; ".join(said)
    )


def _size_note(threshold: Cliff | None) -> str:
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
