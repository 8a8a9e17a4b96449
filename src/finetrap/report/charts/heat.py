"""Heat maps: a table of colours for what every strategy changed, on every probe or every model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from finetrap.findings import Effect
from finetrap.levels import VERDICTS
from finetrap.report import wording
from finetrap.report.arranged.main_table import lines
from finetrap.report.arranged.panels import Panel, PanelArm, ProbeGroup
from finetrap.report.arranged.sentences import describe
from finetrap.report.charts.figure import FONT, LINE, Canvas, Chart, colour, text_width
from finetrap.text.visible import one_line

ROW = 26.0
"""Height of a row in pixels."""
LARGE = 3
"""Models and tasks from which a map shows more than the forest plot."""
MOST_COLUMNS = 10
"""Columns in one figure; a larger study gets several."""


class Square(NamedTuple):
    """One field of a map."""

    effect: Effect | None
    lost: str = ""
    """How its seeds ended where there is no effect."""


class MapRow(NamedTuple):
    """One line of a map, by column name."""

    label: str
    squares: Mapping[str, Square]


def grids(panels: Sequence[Panel]) -> list[Chart]:
    """Draw strategies × models, a figure for each task; nothing for a study of a few panels."""
    if len(panels) < LARGE:
        return []
    charts: list[Chart] = []
    for task in dict.fromkeys((p.key.task, p.key.trained_on) for p in panels):
        own = [p for p in panels if (p.key.task, p.key.trained_on) == task]
        if not any(p.effects for p in own):
            continue
        place = task[0] if task[0] == task[1] else f"{task[0]} (trained on {task[1]})"
        for start in range(0, len(own), MOST_COLUMNS):
            part = own[start : start + MOST_COLUMNS]
            charts.append(_grid(part, one_line(place, 80), f"grid-{len(charts) + 1}"))
    return charts


def _grid(panels: Sequence[Panel], task: str, name: str) -> Chart:
    rows = [
        MapRow(
            line.label,
            {k.model: s for k, arm in line.arms.items() if (s := _square(arm))},
        )
        for line in lines(panels)
    ]
    measures = {e.measure for p in panels for e in p.effects}
    unit = wording.unit(measures.pop()) if len(measures) == 1 else ""
    heads = {p.key.model: (one_line(p.key.model, 24), unit) for p in panels}
    return _draw_map(name, f"Change on {task}, strategies × models", heads, rows)


def _square(arm: PanelArm) -> Square | None:
    return Square(arm.effect, arm.ended) if arm.effect or arm.ended else None


def probe_maps(groups: Sequence[ProbeGroup]) -> list[Chart]:
    """Draw strategies × probes, a figure for each model and training task."""
    return [_probe_map(group, f"probes-{i + 1}") for i, group in enumerate(groups)]


def _probe_map(group: ProbeGroup, name: str) -> Chart:
    rows = [
        MapRow(key.label, {probe: Square(e) for probe, e in effects.items()})
        for key, effects in group.arms
    ]
    heads = {probe: (one_line(probe, 24), _probe_unit(probe, rows)) for probe in group.probes}
    return _draw_map(name, f"Change on every probe: {group.title}", heads, rows)


def _probe_unit(probe: str, rows: Sequence[MapRow]) -> str:
    own = (row.squares[probe].effect for row in rows if probe in row.squares)
    return next(wording.unit(effect.measure) for effect in own if effect)


def _draw_map(
    name: str, title: str, heads: Mapping[str, tuple[str, str]], rows: Sequence[MapRow]
) -> Chart:
    left = 16 + max(text_width(row.label) for row in rows)
    # As wide as the longest line of its heading, or as a number with its mark.
    widths = {
        column: max(74.0, *(text_width(line, FONT - 1) + 14 for line in head))
        for column, head in heads.items()
    }
    effects = [s.effect for row in rows for s in row.squares.values() if s.effect]
    shown = [v for v in VERDICTS if any(e.verdict == v for e in effects)]
    legend = 14 + sum(28 + text_width(v) for v in shown)
    top = 26 + 2 * LINE + 12
    width = max(left + sum(widths.values()) + 8, legend)
    canvas = Canvas(width, top + ROW * len(rows) + 6)
    canvas.legend(shown)
    strongest = _strongest(effects)
    x = left
    for column, head in heads.items():
        for line, text in enumerate(head):
            place = (x + widths[column] / 2, 38 + line * LINE)
            canvas.text(*place, text, ha="center", fontsize=FONT - 1, color=colour("muted"))
        for index, row in enumerate(rows):
            square = row.squares.get(column)
            if square:
                _fill(canvas, square, x, top + ROW * index, widths[column], strongest)
        x += widths[column]
    for index, row in enumerate(rows):
        canvas.text(8, top + ROW * (index + 0.5), row.label)
    harm = " More bits per byte: harm." if any(e.measure != "accuracy" for e in effects) else ""
    return canvas.chart(
        name,
        title,
        "Mean change over seeds; orange: worse, blue: better, the stronger the larger; the mark is "
        "the verdict." + harm,
        "; ".join(_square_words(row, column, heads) for row in rows for column in row.squares),
    )


def _square_words(row: MapRow, column: str, heads: Mapping[str, tuple[str, str]]) -> str:
    effect, lost = row.squares[column]
    return f"{row.label} on {heads[column][0]}: {describe(effect) if effect else lost}"


def _strongest(effects: Sequence[Effect]) -> dict[str, float]:
    """Return the change of full colour by measure: the largest, at least twice the margin."""
    found: dict[str, float] = {}
    for effect in effects:
        size = max(abs(effect.delta), 2 * effect.margin)
        found[effect.measure] = max(found.get(effect.measure, 0.0), size)
    return found


def _fill(
    canvas: Canvas,
    square: Square,
    x: float,
    y: float,
    width: float,
    strongest: Mapping[str, float],
) -> None:
    """Draw one field: colour by direction, strength by the square root of the size."""
    effect, middle = square.effect, y + ROW / 2
    if effect is None:
        style = {"ha": "center", "fontsize": FONT - 1, "color": colour("muted")}
        canvas.text(x + width / 2, middle, square.lost, **style)
        return
    name = "vermillion" if effect.harm > 0 else "blue"
    most = strongest[effect.measure]
    strength = 0.55 * math.sqrt(abs(effect.delta) / most) if most else 0.0
    style = {"color": colour(name), "alpha": strength, "solid_capstyle": "butt"}
    canvas.line([x + 1, x + width - 1], [middle, middle], linewidth=ROW - 2, **style)
    text = wording.signed(effect.delta, effect.measure)
    start = x + (width - text_width(text) - 15) / 2
    canvas.mark(start + 4, middle, effect.verdict, 6)
    canvas.text(start + 15, middle, text)
