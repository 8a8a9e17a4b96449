"""The forest plot: what every strategy changed on its task, with margin, noise floor and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from finetrap.findings import Effect
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.report.arranged.sentences import describe
from finetrap.report.charts.figure import FONT, Canvas, Chart, colour, mark_style, text_width

MOST_ROWS = 36
"""Rows in one figure; a larger study gets several."""
PLOT = 540.0
"""Width of the axes in pixels."""
ROW, TOP, MARK = 26.0, 34.0, 13.0
"""Height of a row, where the first one begins, and where in a row its interval lies, in pixels."""


class ForestRow(NamedTuple):
    """A row: a heading (no arm), or an arm."""

    label: str
    panel: Panel
    arm: PanelArm | None = None
    margin: float = 0.0
    """Of the panel, in the unit of the change."""

    @property
    def effect(self) -> Effect | None:
        """What the row draws, if anything could be compared."""
        return self.arm.effect if self.arm else None

    @property
    def numbers(self) -> str:
        """What is written beside the drawing."""
        if self.arm is None:
            return ""
        if self.effect is None:
            return self.arm.ended or "not run"
        return wording.change(self.effect)


def forests(panels: Sequence[Panel]) -> list[Chart]:
    """Draw every strategy's change on the task: accuracy and bits per byte on axes of their own."""
    charts: list[Chart] = []
    for measure in ("accuracy", "bits_per_byte"):
        own = [p for p in panels if p.arms and _panel_measure(p) == measure]
        effects = [e for p in own for e in p.effects]
        if not effects:
            continue
        for page in _pages([_forest_rows(p) for p in own]):
            charts.append(_forest(page, measure, _limits(effects), f"forest-{len(charts) + 1}"))
    return charts


def _panel_measure(panel: Panel) -> str:
    return panel.effects[0].measure if panel.effects else "accuracy"


def _forest_rows(panel: Panel) -> list[ForestRow]:
    margin = max((e.margin for e in panel.effects), default=0.0)
    rows = [
        ForestRow(a.label, panel, a, a.effect.margin if a.effect else margin) for a in panel.arms
    ]
    return [ForestRow(panel.title, panel), *rows]


def _pages(groups: Sequence[list[ForestRow]]) -> Iterator[list[ForestRow]]:
    """Join whole groups to pages of at most `MOST_ROWS` rows; a larger group has its own page."""
    page: list[ForestRow] = []
    for group in groups:
        if page and len(page) + len(group) > MOST_ROWS:
            yield page
            page = []
        page = page + group
    if page:
        yield page


def _limits(effects: Sequence[Effect]) -> tuple[float, float]:
    """Return the range of the axis: every interval, zero and the margins."""
    low = min(min(e.low, -e.margin, 0.0) for e in effects)
    high = max(max(e.high, e.margin, 0.0) for e in effects)
    pad = (high - low or 1.0) * 0.04
    return low - pad, high + pad


def _forest(
    rows: Sequence[ForestRow], measure: str, limits: tuple[float, float], name: str
) -> Chart:
    arms = [row for row in rows if row.arm]
    left = 16 + max(text_width(row.label) for row in arms)
    right = 20 + max(text_width(row.numbers) for row in arms)
    # A heading reaches over the plot and may not be wider than all of it.
    width = max(left + PLOT + right, 24 + max(text_width(row.label, FONT + 1) for row in rows))
    height = ROW * len(rows)
    canvas = Canvas(width, TOP + height + 44)
    axes = canvas.axes(left, TOP, width - left - right, height)
    axes.set_xlim(*limits)
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=9)
    axes.set_xlabel(f"change against the base model ({wording.unit(measure)})")
    axes.axvline(0, color=colour("muted"), linewidth=1, zorder=1)
    for index, row in enumerate(rows):
        _row_words(canvas, row, TOP + ROW * index)
        if row.arm is not None:
            _draw_interval(axes, row, index)
    _forest_legend(canvas, [row for row in rows if row.arm])
    return canvas.chart(
        name,
        f"Change on the task against the base model, in {wording.unit(measure)}",
        _forest_caption(rows, measure),
        "; ".join(
            f"{row.label}, {row.panel.title}: "
            + (describe(row.effect) if row.effect else row.numbers)
            for row in rows
            if row.arm
        ),
    )


def _forest_caption(rows: Sequence[ForestRow], measure: str) -> str:
    text = (
        "Mark: mean over seeds, its shape and colour the verdict. Line: 95% interval over problems "
        "and seeds. "
    )
    if any(_seeds(row) for row in rows):
        text += "Ticks: single seeds. "
    text += (
        "Grey: the margin within which a change is equivalent. Noise floor: answers that the "
        "base model changes when it is asked again; smaller changes count as noise. "
    )
    better = "Right is better." if measure == "accuracy" else "Left is better: a rise is harm."
    return text + better


def _row_words(canvas: Canvas, row: ForestRow, y: float) -> None:
    if row.arm is None:
        canvas.text(8, y + ROW - 11, row.label, fontsize=FONT + 1, fontweight="bold")
        return
    style = {"color": colour("ink") if row.effect else colour("muted")}
    canvas.text(8, y + MARK, row.label)
    canvas.text(canvas.width - 8, y + MARK, row.numbers, ha="right", **style)


def _draw_interval(axes: Any, row: ForestRow, index: int) -> None:
    """Draw margin, noise floor, interval, seeds and mark of a row."""
    y = index + MARK / ROW
    band = {"height": 1, "color": colour("band"), "zorder": 0}
    axes.barh(index + 0.5, 2 * row.margin, left=-row.margin, **band)
    noise = row.panel.self_flips
    for edge in (-noise, noise) if noise else ():
        axes.plot([edge] * 2, [index, index + 1], color=colour("muted"), linewidth=1, linestyle=":")
    effect = row.effect
    if effect is None:
        return
    mark = mark_style(effect.verdict, 8)
    ends = [effect.low, effect.high]
    axes.plot(ends, [y] * 2, color=mark["color"], linewidth=2, solid_capstyle="round")
    tick = {"marker": "|", "markersize": 11, "markeredgewidth": 1, "linestyle": "none"}
    seeds = _seeds(row)
    axes.plot(seeds, [y] * len(seeds), color=mark["color"], **tick, zorder=2, clip_on=False)
    axes.plot([effect.delta], [y], **mark, clip_on=False, zorder=3)


def _seeds(row: ForestRow) -> list[float]:
    """Return the change of each seed, in points, where there are several."""
    effect = row.effect
    if effect is None or len(effect.per_seed) < 2:
        return []
    return [one.delta for one in effect.per_seed]


def _forest_legend(canvas: Canvas, rows: Sequence[ForestRow]) -> None:
    effects = [row.effect for row in rows if row.effect]
    x, y = canvas.legend(e.verdict for e in effects), 14.0
    margins = list(dict.fromkeys(wording.margin(e) for e in effects))
    text = f"margin {margins[0]}" if len(margins) == 1 else "margin"
    canvas.line([x - 4, x + 10], [y, y], color=colour("band"), linewidth=11, solid_capstyle="butt")
    canvas.text(x + 16, y, text)
    x += 36 + text_width(text)
    canvas.line([x, x], [y - 7, y + 7], color=colour("muted"), linewidth=1, linestyle=":")
    canvas.text(x + 8, y, _noise(rows))


def _noise(rows: Sequence[ForestRow]) -> str:
    """Name the noise floor, with its size where it is one."""
    floors = list(dict.fromkeys(row.panel.self_flips for row in rows))
    if floors == [None]:
        return "noise floor: not measured"
    known = [floor for floor in floors if floor is not None]
    low, high = wording.number(min(known)), wording.number(max(known))
    if float(high) == 0:
        return "noise floor: 0\u00a0points"
    return f"noise floor ±{low if low == high else f'{low} to ±{high}'}\u00a0points"
