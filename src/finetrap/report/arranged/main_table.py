"""Models × strategies × tasks: the main table.

A line is one strategy at one setting (the rate that all share, or its tuned one), so that it runs
through models and tasks even where a search chose other rates for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm, PanelKey


class Line(NamedTuple):
    """One strategy at one setting, with its arm in every panel that has one."""

    strategy: str
    setting: str
    rate: float | None
    """Only where some panel has several rates of this strategy at this setting."""
    arms: Mapping[PanelKey, PanelArm]

    @property
    def label(self) -> str:
        """Name the strategy, and the setting where it goes not without saying."""
        name = wording.strategy_name(self.strategy)
        if self.rate is not None:
            name += f" {wording.rate(self.rate)}"
        return name + {"tuned": ", tuned"}.get(self.setting, "")


def lines(panels: Sequence[Panel]) -> list[Line]:
    """Arrange the arms of all panels by strategy and setting, in the order of the panels.

    An arm whose rate is fixed and tuned stands on both lines where other panels tell them apart.
    """
    settings: dict[str, set[str]] = {}
    crowded: set[tuple[str, str]] = set()
    for panel in panels:
        seen: set[tuple[str, str]] = set()
        for arm in panel.arms:
            settings.setdefault(arm.key.strategy, set()).add(arm.key.setting)
            for place in _lines_of(arm.key.setting, settings[arm.key.strategy]):
                key = (arm.key.strategy, place)
                crowded |= {key} & seen
                seen.add(key)
    found: dict[tuple[str, str, float | None], dict[PanelKey, PanelArm]] = {}
    for panel in panels:
        for arm in panel.arms:
            name = arm.key.strategy
            for setting in _lines_of(arm.key.setting, settings[name]):
                rate = arm.key.learning_rate if (name, setting) in crowded else None
                found.setdefault((name, setting, rate), {})[panel.key] = arm
    return [Line(*key, arms) for key, arms in found.items()]


def _lines_of(setting: str, among: set[str]) -> list[str]:
    """Return the lines that an arm of a setting stands on."""
    if setting == "fixed+tuned" and among != {"fixed+tuned"}:
        return ["fixed", "tuned"]
    return [setting]


class MainRow(NamedTuple):
    """One strategy of one model on every task; None where nothing was measured."""

    model: str
    label: str
    rates: str
    """Learning rates, each with its setting."""
    arms: tuple[PanelArm | None, ...]
    first: bool
    """Of its model."""


class MainTable(NamedTuple):
    """Models × strategies × tasks."""

    tasks: tuple[str, ...]
    rows: tuple[MainRow, ...]

    @property
    def any_best(self) -> bool:
        """Whether some strategy is shown to be the best anywhere."""
        return any(a is not None and a.summary.best for row in self.rows for a in row.arms)


def arrange_table(panels: Sequence[Panel]) -> MainTable:
    """Arrange every model × strategy × task."""
    columns = list(dict.fromkeys((p.key.task, p.key.trained_on) for p in panels))
    rows: list[MainRow] = []
    for model in dict.fromkeys(p.key.model for p in panels):
        own = [p for p in panels if p.key.model == model]
        by_column = {(p.key.task, p.key.trained_on): p for p in own}
        base = [p.base if (p := by_column.get(c)) else None for c in columns]
        rows.append(MainRow(model, "base model", "", tuple(base), True))
        for line in lines(own):
            arms = [line.arms.get(p.key) if (p := by_column.get(c)) else None for c in columns]
            label = line._replace(rate=None).label  # it has a column for rates
            rows.append(MainRow(model, label, _line_rates(line), tuple(arms), False))
    titles = tuple(t if t == on else f"{t} (trained on {on})" for t, on in columns)
    return MainTable(titles, tuple(rows))


def _line_rates(line: Line) -> str:
    rates = dict.fromkeys(a.key.learning_rate for a in line.arms.values() if a.trains)
    text = ", ".join(wording.rate(rate) for rate in rates)
    both = any(arm.key.setting == "fixed+tuned" for arm in line.arms.values())
    return f"{text} (fixed and tuned)" if both and line.setting == "fixed+tuned" else text
