"""Bad input, one by one: a clear message and exit code 2, never a traceback."""

import json
import shutil
from pathlib import Path

import pytest

from finetrap.miniature import FOLDER
from tests.builders.commands import finetrap

STUDY = """
name = "bad"
models = ["mini-0.1m"]
tasks = ["market"]
strategies = ["full"]
seeds = [0]
[train]
problems = 20
epochs = 1
[limits]
test_problems = 10
max_new_tokens = 40
"""

FAULTS = {
    "bad TOML": (STUDY + "seeds = [", ["line"]),
    "unknown model": (STUDY.replace("mini-0.1m", "mini-01m"), ["mini-01m", "mini-0.1m"]),
    "unknown task": (STUDY.replace('"market"', '"markt"'), ["markt", "market"]),
    "unknown strategy": (STUDY.replace('"full"', '"ful"'), ["ful", "full"]),
    "negative rate": (STUDY + "[strategy.full]\nlearning_rate = -1.0\n", ["learning_rate"]),
    "zero problems": (STUDY.replace("problems = 20", "problems = 0"), ["problems"]),
    "unknown key": (STUDY.replace("epochs", "epoch"), ["epoch", "epochs"]),
    "epochs without end": (STUDY.replace("epochs = 1", "epochs = 1e12"), ["at most 10,000"]),
    "too deep": (STUDY + "deep = " + "[" * 900 + "]" * 900, ["too deep"]),
    "endless number": (STUDY + "long = " + "9" * 10_000, ["4,300 digits"]),
    "refused method": (
        STUDY.replace('"full"', '"mine"')
        + '[strategy.mine]\nkind = "peft"\nlearning_rate = 1e-3\n'
        + 'peft = { peft_type = "ADALORA" }\n',
        ["ADALORA"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_study_with_a_fault_is_refused_with_its_place(tmp_path, fault):
    text, said = FAULTS[fault]
    (tmp_path / "bad.toml").write_text(text)
    refused(tmp_path, "run", "bad.toml", said=said)


def test_all_faults_of_a_study_are_told_at_once(tmp_path):
    text = STUDY.replace("mini-0.1m", "mini-0.2m").replace('"market"', '"markt"')
    (tmp_path / "bad.toml").write_text(text.replace("[0]", "[-1]"))
    refused(tmp_path, "status", "bad.toml", said=["mini-0.2m", "markt", "seeds"])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["advise", "mini-1m", "--max-memory", "inf"], "--max-memory"),
        (["advise", "mini-1m", "--min-retention", "nan"], "--min-retention"),
        (["try", "mini-1m", "--train", "a.jsonl", "--budget", "inf"], "--budget"),
        (["try", "mini-1m", "--train", "a.jsonl", "--data", "arc"], "expected TASK=PATH"),
        (["compare", "a.jsonl", "a.jsonl", "--margin", "nan"], "margin nan"),
        (["compare", "a.jsonl", "a.jsonl", "--margin", "0"], "margin 0"),
        (["run", "style", "--workers", "0"], "--workers"),
        (["run", "style", "--set", "train.epochs=" + "[" * 900], "too deep"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_number_that_is_none_is_refused_by_every_option(tmp_path, command, said):
    refused(tmp_path, *command, said=[said])


def test_a_name_that_would_move_the_cursor_is_shown_by_its_codes(tmp_path):
    done = finetrap("compare", "\x1b[2J\u202eb.jsonl", "a.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "U+001B" in done.stderr
    assert "U+202E" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_missing_study_is_refused(tmp_path):
    refused(tmp_path, "run", "nowhere.toml", said=["nowhere.toml"])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", ["mine.jsonl"]),
        ('{"question": "1 + 1?"}\n', ["mine.jsonl", "answer"]),
        ('{"question": "1 + 1?", "answer": "2"\n', ["mine.jsonl", "1"]),
    ],
    ids=["empty file", "row without answer", "broken row"],
)
def test_user_data_with_a_fault_is_refused(tmp_path, rows, said):
    (tmp_path / "mine.jsonl").write_text(rows)
    (tmp_path / "bad.toml").write_text(STUDY.replace('"market"', '"jsonl:mine.jsonl"'))
    refused(tmp_path, "run", "bad.toml", said=said)


def checkpoint(folder: Path, *left_out: str) -> None:
    ignored = shutil.ignore_patterns(*left_out) if left_out else None
    shutil.copytree(FOLDER / "checkpoints" / "mini-0.1m", folder, ignore=ignored)


def test_a_model_folder_without_a_tokenizer_is_refused(tmp_path):
    checkpoint(tmp_path / "model", "tokenizer*")
    (tmp_path / "bad.toml").write_text(STUDY.replace("mini-0.1m", "./model"))
    refused(tmp_path, "run", "bad.toml", said=["tokenizer"])


def test_a_model_folder_without_weights_is_refused(tmp_path):
    checkpoint(tmp_path / "model", "*.safetensors")
    (tmp_path / "bad.toml").write_text(STUDY.replace("mini-0.1m", "./model"))
    refused(tmp_path, "run", "bad.toml", said=["weights"])


def test_a_tokenizer_of_another_shape_is_bad_input_and_its_cells_remain(tmp_path):
    checkpoint(tmp_path / "model")
    file = tmp_path / "model" / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model": []}))
    (tmp_path / "bad.toml").write_text(STUDY.replace("mini-0.1m", "./model"))
    refused(tmp_path, "run", "bad.toml", said=["tokenizer", "save_pretrained"])
    remaining = finetrap("status", "bad.toml", "--json", cwd=tmp_path)
    assert json.loads(remaining.stdout)["remaining"] == 2


def test_a_tokenizer_without_a_pad_token_simply_works(tmp_path):
    checkpoint(tmp_path / "model")
    file = tmp_path / "model" / "tokenizer_config.json"
    config = json.loads(file.read_text())
    config.pop("pad_token", None)
    file.write_text(json.dumps(config))
    (tmp_path / "good.toml").write_text(STUDY.replace("mini-0.1m", "./model"))
    done = finetrap("run", "good.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_prompt_longer_than_the_context_is_an_error_and_remains(tmp_path):
    text = STUDY.replace("max_new_tokens = 40", "max_new_tokens = 500")
    (tmp_path / "bad.toml").write_text(text)
    refused(tmp_path, "run", "bad.toml", said=["context", "512"])
    remaining = finetrap("status", "bad.toml", "--json", cwd=tmp_path)
    assert json.loads(remaining.stdout)["remaining"] == 2


def test_compare_refuses_files_that_do_not_pair(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1, "correct": true}\n{"id": 2, "correct": false}\n')
    (tmp_path / "b.jsonl").write_text('{"id": 1, "correct": true}\n')
    refused(tmp_path, "compare", "a.jsonl", "b.jsonl", said=["1"])
    (tmp_path / "b.jsonl").write_text('{"id": 1, "correct": 0.5}\n{"id": 2, "correct": 1}\n')
    refused(tmp_path, "compare", "a.jsonl", "b.jsonl", said=["0.5"])


def test_grade_refuses_a_row_without_gold(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"completion": "#### 2", "gold": "2"}\n{"completion": "x"}\n'
    )
    refused(tmp_path, "grade", "a.jsonl", said=["2", "gold"])


def refused(folder: Path, *arguments: object, said: list[str]) -> None:
    done = finetrap(*arguments, cwd=folder)
    message = done.stdout + done.stderr
    assert done.returncode == 2, message
    assert "Traceback" not in message
    for word in said:
        assert word in message, message


@pytest.mark.parametrize(
    "verb", [["report"], ["diagnose"], ["advise"], ["advise", "mini-1m"], ["report", "demo"]]
)
def test_there_is_nothing_to_judge_in_a_folder_without_runs(tmp_path, verb):
    refused(tmp_path, *verb, "--runs", "nowhere", said=["nowhere: no such folder", "--runs"])
    (tmp_path / "empty").mkdir()
    refused(tmp_path, *verb, "--runs", "empty", said=["empty holds no run", "finetrap run"])
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]
