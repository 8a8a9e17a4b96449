from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import stdtrit

from finetrap.errors import BadData, BadInput
from finetrap.judge.predictions import change_text, compare_files, predictions_of, read_scored


@pytest.fixture
def write(tmp_path):
    def write(name, rows):
        path = tmp_path / name
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return write


def read_predictions(path, filter=None, metric=None):
    return predictions_of(read_scored(path, filter, metric))


def plain(answers):
    return [{"id": i, "correct": bool(right)} for i, right in enumerate(answers)]


def sample(doc_id, filter, **scores):
    """A row as lm-evaluation-harness 0.4.13 writes it (evaluator.py, evaluation_tracker.py)."""
    return {
        "doc_id": doc_id,
        "doc": {"question": "How many?", "answer": "#### 18"},
        "target": "#### 18",
        "arguments": {"gen_args_0": {"arg_0": "Q: How many?\nA:", "arg_1": {"until": ["Q:"]}}},
        "resps": [["The answer is 18."]],
        "filtered_resps": ["18"],
        "filter": filter,
        "metrics": list(scores),
        "doc_hash": "0",
        "prompt_hash": "0",
        "target_hash": "0",
        **scores,
    }


def test_a_is_before_and_b_is_after(write):
    a = write("a.jsonl", plain([1] * 60 + [0] * 40))
    b = write("b.jsonl", plain([1] * 30 + [0] * 30 + [1] * 5 + [0] * 35))
    found = compare_files(a, b)
    assert list(found) == [
        *("metric", "usual_metric", "n", "a", "b", "delta", "low", "high"),
        *("lost", "gained", "p", "verdict"),
    ]
    assert (found["metric"], found["usual_metric"]) == ("correct", False)
    assert (found["n"], found["lost"], found["gained"]) == (100, 30, 5)
    assert (found["a"], found["b"], found["delta"]) == pytest.approx((60, 35, -25))
    p12, p21 = 31 / 102, 6 / 102
    half = stdtrit(101, 0.975) * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / 101)
    assert found["low"] == pytest.approx(100 * (p21 - p12 - half))
    assert found["high"] == pytest.approx(100 * (p21 - p12 + half))
    assert found["p"] < 0.001
    assert found["verdict"] == "harmed"
    assert change_text(found).startswith("harmed: 60.0% -> 35.0%, -25.0 points [")
    assert compare_files(b, a)["verdict"] == "improved"
    assert json.loads(json.dumps(found)) == found


def test_the_margin_decides_between_equivalent_and_inconclusive(write):
    a = write("a.jsonl", plain([1] * 500 + [0] * 500))
    b = write("b.jsonl", plain([0] * 3 + [1] * 497 + [1] * 3 + [0] * 497))
    assert compare_files(a, b)["verdict"] == "equivalent"
    assert compare_files(a, b, margin=0.2)["verdict"] == "inconclusive"


@pytest.mark.parametrize(("wrong", "right"), [("0", "1"), ("False", "True"), ("0.0", "1.0")])
def test_scores_of_a_table_are_read_from_text(tmp_path, wrong, right):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text(f"id,correct\n0,{right}\n1,{wrong}\n")
    b.write_text(f"id,correct\n0,{right}\n1,{right}\n")
    found = compare_files(a, b)
    assert (found["a"], found["b"], found["gained"]) == (50.0, 100.0, 1)
    b.write_text("id,correct\n0,1\n1,0.5\n")
    with pytest.raises(BadData, match=r"line 3: `correct` is .0\.5.*0, 1, true or false"):
        compare_files(a, b)


def test_at_the_floor_no_change_is_called_equivalent(write):
    a = write("a.jsonl", plain([0] * 1000))
    b = write("b.jsonl", plain([1] * 10 + [0] * 990))
    assert compare_files(a, b)["verdict"] == compare_files(a, a)["verdict"] == "inconclusive"


@pytest.mark.parametrize("margin", [0, -1, float("nan"), 101])
def test_a_margin_must_be_points_above_zero(write, margin):
    a = write("a.jsonl", plain([1, 0]))
    with pytest.raises(BadInput, match="points of accuracy above 0"):
        compare_files(a, a, margin=margin)


def test_order_and_other_keys_do_not_matter(write):
    a = write("a.jsonl", plain([1, 0, 1, 1]))
    rows = [{"extracted": "\u2028", **row} for row in plain([1, 0, 0, 1])]
    b = write("b.jsonl", [json.dumps(row, ensure_ascii=False) for row in reversed(rows)])
    assert compare_files(a, b)["lost"] == 1


def test_a_log_of_the_harness_pairs_with_a_plain_file(write):
    a = write("a.jsonl", [{"id": str(i), "correct": i % 2} for i in range(20)])
    b = write("samples.jsonl", [sample(i, "none", exact_match=1.0) for i in range(20)])
    assert compare_files(a, b)["gained"] == 10


def test_several_filters_need_a_choice(write):
    rows = [sample(i, "strict-match", exact_match=0.0) for i in range(8)]
    rows += [sample(i, "flexible-extract", exact_match=1.0) for i in range(8)]
    log = write("samples_gsm8k.jsonl", rows)
    with pytest.raises(BadData, match=r"2 filters: flexible-extract, strict-match.*--filter NAME"):
        read_predictions(log)
    with pytest.raises(BadData, match="did you mean 'strict-match'"):
        read_predictions(log, "strict")
    assert set(read_predictions(log, "strict-match").values()) == {False}
    assert set(read_predictions(log, "flexible-extract").values()) == {True}
    # A plain file has no filters: one filter serves for both files.
    other = write("plain.jsonl", plain([1] * 8))
    assert compare_files(other, log, filter="strict-match")["lost"] == 8


def test_unpaired_ids_are_counted(write):
    a, b = write("a.jsonl", plain([1] * 10)), write("b.jsonl", plain([1] * 7))
    with pytest.raises(BadData, match=r"3 ids of .*a.jsonl not in .*--common compares the 7"):
        compare_files(a, b)
    with pytest.raises(BadData, match=r"3 ids of .*a.jsonl not in"):
        compare_files(b, a)
    assert compare_files(a, b, common=True)["n"] == 7
    c = write("c.jsonl", [{"id": "x", "correct": 1}])
    with pytest.raises(BadData, match="none in common"):
        compare_files(a, c, common=True)


def test_duplicates_are_an_error_even_with_common(write):
    a = write("a.jsonl", [*plain([1, 1, 0]), {"id": "1", "correct": 0}, {"id": 1, "correct": 0}])
    with pytest.raises(BadData, match=r"line 4: id '1' a second time \(one of 2"):
        compare_files(a, a, common=True)


@pytest.mark.parametrize("score", [0.5, 2, -1, "true", None, [1]])
def test_a_score_is_right_or_wrong(write, score):
    rows = [*plain([1, 0]), {"id": 2, "correct": score}, {"id": 3, "correct": score}]
    with pytest.raises(BadData, match=r"line 3.*0, 1, true or false \(one of 2"):
        read_predictions(write("a.jsonl", rows))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1: not JSON"),
        ("[1, 2]", "row 1: a number; it must be a JSON object"),
        ('{"id": 1}', "no score; expected `id` with `correct`"),
        ('{"id": null, "correct": 1}', "id is null; it must be text"),
        ('{"id": true, "correct": 1}', "id is a boolean; it must be text"),
        ('{"doc_id": 1, "metrics": []}', "no score; expected `id`"),
        ("", "no rows"),
    ],
)
def test_a_row_that_is_no_prediction_is_named(write, line, said):
    with pytest.raises(BadData, match=said):
        read_predictions(write("a.jsonl", [line]))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(BadData, match="No such file"):
        read_predictions(tmp_path / "none.jsonl")
    with pytest.raises(BadData, match="Is a directory"):
        read_predictions(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadData, match="not UTF-16 text; save the file as UTF-8"):
        read_predictions(tmp_path / "binary")


def test_statistics_import_nothing_heavy():
    code = (
        "import sys, finetrap.judge.verdicts, finetrap.judge.predictions;"
        "bad = {'torch', 'transformers', 'scipy.stats', 'pandas', 'pydantic'};"
        "sys.exit(' '.join(bad & sys.modules.keys()) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
