"""Faults of data files and of model folders, told by the commands themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import finetrap as package
from tests.builders.commands import finetrap
from tests.builders.foreign_code import MAPS, with_code

MINI = Path(package.__file__).parent / "miniature" / "checkpoints" / "mini-0.1m"
STUDY = """
name = "own"
models = [{model!r}]
tasks = ["{task}"]
strategies = ["zero-shot", "full"]
seeds = [0]
[train]
problems = 8
epochs = 1
[limits]
test_problems = 4
max_new_tokens = 4
"""


def study(folder: Path, model: str = "mini-0.1m", task: str = "jsonl:rows.csv") -> None:
    (folder / "own.toml").write_text(STUDY.format(model=model, task=task))


def rows(folder: Path, *more: str) -> None:
    lines = [f"What is {i} + 1?,{i + 1}" for i in range(60)]
    (folder / "rows.csv").write_text("\n".join(["question,answer", *lines, *more]) + "\n")


def test_status_reads_the_files_and_says_what_they_hold(tmp_path):
    study(tmp_path)
    rows(tmp_path, "What is 3 + 1?,4")
    shown = json.loads(finetrap("status", "own.toml", "--json", cwd=tmp_path).stdout)
    held = shown["data"]["rows.csv"]
    assert (held["rows"], held["distinct questions"]) == (61, 60)
    golds = held["right answers"]
    assert golds["mostly"] == "number"
    assert golds["number"] == held["to train on"] + held["in the test"]
    assert held["to train on"] + held["in the test"] + held["left out"] == 61
    said = finetrap("status", "own.toml", cwd=tmp_path).stdout
    assert "rows.csv: 61 rows, 60 distinct questions" in said
    assert f"rows.csv: the right answers are {golds['number']} numbers; such as '" in said


def test_an_answer_that_is_a_number_among_words_is_refused_where_most_are_numbers(tmp_path):
    study(tmp_path)
    rows(tmp_path, "What flew to the moon?,Apollo 11")
    done = finetrap("status", "own.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "rows.csv, line 62" in done.stderr
    assert "'Apollo 11' would be graded as text" in done.stderr
    assert "write '11'" in done.stderr


def test_a_fault_of_a_file_is_told_by_status_before_anything_runs(tmp_path):
    study(tmp_path)
    rows(tmp_path, "What comes after nine hundred?,")
    done = finetrap("status", "own.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "rows.csv, line 62 ('What comes after nine hundred?'): `answer` is empty" in done.stderr
    assert "remaining 2" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", MAPS)
def test_a_run_that_is_answered_yes_runs_no_code_of_the_model(tmp_path, name):
    with_code(tmp_path / "model", tmp_path / "mark", name, known=False)
    study(tmp_path, "./model")
    rows(tmp_path)
    done = finetrap("run", "own.toml", "--workers", 1, cwd=tmp_path, input="y\n" * 20)
    assert not (tmp_path / "mark").exists()
    assert done.returncode == 2
    assert "needs Python code of its own" in done.stderr


def test_a_model_whose_weights_are_not_finite_is_recorded_as_failed_and_not_advised(tmp_path):
    shutil.copytree(MINI, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    study(tmp_path, "./model")
    rows(tmp_path)
    done = finetrap("run", "own.toml", "--workers", 1, cwd=tmp_path)
    assert done.returncode == 1
    cells = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert sum("failed: weights are not finite: model.norm.weight" in line for line in cells) == 2
    state = json.loads(finetrap("status", "own.toml", "--json", cwd=tmp_path).stdout)
    assert (state["failed"], state["remaining"]) == (2, 0)
    advice = json.loads(finetrap("advise", "--runs", "runs", "--json", cwd=tmp_path).stdout)
    assert advice["ship"] is None


def test_status_names_the_answers_that_are_not_compared_as_most_are(tmp_path):
    study(tmp_path)
    rows(tmp_path, "What is x?,x^2", "What is 7 + 1?,9")
    said = finetrap("status", "own.toml", cwd=tmp_path).stdout
    assert "rows.csv, line 62 ('What is x?'): the right answer 'x^2' is graded as text" in said
    assert "line 63 ('What is 7 + 1?'): the right answer is '9', and at" in said
    assert "rows.csv, line 9 '8'" in said
