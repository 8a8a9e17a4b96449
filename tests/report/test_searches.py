"""Searches, rewinding paths and sizes on the page: drawn as they were measured."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from finetrap.findings import Cliff, Findings
from finetrap.records import Run
from finetrap.report.arranged.panels import Panel, arrange
from finetrap.report.charts import searches, sizes, trade_offs
from tests.builders.reported import grid, judged, read, searched, study, written


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
    assert {"search", "figure-rates-1", "figure-rates-2"} <= {a.get("id") for _, a in reader.tags}
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
    chart = searches.search_chart(search, ["full", "lora"], "rates")
    for text in ("chosen", "first rung, on part of the problems", "failed or diverged"):
        assert f">{text}<" in chart.inline
    assert "beyond the planned range" not in chart.inline, "nothing was"
    assert "full fine-tuning at 3e-4: diverged" in chart.inline
    assert "full fine-tuning at 3e-5: 80.0% of dev right, 90.9% kept on probes, chosen" in (
        chart.inline
    )


def test_a_search_that_only_diverged_is_drawn(findings: Findings) -> None:
    lost = [
        replace(t, status="diverged", accuracy=None, low=None, high=None, bits=None)
        for t in findings.trials
    ]
    lost = [replace(t, retention=None, chosen=False) for t in lost]
    for search in searches.arrange_searches(replace(findings, trials=tuple(lost))):
        chart = searches.search_chart(search, ["full", "lora"], "rates")
        assert "full fine-tuning: none chosen" in chart.inline


def test_a_strategy_whose_rate_is_fixed_and_tuned_is_one_arm(panel: Panel) -> None:
    labels = [arm.label for arm in panel.arms]
    assert "LoRA 3e-4 (fixed and tuned)" in labels
    assert len(labels) == len({(a.key.strategy, a.key.learning_rate) for a in panel.arms})
    assert all(len(arm.cells) == 3 for arm in panel.arms), "each cell in one arm, no trials"


def test_what_was_rewound_is_not_drawn_as_a_second_training(panel: Panel, runs: list[Run]) -> None:
    drawn = trade_offs.training_curves(panel, {run.cell.key: run for run in runs})
    assert {c.arm.key.strategy for c in drawn} == {"full", "lora"}


def test_sizes_are_drawn_at_each_setting_with_the_threshold(
    findings: Findings, runs: list[Run]
) -> None:
    arranged = arrange(findings, study())
    found = Cliff("fixed", 341_352, 919_552, 6e5, (), (), (), "between 0.341M and 0.92M")
    fixed, tuned = sizes.size_charts(arranged, [found])
    assert "Shaded: the size below which full fine-tuning harms: between" in fixed.caption
    assert "dashed: 0.6M, the middle in log parameters" in fixed.caption
    assert "--orange" in fixed.inline, "the band"
    assert "--orange" not in tuned.inline
    assert set(sizes.by_size(arranged, "fixed")) == {"full", "full+rewind", "lora"}
    assert set(sizes.by_size(arranged, "tuned")) == {"full", "lora"}
    for own in sizes.by_size(arranged, "fixed").values():
        assert [p.parameters for p in own] == [341_352, 919_552]


def test_one_size_has_no_chart_and_no_threshold() -> None:
    runs = searched(("mini-1m",))
    found = judged(runs)
    arranged = arrange(found, study())
    assert found.cliffs == ()
    assert sizes.size_charts(arranged, []) == []


def test_a_study_without_a_search_shows_none(tmp_path: Path) -> None:
    few = grid(n=40)
    page = written(tmp_path, few)
    ids = {attrs.get("id") for _, attrs in read(page).tags}
    assert "search" not in ids
    assert not (page.parent / "figures" / "rates-1.svg").exists()
