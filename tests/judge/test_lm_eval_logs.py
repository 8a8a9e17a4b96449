"""The logs of lm-evaluation-harness, from 0.4.0 on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetrap.errors import BadData
from finetrap.judge import diagnosis
from finetrap.judge.logs import read_gradable
from finetrap.judge.predictions import change_text, compare_files, read_scored
from tests.builders.logs import (
    RIGHT,
    by_id,
    choice_row,
    graded,
    lm_eval_log,
    lm_eval_row,
    since,
)

VERSIONS = ("0.4.0", "0.4.2", "0.4.3", "0.4.5", "0.4.7", "0.4.9", "0.4.13")
ARC = {"id": "Mercury_1", "question": "Why?", "choices": {"text": ["a", "b"]}, "answerKey": "B"}
HELLASWAG = {"activity_label": "Baking", "endings": ["a", "b"], "query": "Baking:", "gold": 1}
PIQA = {"goal": "Bake.", "sol1": "a", "sol2": "b", "label": 1}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_log_of_lm_eval_is_read_and_regraded(tmp_path: Path, version: str) -> None:
    rows = [lm_eval_row(i, version, exact_match=float(i == 0)) for i in range(4)]
    log = lm_eval_log(tmp_path / "samples_gsm8k.jsonl", version, rows)
    found = read_scored(log)
    assert (found.metric, found.usual) == ("exact_match", False)
    assert list(by_id(found).values()) == [True, False, False, False]
    assert list(graded(log).values()) == RIGHT


@pytest.mark.parametrize("version", VERSIONS)
def test_each_filter_of_a_log_can_be_read(tmp_path: Path, version: str) -> None:
    rows = [lm_eval_row(i, version, "strict-match", exact_match=0.0) for i in range(4)]
    rows += [lm_eval_row(i, version, "flexible-extract", exact_match=1.0) for i in range(4)]
    log = lm_eval_log(tmp_path / "log.jsonl", version, rows)
    named = since(version, "0.4.7")
    said = "flexible-extract, strict-match" if named else r"1, 2 \(lm-eval before 0.4.7 does not"
    with pytest.raises(BadData, match=f"2 filters: {said}.*--filter NAME"):
        read_scored(log)
    strict, flexible = ("strict-match", "flexible-extract") if named else ("1", "2")
    assert set(by_id(read_scored(log, strict)).values()) == {False}
    assert set(by_id(read_scored(log, flexible)).values()) == {True}
    # Both filters have the same completions: to grade them nothing has to be chosen.
    assert list(graded(log).values()) == RIGHT
    assert list(graded(log, strict).values()) == RIGHT


def test_a_row_that_is_twice_in_a_log_is_no_filter(tmp_path: Path) -> None:
    rows = [lm_eval_row(i, "0.4.3", exact_match=1.0) for i in (0, 1, 2, 1)]
    with pytest.raises(BadData, match=r"line 4: id '1' a second time"):
        read_scored(lm_eval_log(tmp_path / "log.jsonl", "0.4.3", rows))


@pytest.mark.parametrize("version", ["0.4.2", "0.4.13"])
@pytest.mark.parametrize(
    ("name", "doc"),
    [
        ("log.jsonl", ARC),
        ("log.jsonl", HELLASWAG),
        ("samples_arc_easy_2026-01-01.jsonl", {}),
        ("pretrained__gpt2_arc_challenge.jsonl", {}),
        ("samples_hellaswag_2026-01-01.jsonl", {}),
    ],
)
def test_arc_and_hellaswag_are_read_by_acc_norm(
    tmp_path: Path, version: str, name: str, doc: dict[str, Any]
) -> None:
    rows = [choice_row(i, version, doc, acc=0.0, acc_norm=1.0) for i in range(4)]
    log = lm_eval_log(tmp_path / name, version, rows)
    found = compare_files(log, log)
    assert (found["metric"], found["usual_metric"], found["a"]) == ("acc_norm", True, 100)
    assert "4 problems, by acc_norm (the usual metric of ARC and HellaSwag;" in change_text(found)
    found = compare_files(log, log, metric="acc")
    assert (found["metric"], found["usual_metric"], found["a"]) == ("acc", False, 0)
    assert "of 4 problems, by acc\n" in change_text(found)


@pytest.mark.parametrize("name", ["log.jsonl", "samples_march_easy.jsonl", "samples_piqa.jsonl"])
def test_of_several_metrics_one_must_be_named(tmp_path: Path, name: str) -> None:
    rows = [choice_row(i, "0.4.13", PIQA, acc=float(i > 0), acc_norm=0.0) for i in range(4)]
    log = lm_eval_log(tmp_path / name, "0.4.13", rows)
    said = r"2 metrics that are 0 or 1: acc \(75.0%\), acc_norm \(0.0%\); choose one with --metric"
    for read in (read_scored, lambda path: diagnosis.diagnose_files(path, path)):
        with pytest.raises(BadData, match=said):
            read(log)
    with pytest.raises(BadData, match="no metric 'accnorm'; it has acc, acc_norm; did you mean"):
        read_scored(log, metric="accnorm")
    assert list(by_id(read_scored(log, metric="acc")).values()) == [False, True, True, True]
    assert diagnosis.diagnose_files(log, log, metric="acc")


def test_metrics_that_are_neither_0_nor_1_are_left_aside(tmp_path: Path) -> None:
    rows = [lm_eval_row(i, "0.4.13", em=float(i == 0), f1=i / 4, bleu=["a", "b"]) for i in range(4)]
    log = lm_eval_log(tmp_path / "log.jsonl", "0.4.13", rows)
    assert read_scored(log).metric == "em"
    with pytest.raises(BadData, match=r"line 2: `f1` is 0.25; it must be 0, 1.*one of 3 such"):
        read_scored(log, metric="f1")
    rows = [lm_eval_row(i, "0.4.13", f1=i / 4, bleu=["a", "b"]) for i in range(4)]
    with pytest.raises(BadData, match=r"line 2: `f1` is 0.25; .*line 1: `bleu` is a list; it must"):
        read_scored(lm_eval_log(tmp_path / "log.jsonl", "0.4.13", rows))


def test_a_likelihood_is_no_completion(tmp_path: Path) -> None:
    choices = [choice_row(i, "0.4.13", PIQA, acc=1.0) for i in range(4)]
    rolling = [
        {**row, "resps": [["-18.0"]], "arguments": {"gen_args_0": {"arg_0": "A text."}}}
        for row in choices
    ]
    sampled = [{**row, "resps": [["#### 18", "#### 3"]]} for row in choices]
    for rows in (choices, rolling, sampled):
        log = lm_eval_log(tmp_path / "log.jsonl", "0.4.13", rows)
        with pytest.raises(BadData, match="a log of lm-eval without completions"):
            read_gradable(log)


def test_several_right_answers_are_not_graded_as_one(tmp_path: Path) -> None:
    rows = [{**lm_eval_row(0, "0.4.13", em=1.0), "target": "['18', 'eighteen']"}]
    with pytest.raises(BadData, match="`gold` is a list"):
        graded(lm_eval_log(tmp_path / "log.jsonl", "0.4.13", rows))
    rows = [{**lm_eval_row(0, "0.4.13", em=1.0), "target": "['18']"}]
    assert graded(lm_eval_log(tmp_path / "log.jsonl", "0.4.13", rows)) == {"0": True}
