"""What was gained and kept: measured alike for every strategy, and on the way back to the base."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finetrap.findings import Findings
from finetrap.judge.tradeoffs import traded
from finetrap.levels import Frontier, Summary
from finetrap.records import Answer, Run
from finetrap.report.arranged.panels import arrange
from finetrap.report.charts import gains, looks
from tests.builders.reported import judged, searched, study


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return searched()


@pytest.fixture(scope="module")
def findings(runs: list[Run]) -> Findings:
    return judged(runs)


def on_probes(findings: Findings, line: Summary, field: str) -> float:
    """The mean over the probes with right answers."""
    values = [
        getattr(e, field)
        for e in findings.effects
        if (e.kind, e.measure, e.model) == ("probe", "accuracy", line.model)
        and (e.strategy, e.learning_rate) == (line.strategy, line.learning_rate)
        and e.setting == line.setting.split("+")[0]
    ]
    assert len(values) == 2
    return sum(values) / 2


def test_what_was_kept_is_retention_where_it_is_known_for_all(findings: Findings) -> None:
    assert all((f.probes, f.retention) == (("sums", "sorting"), True) for f in findings.frontiers)
    trained = [line for line in findings.summary if line.learning_rate is not None]
    assert len(trained) == 8
    for line in trained:
        assert line.kept == pytest.approx(on_probes(findings, line, "retention"))


def test_without_retention_the_change_on_the_probes_counts(
    findings: Findings, runs: list[Run]
) -> None:
    blank = tuple(replace(e, retention=None) for e in findings.effects)
    lines, frontiers = traded(findings.summary, blank, runs)
    assert not any(f.retention for f in frontiers)
    (full, _) = (s for s in lines if (s.strategy, s.setting) == ("full", "fixed"))
    assert full.kept == pytest.approx(on_probes(findings, full, "delta"))


def test_a_rewinding_path_is_set_against_the_base_weights(findings: Findings) -> None:
    (path,) = findings.frontiers[1].paths
    assert path.strategy == "full+rewind"
    assert path.chosen == (0.5,)
    assert [step.gain for step in path.steps] == [0.0, 0.0, -40.0]
    half = 50 * (80 / 90 + 75 / 80)
    full = 50 * (50 / 90 + 60 / 80)
    assert [step.kept for step in path.steps] == pytest.approx([100.0, half, full])
    panels = arrange(findings, study())
    charts = gains.forgetting_charts(panels, findings.frontiers, looks.page_looks(panels))
    assert len(charts) == 2
    assert (
        "full fine-tuning + rewind 3e-4, λ = 0.5 chosen: λ 0: 0.0 points on dev" in charts[0].inline
    )
    assert "ring: the λ chosen" in charts[0].caption


def paths(findings: Findings, runs: list[Run]) -> list[Frontier]:
    return [f for f in traded(findings.summary, findings.effects, runs)[1] if f.paths]


def test_ability_on_multiple_choice_is_what_is_above_guessing(
    findings: Findings, runs: list[Run]
) -> None:
    def choices(answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
        return tuple(replace(a, rule="likelihood", choices=4) for a in answers)

    asked = [
        replace(run, probes={**run.probes, "sums": choices(run.probes["sums"])})
        if "sums" in run.probes
        else run
        for run in runs
    ]
    (found, _) = paths(findings, asked)
    half = 50 * ((80 - 25) / (90 - 25) + 75 / 80)
    assert found.paths[0].steps[1].kept == pytest.approx(half)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"path": []},
        {"chosen": 0.5, "path": [{"share": 1.0, "accuracy": 50.0, "probes": {}}]},
        {"chosen": 0.0, "path": [{"share": 0.0, "accuracy": None, "probes": {}}]},
    ],
)
def test_a_path_without_the_base_weights_is_left_out(
    findings: Findings, runs: list[Run], spoilt: dict[str, object]
) -> None:
    broken = [
        replace(run, evidence={"rewind": spoilt}) if run.cell.strategy.rewind else run
        for run in runs
    ]
    assert paths(findings, broken) == []
