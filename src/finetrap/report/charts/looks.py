"""Which colour, shape and shade a strategy has: one on the whole page, if it can be on all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from finetrap.report.arranged.panels import ArmKey, Panel
from finetrap.report.charts.drawing import SHAPES, Look

_KEPT = {"few-shot": 0, "full": 1, "lora": 2, "dora": 3}
"""Places that are the same on every page, so that pages can be laid side by side."""


class Looks(NamedTuple):
    """The looks of all strategies of a page."""

    rates: dict[str, list[float]]
    """Of each strategy, low to high, in the order of the page."""
    places: dict[str, int]

    def of(self, strategy: str, rate: float | None = None) -> Look:
        """Return what a strategy looks like; the higher its rate, the fuller its mark."""
        place = self.places.get(strategy, len(self.places))
        known = self.rates.get(strategy, [])
        if rate not in known or len(known) < 2:
            return Look(place)
        return Look(place, round(0.15 + 0.85 * known.index(rate) / (len(known) - 1), 2))

    def arm(self, key: ArmKey) -> Look:
        """Return what an arm looks like."""
        return self.of(key.strategy, key.learning_rate)


def page_looks(panels: Sequence[Panel]) -> Looks:
    """Give every strategy of these panels a look: its own, or the next in order of mention."""
    rates: dict[str, set[float]] = {}
    for panel in panels:
        for arm in panel.arms:
            own = rates.setdefault(arm.key.strategy, set())
            own |= {arm.key.learning_rate} if arm.key.learning_rate is not None else set()
    return Looks({name: sorted(own) for name, own in rates.items()}, _places(list(rates)))


def _places(names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        own = _KEPT.get("few-shot" if name.startswith("few-shot-") else name)
        if own is not None and own not in found.values():
            found[name] = own
    free = [place for place in range(len(SHAPES)) if place not in found.values()]
    for name in names:
        if name not in found:
            found[name] = free.pop(0) if free else len(found)
    return found
