"""The page: everything arranged, drawn and put through the templates."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from finetrap.findings import Findings
from finetrap.records import Run, Study
from finetrap.report import latex, wording
from finetrap.report.arranged import contents, judgements, main_table, panels
from finetrap.report.arranged.panels import Panel
from finetrap.report.browser import answers
from finetrap.report.charts import forest, heat, rates, searches, sizes, trade_offs
from finetrap.report.charts.figure import Chart
from finetrap.report.charts.frontier import frontier_chart
from finetrap.text import visible
from finetrap.text.numbers import counted


class DrawnPanel(NamedTuple):
    """A panel with its charts."""

    panel: Panel
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Page:
    """A rendered report."""

    html: str
    markdown: str
    latex: str
    charts: tuple[Chart, ...]


def render(findings: Findings, runs: Sequence[Run], *, study: Study | None, command: str) -> Page:
    """Render the report of judged runs; nothing is read or written."""
    by_key = {run.cell.key: run for run in runs}
    arranged = panels.arrange(findings, study)
    groups = panels.probe_groups(findings, study)
    forests, grids = forest.forests(arranged), heat.grids(arranged)
    heat_maps = heat.probe_maps(groups)
    drawn = [_draw_panel(p, i + 1, findings, by_key) for i, p in enumerate(arranged)]
    tried = _draw_searches(findings, arranged)
    by_size = sizes.size_charts(arranged, findings.cliffs)
    main = main_table.arrange_table(arranged)
    name = study.name if study else "runs"
    scope = contents.scope(arranged, groups, findings)
    context = {
        "name": name,
        "command": command,
        "scope": scope,
        "missing": contents.incomplete(findings),
        "cards": judgements.cards(arranged, findings),
        "tally": findings.tally,
        "prompts": findings.prompts,
        "forests": forests,
        "grids": grids,
        "heat_maps": heat_maps,
        "drawn": drawn,
        "groups": [(group, contents.distances(group, arranged)) for group in groups],
        "searches": tried,
        "sizes": by_size,
        "claims": judgements.claim_rows(findings),
        "cliffs": findings.cliffs,
        "cases": judgements.diagnosis_rows(findings),
        "main": main,
        "answers": answers.pack(arranged, by_key),
        "failures": contents.failures(findings, by_key),
        "absent": contents.absent(findings, arranged, groups),
        "provenance": contents.provenance(runs, study),
        "line_of": {id(effect): line for line, effect in enumerate(findings.effects)},
    }
    return Page(
        _template_environment(html=True).get_template("page.html.jinja").render(context),
        _template_environment(html=False).get_template("report.md.jinja").render(context),
        latex.table(main, name, scope),
        (
            *forests,
            *grids,
            *heat_maps,
            *(chart for _, chart in tried),
            *by_size,
            *(chart for panel in drawn for chart in panel.charts),
        ),
    )


def _draw_panel(panel: Panel, place: int, findings: Findings, runs: dict[str, Run]) -> DrawnPanel:
    drawn = (
        frontier_chart(panel, findings.frontiers, f"frontier-{place}"),
        rates.rate_chart(panel, f"tested-{place}"),
        trade_offs.loss_chart(panel, runs, f"curves-{place}"),
        trade_offs.cost_chart(panel, f"costs-{place}"),
    )
    return DrawnPanel(panel, tuple(chart for chart in drawn if chart is not None))


def _draw_searches(
    findings: Findings, arranged: Sequence[Panel]
) -> list[tuple[searches.SearchCurves, Chart]]:
    """Draw every search in the colours that its strategies have in the panels."""
    found = []
    for place, search in enumerate(searches.arrange_searches(findings), start=1):
        own = (p for p in arranged if (p.key.model, p.key.trained_on) == search[:2])
        names = [name for panel in own for name in panel.strategies]
        chart = searches.search_chart(search, names, f"rates-{place}")
        found.append((search, chart))
    return found


def _template_environment(*, html: bool) -> Environment:
    """Make a template environment in which no value reaches the output unescaped.

    `finalize` sees every value that a template prints, so hidden characters are made visible even
    where a template's author did not think of it.
    """
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("finetrap.report"), PackageLoader("finetrap.report", "browser")]
        ),
        autoescape=html,
        undefined=StrictUndefined,
        finalize=_visible if html else _markdown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {
            name: write
            for name, write in inspect.getmembers(wording, inspect.isfunction)
            if write.__module__ == wording.__name__
        },
        counted=counted,
        clip=visible.clip,
        identity=id,
    )
    environment.globals.update(cell_key=panels.cell_key, MISSING=wording.MISSING)
    return environment


def _visible(value: Any) -> Any:
    return (
        visible.visible(value)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )


def _markdown(value: Any) -> Any:
    """Keep a value on its line and inside its table cell."""
    if not isinstance(value, str):
        return value
    text = " ".join(visible.visible(value).split())
    return "".join("\\" + c if c in r"\`*_{}[]<>#|" else c for c in text)
