"""The learning–forgetting frontier: what each strategy gained on its task over what it left intact.

Rewinding paths are measured on dev and on held-out probe problems, the strategies on the test and
on the probes: both are drawn as changes against the base model on the same problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from finetrap.findings import Effect
from finetrap.levels import Frontier, RewindPath
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.arranged.sentences import describe
from finetrap.report.charts import series
from finetrap.report.charts.figure import Canvas, Chart, colour


class KeptAxis(NamedTuple):
    """How the axis of what was kept reads: the same for every arm of a panel."""

    base: float
    """Where the base model stands."""
    title: str
    write: Callable[[float], str]


RETENTION = KeptAxis(
    100.0,
    "ability kept on the probes (% above chance)",
    lambda value: f"{wording.percent(value)} of the probes kept",
)
CHANGE = KeptAxis(
    0.0,
    "mean change on the probes (points)",
    lambda value: f"{wording.signed(value)} points on the probes",
)


class Placed(NamedTuple):
    """One trained strategy."""

    arm: PanelArm
    effect: Effect
    kept: float


def label(path: RewindPath) -> str:
    """Name a path by what was chosen on it."""
    shares = " or ".join(f"{share:g}" for share in path.chosen)
    way = f"rewind of {wording.rate(path.learning_rate)}"
    return f"{way} (λ = {shares})" if shares else way


def frontier_chart(panel: Panel, found: Sequence[Frontier], name: str) -> Chart | None:
    """Draw each trained strategy's gain on the task over what it kept.

    Prompts are left out: they change no weights, so they cannot forget.
    """
    own = next((f for f in found if (f.model, f.task, f.trained_on) == panel.key), None)
    points = [
        Placed(arm, arm.effect, arm.summary.kept)
        for arm in panel.arms
        if arm.effect is not None and arm.summary.kept is not None
    ]
    if own is None or not points:
        return None
    return _draw_frontier(panel, RETENTION if own.retention else CHANGE, points, own.paths, name)


def _draw_frontier(
    panel: Panel,
    at: KeptAxis,
    points: Sequence[Placed],
    own: Sequence[RewindPath],
    name: str,
) -> Chart:
    canvas, axes = series.plot(
        [p.arm.label for p in points] + [label(path) for path in own], 320, plot_width=330
    )
    steps = [step for path in own for step in path.steps]
    series.limit(axes.set_xlim, [at.base, *(p.kept for p in points), *(s.kept for s in steps)])
    series.change_axis(axes, [point.effect for point in points], [s.gain for s in steps])
    axes.axvline(at.base, color=colour("grid"), zorder=0)
    cross = {"marker": "+", "markersize": 12, "markeredgewidth": 1.5}
    axes.plot([at.base], [0], color=colour("muted"), **cross)
    axes.locator_params(nbins=6)
    axes.set_xlabel(at.title)
    _join_settings(panel, points, axes)
    labels = [_draw_path(panel, path, canvas, axes) for path in own]
    labels += [_draw_point(panel, point, canvas, axes) for point in points]
    series.label_column(canvas, axes, labels)
    said = [f"{p.arm.label}: {describe(p.effect)} on the task, {at.write(p.kept)}" for p in points]
    return canvas.chart(
        name,
        f"Learning against forgetting: {panel.title}",
        _frontier_caption(points, own),
        "; ".join([*said, *(_path_words(path, at) for path in own)]),
    )


def _join_settings(panel: Panel, points: Sequence[Placed], axes: Any) -> None:
    """Lead from a strategy's fixed rate to its tuned one."""
    for tuned in (p for p in points if p.arm.key.setting == "tuned"):
        for fixed in points:
            if fixed.arm.key[::2] == (tuned.arm.key.strategy, "fixed"):
                ends = [fixed.kept, tuned.kept], [fixed.effect.delta, tuned.effect.delta]
                axes.plot(*ends, color=series.of(panel, tuned.arm), linewidth=1, linestyle=":")


def _draw_point(panel: Panel, point: Placed, canvas: Canvas, axes: Any) -> series.Label:
    own, effect, x = series.of(panel, point.arm), point.effect, point.kept
    series.mark(axes, x, effect, own)
    return series.Label(point.arm.label, *canvas.pixel(axes, x, effect.delta), own)


def _draw_path(panel: Panel, path: RewindPath, canvas: Canvas, axes: Any) -> series.Label:
    """Draw the λ points on a thin line, and a ring around what was chosen."""
    own = series.among(panel.strategies, path.strategy)
    xs, ys = [s.kept for s in path.steps], [s.gain for s in path.steps]
    axes.plot(xs, ys, color=own, linewidth=0.9, marker="o", markersize=3, alpha=0.8)
    chosen = [s for s in path.steps if s.share in path.chosen]
    ring = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "linestyle": "none"}
    axes.plot([s.kept for s in chosen], [s.gain for s in chosen], color=own, **ring)
    end = chosen[0] if chosen else path.steps[-1]
    return series.Label(label(path), *canvas.pixel(axes, end.kept, end.gain), own)


def _frontier_caption(points: Sequence[Placed], own: Sequence[RewindPath]) -> str:
    text = (
        "Higher is better; left means more forgetting. Line: 95% interval; grey: margin. "
        "Cross: the base model."
    )
    if any(p.arm.key.setting == "tuned" for p in points):
        text += " Dotted: from the fixed rate to the tuned one."
    if own:
        text += (
            " Thin line with dots: weights a share λ of the way from base to trained, measured"
            " on dev and held-out probe problems; ring: the λ that was chosen there."
        )
    return text


def _path_words(path: RewindPath, at: KeptAxis) -> str:
    steps = ", ".join(
        f"λ {s.share:g}: {wording.signed(s.gain)} points on dev, {at.write(s.kept)}"
        for s in path.steps
    )
    who = wording.arm(path.strategy, path.learning_rate, path.setting)
    return f"{who}, {label(path)} (measured on dev): {steps}"
