"""Files that `evaluate` writes, plain rows, and what is no log: refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetrap.errors import BadData
from finetrap.judge.logs import read_gradable
from finetrap.judge.predictions import read_scored
from tests.builders.logs import (
    GOLDS,
    HEADER,
    RIGHT,
    SAID,
    by_id,
    eval_members,
    graded,
    inspect_sample,
    lm_eval_log,
    lm_eval_row,
    zipped,
)


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
