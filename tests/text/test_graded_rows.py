"""Rows of a file, graded; golds that cannot be graded; one row, explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetrap.errors import BadData, BadInput
from finetrap.text.files import read_rows
from finetrap.text.golds import count_golds, described_golds
from finetrap.text.scoring import (
    explain,
    explained_row,
    gradable,
    grade,
    graded_rows,
    odd_golds,
    option_letters,
)


def test_a_gold_that_no_answer_could_match_is_known():
    assert gradable("18")
    assert gradable("because\n#### d c b a")
    assert not gradable("***")
    assert not gradable("first line\nsecond line")
    assert not gradable("unfinished ####")


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def test_graded_rows_keep_their_columns_and_gain_the_grade(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        {"id": 7, "completion": "#### 18\nQuestion: 9 + 1?", "gold": 18.0, "note": [1]},
        "",
        {"completion": "none", "gold": "a\n#### 1,000"},
    )
    assert list(graded_rows(read_rows(path))) == [
        {
            "id": 7, "completion": "#### 18\nQuestion: 9 + 1?", "gold": 18.0, "note": [1],
            "extracted": "18", "rule": "hash", "correct": True, "strict": True, "cut": "Question:",
        },
        {
            "completion": "none", "gold": "a\n#### 1,000",
            "extracted": None, "rule": "none", "correct": False, "strict": False, "cut": None,
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"completion": "18"', "not JSON"),
        ('{"completion": "18", "gold": NaN}', "NaN is not a JSON value"),
        ("[" * 100_000, "not JSON"),
        ([1], "a list"),
        ({"completion": "18"}, "no `gold` (found `completion`)"),
        ({"answer": "18", "gold": 1}, "`completion` is missing"),
        ({"completion": None, "gold": 1}, "`completion` is null"),
        ({"completion": "18", "gold": True}, "`gold` is a boolean"),
        ({"completion": "18", "gold": ["18"]}, "`gold` is a list"),
        ({"completion": "18", "gold": " "}, "`gold` is empty"),
        ({"completion": "18", "gold": "two\nlines"}, "states no answer"),
    ],
)
def test_a_bad_row_is_refused_by_its_line(tmp_path, row, said):
    path = write(tmp_path / "a.jsonl", {"completion": "18", "gold": "18"}, "", row)
    with pytest.raises(BadData) as error:
        list(graded_rows(read_rows(path)))
    assert said in str(error.value)
    assert f"{path}, line 3" in str(error.value)


def test_files_that_hold_no_rows_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, said in (("missing", "No such file"), ("empty", "no rows"), ("binary", "not UTF-16")):
        if name == "empty":
            write(tmp_path / name, "", "  ")
        with pytest.raises(BadData, match=said):
            read_rows(tmp_path / name)
    with pytest.raises(BadData, match="directory"):
        read_rows(tmp_path)


def rows(*pairs: tuple[str, str], **more: object) -> list:
    return [
        (f"a.jsonl, line {i}", {"completion": c, "gold": g, **more})
        for i, (c, g) in enumerate(pairs, 1)
    ]


def test_a_gold_that_is_no_number_where_most_are_is_reported_with_its_row():
    given = rows(
        ("#### 1", "1"),
        ("#### 2", "2 pens"),
        ("no", "no"),
        ("B", "B"),
        ("3", "Apollo 3"),
        ("4", "4"),
        ("5", "5"),
    )
    assert [row["correct"] for row in graded_rows(given)] == [True] * 7
    assert odd_golds(given) == [
        "a.jsonl, line 3: gold 'no' is graded as text; 5 of 7 golds are numbers",
        "a.jsonl, line 4: gold 'B' is graded as an option letter; 5 of 7 golds are numbers",
    ]
    assert odd_golds(rows(("no", "no"), ("yes", "yes"), ("1", "1"))) == []


def test_golds_with_their_unit_are_no_ability_that_a_model_could_learn():
    amounts = [str(n) for n in range(5, 25)]
    base = rows(*((f"So it is {n}. #### {n}", f"{n} dollars") for n in amounts))
    tuned = rows(*((f"So it is {n}. #### {n} dollars", f"{n} dollars") for n in amounts))
    for answered in (base, tuned):
        assert all(row["correct"] for row in graded_rows(answered))


@pytest.mark.parametrize(
    ("columns", "letters"),
    [
        ({"options": ["red", "green", "blue"]}, "ABC"),
        ({"options": ["red", "b"]}, "AB"),
        ({"options": ["p", " q "]}, "PQ"),
        ({"options": [1, 2, 3]}, "ABC"),
        ({"choices": {"P": "x", "R": "y"}}, "PR"),
        ({"options": []}, ""),
        ({"options": "AB"}, ""),
        ({}, ""),
    ],
)
def test_options_have_the_letters_of_their_labels_or_of_their_places(columns, letters):
    assert option_letters(columns) == letters


def test_a_row_is_read_by_the_letters_of_its_own_options():
    alone = rows(("G is the only gas.\nSo G", "A"))
    assert next(graded_rows(alone))["extracted"] is None
    with_options = rows(("So G", "A"), options=list("abcdefgh"))
    assert next(graded_rows(with_options))["extracted"] == "G"
    labelled = rows(("The answer is P.", "Q"), choices={"label": ["P", "Q"], "text": ["x", "y"]})
    assert next(graded_rows(labelled))["extracted"] == "P"


def test_one_row_is_explained_by_its_id_or_its_number():
    text = "<think>#### 7</think>#### 18\n\nUser: and 9?"
    given = [("a.jsonl, line 1", {"id": "x", "completion": text, "gold": "18 eggs"})]
    said = explained_row(given, "x")
    assert said == explained_row(given, "1")
    assert said[0] == "a.jsonl, line 1"
    assert "gold: '18 eggs', read as a number: '18'" in said
    assert "reasoning: left out" in said
    assert "cut at 'User:': 'User: and 9?'" in said
    assert any(line.startswith("rule: hash (") for line in said)
    assert said[-1] == "correct"
    assert not any(line.startswith("cut") for line in explained_row(given, "x", cut=False))
    with pytest.raises(BadInput, match="no row '2'"):
        explained_row(given, "2")


@pytest.mark.parametrize(
    ("gold", "completion", "said"),
    [
        (
            "B",
            "#### B",
            ["gold: 'B', read as an option letter: 'B'", "graded text: '#### B'", "extracted: 'B'"],
        ),
        (
            "Paris",
            "#### Paris",
            ["gold: 'Paris', read as text: 'Paris'", "extracted: 'paris'", "correct"],
        ),
        ("18", "It is 17", ["graded text: 'It is 17'", "extracted: '17'", "wrong"]),
    ],
)
def test_an_explanation_names_the_kind_of_the_gold(gold, completion, said):
    lines = explain(completion, gold)
    assert [line for line in lines if line in said] == said
    assert not any(line.startswith("golds of the file") for line in lines)
    (rule,) = [line for line in lines if line.startswith("rule: ")]
    assert rule.endswith(")")
    (counted,) = explained_row(rows((completion, gold)), "1")[2:3]
    assert counted == f"golds of the file: {described_golds(count_golds([gold]))}"


def test_a_reading_that_was_scaled_is_shown_as_a_plain_number():
    assert grade("#### 1.5 million", "1500000").extracted == "1500000"
    assert grade("#### 3/4 dozen", "9").extracted == "36/4"
    assert grade("#### 0.25 dozen", "3").extracted == "3"


def test_a_gold_is_gradable_by_its_answer_not_by_its_solution():
    assert gradable("First 3, then 4.\n#### 7")
    assert gradable("2\n\nQuestion: how many?\n#### 5")


@pytest.mark.parametrize("at", ["completion", "gold"])
def test_a_million_characters_are_graded_and_one_more_is_refused(at):
    texts = {"completion": "x #### 2", "gold": "x #### 2"}
    longest = "x" * (1_000_000 - len("#### 2")) + "#### 2"
    (row,) = graded_rows(rows(tuple({**texts, at: longest}.values())))
    assert row["correct"]
    with pytest.raises(BadData, match="1,000,001 characters; at most 1,000,000"):
        list(graded_rows(rows(tuple({**texts, at: f"x{longest}"}.values()))))


def test_a_row_has_a_number_from_1_to_the_last():
    given = rows(("1", "1"), ("2", "2"))
    assert explained_row(given, "2")[0].endswith("line 2")
    for beyond in ("0", "3"):
        with pytest.raises(BadInput, match=rf"no row '{beyond}'; .* 1 to 2"):
            explained_row(given, beyond)


def test_a_long_gold_is_shown_by_its_first_40_characters():
    (line,) = odd_golds(rows(*((str(n), str(n)) for n in range(3)), ("no", "no " * 20)))
    assert f"gold {('no ' * 20)[:40]!r} is graded as text" in line


def test_an_explanation_says_that_no_answer_was_found():
    said = explained_row(rows(("I do not know.", "18")), "1")
    assert said[-2:] == ["rule: none; no answer was found", "wrong"]
