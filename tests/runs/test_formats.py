"""Runs of every file format are read and judged; completions are graded anew, choices stand."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace

import pytest

from finetrap.cli import regrading
from finetrap.judge.verdicts import verdicts_on
from finetrap.records import FORMAT, Run
from finetrap.runs.store import Store
from tests.builders.documents import REPOSITORY
from tests.builders.stored import answer, make_cell, make_run

PACKED = REPOSITORY / "tests/data/formats"
"""A small study of a toy and a miniature model, with a search, a rewind and every kind of test."""


@pytest.fixture(scope="module", params=range(1, FORMAT + 1))
def packed(request, tmp_path_factory) -> tuple[int, list[Run], Store]:
    folder = tmp_path_factory.mktemp("format")
    with tarfile.open(PACKED / f"format-{request.param}.tar.xz") as archive:
        archive.extractall(folder)
    store = Store(folder)
    return request.param, store.runs(), store


def test_runs_of_every_format_are_read_whole_under_their_own_keys(packed):
    version, runs, store = packed
    assert len(runs) == len(store.statuses()) == 18
    for run in runs:
        assert run.cell.protocol == version
        assert store.load(run.cell.key).cell == run.cell
        assert run.cell.key in {path.name.rpartition("--")[2] for path in store.root.iterdir()}


def test_runs_of_every_format_are_judged(packed):
    version, runs, _ = packed
    findings = verdicts_on(runs)
    assert {effect.model for effect in findings.effects} == {run.cell.model.name for run in runs}
    assert {trial.chosen for trial in findings.trials} == {True, False}
    unknown = [one.model.partition(":")[0] for one in findings.missing if one.kind == "precision"]
    assert unknown == (["toy"] if version == 1 else [])


def test_what_format_1_did_not_record_is_filled_in_or_unknown(packed):
    version, runs, _ = packed
    trained = [run for run in runs if run.cell.strategy.trains]
    toys = {run.cell.train.dtype for run in trained if run.cell.model.backend == "toy"}
    others = {run.cell.train.dtype for run in trained if run.cell.model.backend == "hf"}
    assert toys == ({None} if version == 1 else {"fp32"})
    assert others == {"fp32"}
    asked = [run.probes["arc_easy"] for run in runs if run.cell.split == "test"]
    assert {a.choices for answers in asked for a in answers} == {3}
    assert {a.choices for run in runs for a in run.answers} == {None}


def graded_otherwise(run: Run) -> Run:
    """The same run as another version of grading, which found nothing right, wrote it."""
    wrong = tuple(
        replace(a, extracted=None, rule="none", correct=False, strict=False) for a in run.answers
    )
    return replace(run, answers=wrong, grading=99)


def test_completions_are_graded_anew_and_trials_keep_the_grades_they_were_chosen_by(tmp_path):
    right = replace(answer(), rule="hash", gold="4", strict=True)
    chosen = answer("c", rule="likelihood", correct=False, completion="4", choices=3)
    final = make_run(answers=(right,), probes={"arc": (chosen,), "prose": (answer(correct=None),)})
    trial = replace(final, cell=make_cell(split="dev"))
    store = Store(tmp_path)
    for run in (final, trial):
        store.commit(graded_otherwise(run))
    found = {run.cell.split: run for run in store.runs()}
    assert found["test"].answers == final.answers
    assert found["test"].probes == final.probes
    assert [run.grading for run in found.values()] == [99, 99]
    assert not found["dev"].answers[0].correct
    assert [
        (a.correct, b.correct)
        for was, now in store.graded_before()
        for a, b in zip(was.answers, now.answers, strict=True)
    ] == [(False, True)]


def test_regrade_shows_what_changes_and_writes_nothing(tmp_path, capsys):
    run = make_run(answers=(replace(answer(), rule="hash", gold="4", strict=True),), probes={})
    store = Store(tmp_path)
    folder = store.commit(graded_otherwise(run))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    regrading.regrade(tmp_path)
    told = capsys.readouterr().out
    assert "1 of 1 answers graded otherwise, right 0 before and 1 now" in told
    assert "gold '4', read None, now '4'" in told
    regrading.regrade(tmp_path, as_json=True)
    (row,) = json.loads(capsys.readouterr().out)["tests"]
    assert (row["grading"], row["changed"], row["right_after"]) == (99, 1, 1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_is_up_to_date_has_nothing_to_regrade(tmp_path, capsys):
    Store(tmp_path).commit(make_run())
    regrading.regrade(tmp_path)
    assert "every run was graded under the current version" in capsys.readouterr().out
