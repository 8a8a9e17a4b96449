"""Training loss over optimizer steps, one line per run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from finetrap.records import Run
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.charts.drawing import Axis, Chart, Plot, linear
from finetrap.report.charts.looks import Looks

MOST_POINTS = 1200
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


def loss_chart(panel: Panel, runs: Mapping[str, Run], looks: Looks, name: str) -> Chart | None:
    """Draw the training loss of every run; `runs` by key. Runs that diverged are marked."""
    found = training_curves(panel, runs)
    if not found:
        return None
    values = [v for c in found for v in c.loss] or [1.0]
    last = max(max(c.steps[-1] if c.loss else 0, c.diverged or 0) for c in found)
    x = linear("optimizer step", [0.0, last], lambda v: f"{v:,.0f}", low=0.0)
    plot = Plot(x, _loss_axis(values))
    for curve in found:
        look = looks.arm(curve.arm.key)
        points = list(zip(curve.steps, curve.loss, strict=True))
        shade = 0.35 + 0.65 * look.shade
        if len(points) > 1:
            plot.line(points, f"series {look.colour}", shade)
        if curve.diverged is not None:
            step, loss = points[-1] if points else (float(curve.diverged), max(values))
            plot.mark(step, loss, look, _curve_words(curve), lost=True)
        plot.name(look, curve.arm.label)
    return plot.chart(
        name,
        f"Training loss: {panel.title}",
        "One line per seed. ✕: the loss stopped being finite.",
        "; ".join(map(_curve_words, found)),
    )


def _loss_axis(values: Sequence[float]) -> Axis:
    """Make the axis of the loss, logarithmic where it spans more than a factor of thirty."""
    title, low, high = "training loss (nats per token)", min(values), max(values)
    if low <= 0 or high / low <= 30:
        return linear(title, [0.0, high], lambda v: f"{v:g}", low=0.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = {10.0**p: f"{10.0**p:g}" for p in powers if low <= 10.0**p <= high}
    return Axis(f"{title}, log scale", low * 0.8, high * 1.25, ticks, log=True)


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


def _curve_words(curve: LossCurve) -> str:
    text = f"{curve.arm.label}, seed {curve.seed}: "
    if curve.loss:
        text += f"loss {curve.loss[0]:.3g} to {curve.loss[-1]:.3g}"
    return text + (f", diverged at step {curve.diverged}" if curve.diverged is not None else "")
