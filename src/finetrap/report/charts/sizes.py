"""Size against effect: what each strategy changed on every size, and the threshold of harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from finetrap.findings import Effect
from finetrap.judge.paper.population import size_of
from finetrap.levels import Setting
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.charts.drawing import Chart, Plot, linear, logarithmic
from finetrap.report.charts.looks import Looks
from finetrap.text.visible import one_line

_SETTING: Mapping[Setting, str] = {
    "fixed": "one learning rate for all",
    "tuned": "each at its tuned rate",
}
LEAST = 3
"""Sizes from which a line shows more than the table."""


class SizePoint(NamedTuple):
    """One strategy on one model."""

    parameters: float
    model: str
    effect: Effect


def size_charts(panels: Sequence[Panel], looks: Looks) -> list[Chart]:
    """Draw one chart per task and setting for which a strategy was measured on three sizes."""
    drawn: list[Chart] = []
    for key in dict.fromkeys((p.key.task, p.key.trained_on) for p in panels):
        own = [p for p in panels if (p.key.task, p.key.trained_on) == key]
        for setting, words in _SETTING.items():
            if lines := by_size(own, setting):
                title = f"Size against effect: {one_line(key[0], 40)}, {words}"
                drawn.append(_draw_sizes(lines, looks, title, f"sizes-{len(drawn) + 1}"))
    return drawn


def by_size(panels: Sequence[Panel], setting: Setting) -> dict[str, list[SizePoint]]:
    """Return what each trained strategy did at every size, where one was measured on three.

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
    return {name: own for name, own in lines.items() if len({p.parameters for p in own}) >= LEAST}


def _at(arm: PanelArm, setting: Setting) -> bool:
    return arm.trains and setting in arm.key.setting.split("+")


def _model_size(panel: Panel) -> float | None:
    sizes = (cell.parameters for arm in panel.with_base for cell in arm.cells)
    return next((size for size in sizes if size), None)


def _draw_sizes(
    lines: Mapping[str, Sequence[SizePoint]], looks: Looks, title: str, name: str
) -> Chart:
    effects = [p.effect for own in lines.values() for p in own]
    sizes = {p.parameters for own in lines.values() for p in own}
    margin = max(e.margin for e in effects)
    y = linear(
        f"change on the task ({wording.unit(effects[0].measure)})",
        [0.0, -margin, margin, *(v for e in effects for v in (e.low, e.high))],
        lambda v: wording.minus(f"{v:.3g}"),
    )
    plot = Plot(logarithmic("parameters", {size: size_of(int(size)) for size in sizes}), y)
    plot.band(-margin, margin)
    plot.level(0.0)
    said = []
    for strategy, own in lines.items():
        look = looks.of(strategy)
        plot.line([(p.parameters, p.effect.delta) for p in own], f"series {look.colour}", 0.6)
        plot.name(look, wording.strategy_name(strategy))
        for p in own:
            who = f"{wording.strategy_name(strategy)} on {one_line(p.model, 40)}"
            said.append(f"{who}: {wording.describe(p.effect)}")
            plot.mark(p.parameters, p.effect.delta, look, said[-1], (p.effect.low, p.effect.high))
    return plot.chart(name, title, "Grey: margin.", "; ".join(said))
