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
from finetrap.records import Run, StrategySpec
from finetrap.report import latex
from finetrap.report.arranged import main_table
from finetrap.report.arranged.panels import Panel, arrange
from finetrap.report.charts import forest, heat, rates
from tests.builders.reported import (
    HOSTILE,
    diverged,
    grid,
    judged,
    read,
    run,
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
    text = page.read_text(encoding="utf-8")
    assert text.count('<b title="shown better than every other strategy">') == len(shown)
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


def test_a_large_grid_has_a_map_of_strategies_and_models() -> None:
    names = ("m1", "m2", "m3")
    runs = [one for name in names for one in grid((name,), n=40)]
    arranged = arrange(judged(runs))
    (chart,) = heat.grids(arranged)
    for name in names:
        assert f">{name}<" in chart.inline
    assert "diverged" in chart.inline
    assert "LoRA on m3" in chart.inline
    assert heat.grids(arranged[:2]) == [], "the forest plot shows two as well"


def test_the_forest_names_the_model_of_each_row(arranged: list[Panel]) -> None:
    (chart,) = forest.forests(arranged)
    assert "full fine-tuning 3e-4, mini-1m on school: −" in chart.inline
    assert "noise floor ±0.5\u00a0points" in chart.inline
    assert "Ticks: single seeds." in chart.caption


def test_a_noise_floor_that_was_not_measured_is_not_called_zero() -> None:
    runs = grid(n=40)
    (chart,) = forest.forests(arrange(judged(runs), study()))
    assert "noise floor: not measured" in chart.inline


def test_one_seed_has_no_ticks() -> None:
    lora = StrategySpec("lora", "peft", learning_rate=3e-4, peft={"peft_type": "LORA"})
    few = [run("m", "t", StrategySpec("zero-shot", "prompt"), None, 40), run("m", "t", lora, 0, 40)]
    (chart,) = forest.forests(arrange(judged(few)))
    assert "Ticks" not in chart.caption


def test_rates_are_drawn_where_a_strategy_was_tested_at_two(arranged: list[Panel]) -> None:
    chart = rates.rate_chart(arranged[0], "tested-1")
    assert chart is not None
    own = rates.by_rate(arranged[0])
    assert [a.key.learning_rate for a in own["full"]] == [1e-5, 3e-4]
    assert "full fine-tuning 3e-4: −" in chart.inline
    one = replace(arranged[0], arms=tuple(a for a in arranged[0].arms if a.key.strategy == "lora"))
    assert rates.rate_chart(one, "tested-1") is None


def test_costs_of_all_models_are_one_table_that_sorts_by_value(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    start = text.index('<table class="sortable costs">')
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


def test_on_a_phone_each_chart_has_its_names_below(page: Path, arranged: list[Panel]) -> None:
    chart = rates.rate_chart(arranged[0], "tested-1")
    assert chart is not None
    assert [label for label, _ in chart.key] == [
        "full fine-tuning",
        "LoRA",
        "full fine-tuning + rewind",
    ]
    assert len({colour for _, colour in chart.key}) == 3
    text = page.read_text(encoding="utf-8")
    for label, colour in chart.key:
        assert f'<li class="key-{colour}">{label}</li>' in text
        assert f".key-{colour}::before" in text
