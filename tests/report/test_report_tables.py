"""The main table, its best strategies and its LaTeX; the maps and curves of a grid."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finetrap.findings import Findings
from finetrap.judge.advice.noninferior import outright
from finetrap.judge.arms import comparisons
from finetrap.records import Run
from finetrap.report import latex
from finetrap.report.arranged import main_table
from finetrap.report.arranged.panels import Panel, arrange
from finetrap.report.charts import bars, gains, losses
from finetrap.report.charts.drawing import LETTER, WIDTH, round_ticks
from finetrap.report.charts.looks import page_looks
from tests.builders.reported import (
    HOSTILE,
    diverged,
    grid,
    judged,
    read,
    searched,
    study,
    written,
)
from tests.builders.runs import FULL as PLAIN_FULL
from tests.builders.runs import LORA as PLAIN_LORA
from tests.builders.runs import SHOTS, ZERO, simulated
from tests.builders.runs import run as answered

DORA = replace(PLAIN_LORA, name="dora")


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return searched()


@pytest.fixture(scope="module")
def findings(runs: list[Run]) -> Findings:
    return judged(runs)


@pytest.fixture(scope="module")
def arranged(runs: list[Run], findings: Findings) -> list[Panel]:
    return arrange(findings, study())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, runs: list[Run], findings: Findings) -> Path:
    return written(tmp_path_factory.mktemp("page"), runs, findings)


def best_of(runs: list[Run]) -> dict[tuple[str, float | None], float]:
    (comparison,) = comparisons(runs)
    found = outright(comparison, comparison.arms, "accuracy")
    return {(a.label, a.learning_rate): p for a, p in zip(comparison.arms, found, strict=True)}


def test_a_strategy_far_above_all_others_is_best() -> None:
    found = best_of(simulated((PLAIN_FULL, -0.1), (PLAIN_LORA, 0.12), (DORA, 0.0)))
    assert found.pop(("lora", 3e-4)) <= 0.05
    assert set(found.values()) == {1.0}


def test_of_two_strategies_with_the_same_answers_none_is_best() -> None:
    rng = np.random.default_rng(0)
    gained = rng.random(400) < 0.9
    both = [answered(s, gained, seed) for s in (PLAIN_LORA, DORA) for seed in (0, 1, 2)]
    found = best_of([answered(ZERO, rng.random(400) < 0.3), *both])
    assert set(found.values()) == {1.0}


def test_two_rates_of_the_best_strategy_are_no_rivals() -> None:
    rng = np.random.default_rng(0)
    gained = rng.random(400) < 0.9
    twins = [
        answered(replace(PLAIN_LORA, learning_rate=rate), gained, seed)
        for rate in (1e-4, 3e-4)
        for seed in (0, 1, 2)
    ]
    found = best_of([answered(ZERO, rng.random(400) < 0.3), *twins])
    assert found[("lora", 1e-4)] <= 0.05
    assert found[("lora", 3e-4)] <= 0.05
    assert found[("zero-shot", None)] == 1.0


def test_a_single_problem_more_is_not_shown_to_be_best() -> None:
    flags = [True] * 50 + [False] * 50
    more = [True] * 51 + [False] * 49
    found = best_of([answered(ZERO, flags), answered(SHOTS, more, 0)])
    assert min(found.values()) > 0.05


def test_the_best_is_one_of_few_where_nothing_differs() -> None:
    none = (PLAIN_FULL, 0.0), (PLAIN_LORA, 0.0), (DORA, 0.0)
    wrong = sum(min(best_of(simulated(*none, n=200, seed=s)).values()) <= 0.05 for s in range(60))
    assert wrong <= 5


def test_bold_is_what_the_test_says_in_every_file(
    page: Path, findings: Findings, arranged: list[Panel]
) -> None:
    main = main_table.arrange_table(arranged)
    shown = {(row.model, row.label) for row in main.rows for a in row.arms if a and a.summary.best}
    assert shown == {(p.key.model, "LoRA") for p in arranged}
    tested = [s for s in findings.summary if s.p_best is not None and s.p_best <= 0.05]
    assert {s.strategy for s in tested} == {"lora"}
    tex = (page.parent / "table.tex").read_text(encoding="utf-8")
    assert tex.count(r"\textbf{") == len(shown)
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    table = markdown[markdown.index("## Models") :].partition("\n## ")[0]
    assert len(re.findall(r"\*\*[\d.]+\*\*", table)) == len(shown)


def test_a_rate_that_is_fixed_and_tuned_stands_on_one_line_unless_others_part(
    arranged: list[Panel],
) -> None:
    found = {(line.strategy, line.setting): line for line in main_table.lines(arranged)}
    assert set(found) == {
        ("full", "fixed"),
        ("full", "tuned"),
        ("full+rewind", "fixed"),
        ("lora", "fixed+tuned"),
    }
    tuned = found[("full", "tuned")]
    assert {a.key.learning_rate for a in tuned.arms.values()} == {1e-5, 3e-5}
    assert tuned.label == "full fine-tuning, tuned"
    lora = next(a for a in arranged[0].arms if a.key.strategy == "lora")
    alone = replace(lora, key=lora.key._replace(setting="fixed"))
    parted = [arranged[0], replace(arranged[1], arms=(alone,))]
    names = {(line.strategy, line.setting) for line in main_table.lines(parted)}
    assert {("lora", "fixed"), ("lora", "tuned")} < names


def test_several_rates_of_one_setting_keep_lines_of_their_own() -> None:
    runs = grid(n=40)
    own = main_table.lines(arrange(judged(runs), study()))
    assert [line.label for line in own if line.strategy == "full"] == [
        "full fine-tuning 3e-5",
        "full fine-tuning 3e-4",
        "full fine-tuning 3e-2",
    ]


def test_the_latex_table_is_whole_whatever_a_name_holds(tmp_path: Path) -> None:
    name = r"50%_of $x$ \input{/etc/passwd} & more # ^~<>" + HOSTILE.replace("\ud800", "")
    written(tmp_path, [*grid((name,), ("a_b",), n=40), diverged(name, "a_b", 4)])
    tex = (tmp_path / "report" / "table.tex").read_text(encoding="ascii")
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    cells = {len(re.findall(r"(?<!\\)&", row)) for row in rows[1:]}
    assert cells == {3}, "every row has as many columns"
    bare = re.sub(r"\\[{}]", "", tex)
    assert bare.count("{") == bare.count("}")
    assert r"\textbackslash{}input" in tex
    assert r"\input" not in tex
    assert not re.search(r"(?<!\\)[#_]", tex)
    assert "diverged" in tex


def test_latex_without_numbers_is_still_a_table() -> None:
    tex = latex.table(main_table.MainTable(("t",), ()), "none", "0 runs")
    assert r"\begin{tabular}{llrr}" in tex
    assert "none is bold" in tex


# --- the table that is the picture, and the charts ---------------------------------------------


def test_every_bar_lies_within_its_scale_and_left_is_worse(findings: Findings) -> None:
    own = [e for e in findings.effects if e.model == "mini-1m"]
    scales = bars.common_scales(own)
    assert set(scales) == {"accuracy", "bits_per_byte"}
    assert all(12 <= scale.at(0) <= 88 for scale in scales.values())
    for e in own:
        scale = scales[e.measure]
        assert 0 <= min(scale.at(e.low), scale.at(e.high)) <= scale.at(e.delta)
        assert scale.at(e.delta) <= max(scale.at(e.low), scale.at(e.high)) <= 100
        left = scale.at(e.delta) < scale.at(0)
        assert left == (e.harm > 0), "left is worse, by either measure"


def test_a_ruler_has_zero_and_round_numbers_at_their_places(findings: Findings) -> None:
    scale = bars.common_scales(findings.effects)["bits_per_byte"]
    found = re.findall(r'x="([\d.]+)%" y="10">([^<]+)<', bars.ruler(scale))
    assert "0" in [text for _, text in found]
    for place, text in found:
        value = float(text.replace("\u2212", "-"))
        assert float(place) == pytest.approx(scale.at(value), abs=0.06)
    assert any(text.startswith("+") for _, text in found), "a rise of bits is harm: on the left"


def test_a_bar_has_a_tick_for_each_of_several_seeds(findings: Findings) -> None:
    found = next(e for e in findings.effects if len(e.per_seed) == 3 and e.kind == "task")
    scales = bars.common_scales([found])
    assert bars.bar(found, scales["accuracy"]).count('class="seed"') == 3
    alone = replace(found, per_seed=found.per_seed[:1])
    assert 'class="seed"' not in bars.bar(alone, scales["accuracy"])


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(-8, 104, [0, 50, 100]), (0, 3, [0, 1, 2, 3]), (-0.3, 0.11, [-0.3, -0.2, -0.1, 0, 0.1])],
)
def test_ticks_are_round_numbers_within_the_axis(
    low: float, high: float, ticks: list[float]
) -> None:
    assert round_ticks(low, high) == ticks


def test_a_strategy_looks_the_same_in_every_chart(
    arranged: list[Panel], findings: Findings, runs: list[Run]
) -> None:
    shown = page_looks(arranged)
    lora = shown.of("lora", 3e-4)
    assert lora.place != shown.of("full", 3e-4).place
    assert shown.of("full", 3e-4).shade > shown.of("full", 1e-5).shade, "rates by shade"
    by_key = {run.cell.key: run for run in runs}
    gained = gains.forgetting_charts(arranged, findings.frontiers, shown)
    cost = [chart for _, chart in gains.cost_charts(arranged, shown)]
    loss = losses.loss_chart(arranged[0], by_key, shown, "loss")
    assert loss is not None
    for chart in (*gained, *cost, loss):
        assert f'class="mark {lora.colour}"' in chart.inline
        assert "LoRA 3e-4 (fixed and tuned)" in chart.inline


def test_no_label_of_a_chart_is_cut(arranged: list[Panel], findings: Findings) -> None:
    for chart in gains.forgetting_charts(arranged, findings.frontiers, page_looks(arranged)):
        texts = re.findall(r'<text class="([\w ]+)" x="([\d.]+)" y="[\d.]+">([^<]*)<', chart.inline)
        assert len(texts) > 8
        for kind, x, text in texts:
            wide = len(text) * LETTER * (0.5 if "middle" in kind else 1)
            assert (float(x) - wide > -1) if "end" in kind else (float(x) + wide < WIDTH + 1), text


def test_the_best_in_gain_and_forgetting_are_joined(
    arranged: list[Panel], findings: Findings
) -> None:
    chart = gains.forgetting_charts(arranged, findings.frontiers, page_looks(arranged))[0]
    line = re.search(r'<polyline class="pareto"[^>]* points="([^"]+)"', chart.inline)
    assert line is not None
    points = [tuple(map(float, pair.split(","))) for pair in line[1].split()]
    assert points == sorted(points, reverse=True), "from what forgets least to what forgets more"
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)


def test_a_study_in_which_nothing_is_shown_has_no_such_charts(arranged: list[Panel]) -> None:
    still = [
        replace(
            panel,
            arms=tuple(
                replace(a, effect=replace(a.effect, verdict="inconclusive"))
                for a in panel.arms
                if a.effect
            ),
        )
        for panel in arranged
    ]
    assert gains.cost_charts(still, page_looks(still)) == []
    assert gains.cost_charts(arranged, page_looks(arranged)) != []


def test_a_grid_has_a_map_whose_rows_lead_to_the_first_screens(tmp_path: Path) -> None:
    text = written(tmp_path, grid(("m1", "m2", "m3"), n=40)).read_text("utf-8")
    table = text[text.index('<table class="map"') :].partition("</table>")[0]
    for place, name in enumerate(("m1", "m2", "m3"), start=1):
        assert f'<a href="#study-{place}">{name} on school</a>' in table
        assert f'id="study-{place}"' in text
    assert "diverged" in table
    shaded = re.findall(r'class="n down-(\d)".*?: −([\d.]+) ', table)
    assert max(shaded, key=lambda cell: float(cell[1]))[0] == "4", "the largest harm is the darkest"
    one = written(tmp_path / "one", grid(("m1",), n=40)).read_text("utf-8")
    assert '<table class="map"' not in one


def test_costs_of_all_models_are_one_table_that_sorts_by_value(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    start = text.index('<table class="sortable costs stacked">')
    table = text[start : text.index("</table>", start)]
    assert table.count("<tr") == 1 + 2 * 5
    assert 'data-value="140000.0">140\u00a0kB' in table


def test_the_script_reads_the_page_and_writes_no_markup(page: Path) -> None:
    scripts = [text for parents, text in read(page).texts if parents[-1:] == ("script",)]
    source = "".join(scripts)
    assert "table.sortable" in source
    assert not re.search(
        r"innerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|http", source
    )


def test_a_rate_stands_in_its_column_of_the_main_table_and_not_in_the_name_too() -> None:
    table = main_table.arrange_table(arrange(judged(grid(n=40)), study()))
    full = [(row.label, row.rates) for row in table.rows if row.label.startswith("full")]
    assert full == [("full fine-tuning", rate) for rate in ("3e-5", "3e-4", "3e-2")]
