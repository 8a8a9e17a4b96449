"""The logs of other tools, written here as each version of a tool writes them."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from finetrap.errors import BadData
from finetrap.judge import diagnosis
from finetrap.judge.logs import read_gradable
from finetrap.judge.predictions import change_text, compare_files, predictions_of, read_scored
from finetrap.text.scoring import graded_rows

GOLDS = [18, 3, 70000, 540]
SAID = ["So 18.\n#### 18", "#### 3", "#### 7", "It is 540."]
RIGHT = [True, True, False, True]
"""What finetrap's grading says of these completions."""


def since(version: str, other: str) -> bool:
    return [int(part) for part in version.split(".")] >= [int(part) for part in other.split(".")]


def by_id(log: Any) -> dict[str, bool]:
    return predictions_of(log)


def graded(path: Path, filter: str | None = None) -> dict[str, bool]:
    return {row["id"]: row["correct"] for row in graded_rows(read_gradable(path, filter))}


# --- lm-evaluation-harness ----------------------------------------------------------------------


def lm_eval_row(i: int, version: str, filter: str = "strict-match", **scores: Any) -> dict:
    """A row of a generated answer, in the keys that a version writes."""
    new = since(version, "0.4.7")
    arguments = ["Q: How many?\nA:", {"until": ["Q:"], "do_sample": False}]
    named = {"gen_args_0": {"arg_0": arguments[0], "arg_1": arguments[1]}}
    hashes = {"doc_hash": "0", "prompt_hash": "0", "target_hash": "0"}
    return {
        "doc_id": i,
        "doc": {"question": "How many?", "answer": f"#### {GOLDS[i]}"},
        "target": f"#### {GOLDS[i]}",
        "arguments": named if since(version, "0.4.3") else [arguments],
        "resps": [[SAID[i]]],
        "filtered_resps": [SAID[i][-3:]],
        **({"filter": filter, "metrics": list(scores)} if new else {}),
        **(hashes if since(version, "0.4.3") else {}),
        **scores,
    }


def choice_row(i: int, version: str, doc: dict[str, Any], **scores: Any) -> dict[str, Any]:
    """A row of a task of choices: a likelihood and whether it is greedy, for each choice."""
    text = since(version, "0.4.3")
    pairs = [["-12.5", "False"], ["-3.25", "True"]] if text else [[-12.5, False], [-3.25, True]]
    return {
        **lm_eval_row(i, version, "none", **scores),
        "doc": doc,
        "target": "1" if text else 1,
        "resps": [[pair] for pair in pairs],
        "filtered_resps": pairs,
    }


def lm_eval_log(path: Path, version: str, rows: list[dict[str, Any]]) -> Path:
    """Before 0.4.3 a log is one list over many lines, though its name ends in .jsonl."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(
        lines if since(version, "0.4.3") else json.dumps(rows, indent=2), encoding="utf-8"
    )
    return path


VERSIONS = ("0.4.0", "0.4.2", "0.4.3", "0.4.5", "0.4.7", "0.4.9", "0.4.13")


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


ARC = {"id": "Mercury_1", "question": "Why?", "choices": {"text": ["a", "b"]}, "answerKey": "B"}
HELLASWAG = {"activity_label": "Baking", "endings": ["a", "b"], "query": "Baking:", "gold": 1}
PIQA = {"goal": "Bake.", "sol1": "a", "sol2": "b", "label": 1}


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


# --- lighteval ----------------------------------------------------------------------------------


def lighteval_rows(version: str) -> list[dict[str, Any]]:
    """Details of generated answers: nested from 0.11, flat before, all text at 0.6."""
    if since(version, "0.11"):
        return [
            {
                "doc": {
                    "query": f"Question {i}?",
                    "choices": [f" #### {gold}"],
                    "gold_index": 0,
                    "id": str(i),
                    "task_name": "gsm8k|5",
                },
                "model_response": {"text": [said], "logprobs": [], "output_tokens": [[1, 2]]},
                "metric": {"extractive_match": int(i == 0), "bleu": 0.25},
            }
            for i, (gold, said) in enumerate(zip(GOLDS, SAID, strict=True))
        ]
    flat = [
        {
            "example": f"Question {i}?",
            "full_prompt": f"Question {i}?\nAnswer:",
            "gold": [f" #### {gold}"],
            "gold_index": [],
            "choices": [],
            "metrics": {"qem": int(i == 0), "bleu": 0.25},
            "predictions": [said],
        }
        for i, (gold, said) in enumerate(zip(GOLDS, SAID, strict=True))
    ]
    if since(version, "0.8"):
        return flat
    return [{key: str(value) for key, value in row.items()} for row in flat]


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


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


# --- inspect ------------------------------------------------------------------------------------


def inspect_sample(i: int, epoch: int = 1) -> dict[str, Any]:
    return {
        "id": i + 1,
        "epoch": epoch,
        "input": f"Question {i}?",
        "target": str(GOLDS[i]),
        "messages": [{"role": "user", "content": f"Question {i}?"}],
        "output": {
            "model": "hf/tiny",
            "choices": [
                {"message": {"role": "assistant", "content": SAID[i]}, "stop_reason": "stop"}
            ],
            "completion": SAID[i],
        },
        "scores": {"match": {"value": "C" if i == 0 else "I", "answer": SAID[i]}},
        "events": [{"event": "state"}] * 3,
    }


HEADER = {"version": 2, "status": "success", "eval": {"task": "gsm8k"}, "plan": {}, "results": {}}


def zipped(path: Path, members: dict[str, Any], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, value in members.items():
            text = value if isinstance(value, (str, bytes)) else json.dumps(value)
            archive.writestr(name, text)
    return path


def eval_members(samples: list[dict[str, Any]]) -> dict[str, Any]:
    named = {f"samples/{one['id']}_epoch_{one['epoch']}.json": one for one in samples}
    return {"_journal/start.json": HEADER, **named, "summaries.json": [], "header.json": HEADER}


def zstandard_zip(path: Path, members: dict[str, Any]) -> Path:
    """Write an archive as newer versions of inspect do: method 93, which zipfile cannot write."""
    packed = {name: json.dumps(value).encode() for name, value in members.items()}
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        for name, data in packed.items():
            half = len(data) // 2  # in two frames, as long samples are
            frames = (
                pyarrow.compress(d, codec="zstd", asbytes=True) for d in (data[:half], data[half:])
            )
            archive.writestr(name, b"".join(frames))
        for info in archive.infolist():
            data = packed[info.filename]
            info.compress_type, info.file_size, info.CRC = 93, len(data), zlib.crc32(data)
    path.write_bytes(stored.getvalue())
    return path


def inspect_log(path: Path, samples: list[dict[str, Any]]) -> Path:
    if path.suffix == ".eval":
        return zipped(path, eval_members(samples))
    if path.suffix == ".zst":
        return zstandard_zip(path, eval_members(samples))
    path.write_text(json.dumps({**HEADER, "samples": samples}, indent=2), encoding="utf-8")
    return path


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


# --- evaluate -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["prediction", "predictions"])
def test_predictions_and_references_are_graded(tmp_path: Path, key: str) -> None:
    """As `evaluate` takes them: two lists, or a row each."""
    other = key.replace("prediction", "reference")
    golds = [[str(gold)] for gold in GOLDS]
    lists, rows = tmp_path / "lists.json", tmp_path / "rows.jsonl"
    lists.write_text(json.dumps({"predictions": SAID, "references": golds}, indent=1))
    pairs = zip(SAID, golds, strict=True)
    rows.write_text("".join(json.dumps({key: s, other: g}) + "\n" for s, g in pairs))
    for path in (lists, rows):
        assert graded(path) == dict(zip("0123", RIGHT, strict=True))
        with pytest.raises(BadData, match=r"no score; `finetrap grade .* --out graded.jsonl`"):
            read_scored(path)


def test_a_column_of_plain_rows_counts_where_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"id": i, "acc": i % 2}) + "\n" for i in range(4)))
    with pytest.raises(BadData, match="no score"):
        read_scored(path)
    assert list(by_id(read_scored(path, metric="acc")).values()) == [False, True, False, True]


# --- what is no log -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        ({"accuracy": 0.5, "_evaluate_version": "0.4.6"}, "`evaluate.save` writes averages"),
        ({"accuracy": 0.5, "total_time_in_seconds": 2.0}, "an evaluator of `evaluate`"),
        ({"config_general": {}, "results": {}}, r"lighteval holds averages; give.*\.parquet"),
        ({"results": {}, "configs": {}}, r"lm-eval holds averages; give the `samples_\*"),
        (HEADER, "inspect without samples"),
        ({"samples": {"a": [], "b": []}, "results": {}}, "samples of 2 tasks"),
        ({"predictions": [1], "references": []}, "1 `predictions` and 0 `references`"),
        ({"samples": [3], "eval": {}}, "sample 1: a number; it must be a JSON object"),
        ({"loss": [1, 2]}, "one JSON object over several lines"),
    ],
)
def test_a_file_of_averages_is_refused_by_name(
    tmp_path: Path, whole: dict[str, Any], said: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(whole, indent=2))
    for read in (read_scored, read_gradable):
        with pytest.raises(BadData, match=said):
            read(path)


def test_samples_in_what_simple_evaluate_returns_are_read(tmp_path: Path) -> None:
    rows = [lm_eval_row(i, "0.4.13", exact_match=1.0) for i in range(4)]
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"results": {}, "samples": {"gsm8k": rows}}, indent=2))
    assert len(by_id(read_scored(path))) == 4


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"sheet.xml": "<a/>"}, "a zip archive or an Excel file"),
        ({"header.json": HEADER}, "inspect without samples"),
        ({"samples/1.json": "[" * 100_000}, "not JSON"),
        ({"samples/1.json": "{"}, "not JSON"),
        ({"samples/1.json": [1]}, "a list; it must be a JSON object"),
        ({"samples/1.json": b"\xff\xfe\x01"}, "not JSON"),
        ({"samples/1.json": {}}, r"found the keys \(none\)"),
        ({"samples/\x1b[31m.json": "{"}, "U\\+001B"),
    ],
)
def test_an_archive_that_is_no_log_is_named(
    tmp_path: Path, members: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadData, match=said):
        read_scored(zipped(tmp_path / "log.eval", members))


def test_names_in_an_archive_are_never_paths(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "log.eval"
    log.parent.mkdir()
    zipped(log, {f"samples/../../{n}.json": inspect_sample(n) for n in range(2)})
    assert len(by_id(read_scored(log))) == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["log.eval", "logs"]


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "log.eval", {"samples/1.json": b" " * (2**27 + 1)})
    assert bomb.stat().st_size < 2**20
    with pytest.raises(BadData, match=r"samples/1\.json unpacks to 134,217,729 bytes, and at most"):
        read_scored(bomb)


@pytest.mark.parametrize("cut", [30, 200, 0.5, -10])
def test_a_damaged_archive_is_named(tmp_path: Path, cut: float) -> None:
    log = zipped(tmp_path / "log.eval", eval_members([inspect_sample(i) for i in range(4)]))
    data = log.read_bytes()
    log.write_bytes(data[: int(cut if abs(cut) > 1 else cut * len(data))])
    with pytest.raises(BadData, match="cannot be unpacked"):
        read_scored(log)
    changed = bytearray(data)
    changed[data.index(b"samples/1") + 40] ^= 0xFF
    log.write_bytes(bytes(changed))
    with pytest.raises(BadData, match=r"cannot be unpacked|not JSON"):
        read_scored(log)


def test_a_locked_archive_is_named(tmp_path: Path) -> None:
    log = zipped(tmp_path / "log.eval", {"samples/1.json": inspect_sample(0)})
    data = bytearray(log.read_bytes())
    data[6] |= 1  # the flag of a password, in the member's header and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    log.write_bytes(bytes(data))
    with pytest.raises(BadData, match=r"cannot be unpacked \(.*password"):
        read_scored(log)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"id":' * 100_000, '{"doc_id": 1, "resps": ' + "[" * 9_000]
)
def test_absurd_nesting_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text(text)
    for read in (read_scored, read_gradable):
        with pytest.raises(BadData, match="not JSON"):
            read(path)


@pytest.mark.parametrize("row", [{"resps": {}}, {"resps": None, "arguments": 3}, {"metrics": "x"}])
def test_a_log_with_values_of_other_kinds_is_named(tmp_path: Path, row: dict[str, Any]) -> None:
    path = lm_eval_log(tmp_path / "log.jsonl", "0.4.13", [{"doc_id": 0, **row}])
    for read in (read_scored, read_gradable):
        with pytest.raises(BadData):
            read(path)
