"""The learning–forgetting frontier: what each strategy gained on its task over what it left intact.

Rewinding paths are measured on dev and on held-out probe problems, the strategies on the test and
on the probes: both are drawn as changes against the untouched model on the same problems.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from finetrap.findings import Effect
from finetrap.records import Run
from finetrap.report import wording
from finetrap.report.arranged.panels import Arm, Panel, ProbeGroup
from finetrap.report.arranged.sentences import describe
from finetrap.report.charts import series
from finetrap.report.charts.figure import Canvas, Chart, colour, mark_style
from finetrap.stats.retention import chance


class Kept(NamedTuple):
    """How the axis of what was kept is measured: the same for every arm of a panel."""

    probes: tuple[str, ...]
    """The probes it is the mean of."""
    retention: bool
    """Percent of the ability above chance that is left; else the change in points."""

    @property
    def untouched(self) -> float:
        """Where the untouched model stands."""
        return 100.0 if self.retention else 0.0

    @property
    def axis(self) -> str:
        """Name the axis with its unit."""
        if self.retention:
            return "ability kept on the probes (% above chance)"
        return "mean change on the probes (points)"

    def of(self, effects: Mapping[str, Effect]) -> float:
        """Return the mean over the probes."""
        if self.retention:
            return _mean(effects[p].retention or 0.0 for p in self.probes)
        return _mean(effects[p].delta for p in self.probes)

    def written(self, value: float) -> str:
        """Write a value with its unit."""
        if self.retention:
            return f"{wording.percent(value)} of the probes kept"
        return f"{wording.signed(value)} points on the probes"


class Point(NamedTuple):
    """One trained strategy."""

    arm: Arm
    effect: Effect
    kept: float


class Step(NamedTuple):
    """One share λ of the way from the untouched to the trained weights; means over seeds."""

    share: float
    kept: float
    gain: float
    """Change of the dev accuracy, in points."""


class Path(NamedTuple):
    """The way of one strategy back towards the untouched weights."""

    arm: Arm
    steps: tuple[Step, ...]
    """From the untouched weights on."""
    chosen: tuple[float, ...]
    """Shares that the seeds chose, each once."""

    @property
    def label(self) -> str:
        """Name the path by what was chosen on it."""
        shares = " or ".join(f"{share:g}" for share in self.chosen)
        way = f"way back of {wording.rate(self.arm.key.learning_rate)}"
        return f"{way}: λ = {shares}" if shares else way


def frontier(
    panel: Panel, groups: Sequence[ProbeGroup], runs: Mapping[str, Run], name: str
) -> Chart | None:
    """Draw each trained strategy's gain on the task over what it kept; `runs` by key.

    Prompts are left out: they change no weights, so they cannot forget.
    """
    kept, points = placed(panel, groups)
    if kept is None or not points:
        return None
    own = paths(panel, kept, runs) if points[0].effect.measure == "accuracy" else []
    return _draw(panel, kept, points, own, name)


def placed(panel: Panel, groups: Sequence[ProbeGroup]) -> tuple[Kept | None, list[Point]]:
    """Place the trained strategies, all by the same probes.

    Retention is drawn where it is known of some probe for every arm, else the change in points.
    """
    own = next(
        (g for g in groups if (g.model, g.trained_on) == (panel.key.model, panel.key.trained_on)),
        None,
    )
    by_arm = dict(own.arms) if own else {}
    found: list[tuple[Arm, Effect, dict[str, Effect]]] = []
    for arm in panel.arms:
        probes = {
            name: effect
            for name, effect in by_arm.get(arm.key, {}).items()
            if effect.measure == "accuracy"
        }
        if arm.effect is not None and arm.trains and probes:
            found.append((arm, arm.effect, probes))
    if not found:
        return None, []
    common = [p for p in found[0][2] if all(p in probes for *_, probes in found)]
    left = [p for p in common if all(probes[p].retention is not None for *_, probes in found)]
    if not common:
        return None, []
    kept = Kept(tuple(left or common), bool(left))
    return kept, [Point(arm, effect, kept.of(probes)) for arm, effect, probes in found]


def paths(panel: Panel, kept: Kept, runs: Mapping[str, Run]) -> list[Path]:
    """Return the rewinding path of every arm that has one, averaged over its seeds."""
    found = []
    for arm in panel.arms:
        own = [runs[c["key"]] for c in arm.cells if c["key"] in runs]
        walked = [(run, way) for run in own if (way := run.evidence.get("rewind"))]
        each = [steps for run, way in walked if (steps := _steps(run, way.get("path", ()), kept))]
        shares = sorted(set.intersection(*(set(steps) for steps in each))) if each else []
        if len(shares) > 1:
            means = (
                Step(
                    share,
                    _mean(steps[share].kept for steps in each),
                    _mean(steps[share].gain for steps in each),
                )
                for share in shares
            )
            chosen = sorted({way["chosen"] for _, way in walked} & set(shares))
            found.append(Path(arm, tuple(means), tuple(chosen)))
    return found


def _steps(run: Run, path: Sequence[Mapping[str, Any]], kept: Kept) -> dict[float, Step]:
    """Set every share of one run's path against its share 0, the untouched weights."""
    start = next((step for step in path if step["share"] == 0), None)
    if start is None or start["accuracy"] is None:
        return {}
    base = {name: start["probes"].get(name, {}).get("accuracy") for name in kept.probes}
    guessed = {name: 100 * _chance(run, name) for name in kept.probes}
    usable = [n for n, level in base.items() if level is not None and level > guessed[n]]
    found = {}
    for step in path:
        now = {name: step["probes"].get(name, {}).get("accuracy") for name in usable}
        if not usable or None in now.values() or step["accuracy"] is None:
            continue
        if kept.retention:
            left = _mean(100 * (now[n] - guessed[n]) / (base[n] - guessed[n]) for n in usable)
        else:
            left = _mean(now[n] - base[n] for n in usable)
        gain = step["accuracy"] - start["accuracy"]
        found[step["share"]] = Step(step["share"], left, gain)
    return found


def _chance(run: Run, probe: str) -> float:
    return chance([a.gold for a in run.probes.get(probe, ()) if a.rule == "likelihood"])


def _draw(
    panel: Panel, kept: Kept, points: Sequence[Point], own: Sequence[Path], name: str
) -> Chart:
    measure = points[0].effect.measure
    canvas, axes = series.plot(
        [p.arm.label for p in points] + [path.label for path in own], 320, plot_width=330
    )
    steps = [step for path in own for step in path.steps]
    series.limit(
        axes.set_xlim, [kept.untouched, *(p.kept for p in points), *(s.kept for s in steps)]
    )
    heights = [v for p in points for v in (p.effect.low, p.effect.high)]
    series.limit(axes.set_ylim, [0.0, *heights, *(s.gain for s in steps)])
    series.margin_band(axes, [point.effect for point in points])
    axes.axhline(0, color=colour("grid"), zorder=0)
    axes.axvline(kept.untouched, color=colour("grid"), zorder=0)
    cross = {"marker": "+", "markersize": 12, "markeredgewidth": 1.5}
    axes.plot([kept.untouched], [0], color=colour("muted"), **cross)
    axes.locator_params(nbins=6)
    axes.set_xlabel(kept.axis)
    axes.set_ylabel(f"change on the task ({wording.unit(measure)})")
    _join_settings(panel, points, axes)
    labels = [_draw_path(panel, path, canvas, axes) for path in own]
    labels += [_draw_point(panel, point, canvas, axes) for point in points]
    series.label_column(canvas, axes, labels)
    said = [
        f"{p.arm.label}: {describe(p.effect)} on the task, {kept.written(p.kept)}" for p in points
    ]
    return canvas.chart(
        name,
        f"Learning against forgetting: {panel.title}",
        _caption(points, own),
        "; ".join([*said, *(_path_words(path, kept) for path in own)]),
    )


def _join_settings(panel: Panel, points: Sequence[Point], axes: Any) -> None:
    """Lead from a strategy's fixed rate to its tuned one."""
    for tuned in (p for p in points if p.arm.key.setting == "tuned"):
        for fixed in points:
            if fixed.arm.key[::2] == (tuned.arm.key.strategy, "fixed"):
                ends = [fixed.kept, tuned.kept], [fixed.effect.delta, tuned.effect.delta]
                axes.plot(*ends, color=series.of(panel, tuned.arm), linewidth=1, linestyle=":")


def _draw_point(panel: Panel, point: Point, canvas: Canvas, axes: Any) -> series.Label:
    own, effect, x = series.of(panel, point.arm), point.effect, point.kept
    axes.plot([x] * 2, [effect.low, effect.high], color=own, linewidth=1.2, alpha=0.6)
    axes.plot([x], [effect.delta], **{**mark_style(effect.verdict, 8), **series.tint(effect, own)})
    return series.Label(point.arm.label, *canvas.pixel(axes, x, effect.delta), own)


def _draw_path(panel: Panel, path: Path, canvas: Canvas, axes: Any) -> series.Label:
    """Draw the λ points on a thin line, and a ring around what was chosen."""
    own = series.of(panel, path.arm)
    xs, ys = [s.kept for s in path.steps], [s.gain for s in path.steps]
    axes.plot(xs, ys, color=own, linewidth=0.9, marker="o", markersize=3, alpha=0.8)
    chosen = [s for s in path.steps if s.share in path.chosen]
    ring = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "linestyle": "none"}
    axes.plot([s.kept for s in chosen], [s.gain for s in chosen], color=own, **ring)
    end = chosen[0] if chosen else path.steps[-1]
    return series.Label(path.label, *canvas.pixel(axes, end.kept, end.gain), own)


def _caption(points: Sequence[Point], own: Sequence[Path]) -> str:
    text = (
        "Up: gained on its task; line: 95% interval; grey: margin. Left: lost on the probes. "
        "Cross: the untouched model."
    )
    if any(p.arm.key.setting == "tuned" for p in points):
        text += " Dotted: from the fixed rate to the tuned one."
    if own:
        text += (
            " Thin line with dots: weights a share λ of the way from untouched to trained, measured"
            " on dev and held-out probe problems; ring: the λ that was chosen there."
        )
    return text


def _path_words(path: Path, kept: Kept) -> str:
    steps = ", ".join(
        f"λ {s.share:g}: {wording.signed(s.gain)} points on dev, {kept.written(s.kept)}"
        for s in path.steps
    )
    return f"{path.arm.label}, {path.label} (measured on dev): {steps}"


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known)
