"""The charts of one panel: learning against forgetting, training curves, cost of performance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from finetrap.findings import Effect
from finetrap.records import Run
from finetrap.report import wording
from finetrap.report.figure import (
    LINE,
    SERIES,
    Canvas,
    Chart,
    colour,
    mark_style,
    spread,
    text_width,
)
from finetrap.report.panels import Arm, ArmKey, Panel, ProbeGroup
from finetrap.report.sentences import describe

MOST_POINTS = 1600
"""Points of all training curves of a chart together: keeps the file small."""
_LINES = ("-", "--", ":", "-.")


class Curve(NamedTuple):
    """The training loss of one run."""

    arm: Arm
    seed: object
    steps: tuple[float, ...]
    loss: tuple[float, ...]
    """Nats per target token, averaged over neighbouring steps."""
    diverged: int | None
    """Step at which the loss stopped being finite."""


class _Label(NamedTuple):
    """A text to be put in the column at the right, and the point it belongs to, in pixels."""

    text: str
    x: float
    y: float
    colour: str


def frontier(panel: Panel, groups: Sequence[ProbeGroup], name: str) -> Chart | None:
    """Draw each trained strategy's gain on the task over its mean change on the accuracy probes.

    Prompts are left out: they change no weights, so they cannot forget.
    """
    points = []
    for arm in panel.arms:
        kept = _mean_probe_change(arm.key, panel, groups)
        if arm.effect is not None and arm.trains and kept is not None:
            points.append((arm, arm.effect, kept))
    if not points:
        return None
    measure = points[0][1].measure
    labels = [arm.label for arm, _, _ in points]
    canvas, axes = _plot(labels, 300, name_width=310)
    _limit(axes.set_xlim, [0.0, *(kept for *_, kept in points)])
    _limit(axes.set_ylim, [0.0, *(v for _, e, _ in points for v in (e.low, e.high))])
    axes.axhline(0, color=colour("grid"), zorder=0)
    axes.axvline(0, color=colour("grid"), zorder=0)
    axes.plot([0], [0], marker="+", markersize=11, color=colour("muted"), markeredgewidth=1.5)
    axes.locator_params(nbins=6)
    axes.set_xlabel("mean change on the probes (points)")
    axes.set_ylabel(f"change on the task ({wording.unit(measure)})")
    column = []
    for arm, effect, kept in points:
        series = _series(panel, arm)
        axes.plot([kept] * 2, [effect.low, effect.high], color=series, linewidth=1.2, alpha=0.6)
        axes.plot(
            [kept], [effect.delta], **{**mark_style(effect.verdict, 8), **_tint(effect, series)}
        )
        column.append(_Label(arm.label, *canvas.pixel(axes, kept, effect.delta), series))
    _label_column(canvas, axes, column)
    return canvas.chart(
        name,
        f"Learning against forgetting: {panel.title}",
        "Up: gained on its task. Left: lost on the accuracy probes. Cross: the untouched model.",
        "; ".join(
            f"{a.label}: {describe(e)} on the task, {wording.signed(k)} points on the probes"
            for a, e, k in points
        ),
    )


def _mean_probe_change(arm: ArmKey, panel: Panel, groups: Sequence[ProbeGroup]) -> float | None:
    """Return the mean change over the probes that are measured in points."""
    for group in groups:
        if (group.model, group.trained_on) == (panel.key.model, panel.key.trained_on):
            effects = dict(group.arms).get(arm, {}).values()
            deltas = [e.delta for e in effects if e.measure == "accuracy"]
            return sum(deltas) / len(deltas) if deltas else None
    return None


def curves(panel: Panel, runs: Mapping[str, Run], name: str) -> Chart | None:
    """Draw the training loss of every run; `runs` by key. Runs that diverged are marked."""
    found = training_curves(panel, runs)
    lines = [c for c in found if c.loss]
    if not found:
        return None
    arms = list({c.arm.key: c.arm for c in found}.values())
    labels = [_curve_label(arm, found) for arm in arms]
    canvas, axes = _plot(labels, 300, name_width=310)
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
        style = {"color": _series(panel, curve.arm), "linestyle": _line(panel, curve.arm)}
        axes.plot(curve.steps, curve.loss, linewidth=1.1, alpha=0.85, **style)
    column = []
    for arm, label in zip(arms, labels, strict=True):
        x, y = _curve_end(axes, [c for c in found if c.arm.key == arm.key])
        column.append(_Label(label, *canvas.pixel(axes, x, y), _series(panel, arm)))
    for curve in found:
        if curve.diverged is not None:
            x, y = _curve_end(axes, [curve])
            mark = {"marker": "x", "markersize": 9, "markeredgewidth": 2.2, "clip_on": False}
            axes.plot([x], [y], color=_series(panel, curve.arm), **mark)
    _label_column(canvas, axes, column)
    return canvas.chart(
        name,
        f"Training loss: {panel.title}",
        "One line per seed, averaged over neighbouring steps. ✕: the loss stopped being finite.",
        "; ".join(_curve_words(c) for c in found),
    )


def training_curves(panel: Panel, runs: Mapping[str, Run]) -> list[Curve]:
    """Read the loss of every trained run of a panel, thinned to what a chart can show."""
    owned = [(a, runs[c["key"]]) for a in panel.arms for c in a.cells if c["key"] in runs]
    logged = [(a, r, _finite(r.evidence.get("loss"))) for a, r in owned]
    kept = [(a, r, loss) for a, r, loss in logged if loss or r.status == "diverged"]
    most = max(20, MOST_POINTS // max(1, len(kept)))
    found = []
    for arm, run, loss in kept:
        steps, thinned = _thin(loss, most)
        step = run.failure.step if run.failure and run.status == "diverged" else None
        diverged = (step or len(loss) + 1) if run.status == "diverged" else None
        found.append(Curve(arm, run.cell.seed, steps, thinned, diverged))
    return found


def _finite(loss: object) -> list[float]:
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


def _curve_label(arm: Arm, found: Sequence[Curve]) -> str:
    own = [c for c in found if c.arm.key == arm.key]
    lost = sum(c.diverged is not None for c in own)
    return f"{arm.label}, ✕ {lost} of {len(own)}" if lost else arm.label


def _curve_end(axes: Any, own: Sequence[Curve]) -> tuple[float, float]:
    """Return where a label points: the last point, or the frame's top at the diverged step."""
    drawn = [c for c in own if c.loss]
    if not drawn:
        step = max(c.diverged or 0 for c in own)
        return float(step), float(axes.get_ylim()[1])
    last = max(drawn, key=lambda c: c.steps[-1])
    return last.steps[-1], last.loss[-1]


def _curve_words(curve: Curve) -> str:
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


def costs(panel: Panel, name: str) -> Chart | None:
    """Draw the change on the task over what it costs: training time, memory, bytes to ship."""
    arms = [a for a in panel.arms if a.effect]
    shown = [c for c in _COSTS if any(a.mean(c.column) for a in arms)]
    if not shown or not arms:
        return None
    measure = arms[0].effect.measure if arms[0].effect else "accuracy"
    labels = [a.label for a in arms]
    plot, gap, left, top = 220.0, 26.0, 58.0, 12.0
    height = max(220.0, LINE * len(labels) + 10)
    edge = left + len(shown) * (plot + gap) - gap
    width = edge + 36 + max(text_width(t) for t in labels)
    canvas = Canvas(width, top + height + 46)
    values = [0.0, *(v for a in arms if a.effect for v in (a.effect.low, a.effect.high))]
    for index, cost in enumerate(shown):
        axes = canvas.axes(left + index * (plot + gap), top, plot, height)
        _limit(axes.set_ylim, values)
        axes.axhline(0, color=colour("grid"), zorder=0)
        where = _cost_axis(axes, [a.mean(cost.column) or 0.0 for a in arms], cost)
        if index:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(f"change on the task ({wording.unit(measure)})")
        for arm, x in zip(arms, where, strict=True):
            _cost_point(axes, arm, x, _series(panel, arm))
    column = [
        _Label(a.label, *canvas.pixel(axes, x, a.effect.delta), _series(panel, a))
        for a, x in zip(arms, where, strict=True)
        if a.effect
    ]
    _label_column(canvas, axes, column)
    return canvas.chart(
        name,
        f"Cost against performance: {panel.title}",
        "Mean over seeds. Prompts need no training and ship nothing beside the model.",
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
        ticks = [0.0, high / 2, high]
        axes.set_xticks(ticks, [cost.write(v) if v else "0" for v in ticks])
        return list(values)
    zero = low / (high / low) ** 0.25
    axes.set_xscale("log")
    axes.set_xlim((zero if 0 in values else low) / 1.4, high * 1.6)
    axes.minorticks_off()
    ticks = [zero] * (0 in values) + [low, high]
    axes.set_xticks(ticks, [*["0"] * (0 in values), cost.write(low), cost.write(high)])
    return [v if v > 0 else zero for v in values]


def _cost_point(axes: Any, arm: Arm, x: float, series: str) -> None:
    effect = arm.effect
    if effect is not None:
        axes.plot([x] * 2, [effect.low, effect.high], color=series, linewidth=1.2, alpha=0.6)
        axes.plot([x], [effect.delta], **{**mark_style(effect.verdict, 8), **_tint(effect, series)})


def _cost_words(arm: Arm, shown: Sequence[_Cost]) -> str:
    parts = [f"{c.title} {c.write(arm.mean(c.column))}" for c in shown]
    return f"{arm.label}: {', '.join(parts)}"


def _plot(labels: Sequence[str], height: float, name_width: float) -> tuple[Canvas, Any]:
    """Make a canvas with axes of a width and a column of labels at their right."""
    left, top = 58.0, 12.0
    height = max(height, LINE * len(labels) + 10)
    width = left + name_width + 40 + max(text_width(text) for text in labels)
    canvas = Canvas(width, top + height + 46)
    return canvas, canvas.axes(left, top, name_width, height)


def _label_column(canvas: Canvas, axes: Any, labels: Sequence[_Label]) -> None:
    """Write the labels at the right of the axes, none over another, each led to its point."""
    box = axes.get_window_extent()
    edge, top, bottom = float(box.x1), canvas.height - float(box.y1), canvas.height - float(box.y0)
    heights = spread([label.y for label in labels], LINE, top + 4, bottom - 4)
    for label, y in zip(labels, heights, strict=True):
        style = {"color": label.colour, "linewidth": 0.8, "alpha": 0.5}
        canvas.line([label.x + 6, edge + 14, edge + 20], [label.y, y, y], **style)
        canvas.text(edge + 24, y, label.text)


def _limit(set_limits: Callable[[float, float], object], values: Sequence[float]) -> None:
    low, high = min(values), max(values)
    pad = (high - low or 1.0) * 0.08
    set_limits(low - pad, high + pad)


def _series(panel: Panel, arm: Arm) -> str:
    index = [a.key for a in panel.arms].index(arm.key)
    return colour(SERIES[index % len(SERIES)])


def _line(panel: Panel, arm: Arm) -> str:
    index = [a.key for a in panel.arms].index(arm.key)
    return _LINES[index // len(SERIES) % len(_LINES)]


def _tint(effect: Effect, series: str) -> dict[str, str]:
    """Colour a verdict's mark by its strategy, so that panels of one figure can be followed."""
    return {"color": series, "markerfacecolor": "none" if effect.verdict == "undecided" else series}
