"""Texts, logs and runs that hypothesis draws: each is read, or what is wrong with it is named."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetrap import judge
from finetrap.errors import BadInput
from finetrap.judge.logs import read_gradable
from finetrap.judge.predictions import predictions_of, read_scored
from finetrap.records import content_hash
from finetrap.runs.store import Store
from finetrap.text.scoring import explain, gradable, grade, graded_rows, option_letters
from tests.builders.logs import GOLDS, inspect_sample, lighteval_rows, lm_eval_row
from tests.builders.runs import FULL, ZERO, answers, run

FEW = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
MARKS = st.sampled_from(
    [
        *("#### 18", "####", "18", "-", "$", ",", ".", "1/2", "\\frac{1}{2}", "\\boxed{", "}", "="),
        *("*", "answer is", "Answer:", "not", "or", "(A)", "B", "<answer>", "</answer>", "<think>"),
        *(
            "</think>",
            '{"answer": ',
            "wait",
            "\n",
            "\nQ: ",
            "\n\n",
            " ",
            "'s",
            "one",
            "hundred",
            "½",
        ),
        *(
            "’",
            "²",
            "is",
            "between 3 and",
            "because",
            "A, B",
            "^{2}",
            "5 dollars and",
            "2 hours and",
        ),
        *("!", "1,000", "1e9", "Step 1"),
    ]
)
TEXTS = st.lists(MARKS | st.text(max_size=3), max_size=12).map("".join)
GOLD_TEXTS = TEXTS | st.sampled_from(["18", "B", "Paris", "3 5 9", "\\frac{1}{2}", "(1, 2)", "1/0"])
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([10**400, -1, "done", "\ud800", "../x", "a\nb", {}, []]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


# --- extraction -------------------------------------------------------------------------------


@FEW
@given(completion=TEXTS, gold=GOLD_TEXTS, cut=st.booleans(), letters=st.sampled_from(["", "AB"]))
def test_any_completion_is_graded_and_explained(
    completion: str, gold: str, cut: bool, letters: str
) -> None:
    found = grade(completion, gold, cut=cut, letters=letters)
    assert found == grade(completion, gold, cut=cut, letters=letters)
    assert found.extracted is not None or not found.correct
    assert explain(completion, gold, cut=cut, letters=letters)[-1] == (
        "correct" if found.correct else "wrong"
    )
    assert gradable(gold) in (True, False)


@settings(max_examples=12, deadline=None)
@given(piece=st.lists(MARKS, min_size=1, max_size=4).map("".join), gold=GOLD_TEXTS)
def test_a_piece_repeated_is_graded_in_linear_time(piece: str, gold: str) -> None:
    """What goes through the text once for each of its characters takes minutes for so many."""
    text = piece * (60_000 // len(piece))
    start = time.process_time()
    grade(text, gold)
    assert time.process_time() - start < 3


@FEW
@given(columns=st.dictionaries(st.sampled_from(["options", "choices", "x"]), ODD, max_size=2))
def test_options_of_any_shape_have_letters_or_none(columns: dict[str, Any]) -> None:
    assert isinstance(option_letters(columns), str)


# --- logs -------------------------------------------------------------------------------------


def spots(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where every value inside a JSON value stands."""
    if not isinstance(value, dict | list):
        return []
    inner = [(*at, key) for key in (value if isinstance(value, dict) else range(len(value)))]
    return inner + [s for spot in inner for s in spots(value[spot[-1]], spot)]


def damaged(value: Any, data: st.DataObject) -> Any:
    """Return a JSON value with another at one or two of its places, or without one."""
    value = copy.deepcopy(value)
    for _ in range(data.draw(st.integers(1, 2))):
        known = spots(value)
        if not known:
            break
        *way, last = data.draw(st.sampled_from(known))
        inside = value
        for step in way:
            inside = inside[step]
        if data.draw(st.booleans()):
            inside[last] = data.draw(ODD)
        else:
            del inside[last]
    return value


LOGS = {
    "lm-eval": [lm_eval_row(i, "0.4.13", exact_match=1.0) for i in range(len(GOLDS))],
    "lm-eval before": [lm_eval_row(i, "0.4.0", exact_match=1.0) for i in range(len(GOLDS))],
    "lighteval": lighteval_rows("0.11.0"),
    "inspect": [inspect_sample(i) for i in range(len(GOLDS))],
    "evaluate": [{"predictions": "18", "references": ["18"]}] * 2,
    "rows": [{"id": i, "completion": "18", "gold": "18", "correct": True} for i in range(3)],
}


@pytest.mark.parametrize("tool", LOGS)
@settings(FEW, max_examples=25)
@given(data=st.data())
def test_a_damaged_log_is_read_or_refused(tool: str, data: st.DataObject, tmp_path: Path) -> None:
    rows, path = damaged(LOGS[tool], data), tmp_path / "log.jsonl"
    whole = data.draw(st.sampled_from(["lines", "list", "samples"]))
    given = {"list": rows, "samples": {"samples": rows, "eval": {}}}
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
        if whole == "lines"
        else json.dumps(given[whole], indent=1)
    )
    with suppress(BadInput):
        predictions_of(read_scored(path))
    with suppress(BadInput):
        list(graded_rows(read_gradable(path)))


# --- runs folders -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for one in (run(ZERO, answers([1, 0] * 4)), run(FULL, answers([1, 1] * 4), 0)):
        Store(root).commit(one)
    return root


@settings(FEW, max_examples=40)
@given(data=st.data(), file=st.sampled_from(["run.json", "cell.json", "answers.jsonl", "evidence"]))
def test_a_run_of_another_shape_is_judged_or_named(
    data: st.DataObject, file: str, committed: Path, tmp_path: Path
) -> None:
    """Valid JSON, its hashes made anew: what a stranger can write as well as finetrap."""
    folder = next(place for place in committed.iterdir() if "full" in place.name)
    names = ("run.json", "cell.json", "answers.jsonl", "evidence.json")
    kept = {name: (folder / name).read_bytes() for name in names}
    try:
        rewritten(folder, "evidence.json" if file == "evidence" else file, data)
        found, named = Store(committed).sound_runs()
        assert len(found) + len(named) == 2
        findings, _ = judge.judge_study(Store(committed))
        assert len(findings.cells) == len(found)
    finally:
        for name, content in kept.items():
            (folder / name).write_bytes(content)


def rewritten(folder: Path, file: str, data: st.DataObject) -> None:
    place = folder / file
    lines = place.read_text().splitlines() if file == "answers.jsonl" else [place.read_text()]
    value = damaged([json.loads(line) for line in lines], data)
    written = "".join(json.dumps(line) + "\n" for line in value).encode()
    place.write_bytes(written)
    if file == "cell.json" and data.draw(st.booleans()):
        with suppress(ValueError, KeyError, TypeError, IndexError):
            value[0]["key"] = content_hash(value[0]["identity"])
            place.write_bytes(json.dumps(value[0]).encode())
    elif file != "run.json":
        manifest = json.loads((folder / "run.json").read_bytes())
        manifest["answers"] = len(value) if file == "answers.jsonl" else manifest["answers"]
        told = {name: (folder / name).read_bytes() for name in manifest["files"]}
        manifest["files"] = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in told.items()
        }
        (folder / "run.json").write_text(json.dumps(manifest))
