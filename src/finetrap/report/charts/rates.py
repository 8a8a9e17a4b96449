"""Learning rates on the test: what each strategy changed at every rate it was measured at."""

from __future__ import annotations

from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.arranged.sentences import describe
from finetrap.report.charts import series
from finetrap.report.charts.figure import Chart


def rate_chart(panel: Panel, name: str) -> Chart | None:
    """Draw the change on the task over the learning rate; None unless one strategy has two."""
    own = by_rate(panel)
    if all(len(arms) < 2 for arms in own.values()):
        return None
    lines = {
        strategy: [(_arm_rate(arm), arm.effect) for arm in arms if arm.effect]
        for strategy, arms in own.items()
    }
    ticks = {x: wording.rate(x) for x in sorted({x for line in lines.values() for x, _ in line})}
    canvas, _ = series.changes_over(lines, panel.strategies, ticks, "learning rate")
    return canvas.chart(
        name,
        f"Learning rates on the test: {panel.title}",
        "Line: 95% interval over problems and seeds; marks are the verdicts. Grey: margin. Do not "
        "pick a rate here: these are test results, and rates are chosen on held-out problems.",
        "; ".join(f"{a.label}: {describe(a.effect)}" for o in own.values() for a in o if a.effect),
    )


def by_rate(panel: Panel) -> dict[str, list[PanelArm]]:
    """Return the judged arms of each trained strategy, by learning rate."""
    found: dict[str, list[PanelArm]] = {}
    for arm in panel.arms:
        if arm.trains and arm.effect:
            found.setdefault(arm.key.strategy, []).append(arm)
    return {name: sorted(arms, key=_arm_rate) for name, arms in found.items()}


def _arm_rate(arm: PanelArm) -> float:
    return arm.key.learning_rate or 0.0
