"""The logs of Inspect, packed and plain."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetrap.errors import BadData
from finetrap.judge.logs import read_gradable
from finetrap.judge.predictions import read_scored
from tests.builders.logs import (
    RIGHT,
    by_id,
    graded,
    inspect_log,
    inspect_sample,
)

KINDS = ("log.eval", "log.zst", "log.json")


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_of_inspect_is_read_and_regraded(tmp_path: Path, kind: str) -> None:
    log = inspect_log(tmp_path / kind, [inspect_sample(i) for i in range(4)])
    found = read_scored(log)
    assert found.metric == "match"
    assert by_id(found) == {"1": True, "2": False, "3": False, "4": False}
    assert list(graded(log).values()) == RIGHT


@pytest.mark.parametrize("kind", KINDS)
def test_one_epoch_of_several_is_chosen(tmp_path: Path, kind: str) -> None:
    samples = [inspect_sample(i, epoch) for epoch in (1, 2) for i in range(4)]
    for sample in samples[4:]:
        sample["scores"]["match"]["value"] = "C"
        sample["output"]["completion"] = "#### 3"
    log = inspect_log(tmp_path / kind, samples)
    for read in (read_scored, read_gradable):
        with pytest.raises(BadData, match="2 filters: epoch 1, epoch 2; choose one with --filter"):
            read(log)
    assert set(by_id(read_scored(log, "epoch 2")).values()) == {True}
    assert list(graded(log, "epoch 2").values()) == [False, True, False, False]


def test_scores_of_inspect_are_letters_numbers_or_several(tmp_path: Path) -> None:
    samples = [inspect_sample(i) for i in range(4)]
    for i, sample in enumerate(samples):
        sample["scores"] = {
            "choice": {"value": "N" if i == 3 else "C"},
            "judge": {"value": "P" if i == 3 else "C"},
            "both": {"value": {"right": 1, "style": 0.5}},
        }
    log = inspect_log(tmp_path / "log.json", samples)
    with pytest.raises(BadData, match=r"choice \(75.0%\), both/right \(100.0%\); choose one"):
        read_scored(log)
    assert list(by_id(read_scored(log, metric="choice")).values()) == [True, True, True, False]
    with pytest.raises(BadData, match=r"sample 4: `judge` is 0.5"):
        read_scored(log, metric="judge")


def test_a_sample_without_a_score_is_named(tmp_path: Path) -> None:
    samples = [inspect_sample(i) for i in range(4)]
    samples[2]["scores"] = None
    with pytest.raises(BadData, match=r"sample 3: no `match`; it must be 0, 1"):
        read_scored(inspect_log(tmp_path / "log.json", samples))
    samples[2]["error"] = {"message": "no connection"}
    for kind in ("log.eval", "log.json"):
        with pytest.raises(BadData, match="no `match`, as inspect failed on it"):
            read_scored(inspect_log(tmp_path / kind, samples))
    samples[2]["scores"] = {"match": {"value": float("nan")}}
    with pytest.raises(BadData, match=r"samples/3_epoch_1.json: `match` is NaN"):
        read_scored(inspect_log(tmp_path / "log.eval", samples))


def test_completions_of_inspect_stand_in_blocks_attachments_and_choices(tmp_path: Path) -> None:
    samples = [inspect_sample(i) for i in range(3)]
    blocks = [{"type": "reasoning", "reasoning": "5"}, {"type": "text", "text": "#### 18"}]
    del samples[0]["output"]["completion"]
    samples[0]["output"]["choices"][0]["message"]["content"] = blocks
    samples[1]["output"]["completion"] = "attachment://ab"
    samples[1]["attachments"] = {"ab": "#### 3"}
    log = inspect_log(tmp_path / "log.eval", samples)
    assert list(graded(log).values()) == RIGHT[:3]


def test_letters_are_those_of_the_samples_choices(tmp_path: Path) -> None:
    sample = inspect_sample(0)
    sample |= {"choices": ["cat", "dog", "hen", "owl"], "target": "D"}
    sample["output"]["completion"] = "ANSWER: D"
    assert list(graded(inspect_log(tmp_path / "log.json", [sample])).values()) == [True]
