"""Searches, rewinding paths and sizes on the page: drawn as they were measured."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from finetrap.findings import Findings
from finetrap.records import Run
from finetrap.report.arranged.panels import Panel, arrange
from finetrap.report.charts import losses, searches, sizes
from finetrap.report.charts.looks import Looks, page_looks
from tests.builders.reported import grid, judged, read, searched, study, written

LOOKS = Looks({"full": [], "lora": []}, {"full": 1, "lora": 2})


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return searched()


@pytest.fixture(scope="module")
def findings(runs: list[Run]) -> Findings:
    return judged(runs)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, runs: list[Run], findings: Findings) -> Path:
    return written(tmp_path_factory.mktemp("page"), runs, findings)


@pytest.fixture(scope="module")
def panel(runs: list[Run], findings: Findings) -> Panel:
    return arrange(findings, study())[0]


def test_every_trial_is_on_the_page_and_in_trials_csv(page: Path, findings: Findings) -> None:
    reader = read(page)
    assert {"rates", "figure-rates-1-dev", "figure-rates-2-kept"} <= {
        a.get("id") for _, a in reader.tags
    }
    with (page.parent / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(findings.trials) == 14
    text = page.read_text(encoding="utf-8")
    assert text.count("<b>chosen</b>") == sum(row["chosen"] == "true" for row in rows) == 4
    assert "beyond the planned range" in text


def test_a_chart_tells_diverged_and_first_rung_trials_apart(
    findings: Findings, runs: list[Run]
) -> None:
    search = searches.arrange_searches(findings)[0]
    assert search.base == 60.0, "of the dev problems, not of the test"
    chart, kept = searches.search_charts(search, LOOKS, "rates")
    for text in ("Ring: chosen.", "first rung, on part of the problems", "failed or diverged"):
        assert text in chart.caption
    assert "beyond the planned range" not in chart.inline, "nothing was"
    assert chart.inline.count('class="ring') == kept.inline.count('class="ring') == 2
    assert "<title>full fine-tuning at 3e-4: diverged</title>" in chart.inline
    words = "full fine-tuning at 3e-5: 80.0% of dev right, 90.9% kept on other tasks, chosen"
    assert f"<title>{words}</title>" in chart.inline


def test_a_search_that_only_diverged_is_drawn(findings: Findings) -> None:
    lost = [
        replace(t, status="diverged", accuracy=None, low=None, high=None, bits=None)
        for t in findings.trials
    ]
    lost = [replace(t, retention=None, chosen=False) for t in lost]
    for search in searches.arrange_searches(replace(findings, trials=tuple(lost))):
        (chart,) = searches.search_charts(search, LOOKS, "rates")
        assert "full fine-tuning: none chosen" in chart.inline


def test_a_strategy_whose_rate_is_fixed_and_tuned_is_one_arm(panel: Panel) -> None:
    labels = [arm.label for arm in panel.arms]
    assert "LoRA 3e-4 (fixed and tuned)" in labels
    assert len(labels) == len({(a.key.strategy, a.key.learning_rate) for a in panel.arms})
    assert all(len(arm.cells) == 3 for arm in panel.arms), "each cell in one arm, no trials"


def test_what_was_rewound_is_not_drawn_as_a_second_training(panel: Panel, runs: list[Run]) -> None:
    drawn = losses.training_curves(panel, {run.cell.key: run for run in runs})
    assert {c.arm.key.strategy for c in drawn} == {"full", "lora"}


def test_sizes_are_drawn_from_three_on(findings: Findings) -> None:
    two = arrange(findings, study())
    assert sizes.size_charts(two, page_looks(two)) == [], "the map shows two as well"
    cells = tuple(
        replace(cell, parameters=3_000_000) for arm in two[1].with_base for cell in arm.cells
    )
    third = replace(
        two[1],
        key=two[1].key._replace(model="mini-3m"),
        base=None,
        arms=tuple(replace(arm, cells=cells[:3]) for arm in two[1].arms),
    )
    three = [*two, third]
    fixed, tuned = sizes.size_charts(three, page_looks(three))
    assert "one learning rate for all" in fixed.title
    assert set(sizes.by_size(three, "fixed")) == {"full", "full+rewind", "lora"}
    assert set(sizes.by_size(three, "tuned")) == {"full", "lora"}
    for own in sizes.by_size(three, "fixed").values():
        assert [p.parameters for p in own] == [341_352, 919_552, 3_000_000]
    assert "parameters, log scale" in tuned.inline


def test_a_study_without_a_search_shows_none(tmp_path: Path) -> None:
    few = grid(n=40)
    page = written(tmp_path, few)
    ids = {attrs.get("id") for _, attrs in read(page).tags}
    assert "rates" not in ids
    assert not list((page.parent / "figures").glob("rates-*.svg"))


def test_common_strategies_look_alike_on_every_page_and_others_take_what_is_left(
    panel: Panel,
) -> None:
    def looks(*names: str) -> Looks:
        arms = tuple(
            replace(panel.arms[0], key=panel.arms[0].key._replace(strategy=name)) for name in names
        )
        return page_looks([replace(panel, arms=arms)])

    one = looks("mine", "lora", "full")
    other = looks("few-shot-5", "full", "full+replay", "few-shot-3", "lora")
    assert [one.of(name) for name in ("full", "lora")] == [
        other.of(name) for name in ("full", "lora")
    ]
    assert len(set(other.places.values())) == 5
    assert one.places["mine"] not in (one.places["lora"], one.places["full"])
