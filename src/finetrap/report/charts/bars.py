"""The interval bars of the main table: every column on one scale, worse to the left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from markupsafe import Markup

from finetrap.findings import Effect
from finetrap.report.charts.drawing import round_ticks


class Scale(NamedTuple):
    """The range that bars of one measure span, in its own unit, better to the right."""

    low: float
    high: float
    sign: int
    """-1 where a rise is harm."""

    def at(self, value: float) -> float:
        """Return where a change lies, in percent of the width."""
        return 100 * (self.sign * value - self.low) / (self.high - self.low)


def common_scales(effects: Iterable[Effect]) -> Mapping[str, Scale]:
    """Return a scale for each measure; zero is never at an edge."""
    ends: dict[str, tuple[float, float]] = {}
    for e in effects:
        sign = -1 if e.measure == "bits_per_byte" else 1
        values = [sign * v for v in (e.low, e.high)] + [-e.margin, e.margin]
        low, high = ends.get(e.measure, (0.0, 0.0))
        ends[e.measure] = min(low, *values), max(high, *values)
    found = {}
    for measure, (low, high) in ends.items():
        zero = min(max(-low / (high - low) if high > low else 0.5, 0.12), 0.88)
        reach = 1.18 * max(-low / zero, high / (1 - zero)) or 1.0
        sign = -1 if measure == "bits_per_byte" else 1
        found[measure] = Scale(-zero * reach, (1 - zero) * reach, sign)
    return found


def bar(effect: Effect, scale: Scale) -> Markup:
    """Draw a change: grey margin, zero, interval, one tick a seed, mark in the verdict's colour."""
    at = scale.at
    inner = sorted((at(-effect.margin), at(effect.margin)))
    ends = sorted((at(effect.low), at(effect.high)))
    seeds = effect.per_seed if len(effect.per_seed) > 1 and effect.measure == "accuracy" else ()
    ticks = Markup("").join(
        Markup('<line class="seed" x1="{0:.1f}%" x2="{0:.1f}%" y1="3" y2="13"/>').format(
            at(s.delta)
        )
        for s in seeds
    )
    return Markup(
        '<svg class="bar {}" height="16" aria-hidden="true">'
        '<rect class="band" x="{:.1f}%" width="{:.1f}%" height="16"/>'
        '<line class="zero" x1="{:.1f}%" x2="{:.1f}%" y1="0" y2="16"/>{}'
        '<line class="span" x1="{:.1f}%" x2="{:.1f}%" y1="8" y2="8"/>'
        '<circle cx="{:.1f}%" cy="8" r="3.6"/></svg>'
    ).format(
        effect.verdict,
        inner[0],
        inner[1] - inner[0],
        at(0.0),
        at(0.0),
        ticks,
        *ends,
        at(effect.delta),
    )


def ruler(scale: Scale) -> Markup:
    """Write the scale above a column: zero and a few round numbers, in a narrow one only two."""
    few, more = (
        [v for v in round_ticks(scale.low, scale.high, n) if 5 < scale.at(scale.sign * v) < 95]
        for n in (4, 5)
    )
    marks = few if len(few) > 1 else more
    far = max(marks, key=abs, default=0.0)
    parts = []
    for value in marks:
        parts.append(
            Markup('<text{} x="{:.1f}%" y="10">{}</text>').format(
                Markup("" if value in (0.0, far) else ' class="inner"'),
                scale.at(scale.sign * value),
                _signed(scale.sign * value),
            )
        )
    return Markup('<svg class="ruler" height="12" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


def _signed(value: float) -> str:
    text = f"{value:+g}" if value else "0"
    return "\u2212" + text[1:] if text.startswith("-") else text


def tint(effect: Effect, most: float) -> str:
    """Name the shade of a field in the map: direction, and strength linear in margins.

    `most` is the change of the deepest shade; one below the margin is marked small.
    """
    if abs(effect.harm) < 1:
        return "small"
    strength = max(1, round(4 * abs(effect.harm) / most))
    return f"{'down' if effect.harm > 0 else 'up'}-{strength}"


def deepest(effects: Iterable[Effect]) -> float:
    """Return the change of the deepest shade, in margins: the largest, at least two."""
    return max([2.0, *(abs(e.harm) for e in effects)])
