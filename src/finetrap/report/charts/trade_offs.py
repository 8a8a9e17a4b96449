"""The charts of one panel: training curves, and cost against performance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.ticker import MaxNLocator

from finetrap.records import Run
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.charts import series
from finetrap.report.charts.figure import Chart

MOST_POINTS = 1600
"""Points of all training curves of a chart together: keeps the file small."""


class LossCurve(NamedTuple):
    """The training loss of one run."""

    arm: PanelArm
    seed: object
    steps: tuple[float, ...]
    loss: tuple[float, ...]
    """Nats per target token, averaged over neighbouring steps."""
    diverged: int | None
    """Step at which the loss stopped being finite."""


def loss_chart(panel: Panel, runs: Mapping[str, Run], name: str) -> Chart | None:
    """Draw the training loss of every run; `runs` by key. Runs that diverged are marked."""
    found = training_curves(panel, runs)
    lines = [c for c in found if c.loss]
    if not found:
        return None
    arms = list({c.arm.key: c.arm for c in found}.values())
    labels = [_curve_label(arm, found) for arm in arms]
    canvas, axes = series.plot(labels, 300, plot_width=310)
    last = max(max(c.steps[-1] if c.loss else 0, c.diverged or 0) for c in found)
    values = [v for c in lines for v in c.loss]
    axes.set_xlim(0, last * 1.02)
    if values and min(values) > 0 and max(values) / min(values) > 30:
        axes.set_yscale("log")
        axes.set_ylim(min(values) * 0.8, max(values) * 1.25)
    else:
        axes.set_ylim(0, (max(values) if values else 1.0) * 1.06)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("training loss (nats per token)")
    for curve in lines:
        style = {"color": series.of(panel, curve.arm), "linestyle": series.line(panel, curve.arm)}
        axes.plot(curve.steps, curve.loss, linewidth=1.1, alpha=0.85, **style)
    column = []
    for arm, label in zip(arms, labels, strict=True):
        x, y = _curve_end(axes, [c for c in found if c.arm.key == arm.key])
        column.append(series.Label(label, *canvas.pixel(axes, x, y), series.of(panel, arm)))
    for curve in found:
        if curve.diverged is not None:
            x, y = _curve_end(axes, [curve])
            mark = {"marker": "x", "markersize": 9, "markeredgewidth": 2.2, "clip_on": False}
            axes.plot([x], [y], color=series.of(panel, curve.arm), **mark)
    series.label_column(canvas, axes, column)
    return canvas.chart(
        name,
        f"Training loss: {panel.title}",
        "One line per seed, averaged over neighbouring steps. ✕: the loss stopped being finite.",
        "; ".join(_curve_words(c) for c in found),
    )


def training_curves(panel: Panel, runs: Mapping[str, Run]) -> list[LossCurve]:
    """Read the loss of every training of a panel, thinned to what a chart can show.

    What was rewound was trained as something else first, and is drawn as that where it is there.
    """
    every = [(a, runs[c.key]) for a in panel.arms for c in a.cells if c.key in runs]
    trained = {run.cell.training_key() for _, run in every if not run.cell.strategy.rewind}
    owned = [
        (arm, run)
        for arm, run in every
        if not (run.cell.strategy.rewind and run.cell.training_key() in trained)
    ]
    logged = [(a, r, _finite_losses(r.evidence.get("loss"))) for a, r in owned]
    kept = [(a, r, loss) for a, r, loss in logged if loss or r.status == "diverged"]
    most = max(20, MOST_POINTS // max(1, len(kept)))
    found = []
    for arm, run, loss in kept:
        steps, thinned = _thin(loss, most)
        step = run.failure.step if run.failure and run.status == "diverged" else None
        diverged = (step or len(loss) + 1) if run.status == "diverged" else None
        found.append(LossCurve(arm, run.cell.seed, steps, thinned, diverged))
    return found


def _finite_losses(loss: object) -> list[float]:
    """Return the losses up to the first that is not a finite number."""
    kept: list[float] = []
    for value in loss if isinstance(loss, (list, tuple)) else ():
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            break
        kept.append(float(value))
    return kept


def _thin(loss: Sequence[float], most: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Average the losses of neighbouring steps so that at most `most` points stay."""
    width = max(1, math.ceil(len(loss) / most))
    parts = [loss[i : i + width] for i in range(0, len(loss), width)]
    steps = tuple(i * width + (len(part) + 1) / 2 for i, part in enumerate(parts))
    return steps, tuple(sum(part) / len(part) for part in parts)


def _curve_label(arm: PanelArm, found: Sequence[LossCurve]) -> str:
    own = [c for c in found if c.arm.key == arm.key]
    lost = sum(c.diverged is not None for c in own)
    return f"{arm.label}, ✕ {lost} of {len(own)}" if lost else arm.label


def _curve_end(axes: Any, own: Sequence[LossCurve]) -> tuple[float, float]:
    """Return where a label points: the last point, or the frame's top at the diverged step."""
    drawn = [c for c in own if c.loss]
    if not drawn:
        step = max(c.diverged or 0 for c in own)
        return float(step), float(axes.get_ylim()[1])
    last = max(drawn, key=lambda c: c.steps[-1])
    return last.steps[-1], last.loss[-1]


def _curve_words(curve: LossCurve) -> str:
    text = f"{curve.arm.label}, seed {curve.seed}: "
    if curve.loss:
        text += f"loss {curve.loss[0]:.3g} to {curve.loss[-1]:.3g}"
    return text + (f", diverged at step {curve.diverged}" if curve.diverged is not None else "")


class _Cost(NamedTuple):
    column: str
    title: str
    write: Callable[[float | None], str]


_COSTS = (
    _Cost("train_s", "training time", wording.seconds),
    _Cost("peak_bytes", "peak memory", wording.size),
    _Cost("ship_bytes", "to ship", wording.size),
)


def cost_chart(panel: Panel, name: str) -> Chart | None:
    """Draw the change on the task over what it costs: training time, memory, bytes to ship."""
    arms = [a for a in panel.arms if a.effect]
    shown = [c for c in _COSTS if any(getattr(a.summary, c.column) for a in arms)]
    if not shown or not arms:
        return None
    labels = [a.label for a in arms]
    canvas, places = series.plots(labels, 220, 240, count=len(shown), gap=44)
    effects = [a.effect for a in arms if a.effect]
    for axes, cost in zip(places, shown, strict=True):
        series.change_axis(axes, effects)
        where = _cost_axis(axes, [getattr(a.summary, cost.column) or 0.0 for a in arms], cost)
        if axes is not places[0]:
            axes.tick_params(labelleft=False)
            axes.set_ylabel("")
        for arm, x in zip(arms, where, strict=True):
            if arm.effect:
                series.mark(axes, x, arm.effect, series.of(panel, arm))
    column = [
        series.Label(a.label, *canvas.pixel(axes, x, a.effect.delta), series.of(panel, a))
        for a, x in zip(arms, where, strict=True)
        if a.effect
    ]
    series.label_column(canvas, axes, column)
    return canvas.chart(
        name,
        f"Cost against performance: {panel.title}",
        "Mean over seeds; line: 95% interval; grey: margin. Prompts need no training and ship "
        "nothing beside the model.",
        "; ".join(_cost_words(a, shown) for a in arms),
    )


def _cost_axis(axes: Any, values: Sequence[float], cost: _Cost) -> list[float]:
    """Set the axis of one cost and return where each value lies on it.

    A wide range is drawn on a logarithmic axis, with a place for zero left of it.
    """
    positive = [v for v in values if v > 0]
    low, high = min(positive), max(positive)
    axes.set_xlabel(cost.title)
    if high / low < 8:
        axes.set_xlim(-0.04 * high, 1.1 * high)
        ticks = [float(v) for v in MaxNLocator(3).tick_values(0, high) if 0 <= v <= 1.1 * high]
        axes.set_xticks(ticks, [cost.write(v) if v else "0" for v in ticks])
        return list(values)
    zero = low / (high / low) ** 0.25
    axes.set_xscale("log")
    axes.set_xlim((zero if 0 in values else low) / 1.4, high * 1.6)
    axes.minorticks_off()
    ticks = [zero] * (0 in values) + [low, high]
    axes.set_xticks(ticks, [*["0"] * (0 in values), cost.write(low), cost.write(high)])
    return [v if v > 0 else zero for v in values]


def _cost_words(arm: PanelArm, shown: Sequence[_Cost]) -> str:
    parts = [f"{c.title} {c.write(getattr(arm.summary, c.column))}" for c in shown]
    return f"{arm.label}: {', '.join(parts)}"
