"""What coverage-guided fuzzing found (docs/reliability.md), cut to what matters: each is read, or
refused as bad input."""

from __future__ import annotations

import json
import shutil
import time
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from finetrap import miniature, tasks
from finetrap.backends.hf.load import load_checkpoint, tokens_of
from finetrap.backends.hf.source import stated_base
from finetrap.errors import BadData, BadInput, BadModel, BadStudy
from finetrap.judge.predictions import read_scored
from finetrap.measure.study import reading
from finetrap.records import Answer, ModelSpec, content_hash
from finetrap.runs.store import Store
from finetrap.runs.unfinished import Checkpoint, Journal
from finetrap.text.rows import column
from finetrap.text.scorers import fields_right, gold_fault, scored, scored_again
from tests.builders.runs import FULL, answers, run

MINIATURE = Path(miniature.__file__).parent / "checkpoints" / "mini-0.1m"
DEEP = "[" * 100_000
LONG = "9" * 5000
LARGE = '{"a": 1e99999999999999999999}'


# --- studies ----------------------------------------------------------------------------------


def test_each_of_a_dozen_wrong_entries_of_a_list_is_named() -> None:
    study = {"name": "x", "models": ["toy:base=0.6"], "tasks": ["market"], "strategies": ["full"]}
    with pytest.raises(BadStudy, match="12 errors") as told:
        reading.check({**study, "seeds": [0, *[-1] * 12]}, at="drawn", base=Path())
    assert "seeds[12]: found -1" in told.value.faults[-1]


def test_an_error_of_a_study_does_not_hold_whole_long_names() -> None:
    study = {"name": "x", "models": [f"toy:base={'0' * 5000}"], "tasks": ["market"]}
    tables = {"model": {"y": {}}, "task": {"z" * 5000: {}}}
    with pytest.raises(BadStudy, match="3 errors") as told:
        reading.check({**study, "strategies": ["s" * 5000], **tables}, at="drawn", base=Path())
    strategy, model, task = told.value.faults
    assert "no strategy 'ssss" in strategy
    assert strategy.endswith("sss]")
    assert "[model.y]: nothing here has that name; known: gemma" in model
    assert task.endswith("zzz]: nothing here has that name; known: market")
    assert max(map(len, told.value.faults)) < 1100


# --- rows and logs ----------------------------------------------------------------------------


def test_a_whole_number_beyond_every_float_is_read_in_its_digits() -> None:
    assert column(("here", {"gold": 10**400}), "gold") == f"1{'0' * 400}"


def test_a_study_of_rows_with_such_a_number_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "rows.jsonl"
    place.write_text(json.dumps({"question": "How many?", "answer": 10**400}) + "\n")
    with pytest.raises(BadData, match="states no answer"):
        tasks.load(tasks.reference("jsonl", str(place), {"test_share": 1}))


def test_half_a_character_among_choices_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "rows.jsonl"
    place.write_text(json.dumps({"question": 1, "choices": ["\ud800", "b"], "answer": "b"}) + "\n")
    with pytest.raises(BadData, match=r"`choices` holds \\ud800, half of a character"):
        tasks.load(tasks.reference("jsonl", str(place), {"scoring": "letter"}))


@pytest.mark.parametrize(
    "row",
    [
        {"doc_id": -1, "": 0, "a.b": "NaN", "x": "NaN"},
        {"id": 1, "epoch": 1, "input": "q", "target": "3", "scores": "{'match', ['3']}"},
    ],
    ids=["a metric without a name", "a set of lists"],
)
def test_a_log_that_scores_nothing_is_refused(row: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "log.jsonl"
    place.write_text(json.dumps(row) + "\n")
    with pytest.raises(BadData, match=r"log\.jsonl, line 1"):
        read_scored(place)


@pytest.mark.parametrize(
    ("row", "options"),
    [
        (
            {"answer": LONG, "solution": "#### 1"},
            {"solution": "solution", "scoring": "number"},
        ),
        ({"answer": "A", "choices": [LONG]}, {"scoring": "choice"}),
        ({"answer": LONG, "choices": ["a", "b"]}, {"scoring": "letter"}),
    ],
)
def test_a_message_about_a_long_answer_is_short(
    row: dict[str, Any], options: dict[str, str], tmp_path: Path
) -> None:
    place = tmp_path / "rows.jsonl"
    place.write_text(json.dumps({"question": "How many?", **row}) + "\n")
    with pytest.raises(BadData) as told:
        tasks.load(tasks.reference("jsonl", str(place), {"test_share": 1, **options}))
    assert len(str(told.value).replace(str(tmp_path), "")) < 400


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        ({"eval": {}, "samples": []}, "not JSON|keys"),
        ({"eval": {}, "status": "success", "samples": []}, "inspect without samples"),
        ({"results": {}, "samples": []}, "results file of lm-eval holds averages"),
        ({"results": {}, "samples": {"gsm8k": []}}, "results file of lm-eval holds averages"),
        ({"predictions": [], "references": []}, "no rows"),
    ],
)
def test_a_log_with_an_empty_list_of_rows_is_refused(
    tmp_path: Path, whole: dict[str, Any], said: str
) -> None:
    place = tmp_path / "log.json"
    place.write_text(json.dumps(whole))
    with pytest.raises(BadData, match=said):
        read_scored(place)


# --- answers that are JSON --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["json", "json-fields"])
@pytest.mark.parametrize("gold", [LARGE, DEEP, '{"a": ' * 5000], ids=["large", "lists", "objects"])
def test_a_gold_that_python_cannot_hold_is_named(gold: str, how: str) -> None:
    assert "it must be JSON (" in (gold_fault(gold, how) or "")
    assert fields_right('{"a": 1}', gold) == {}
    assert not scored('{"a": 1}', gold, how).correct


def test_a_text_that_begins_as_many_lists_is_graded_as_a_text() -> None:
    assert gold_fault(DEEP, "text") is None or not scored(DEEP, DEEP, "text").correct


def test_a_completion_whose_number_is_too_large_holds_no_answer() -> None:
    assert scored(LARGE, '{"a": 1}', "json").extracted is None
    assert scored(f'{LARGE} {{"a": 1}}', '{"a": 1}', "json").correct


@pytest.mark.parametrize("piece", ["[", "{", "[[1],", "[1,"])
def test_brackets_that_are_never_closed_are_graded_in_bounded_time(piece: str) -> None:
    start = time.process_time()
    assert not scored(piece * (400_000 // len(piece)), '{"a": 1}', "json").correct
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("how", "gold"), [("json", "no JSON"), ("json-fields", "[1]"), ("json-fields", "{}")]
)
def test_a_strangers_gold_that_is_not_of_its_scoring_makes_nothing_right(
    how: str, gold: str
) -> None:
    given = Answer("p", gold, "{}", None, "none", True, None, 4, "eos", None, None, scoring=how)
    found = scored_again(given)
    assert found is not None
    assert not found.correct


@pytest.mark.parametrize("how", ["choice", "nubmer", "python:own.py:score"])
def test_a_strangers_way_of_scoring_that_is_unknown_leaves_its_grades(how: str) -> None:
    given = Answer("p", "18", "18", None, "none", True, None, 4, "eos", None, None, scoring=how)
    assert scored_again(given) is None


# --- what is kept of a cell -------------------------------------------------------------------


def test_what_begins_as_many_lists_is_no_checkpoint_and_no_journal(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    place.write_text(DEEP)
    assert Checkpoint(place, "this", 1.0).step == 0
    place.write_bytes(b"%08x %s\n" % (zlib.crc32(f"{DEEP}\n".encode()), DEEP.encode()))
    assert Journal(place, "this").rows("call") == []


def resealed(folder: Path, name: str, content: bytes) -> None:
    """Put other bytes in place of a run's file, and their hash where the old one's stood."""
    (folder / name).write_bytes(content)
    told = json.loads((folder / "run.json").read_bytes())
    told["files"][name] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    (folder / "run.json").write_text(json.dumps(told))


def test_a_run_whose_protocol_is_no_number_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.commit(run(FULL, answers([1, 0]), 0))
    cell = json.loads((folder / "cell.json").read_bytes())
    cell["identity"]["protocol"] = "a" * 5000
    cell["key"] = content_hash(cell["identity"])
    resealed(folder, "cell.json", json.dumps(cell).encode())
    folder = folder.rename(folder.with_name(f"mini--{cell['key']}"))
    assert store.sound_runs()[0] == []
    assert f"measured under protocol '{'a' * 60}…'" in store.sound_runs()[1][folder]


def test_a_message_about_a_run_does_not_hold_its_files(tmp_path: Path) -> None:
    folder = Store(tmp_path).commit(run(FULL, answers([1, 0]), 0))
    resealed(folder, "evidence.json", b'{"loss": "%s\xff"}' % (b"x" * 5000))
    (said,) = Store(tmp_path).sound_runs()[1].values()
    assert "run.json was edited (UnicodeDecodeError: 'utf-8' codec can't decode byte" in said
    assert len(said.replace(str(tmp_path), "")) < 600


# --- model folders ----------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MINIATURE, tmp_path / "mini"))


@pytest.mark.parametrize(
    "settings",
    [
        {"chat_template": 0.5},
        {"chat_template": {}},
        {"chat_template": "\ud800"},
        {"chat_template": "{{ 1 // 0 }}"},
        {"chat_template": "{{ messages + 1 }}"},
        {"model_max_length": [1]},
    ],
    ids=str,
)
def test_a_tokenizer_whose_settings_have_another_shape_is_refused(
    settings: dict[str, Any], model: Path
) -> None:
    place = model / "tokenizer_config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **settings}))
    with pytest.raises(
        BadModel, match=r"tokenizer cannot be used|chat template refuses|give a number of tokens"
    ):
        tokens_of(load_checkpoint(ModelSpec("mini", str(model), ""), torch.device("cpu")), "auto")


def test_a_tokenizer_that_its_library_panics_at_is_refused(model: Path) -> None:
    place = model / "tokenizer.json"
    told = json.loads(place.read_text())
    told["model"]["continuing_subword_prefix"] = "abc"
    place.write_text(json.dumps(told))
    with pytest.raises(BadModel, match=r"tokenizer cannot be used .*: range end index"):
        load_checkpoint(ModelSpec("mini", str(model), ""), torch.device("cpu"))


def test_what_a_library_says_of_a_long_setting_is_clipped(model: Path) -> None:
    place = model / "config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "dtype": LONG}))
    with pytest.raises(BadModel, match="cannot be opened: module 'torch' has no") as told:
        load_checkpoint(ModelSpec("mini", str(model), ""), torch.device("cpu"))
    assert len(str(told.value).replace(str(model), "")) < 800


def test_half_a_character_in_a_tokenizers_settings_has_an_identity(model: Path) -> None:
    place = model / "tokenizer_config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "note": "\ud800"}))
    opened = load_checkpoint(ModelSpec("mini", str(model), ""), torch.device("cpu"))
    assert tokens_of(opened, "auto").identity


def test_a_base_whose_name_no_file_can_have_is_refused(tmp_path: Path) -> None:
    told = {"base_model_name_or_path": "x" * 300}
    (tmp_path / "adapter_config.json").write_text(json.dumps(told))
    with pytest.raises(BadInput, match="a name in it is too long"):
        stated_base(tmp_path)
