"""The overview charts: what every strategy changed on its task, and on every probe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from finetrap.findings import Effect
from finetrap.report import wording
from finetrap.report.figure import FONT, LINE, Canvas, Chart, colour, mark_style, text_width
from finetrap.report.panels import Arm, Panel, ProbeGroup
from finetrap.report.sentences import VERDICTS, describe
from finetrap.report.untrusted import one_line

ROW = 26.0
"""Height of a row in pixels."""
MOST_ROWS = 36
"""Rows in one figure; a larger study gets several."""


class ForestRow(NamedTuple):
    """A row of the forest plot: a heading (no arm), or an arm."""

    label: str
    arm: Arm | None = None
    margin: float = 0.0
    """Of the panel, in the unit of the change."""

    @property
    def effect(self) -> Effect | None:
        """What the row draws, if anything could be compared."""
        return self.arm.effect if self.arm else None

    @property
    def numbers(self) -> str:
        """What stands at the row's right end."""
        if self.arm is None:
            return ""
        if self.effect is None:
            return ", ".join(dict.fromkeys(str(c["status"]) for c in self.arm.failed)) or "not run"
        return wording.change(self.effect)


def forests(panels: Sequence[Panel]) -> list[Chart]:
    """Draw every strategy's change on the task: accuracy and bits per byte on axes of their own."""
    charts: list[Chart] = []
    for measure in ("accuracy", "bits_per_byte"):
        own = [p for p in panels if p.arms and _measure(p) == measure]
        effects = [e for p in own for e in p.effects]
        if not effects:
            continue
        for page in _pages([_forest_rows(p) for p in own]):
            charts.append(_forest(page, measure, _limits(effects), f"forest-{len(charts) + 1}"))
    return charts


def _measure(panel: Panel) -> str:
    return panel.effects[0].measure if panel.effects else "accuracy"


def _forest_rows(panel: Panel) -> list[ForestRow]:
    margin = max((e.margin for e in panel.effects), default=0.0)
    rows = [ForestRow(a.label, a, a.effect.margin if a.effect else margin) for a in panel.arms]
    return [ForestRow(panel.title), *rows]


def _pages(groups: Sequence[list[Any]]) -> Iterator[list[Any]]:
    """Join whole groups to pages of at most `MOST_ROWS` rows; a larger group has its own page."""
    page: list[Any] = []
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
    top, height = 34.0, ROW * len(rows)
    # A heading reaches over the plot and may not be wider than all of it.
    width = max(left + 440 + right, 24 + max(text_width(row.label, FONT + 1) for row in rows))
    canvas = Canvas(width, top + height + 44)
    axes = canvas.axes(left, top, width - left - right, height)
    axes.set_xlim(*limits)
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"change against the untouched model ({wording.unit(measure)})")
    axes.axvline(0, color=colour("muted"), linewidth=1, zorder=1)
    for index, row in enumerate(rows):
        _forest_row(canvas, axes, row, index, top)
    _forest_legend(canvas, [row.effect for row in rows if row.effect])
    said = [f"{row.label}: {describe(row.effect) if row.effect else row.numbers}" for row in arms]
    worse = "Right is better." if measure == "accuracy" else "Left is better: a rise is harm."
    return canvas.chart(
        name,
        f"Change on the task against the untouched model, in {wording.unit(measure)}",
        f"Mark: mean over seeds. Line: 95% interval over problems and seeds. Grey: margin. {worse}",
        "; ".join(said),
    )


def _forest_row(canvas: Canvas, axes: Any, row: ForestRow, index: int, top: float) -> None:
    y = top + ROW * (index + 0.5)
    if row.arm is None:
        canvas.text(8, y + 2, row.label, fontsize=FONT + 1, fontweight="bold")
        return
    canvas.text(8, y, row.label)
    effect = row.effect
    style = colour("ink") if effect else colour("muted")
    canvas.text(canvas.width - 8, y, row.numbers, ha="right", color=style)
    axes.barh(
        index + 0.5, 2 * row.margin, left=-row.margin, height=1, color=colour("band"), zorder=0
    )
    if effect is None:
        return
    mark = mark_style(effect.verdict, 8)
    ends = [effect.low, effect.high]
    axes.plot(ends, [index + 0.5] * 2, color=mark["color"], linewidth=2, solid_capstyle="round")
    axes.plot([effect.delta], [index + 0.5], **mark, clip_on=False, zorder=3)


def _forest_legend(canvas: Canvas, effects: Sequence[Effect]) -> None:
    x, y = 14.0, 14.0
    for verdict in VERDICTS:
        if any(e.verdict == verdict for e in effects):
            canvas.mark(x, y, verdict)
            canvas.text(x + 9, y, verdict)
            x += 28 + text_width(verdict)
    margins = list(dict.fromkeys(wording.margin(e) for e in effects))
    canvas.line([x - 4, x + 10], [y, y], color=colour("band"), linewidth=11, solid_capstyle="butt")
    canvas.text(x + 16, y, f"margin {margins[0]}" if len(margins) == 1 else "margin")


def heat_maps(groups: Sequence[ProbeGroup]) -> list[Chart]:
    """Draw the change on every probe as a table of colours, a figure per model and task."""
    return [_heat_map(group, f"probes-{i + 1}") for i, group in enumerate(groups)]


def _heat_map(group: ProbeGroup, name: str) -> Chart:
    arms = [(wording.arm(*key), effects) for key, effects in group.arms]
    heads = [_probe_head(probe, arms) for probe in group.probes]
    left = 16 + max(text_width(label) for label, _ in arms)
    # As wide as the longest line of its heading, or as a number with its mark.
    widths = [max(74.0, *(text_width(line, FONT - 1) + 14 for line in head)) for head in heads]
    top = 2 * LINE + 12
    canvas = Canvas(left + sum(widths) + 8, top + ROW * len(arms) + 6)
    strongest = _strongest([e for _, effects in arms for e in effects.values()])
    x = left
    for probe, head, width in zip(group.probes, heads, widths, strict=True):
        for line, text in enumerate(head):
            place = (x + width / 2, 12 + line * LINE)
            canvas.text(*place, text, ha="center", fontsize=FONT - 1, color=colour("muted"))
        for index, (_, effects) in enumerate(arms):
            if probe in effects:
                effect = effects[probe]
                _heat_cell(canvas, effect, x, top + ROW * index, width, strongest[effect.measure])
        x += width
    for index, (label, _) in enumerate(arms):
        canvas.text(8, top + ROW * (index + 0.5), label)
    return canvas.chart(
        name,
        f"Change on every probe: {group.title}",
        "Marks as above; the stronger the colour, the larger the change. More bits per byte: harm.",
        "; ".join(
            f"{label} on {one_line(probe)}: {describe(effect)}"
            for label, effects in arms
            for probe, effect in effects.items()
        ),
    )


def _strongest(effects: Sequence[Effect]) -> dict[str, float]:
    """Return the change of full colour by measure: the largest, at least twice the margin."""
    found: dict[str, float] = {}
    for effect in effects:
        size = max(abs(effect.delta), 2 * effect.margin)
        found[effect.measure] = max(found.get(effect.measure, 0.0), size)
    return found


def _probe_head(probe: str, arms: Sequence[tuple[str, Any]]) -> tuple[str, str]:
    effect = next(effects[probe] for _, effects in arms if probe in effects)
    return one_line(probe, 24), wording.unit(effect.measure)


def _heat_cell(
    canvas: Canvas, effect: Effect, x: float, y: float, width: float, strongest: float
) -> None:
    """Draw one cell: colour by direction, strength by the square root of the size."""
    name = "vermillion" if wording.harm(effect) > 0 else "blue"
    strength = 0.55 * math.sqrt(abs(effect.delta) / strongest) if strongest else 0.0
    middle = y + ROW / 2
    style = {"color": colour(name), "alpha": strength, "solid_capstyle": "butt"}
    canvas.line([x + 1, x + width - 1], [middle, middle], linewidth=ROW - 2, **style)
    text = wording.signed(effect.delta, effect.measure)
    start = x + (width - text_width(text) - 15) / 2
    canvas.mark(start + 4, middle, effect.verdict, 6)
    canvas.text(start + 15, middle, text)
