"""Which colour, shape and shade a strategy has: one on the whole page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from finetrap.report.arranged.panels import ArmKey, Panel
from finetrap.report.charts.drawing import Look


class Looks(NamedTuple):
    """The looks of all strategies of a page."""

    rates: dict[str, list[float]]
    """Of each strategy, low to high, in the order of the page."""

    def of(self, strategy: str, rate: float | None = None) -> Look:
        """Return what a strategy looks like; the higher its rate, the fuller its mark."""
        place = list(self.rates).index(strategy) if strategy in self.rates else len(self.rates)
        known = self.rates.get(strategy, [])
        if rate not in known or len(known) < 2:
            return Look(place)
        return Look(place, round(0.15 + 0.85 * known.index(rate) / (len(known) - 1), 2))

    def arm(self, key: ArmKey) -> Look:
        """Return what an arm looks like."""
        return self.of(key.strategy, key.learning_rate)


def page_looks(panels: Sequence[Panel]) -> Looks:
    """Give every strategy of these panels a look, in the order of their first mention."""
    rates: dict[str, set[float]] = {}
    for panel in panels:
        for arm in panel.arms:
            own = rates.setdefault(arm.key.strategy, set())
            own |= {arm.key.learning_rate} if arm.key.learning_rate is not None else set()
    return Looks({name: sorted(own) for name, own in rates.items()})
