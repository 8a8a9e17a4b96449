"""Outputs of any tool are diagnosed as far as outputs tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetrap.errors import BadData
from finetrap.findings import Suspect
from finetrap.judge import diagnosis

N = 60


def outputs(text: str, count: int = N, start: int = 0) -> list[dict[str, Any]]:
    """Return rows in which {a}, {b} and {c} are the id, 5 more (the gold answer) and 6 more."""
    return [
        {"id": i, "completion": text.format(a=i, b=i + 5, c=i + 6), "gold": str(i + 5)}
        for i in range(start, start + count)
    ]


GOOD = outputs("{a} + 5 = {b}.\n#### {b}")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def files(
    tmp_path: Path,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    chosen: str | None = None,
) -> dict[str, Suspect]:
    found = diagnosis.diagnose_files(
        write(tmp_path / "before.jsonl", before), write(tmp_path / "after.jsonl", after), chosen
    )
    assert len(found.suspects) == len(diagnosis.SUSPECTS)
    return {s.suspect: s for s in found.suspects}


def test_outputs_of_any_tool_are_diagnosed_as_far_as_they_tell(tmp_path: Path) -> None:
    slips = [*GOOD[:20], *outputs("{a} + 5 = {c}.\n#### {c}", N - 20, start=20)]
    found = files(tmp_path, GOOD, slips)
    assert {n for n, s in found.items() if s.verdict == "likely cause"} == {"arithmetic slips"}
    assert found["noise"].verdict == "ruled out"
    assert found["truncation and missing EOS"].verdict == "not enough data"
    for name in ("learning rate", "labels", "target masking", "forgetting"):
        assert found[name].verdict == "not enough data"


def test_a_strict_scorer_is_the_culprit_where_the_answers_are_right(tmp_path: Path) -> None:
    log = [
        {
            "doc_id": i,
            "target": f"worked\n#### {i + 5}",
            "resps": [[f"So the answer is {i + 5}."]],
            "filter": name,
            "metrics": ["exact_match"],
            "exact_match": 0.0 if name == "strict-match" else 1.0,
        }
        for i in range(N)
        for name in ("strict-match", "flexible-extract")
    ]
    before = [
        {"id": str(i), "gold": str(i + 5), "completion": f"#### {i + 5}", "correct": True}
        for i in range(N)
    ]
    with pytest.raises(BadData, match="2 filters: flexible-extract, strict-match"):
        files(tmp_path, before, log)
    found = files(tmp_path, before, log, "strict-match")
    assert {n for n, s in found.items() if s.verdict == "likely cause"} == {
        "format instead of ability"
    }


def test_scores_alone_tell_of_noise_only(tmp_path: Path) -> None:
    before = [{"id": i, "correct": True} for i in range(N)]
    after = [{"id": i, "correct": i < 20} for i in range(N)]
    found = files(tmp_path, before, after)
    assert found.pop("noise").verdict == "ruled out"
    assert {s.verdict for s in found.values()} == {"not enough data"}


def test_own_answers_keep_their_stop_reasons(tmp_path: Path) -> None:
    cut = [{**row, "stop": "cap"} for row in outputs("He has {a} apples and")]
    found = files(tmp_path, GOOD, cut)
    assert found["truncation and missing EOS"].verdict == "likely cause"


ROW_ONE = {"id": 1, "completion": "#### 5", "gold": "5"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"completion": "5"}], "found the keys completion"),
        ([{"id": [1], "correct": True}], "it must be text or a whole number"),
        ([{"id": 1, "completion": "5"}], "neither"),
        ([{"id": 1, "correct": "yes"}], "must be 0, 1, true or false"),
        ([{"id": 1, "completion": None, "gold": "5"}], "neither"),
        ([ROW_ONE, ROW_ONE], "second time"),
        ([{**ROW_ONE, "id": 2}], "none in common"),
        ([{**ROW_ONE, "gold": "6"}], "different gold"),
    ],
)
def test_outputs_that_cannot_be_used_are_named(
    tmp_path: Path, rows: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(BadData, match=said):
        files(tmp_path, [ROW_ONE], rows)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="absent"):
        diagnosis.diagnose_files(tmp_path / "absent.jsonl", tmp_path / "absent.jsonl")


def test_one_file_without_scores_has_both_graded_and_what_is_left_out_is_said(
    tmp_path: Path,
) -> None:
    rows = [{"id": i, "completion": f"#### {i}", "gold": str(i), "correct": 0} for i in range(6)]
    before, after = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    before.write_text("".join(json.dumps(row) + "\n" for row in rows))
    bare = [{key: row[key] for key in ("id", "completion", "gold")} for row in rows[:4]]
    after.write_text("".join(json.dumps(row) + "\n" for row in bare))
    found = diagnosis.diagnose_files(before, after)
    assert found.about == "by finetrap's own grades; 2 problems of one file only left out"
    noise = next(suspect for suspect in found.suspects if suspect.suspect == "noise")
    assert noise.evidence.startswith("100.0 to 100.0"), noise.evidence
    assert "b.jsonl, by finetrap's own grades" in diagnosis.diagnosis_text(found)
    after.write_text("".join(json.dumps({**row, "correct": 1}) + "\n" for row in bare))
    assert diagnosis.diagnose_files(before, after).about.startswith("by correct; 2 problems")
