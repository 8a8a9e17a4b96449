"""Searches, rewinding paths and sizes on the page: drawn as they were measured."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from finetrap.findings import Findings
from finetrap.judge.paper.cliff import Cliff
from finetrap.records import Answer, Run
from finetrap.report.arranged.panels import Panel, panels, probe_groups
from finetrap.report.charts import frontier, searches, sizes, trade_offs
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
    return panels(findings, study(), runs)[0]


def kept_of(panel: Panel, findings: Findings) -> frontier.Kept:
    kept, _ = frontier.placed(panel, probe_groups(findings, study()))
    assert kept is not None
    return kept


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
    search = searches.searches(findings, runs)[0]
    assert search.untouched == 60.0, "of the dev problems, not of the test"
    chart = searches.learning_rates(search, ["full", "lora"], "rates")
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
    for search in searches.searches(replace(findings, trials=tuple(lost)), []):
        chart = searches.learning_rates(search, ["full", "lora"], "rates")
        assert "full fine-tuning: none chosen" in chart.inline


def test_a_strategy_whose_rate_is_fixed_and_tuned_is_one_arm(panel: Panel) -> None:
    labels = [arm.label for arm in panel.arms]
    assert "LoRA 3e-4 (fixed and tuned)" in labels
    assert len(labels) == len({(a.key.strategy, a.key.learning_rate) for a in panel.arms})
    assert all(len(arm.cells) == 3 for arm in panel.arms), "each cell in one arm, no trials"


def test_what_was_kept_is_retention_where_it_is_known_for_all(
    panel: Panel, findings: Findings
) -> None:
    kept, points = frontier.placed(panel, probe_groups(findings, study()))
    assert kept is not None
    assert kept == (("sums", "sorting"), True)
    for point in points:
        probes = [
            e.retention
            for e in findings.effects
            if (e.kind, e.measure, e.model) == ("probe", "accuracy", panel.key.model)
            and (e.strategy, e.learning_rate) == point.arm.key[:2]
            and e.setting == point.arm.key.setting.split("+")[0]
        ]
        assert point.kept == pytest.approx(sum(r or 0 for r in probes) / 2)


def test_without_retention_the_change_on_the_probes_is_drawn(
    panel: Panel, findings: Findings, runs: list[Run]
) -> None:
    blank = replace(findings, effects=tuple(replace(e, retention=None) for e in findings.effects))
    arranged = panels(blank, study(), runs)[0]
    kept, points = frontier.placed(arranged, probe_groups(blank, study()))
    assert kept is not None
    assert not kept.retention
    (full,) = (p for p in points if p.arm.key == ("full", 3e-4, "fixed"))
    changes = [
        e.delta
        for e in findings.effects
        if (e.kind, e.measure, e.model) == ("probe", "accuracy", panel.key.model)
        and (e.strategy, e.learning_rate) == ("full", 3e-4)
    ]
    assert full.kept == pytest.approx(sum(changes) / 2)


def test_a_way_back_is_set_against_its_untouched_end(
    panel: Panel, findings: Findings, runs: list[Run]
) -> None:
    by_key = {run.cell.key: run for run in runs}
    (path,) = frontier.paths(panel, kept_of(panel, findings), by_key)
    assert path.arm.key.strategy == "full+rewind"
    assert path.chosen == (0.5,)
    assert [step.gain for step in path.steps] == [0.0, 0.0, -40.0]
    half = 50 * (80 / 90 + 75 / 80)
    full = 50 * (50 / 90 + 60 / 80)
    assert [step.kept for step in path.steps] == pytest.approx([100.0, half, full])
    chart = frontier.frontier(panel, probe_groups(findings, study()), by_key, "frontier")
    assert chart is not None
    assert "way back of 3e-4: λ = 0.5" in chart.inline
    assert "measured on dev" in chart.caption


def test_ability_on_multiple_choice_is_what_is_above_guessing(
    panel: Panel, findings: Findings, runs: list[Run]
) -> None:
    def choices(answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
        return tuple(replace(a, gold=str(i % 4), rule="likelihood") for i, a in enumerate(answers))

    by_key = {
        run.cell.key: replace(run, probes={**run.probes, "sums": choices(run.probes["sums"])})
        for run in runs
        if "sums" in run.probes
    }
    (path,) = frontier.paths(panel, kept_of(panel, findings), by_key)
    half = 50 * ((80 - 25) / (90 - 25) + 75 / 80)
    assert path.steps[1].kept == pytest.approx(half)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"path": []},
        {"chosen": 0.5, "path": [{"share": 1.0, "accuracy": 50.0, "probes": {}}]},
        {"chosen": 0.0, "path": [{"share": 0.0, "accuracy": None, "probes": {}}]},
    ],
)
def test_a_path_without_its_untouched_end_is_left_out(
    panel: Panel, findings: Findings, runs: list[Run], spoilt: dict[str, object]
) -> None:
    by_key = {
        run.cell.key: replace(run, evidence={"rewind": spoilt})
        for run in runs
        if run.cell.strategy.rewind
    }
    assert frontier.paths(panel, kept_of(panel, findings), by_key) == []


def test_what_was_rewound_is_not_drawn_as_a_second_training(panel: Panel, runs: list[Run]) -> None:
    drawn = trade_offs.training_curves(panel, {run.cell.key: run for run in runs})
    assert {c.arm.key.strategy for c in drawn} == {"full", "lora"}


def test_sizes_are_drawn_at_each_setting_with_the_threshold(
    findings: Findings, runs: list[Run]
) -> None:
    arranged = panels(findings, study(), runs)
    found = Cliff("fixed", 341_352, 919_552, 6e5, (), (), (), "between 0.341M and 0.92M")
    fixed, tuned = sizes.charts(arranged, [found])
    assert "Shaded: the size below which full fine-tuning harms: between" in fixed.caption
    assert "dashed: 0.6M, the middle in log parameters" in fixed.caption
    assert "--orange" in fixed.inline, "the band"
    assert "--orange" not in tuned.inline
    assert set(sizes.points(arranged, "fixed")) == {"full", "full+rewind", "lora"}
    assert set(sizes.points(arranged, "tuned")) == {"full", "lora"}
    for own in sizes.points(arranged, "fixed").values():
        assert [p.parameters for p in own] == [341_352, 919_552]


def test_one_size_has_no_chart_and_no_threshold() -> None:
    runs = searched(("mini-1m",))
    found = judged(runs)
    arranged = panels(found, study(), runs)
    assert sizes.cliffs(found, runs, arranged) == []
    assert sizes.charts(arranged, []) == []


def test_a_study_without_a_search_shows_none(tmp_path: Path) -> None:
    few = grid(n=40)
    page = written(tmp_path, few)
    ids = {attrs.get("id") for _, attrs in read(page).tags}
    assert "search" not in ids
    assert not (page.parent / "figures" / "rates-1.svg").exists()
