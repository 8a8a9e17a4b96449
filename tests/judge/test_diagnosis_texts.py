"""Completions are read as a person would: calculations checked, loops and unfinished texts seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetrap.judge.diagnosis import texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 + 4 = 7", [True]),
        ("3 + 4 = 8", [False]),
        ("2 + 3 * 4 = 14", [True]),
        ("20 - 3 - 4 = 13", [True]),
        ("$1,200 / 12 = $100", [True]),
        ("10 / 3 = 3.33", [True]),
        ("10 / 3 = 3.34", [False]),
        ("3 x 4 = 12", [True]),
        ("3*4=12+5=17 or 3*4=12+5=18", [True, False]),
        ("4 * 3 = 12. 12 + 4 = 15. #### 15", [True, False]),
        ("16 - 3 = <<16-3=13>>13 eggs", [True]),
        ("5 - 9 = -4", [True]),
        ("5 / 0 = 0", []),
        ("(2 + 3) * 4 = 20", []),
        ("5 apples + 3 * 2 = 11", []),
        ("50 * 20% = 10", []),
        ("2 + 3 = 1 1/2", []),
        ("1 = 1", []),
    ],
)
def test_calculations_are_read_and_checked(text: str, expected: list[bool]) -> None:
    assert [e.right for e in texts.equations(text)] == expected


def test_a_loop_of_calculations_is_read_in_linear_time() -> None:
    assert len(list(texts.equations("1 + 1 = 2. " * 5_000))) == 5_000
    assert list(texts.equations("1 + " * 10_000)) == []


@pytest.mark.parametrize("text", ["so so " * 20, " " * 60, "4 * 4 = 4 * 4 = " * 8])
def test_repeated_text_loops(text: str) -> None:
    assert texts.loops(text)


@pytest.mark.parametrize(
    "text", ["no no no", "", "Tom has 3 apples. He buys 4 more, so he has 3 + 4 = 7.\n#### 7"]
)
def test_other_text_does_not_loop(text: str) -> None:
    assert not texts.loops(text)


def test_worked_solutions_neither_loop_nor_miscalculate(shared_data: Path) -> None:
    path = shared_data / "gsm8k" / "test.jsonl"
    if not path.is_file():
        pytest.skip(f"no GSM8K at {path}")
    solutions = [json.loads(line)["answer"] for line in path.read_text("utf-8").splitlines()]
    assert not any(map(texts.loops, solutions))
    found = [e.right for s in solutions for e in texts.equations(s)]
    assert len(found) > 3000
    assert found.count(False) < 0.005 * len(found)


def test_a_text_goes_on_if_numbers_follow_its_answer() -> None:
    assert texts.goes_on("#### 7\nAnswer: 8")
    assert not texts.goes_on("3 + 4 = 7\n#### $7 dollars.")
    assert not texts.goes_on("## Step 1")


def test_numbers_are_cut_by_length_at_spaces() -> None:
    assert texts.chunks(["a", "1", "2", " 3", "4", "5"]) == {2: {(1, 1)}, 3: {(1, 1, 1)}}
    assert texts.chunks(["12", "+", "\u012034"]) == {2: {(2,)}}
