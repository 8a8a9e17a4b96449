"""Gain on the task against what it took: forgetting, training time, memory, bytes to ship.

A dashed line joins the strategies that no other one beats in both (the Pareto front). Rewinding
paths are measured on dev and on held-out probe problems, the strategies on the test and on the
probes: both are drawn as changes against the base model on the same problems.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from finetrap.findings import Effect
from finetrap.levels import Frontier, RewindPath
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.charts.drawing import Axis, Chart, Look, Plot, linear, logarithmic
from finetrap.report.charts.looks import Looks

BASE = Look(-1, 0.0)
"""The base model: the last of the shapes, hollow."""


class Cost(NamedTuple):
    """A column of the summary that can be set against the gain."""

    column: str
    title: str
    write: Callable[[float | None], str]


COSTS = (
    Cost("train_s", "training time", wording.seconds),
    Cost("peak_bytes", "peak memory", wording.size),
    Cost("ship_bytes", "size to ship", wording.size),
)


class Placed(NamedTuple):
    """One strategy in a chart."""

    arm: PanelArm
    effect: Effect
    x: float


def moved(panel: Panel) -> bool:
    """Tell whether any strategy is shown to have changed the task: else there is no picture."""
    return any(e.verdict in ("harmed", "improved") for e in panel.effects)


def forgetting_charts(
    panels: Sequence[Panel], found: Sequence[Frontier], looks: Looks
) -> list[Chart]:
    """Draw each trained strategy's gain over what it kept, on one scale.

    Prompts are left out: they change no weights, so they cannot forget.
    """
    own = {(f.model, f.task, f.trained_on): f for f in found}
    shown = [(p, own[p.key], points) for p in panels if p.key in own and (points := _with_kept(p))]
    shown = [one for one in shown if moved(one[0])]
    charts = []
    for place, (panel, frontier, points) in enumerate(shown, start=1):
        alike = [
            one
            for one in shown
            if (one[1].retention, _measure(one[0])) == (frontier.retention, _measure(panel))
        ]
        charts.append(_draw_kept(panel, frontier, points, alike, looks, f"gain-{place}"))
    return charts


def _with_kept(panel: Panel) -> list[Placed]:
    return [
        Placed(arm, arm.effect, arm.summary.kept)
        for arm in panel.arms
        if arm.effect is not None and arm.summary.kept is not None
    ]


def _draw_kept(
    panel: Panel,
    frontier: Frontier,
    points: Sequence[Placed],
    alike: Sequence[tuple[Panel, Frontier, list[Placed]]],
    looks: Looks,
    name: str,
) -> Chart:
    base = 100.0 if frontier.retention else 0.0
    unit = "% above chance" if frontier.retention else "change in points"
    steps = [step for _, other, _ in alike for path in other.paths for step in path.steps]
    values = [base, *(p.x for *_, own in alike for p in own), *(step.kept for step in steps)]
    x = linear(f"kept on other tasks ({unit})", values, _short)
    plot = _plot(x, panel, [one[0] for one in alike], [step.gain for step in steps])
    _front(plot, [(base, 0.0), *((p.x, p.effect.delta) for p in points)], more=True)
    for path in frontier.paths:
        _draw_path(plot, path, looks)
    plot.mark(base, 0.0, BASE, "base model")
    plot.name(BASE, "base model")
    for point in points:
        _draw_point(plot, point, looks, f"{_short(point.x)} ({unit}) kept on other tasks")
    text = "Up and right is better."
    if frontier.paths:
        text += " Thin line: weights between base (λ = 0) and trained (λ = 1); ring: the λ chosen."
    said = [_point_words(p, f"kept {_short(p.x)}") for p in points]
    return plot.chart(
        name,
        f"Gain against forgetting: {panel.title}",
        text,
        "; ".join([*said, *map(_walked, frontier.paths)]),
    )


def cost_charts(panels: Sequence[Panel], looks: Looks) -> list[tuple[str, Chart]]:
    """Draw the gain over every cost that was measured; the reader chooses which is shown."""
    shown = [p for p in panels if len(p.effects) > 1 and moved(p)]
    charts = []
    for cost in COSTS:
        values = {_cost_of(arm, cost) for p in shown for arm in p.arms if arm.effect}
        if not any(values):
            continue
        axis, zero = _cost_axis(cost, values)
        for place, panel in enumerate(shown, start=1):
            alike = [p for p in shown if _measure(p) == _measure(panel)]
            plot = _plot(axis, panel, alike)
            arms = [(arm, arm.effect) for arm in panel.arms if arm.effect]
            points = [Placed(*one, _cost_of(one[0], cost) or zero) for one in arms]
            _front(plot, [(p.x, p.effect.delta) for p in points], more=False)
            costs = [f"{cost.title} {cost.write(_cost_of(p.arm, cost))}" for p in points]
            for point, also in zip(points, costs, strict=True):
                _draw_point(plot, point, looks, also)
            chart = plot.chart(
                f"cost-{place}-{cost.column.partition('_')[0]}",
                f"Gain against {cost.title}: {panel.title}",
                "Up and left is better.",
                "; ".join(map(_point_words, points, costs)),
            )
            charts.append((cost.title, chart))
    return charts


def _cost_of(arm: PanelArm, cost: Cost) -> float:
    return getattr(arm.summary, cost.column) or 0.0


def _measure(panel: Panel) -> str:
    return panel.effects[0].measure


def _plot(x: Axis, panel: Panel, alike: Sequence[Panel], others: Sequence[float] = ()) -> Plot:
    """Make a plot of changes on the task, on the scale of all panels like it."""
    effects = [e for one in alike for e in one.effects]
    values = [v for e in effects for v in (e.low, e.high, e.margin, -e.margin)]
    title = f"change on the task ({wording.unit(_measure(panel))})"
    plot = Plot(x, linear(title, [*values, *others], _short))
    margin = max(e.margin for e in panel.effects)
    plot.band(-margin, margin)
    plot.level(0.0)
    return plot


def _draw_point(plot: Plot, point: Placed, looks: Looks, also: str) -> None:
    look, effect = looks.arm(point.arm.key), point.effect
    tip = f"{point.arm.label}: {wording.describe(effect)}; {also}"
    plot.mark(point.x, effect.delta, look, tip, (effect.low, effect.high))
    plot.name(look, point.arm.label)


def _draw_path(plot: Plot, path: RewindPath, looks: Looks) -> None:
    """Draw what every share λ of the way to the trained weights gained and kept."""
    look = looks.of(path.strategy, path.learning_rate)
    plot.line([(s.kept, s.gain) for s in path.steps], f"series {look.colour}", 0.6)
    for step in path.steps:
        gain = wording.signed(step.gain)
        tip = f"λ = {step.share:g}: {gain} points on dev, {_short(step.kept)} kept"
        ring = step.share in path.chosen
        plot.mark(step.kept, step.gain, look, tip, ring=ring, small=True)


def _front(plot: Plot, points: Sequence[tuple[float, float]], *, more: bool) -> None:
    """Join the points that none beats in both: by a higher gain and, as told, by more or less x."""
    best, front = -float("inf"), []
    for x, y in sorted(points, key=lambda p: (-p[0] if more else p[0], -p[1])):
        if y > best:
            front.append((x, y))
            best = y
    if len(front) > 1:
        plot.line(front, "pareto")


def _cost_axis(cost: Cost, values: Collection[float]) -> tuple[Axis, float]:
    """Return the axis of one cost and where nothing at all lies on it.

    A wide range is drawn on a logarithmic axis, with a place for zero left of it.
    """
    positive = sorted({v for v in values if v > 0})
    low, high = positive[0], positive[-1]
    if high / low < 8:
        return linear(cost.title, [0.0, high], lambda v: cost.write(v) if v else "0"), 0.0
    zero = low / (high / low) ** 0.25
    ticks = {v: cost.write(v) for v in positive} | ({zero: "0"} if 0.0 in values else {})
    return logarithmic(cost.title, ticks), zero


def _short(value: float) -> str:
    """Write a number of an axis without decimals that say nothing."""
    return wording.minus(f"{value:.3g}")


def _point_words(point: Placed, also: str) -> str:
    return f"{point.arm.label}: {wording.describe(point.effect)}, {also}"


def _walked(path: RewindPath) -> str:
    steps = ", ".join(
        f"λ {s.share:g}: {wording.signed(s.gain)} points on dev, kept {_short(s.kept)}"
        for s in path.steps
    )
    chosen = " or ".join(f"{share:g}" for share in path.chosen)
    return f"{wording.arm(path.strategy, path.learning_rate)}, λ = {chosen} chosen: {steps}"
