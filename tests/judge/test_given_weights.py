"""Weights from elsewhere are judged by the task they are asked, whatever they were trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from finetrap.judge.diagnosis import diagnose_worse
from finetrap.judge.verdicts import verdicts_on
from finetrap.measure.engines import local
from finetrap.records import Run, StrategySpec
from tests.builders.reported import judged, read, written
from tests.builders.runs import FULL, MINI, ZERO, answers, run

MINE = StrategySpec("mine", "given", weights=(replace(MINI, name="./mine", revision="r2"),))
RIGHT, WRONG = [1] * 180 + [0] * 20, [1] * 80 + [0] * 120


def checkpoints() -> list[Run]:
    """A base model and a worse checkpoint, of which it is known what it was trained on."""
    probe = {"sums": answers(RIGHT)}
    return [
        run(ZERO, RIGHT, probes=probe),
        run(MINE, WRONG, 0, trained_on="rows.csv", probes=probe),
    ]


def test_the_task_that_is_asked_is_the_one_that_is_judged_and_advised_on(tmp_path: Path) -> None:
    findings = judged(checkpoints())
    (effect,) = [e for e in findings.effects if e.task == "market"]
    assert (effect.kind, effect.trained_on, effect.verdict) == ("task", "market", "harmed")
    (headline,) = findings.headlines
    assert (headline.task, headline.badge, headline.verdict) == ("market", "keep", "harmed")
    assert [(s.strategy, s.task, s.trained_on) for s in findings.summary if not s.base] == [
        ("mine", "market", "market")
    ]
    assert len(diagnose_worse(findings, checkpoints())) == 1
    text = " ".join(data for _, data in read(written(tmp_path, checkpoints())).texts)
    assert "Nothing could be compared" not in text
    assert "trained on rows.csv" not in text


def test_a_training_here_on_another_task_is_still_a_transfer() -> None:
    base, given = checkpoints()
    found = verdicts_on([base, replace(given, cell=replace(given.cell, strategy=FULL))])
    assert {e.kind for e in found.effects if e.task == "market"} == {"transfer"}


def test_weights_from_elsewhere_are_one_arm_for_each_task_that_they_are_asked() -> None:
    base, given = checkpoints()
    more = [
        run(ZERO, RIGHT, task="sorting", probes=base.probes),
        run(MINE, WRONG, 0, task="sorting", trained_on="rows.csv", probes=base.probes),
    ]
    found = verdicts_on([base, given, *more]).effects
    assert [(e.task, e.kind, e.trained_on) for e in found] == [
        ("market", "task", "market"),
        ("sorting", "task", "sorting"),
        ("sums", "probe", "market"),
        ("sums", "probe", "sorting"),
    ]


def test_no_training_is_expected_of_them() -> None:
    base, given = checkpoints()
    assert local.work(given.cell) == local.work(base.cell)
