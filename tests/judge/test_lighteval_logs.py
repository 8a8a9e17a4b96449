"""The details that lighteval writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetrap.errors import BadData
from finetrap.judge.logs import read_gradable
from finetrap.judge.predictions import compare_files, read_scored
from tests.builders.logs import (
    RIGHT,
    by_id,
    graded,
    lighteval_rows,
    parquet,
    since,
)


@pytest.mark.parametrize("version", ["0.6.2", "0.8.1", "0.9.2", "0.11.0", "0.13.0"])
def test_details_of_lighteval_are_read_and_regraded(tmp_path: Path, version: str) -> None:
    log = parquet(tmp_path / "details_lighteval|gsm8k|5.parquet", lighteval_rows(version))
    assert list(by_id(read_scored(log)).values()) == [True, False, False, False]
    assert list(graded(log).values()) == RIGHT
    ids = ["0", "1", "2", "3"] if since(version, "0.11") else [f"Question {i}?" for i in range(4)]
    assert list(graded(log)) == ids


def test_a_question_that_a_task_asks_twice_is_two_problems(tmp_path: Path) -> None:
    rows = lighteval_rows("0.9.2")
    rows[3]["example"] = rows[0]["example"]
    log = parquet(tmp_path / "details.parquet", rows)
    assert list(graded(log)) == ["Question 0?", "Question 1?", "Question 2?", "Question 0? (2)"]
    assert compare_files(log, log)["n"] == 4
    rows = lighteval_rows("0.13.0")
    with pytest.raises(BadData, match="row 5: id '3' a second time"):
        read_scored(parquet(tmp_path / "details.parquet", [*rows, rows[3]]))


def test_choices_of_lighteval_are_compared_and_not_graded(tmp_path: Path) -> None:
    rows = [
        {
            "doc": {
                "choices": ["a", "b"],
                "gold_index": [1],
                "id": str(i),
                "task_name": "arc:easy",
            },
            "model_response": {"text": [], "logprobs": [-4.0, -2.0]},
            "metric": {"acc": 0, "acc_norm": 1},
        }
        for i in range(4)
    ]
    log = parquet(tmp_path / "details.parquet", rows)
    assert (read_scored(log).metric, read_scored(log).usual) == ("acc_norm", True)
    with pytest.raises(BadData, match="a log of lighteval without completions"):
        read_gradable(log)
