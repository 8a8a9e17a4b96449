"""A small plot: axes with ticks, lines and marks, written once as SVG for the page and for a file.

Every plot is narrow enough for a phone, so that a wide page sets several side by side. Colours are
CSS variables, as the page has a light and a dark form; a file of its own gets those of the light.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import NamedTuple

from markupsafe import Markup

from finetrap.text.visible import one_line, visible

WIDTH, HEIGHT = 336.0, 212.0
"""Pixels of the plot with its axes, the key below not counted."""
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 26.0, 42.0
LETTER = 6.6
"""Pixels that a letter of a label takes, on the safe side."""
LINE = 17.0
"""Height of a line of the key in pixels."""
SHAPES = (
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z",
    "M-4 -4H4V4H-4Z",
    "M0 -5.6L5.6 0L0 5.6L-5.6 0Z",
    "M0 -5.2L5 4H-5Z",
    "M0 5.2L5 -4H-5Z",
    "M-1.6 -5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6Z",
    "M-2.6 -4.6H2.6L5.2 0L2.6 4.6H-2.6L-5.2 0Z",
)
"""Outlines of marks around their middle: circle, square, diamond, triangles, cross, hexagon."""
CROSS = "M-4 -4L4 4M-4 4L4 -4"


class Look(NamedTuple):
    """What a strategy at one rate looks like, the same in every chart and table of a page."""

    place: int
    """Of its strategy: decides colour and shape."""
    shade: float = 1.0
    """Opacity of the mark's inside: rates of one strategy differ by it."""

    @property
    def colour(self) -> str:
        """Name the CSS class of its colour."""
        return f"s{self.place % len(SHAPES)}"

    @property
    def swatch(self) -> Markup:
        """Draw the mark alone, for tables."""
        return Markup(
            '<svg class="swatch" viewBox="-7 -7 14 14" width="14" height="14" aria-hidden="true">{}'
            "</svg>"
        ).format(self.drawn(0, 0))

    def drawn(self, x: float, y: float, size: float = 1.0) -> Markup:
        """Draw the mark with its middle at a point."""
        return Markup(
            '<path class="mark {}" fill-opacity="{:g}"'
            ' transform="translate({:.1f} {:.1f}) scale({:g})" d="{}"/>'
        ).format(self.colour, self.shade, x, y, size, SHAPES[self.place % len(SHAPES)])


@dataclass(frozen=True)
class Chart:
    """A drawn plot, once for the page and once as a file of its own."""

    name: str
    """File name without its ending."""
    title: str
    caption: str
    inline: Markup
    standalone: str


@dataclass(frozen=True)
class Axis:
    """One axis: where a value lies in pixels, and which values are written beside it."""

    title: str
    low: float
    high: float
    ticks: Mapping[float, str]
    log: bool = False

    def share(self, value: float) -> float:
        """Return how far along the axis a value lies, from 0 to 1."""
        low, high, value = (
            map(math.log10, (self.low, self.high, value))
            if self.log
            else (
                self.low,
                self.high,
                value,
            )
        )
        return (value - low) / (high - low)


def linear(
    title: str,
    values: Sequence[float],
    write: Callable[[float], str],
    *,
    low: float | None = None,
    high: float | None = None,
) -> Axis:
    """Make an axis over these values, a little wider, ticks at round numbers; ends may be set."""
    pad = (max(values) - min(values) or 1.0) * 0.07
    low = min(values) - pad if low is None else low
    high = max(values) + pad if high is None else high
    return Axis(title, low, high, {tick: write(tick) for tick in round_ticks(low, high)})


def logarithmic(title: str, ticks: Mapping[float, str], reach: float = 1.5) -> Axis:
    """Make a logarithmic axis `reach` times beyond its ticks; those without room are left out."""
    low, high = min(ticks) / reach, max(ticks) * reach
    axis = Axis(f"{title}, log scale", low, high, {}, log=True)
    kept: dict[float, str] = {}
    edge = -math.inf
    for value, text in sorted(ticks.items()):
        middle = axis.share(value) * (WIDTH - LEFT - RIGHT)
        half = len(text) * LETTER / 2
        if middle - half > edge:
            kept[value], edge = text, middle + half + 4
    return Axis(axis.title, low, high, kept, log=True)


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most about `most` round numbers within a range: 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


class Plot:
    """A plot in the making; what is drawn first lies lowest."""

    def __init__(self, x: Axis, y: Axis) -> None:
        self.x, self.y = x, y
        self._parts: list[Markup] = []
        self._key: list[tuple[Look, str]] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies in pixels from the top left."""
        right = LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT)
        return right, TOP + (1 - self.y.share(y)) * (HEIGHT - TOP - BOTTOM)

    def band(self, low: float, high: float) -> None:
        """Shade a range of the upright axis, such as the margin."""
        (left, top), (right, bottom) = self.at(self.x.low, high), self.at(self.x.high, low)
        self._parts.append(
            Markup(
                '<rect class="band" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
            ).format(left, top, right - left, bottom - top)
        )

    def level(self, y: float, kind: str = "zero") -> None:
        """Draw a line across at one height."""
        self.line([(self.x.low, y), (self.x.high, y)], kind)

    def line(self, points: Sequence[tuple[float, float]], kind: str, shade: float = 1.0) -> None:
        """Draw a line through points; `kind` is its CSS class."""
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        self._parts.append(
            Markup('<polyline class="{}" stroke-opacity="{:g}" points="{}"/>').format(
                kind, shade, drawn
            )
        )

    def mark(
        self,
        x: float,
        y: float,
        look: Look,
        tip: str,
        ends: tuple[float, float] | None = None,
        *,
        ring: bool = False,
        lost: bool = False,
        small: bool = False,
    ) -> None:
        """Draw a mark with an interval and what is read when it is pointed at.

        A ring says that it was chosen; one that is `lost` has no value and is a cross.
        """
        right, down = self.at(x, y)
        colour, parts = look.colour, []
        if ends is not None:
            (_, low), (_, high) = self.at(x, ends[0]), self.at(x, ends[1])
            parts.append(
                Markup('<path class="whisker {}" d="M{:.1f} {:.1f}V{:.1f}"/>').format(
                    colour, right, low, high
                )
            )
        if lost:
            parts.append(
                Markup(
                    '<path class="lost {}" transform="translate({:.1f} {:.1f})" d="{}"/>'
                ).format(colour, right, down, CROSS)
            )
        else:
            parts.append(look.drawn(right, down, 0.5 if small else 1.0))
        if ring:
            parts.append(
                Markup('<circle class="ring {}" cx="{:.1f}" cy="{:.1f}" r="8"/>').format(
                    colour, right, down
                )
            )
        title = Markup("<title>{}</title>").format(visible(tip))
        self._parts.append(
            Markup('<g class="point">{}{}</g>').format(title, Markup("").join(parts))
        )

    def name(self, look: Look, text: str) -> None:
        """Name a mark in the key below."""
        if (look, text) not in self._key:
            self._key.append((look, text))

    def chart(self, name: str, title: str, caption: str, description: str) -> Chart:
        """Finish; `description` holds the numbers for readers who cannot see them."""
        key, height = self._written_key()
        words = Markup("<title>{}</title><desc>{}</desc>").format(
            visible(title), visible(description)
        )
        body = Markup("").join([self._frame(), *self._parts, key])
        size = Markup('viewBox="0 0 {:g} {:g}" width="{:g}" height="{:g}"').format(
            WIDTH, height, WIDTH, height
        )
        inline = Markup('<svg class="chart" role="img" aria-label="{}" {}>{}{}</svg>').format(
            visible(title), size, Markup("<desc>{}</desc>").format(visible(description)), body
        )
        alone = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" {size}>{words}\n'
            f"<style>{_light()}</style>\n{body}</svg>\n"
        )
        return Chart(name, title, caption, inline, alone)

    def _frame(self) -> Markup:
        """Draw the ticks with their numbers, and the names of the axes."""
        left, right, bottom = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = [_written(8, 13, self.y.title, "axis")]
        for value, text in self.y.ticks.items():
            y = self.at(self.x.low, value)[1]
            parts.append(
                Markup('<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>').format(left, y, right)
            )
            parts.append(_written(left - 6, y + 4, text, "tick end"))
        for value, text in self.x.ticks.items():
            x = self.at(value, self.y.low)[0]
            parts.append(Markup('<path class="grid" d="M{:.1f} {:.1f}v4"/>').format(x, bottom))
            parts.append(_written(x, bottom + 16, text, "tick middle"))
        parts.append(
            Markup('<path class="base" d="M{:.1f} {:.1f}H{:.1f}"/>').format(left, bottom, right)
        )
        parts.append(_written(right, bottom + 33, self.x.title, "axis end"))
        return Markup("").join(parts)

    def _written_key(self) -> tuple[Markup, float]:
        """Set the names of the marks in lines below the plot; return them and where they end."""
        parts, x, y = [], 14.0, HEIGHT + 8
        for look, text in self._key:
            text = one_line(text, 44)
            width = 22 + len(text) * LETTER
            if x > 14 and x + width > WIDTH:
                x, y = 14.0, y + LINE
            parts += [look.drawn(x, y), _written(x + 10, y + 4, text, "name")]
            x += width
        return Markup("").join(parts), y + LINE if self._key else HEIGHT


def _written(x: float, y: float, text: str, kind: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(
        kind, x, y, visible(text)
    )


@cache
def _light() -> str:
    """Return the charts' style with the light page's colours in the place of its variables."""
    templates = resources.files("finetrap.report") / "templates"
    page = (templates / "page.css").read_text("utf-8")
    colours: dict[str, str] = {}
    for name, code in re.findall(r"--([\w-]+): (#\w+)", page):
        colours.setdefault(name, code)
    style = (templates / "charts.css").read_text("utf-8")
    return re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], style)
