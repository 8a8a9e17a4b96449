"""A figure's frame: sizes in pixels, colours that follow the page, and the way to SVG.

Figures are drawn at 72 dots per inch, so a point of matplotlib is a pixel of the SVG. Text stays
text (small files, found by search), measured with DejaVu Sans, which is wider than what browsers
show.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextToPath

from finetrap.levels import VERDICTS
from finetrap.text.visible import visible

COLOURS = {
    "ink": "#17181a",
    "muted": "#6b6e76",
    "grid": "#dcdee3",
    "band": "#e8eaee",
    "vermillion": "#d55e00",
    "blue": "#0072b2",
    "green": "#009e73",
    "orange": "#e69f00",
    "purple": "#cc79a7",
    "sky": "#56b4e9",
    "grey": "#8a8d94",
}
"""Okabe & Ito's palette and greys. In the page each becomes the CSS variable of its name."""
VERDICT_MARKS = {
    "harmed": ("v", "vermillion"),
    "improved": ("^", "blue"),
    "equivalent": ("s", "green"),
    "inconclusive": ("o", "grey"),
}
"""Marker and colour of each verdict: shape alone tells them apart too."""
SERIES = ("blue", "vermillion", "green", "purple", "orange", "sky", "ink")
FONT = 12.0
"""Size of text in pixels."""
LINE = 16.0
"""Height of a line of text in pixels."""

FAMILY = "system-ui, 'DejaVu Sans', Arial, sans-serif"
LEGIBLE = 500.0
"""Pixels below which a figure does not shrink: it scrolls in its box on a narrow page."""
SMALLEST = 0.8
"""Part of its size below which a figure does not shrink either, for the sake of its text."""
_NAMES = {value: name for name, value in COLOURS.items()}
_measure = TextToPath()


@dataclass(frozen=True)
class Chart:
    """A drawn figure, once for the page and once as a file of its own."""

    name: str
    """File name without its ending."""
    width: float
    """Pixels."""
    title: str
    caption: str
    inline: Markup
    """SVG element coloured by the page."""
    standalone: str
    """Whole SVG file in the colours of the light page."""
    key: tuple[tuple[str, str], ...] = ()
    """Names beside the plot with the names of their colours: on a phone they lie out of sight."""


def colour(name: str) -> str:
    """Return a colour of the palette for matplotlib."""
    return COLOURS[name]


def text_width(text: str, size: float = FONT) -> float:
    """Return the width of a text in pixels."""
    width, _, _ = _measure.get_text_width_height_descent(
        text, FontProperties(family="DejaVu Sans", size=size), False
    )
    return float(width)


class Canvas:
    """A figure of a size in pixels, counted from the top left."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.key: list[tuple[str, str]] = []
        self.figure: Any = Figure(figsize=(width / 72, height / 72), dpi=72)
        self.figure.patch.set_alpha(0)
        FigureCanvasSVG(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Add axes with a quiet frame."""
        bottom = self.height - top - height
        box = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.patch.set_alpha(0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(colour("muted"))
        axes.tick_params(colors=colour("muted"), labelsize=FONT - 1, length=3, width=0.8)
        axes.xaxis.label.set_color(colour("ink"))
        axes.yaxis.label.set_color(colour("ink"))
        axes.xaxis.label.set_size(FONT)
        axes.yaxis.label.set_size(FONT)
        return axes

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write text with its middle at height `y`."""
        style = {"color": colour("ink"), "fontsize": FONT, "va": "center_baseline", **style}
        # A name may hold dollar signs, which would be read as mathematics.
        self.figure.text(x / self.width, 1 - y / self.height, text, parse_math=False, **style)

    def line(self, xs: Sequence[float], ys: Sequence[float], **style: Any) -> None:
        """Draw a line through points in pixels."""
        flipped = [1 - y / self.height for y in ys]
        shares = [x / self.width for x in xs]
        self.figure.add_artist(Line2D(shares, flipped, transform=self.figure.transFigure, **style))

    def mark(self, x: float, y: float, verdict: str, size: float = 7) -> None:
        """Draw a verdict's mark."""
        self.line([x], [y], **mark_style(verdict, size))

    def legend(self, verdicts: Iterable[str]) -> float:
        """Explain the marks of the verdicts that occur, in one line; return where it ends."""
        x, y, occurring = 14.0, 14.0, set(verdicts)
        for verdict in (word for word in VERDICTS if word in occurring):
            self.mark(x, y, verdict)
            self.text(x + 9, y, verdict)
            x += 28 + text_width(verdict)
        return x

    def pixel(self, axes: Any, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the axes lies, from the top left."""
        right, up = axes.transData.transform((x, y))
        return float(right), self.height - float(up)

    def chart(self, name: str, title: str, caption: str, description: str) -> Chart:
        """Finish the drawing; `description` holds its numbers for readers who cannot see it."""
        buffer = io.StringIO()
        settings = {"svg.fonttype": "none", "svg.hashsalt": name}
        with matplotlib.rc_context(settings):
            self.figure.savefig(buffer, format="svg", transparent=True)
        body = _body(buffer.getvalue())
        words = (escape(visible(title)), escape(visible(description)))
        inline = _inline(name, body, self.width, self.height, words)
        alone = _standalone(body, self.width, self.height, words)
        key = tuple((text, _NAMES[code]) for text, code in self.key)
        return Chart(name, self.width, title, caption, inline, alone, key=key)


def mark_style(verdict: str, size: float = 7) -> dict[str, Any]:
    """Return the marker of a verdict as matplotlib's line settings."""
    shape, name = VERDICT_MARKS[verdict]
    hollow = verdict == "inconclusive"
    return {
        "marker": shape,
        "markersize": size,
        "color": colour(name),
        "markerfacecolor": "none" if hollow else colour(name),
        "markeredgewidth": 1.6 if hollow else 0.8,
        "linestyle": "none",
    }


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions apart to at least `gap`, in order and as little as can be, within low…high.

    Neighbours too close are merged into a block around their mean (pool adjacent violators). Where
    there is not room for all, the gap shrinks to what there is.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[float, int]] = []
    # Without its place in the order each position only has to be no lower than the one before.
    for place, index in enumerate(order):
        total, size = wanted[index] - place * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / size:
            earlier, count = blocks.pop()
            total, size = total + earlier, size + count
        blocks.append((total, size))
    room = high - low - gap * (len(wanted) - 1)
    level = [min(max(t / n, low), low + room) for t, n in blocks for _ in range(n)]
    placed = [0.0] * len(wanted)
    for place, index in enumerate(order):
        placed[index] = level[place] + place * gap
    return placed


def _body(svg: str) -> str:
    """Return what stands inside the svg element, without metadata and unreferenced ids."""
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    # Its style element would style the whole page; what it says is set on the root instead.
    body = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", "", body, flags=re.S)
    used = set(re.findall(r'<[^>]*(?:href="|url\()#([^")]+)', body))

    def shorten(tag: str) -> str:
        tag = tag.replace("xlink:href", "href")
        tag = re.sub(r' id="([^"]*)"', lambda m: m.group(0) if m.group(1) in used else "", tag)
        tag = re.sub(r' transform="rotate\(-0 [^)]*\)"|(?<=[; "])font-family: [^;"]*;? ?', "", tag)
        # Before 3.10 matplotlib writes size and family as one.
        return re.sub(r'(font: [^;"]*?px) [^;"]*', rf"\1 {FAMILY}", tag)

    return re.sub(r"\n\s*", "\n", _in_tags(shorten, body)).strip()


def _inline(
    name: str, body: str, width: float, height: float, words: tuple[Markup, Markup]
) -> Markup:
    """Wrap a body for the page: its own ids, the page's colours."""

    def adopt(tag: str) -> str:
        tag = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", tag)
        return re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda m: _variable(m.group(0)), tag)

    body = _in_tags(adopt, body)
    return Markup(
        f'<svg class="chart" role="img" aria-labelledby="{name}-title {name}-desc" '
        'stroke-linejoin="round" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'style="min-width:{min(width, max(LEGIBLE, SMALLEST * width)):.0f}px">'
        f'<title id="{name}-title">{words[0]}</title><desc id="{name}-desc">{words[1]}</desc>'
        f"{body}</svg>"
    )


def _standalone(body: str, width: float, height: float, words: tuple[Markup, Markup]) -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" stroke-linejoin="round" '
        f'viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" font-family="{FAMILY}">\n'
        f"<title>{words[0]}</title>\n<desc>{words[1]}</desc>\n{body}\n</svg>\n"
    )


def _in_tags(change: Callable[[str], str], body: str) -> str:
    """Change tags and leave the text between them, which may look like anything, as it is."""
    return re.sub(r"<[^>]*>", lambda m: change(m.group(0)), body)


def _variable(colour_code: str) -> str:
    name = _NAMES.get(colour_code)
    return f"var(--{name})" if name else colour_code
