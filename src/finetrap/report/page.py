"""The page: everything arranged, drawn and put through the templates."""

from __future__ import annotations

import base64
import hashlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from finetrap.findings import Findings
from finetrap.records import Run, Study
from finetrap.report import latex, wording
from finetrap.report.arranged import contents, first_screen, judgements, main_table, panels
from finetrap.report.arranged.first_screen import Broken, FirstScreen
from finetrap.report.browser import answers, families
from finetrap.report.charts import bars, gains, looks, losses, searches, sizes
from finetrap.report.charts.drawing import Chart
from finetrap.text import visible
from finetrap.text.numbers import counted

COST_COLUMNS = (
    ("train_s", "train", wording.seconds),
    ("peak_bytes", "peak memory", wording.size),
    ("ship_bytes", "to ship", wording.size),
    ("load_s", "load", wording.seconds),
    ("eval_s", "evaluate", wording.seconds),
    ("train_tokens", "tokens trained", wording.count),
    ("trainable", "trained parameters", wording.count),
)


@dataclass(frozen=True)
class Page:
    """A rendered report."""

    html: str
    markdown: str
    latex: str
    charts: tuple[Chart, ...]


def render(
    findings: Findings,
    runs: Sequence[Run],
    *,
    study: Study | None,
    command: str,
    topics: Mapping[str, str],
) -> Page:
    """Render the report of judged runs; nothing is read or written.

    `topics` says what the problems of a task are about.
    """
    by_key = {run.cell.key: run for run in runs}
    arranged = panels.arrange(findings, study)
    groups = panels.probe_groups(findings, study)
    drawn = _drawn(findings, arranged, by_key)
    main = main_table.arrange_table(arranged)
    name = study.name if study else "runs"
    screens = first_screen.screens(arranged, groups, findings, by_key)
    scope = contents.scope(arranged, groups, findings)
    outcomes = judgements.outcome_rows(arranged, findings)
    asked = answers.question_sets(arranged, by_key)
    # One set after another, as not all may be held.
    read = [(answers.SetSize.of(one), families.family_table(one)) for one in asked]
    style, script = _sources(("page.css", "charts.css", "answers.css"), ("page.js", "answers.js"))
    context = {
        "name": name,
        "title": screens[0].panel.title if len(screens) == 1 else name,
        "command": command,
        "topics": topics,
        "scope": contents.sample_size(arranged) if len(screens) == 1 else scope,
        "missing": contents.incomplete(findings),
        "screens": screens,
        "prompts": findings.prompts,
        "panels": arranged,
        "lines": main_table.lines(arranged),
        "deepest": bars.deepest(e for panel in arranged for e in panel.effects),
        "margin_of": next((e for p in arranged for e in p.effects), None),
        "map_unit": " or ".join(
            dict.fromkeys(wording.unit(e.measure) for p in arranged for e in p.effects)
        ),
        "groups": [(group, contents.distances(group, arranged)) for group in groups],
        "rated": bool(outcomes or drawn["searches"]),
        "outcomes": outcomes,
        "drawn_arms": [(panel, arm) for panel in arranged for arm in panel.with_base],
        "claims": judgements.claim_rows(findings),
        "cliffs": findings.cliffs,
        "cases": judgements.diagnosis_rows(findings),
        "main": main,
        "answers": answers.pack(asked, [size for size, _ in read]),
        "families": [table for _, table in read if table],
        "fields": contents.field_tables(findings),
        "failures": contents.failures(findings, by_key),
        "absent": contents.absent(findings, arranged, groups),
        "provenance": contents.provenance(runs, study),
        "line_of": {id(effect): line for line, effect in enumerate(findings.effects)},
        "style": style,
        "script": script,
        "script_hashes": _script_hash(script),
        **drawn,
    }
    return Page(
        _template_environment(html=True).get_template("page.html.jinja").render(context),
        _template_environment(html=False).get_template("report.md.jinja").render(context),
        latex.table(main, name, scope),
        (
            *drawn["sizes"],
            *drawn["forgotten"],
            *(chart for _, charts in drawn["searches"] for chart in charts),
            *(chart for _, chart in drawn["costs"]),
            *drawn["losses"],
        ),
    )


def _drawn(
    findings: Findings, arranged: Sequence[panels.Panel], runs: Mapping[str, Run]
) -> dict[str, Any]:
    """Draw every chart that shows something."""
    shown = looks.page_looks(arranged)
    places = list(enumerate(arranged, start=1))
    lost = (losses.loss_chart(p, runs, shown, f"loss-{i}") for i, p in places)
    found = enumerate(searches.arrange_searches(findings), start=1)
    return {
        "looks": shown,
        "sizes": sizes.size_charts(arranged, shown),
        "forgotten": gains.forgetting_charts(arranged, findings.frontiers, shown),
        "searches": [(s, searches.search_charts(s, shown, f"rates-{i}")) for i, s in found],
        "costs": gains.cost_charts(arranged, shown),
        "losses": [chart for chart in lost if chart],
    }


def see(screen: FirstScreen, found: Broken) -> str:
    """Write the address of an answer's kind in the browser of answers."""
    return urlencode(
        {
            "model": screen.panel.key.model,
            "trained": screen.panel.key.trained_on,
            "asked": found.test,
            "left": "base model",
            "right": found.arm.label + ("" if found.seed is None else f", seed {found.seed}"),
            "outcome": "lost" if found.lost else "gained",
        }
    )


def _sources(styles: Sequence[str], scripts: Sequence[str]) -> tuple[Markup, Markup]:
    """Read the page's own style and script, which are the only markup that is not escaped."""
    here = resources.files("finetrap.report")
    rooms = (here.joinpath("templates"), here.joinpath("browser"))

    def read(name: str) -> str:
        found = next(file for room in rooms if (file := room.joinpath(name)).is_file())
        return found.read_text("utf-8")

    return Markup("\n".join(map(read, styles))), Markup("\n".join(map(read, scripts)))


def _script_hash(script: str) -> Markup:
    """Name a script for the content security policy, so that no other one runs."""
    digest = hashlib.sha256(script.encode()).digest()
    return Markup("'sha256-{}'").format(base64.b64encode(digest).decode())


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
        unbroken=_unbroken,
        bar=bars.bar,
        ruler=bars.ruler,
        tint=bars.tint,
    )
    environment.globals.update(
        cell_key=panels.cell_key,
        see=see,
        scales_of=bars.common_scales,
        MISSING=wording.MISSING,
        MEANINGS=wording.MEANINGS,
        BASE_LOOK=gains.BASE,
        COST_COLUMNS=COST_COLUMNS,
    )
    return environment


_WHOLE = re.compile(r"\d[\d.]*e-\d+|\([\d.]+% → [\d.]+%\)")


def _unbroken(text: str) -> Markup:
    """Return the text as HTML in which `3e-4` and `(2% → 93%)` stay on one line."""
    shown, end = Markup(""), 0
    for part in _WHOLE.finditer(text := visible.visible(text)):
        before = text[end : part.start()]
        shown += Markup('{}<span class="whole">{}</span>').format(before, part.group())
        end = part.end()
    return shown + text[end:]


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
