"""Leaked test questions are found in any dress; problems from one template are not leaks."""

from __future__ import annotations

import json
import random
import time

import pytest

from finetrap import tasks
from finetrap.errors import BadData
from finetrap.text import overlap
from finetrap.text.overlap import find, read_questions

LONG = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and sells the "
    "rest for $1.50 each. How much does she make in 7 days?"
)
TEMPLATE = (
    "{name} wants to fill the shelves of the old library near the bridge with new books, and each "
    "shelf holds {a} books while the library has {b} shelves. How many books fit in?"
)


def pairs(*texts: str, kind: str = "q") -> list[tuple[str, str]]:
    return [(f"{kind}{i}", text) for i, text in enumerate(texts)]


def found(train: str, test: str) -> str:
    """Return how a test question is found in one training text."""
    result = find(pairs(train), pairs(test))
    return "exact" if result.exact else "near" if result.near else ""


@pytest.mark.parametrize(
    "dressed",
    [
        LONG,
        LONG.upper(),
        LONG.replace("'", "\u2019").replace(". ", " ; "),
        "  " + LONG.replace(" ", "  \n"),
        "".join(c for c in LONG if c.isalnum() or c == " "),
    ],
)
def test_case_punctuation_and_spacing_do_not_count(dressed: str) -> None:
    assert found(dressed, LONG) == "exact"


@pytest.mark.parametrize("question", [LONG, "What is 3 + 4?", "Reverse a b c."])
def test_a_question_inside_instruction_text_is_near(question: str) -> None:
    wrapped = f"Solve the task in 3 steps!\n\n### Question:\n{question.upper()}\n### Response: 7"
    assert found(wrapped, question) == "near"


def test_one_edited_word_in_a_long_question_is_near() -> None:
    assert found(LONG.replace("morning", "day"), LONG) == "near"


@pytest.mark.parametrize(
    "sibling",
    [
        TEMPLATE.format(name="Tom", a=12, b=8),
        TEMPLATE.format(name="Tom", a=5, b=9),
        TEMPLATE.format(name="Tom", a=8, b=5),
    ],
)
def test_templates_with_other_numbers_are_other_problems(sibling: str) -> None:
    assert found(sibling, TEMPLATE.format(name="Tom", a=5, b=8)) == ""


@pytest.mark.parametrize(
    "longer", ["What is 3 + 4 * 2?", "What is 23 + 4?", "What is 3 - 4?", "What is 3 + 42?"]
)
def test_a_short_calculation_is_not_found_in_another(longer: str) -> None:
    assert found(longer, "What is 3 + 4?") == ""


def test_a_list_is_not_found_in_a_longer_list() -> None:
    assert found("How many times is a in b a b a?", "How many times is a in b a b?") == ""


def test_signs_are_told_apart_and_their_spacing_is_not() -> None:
    assert found("what is 12-4", "What is 12 - 4?") == "exact"
    assert found("What is 12 + 4?", "What is 12 - 4?") == ""
    assert found("What is -4 + 12?", "What is 4 + 12?") == ""
    assert found("**What** is *this* thing - really?", "What is this thing, really?") == "exact"


def test_a_phrase_is_not_a_question() -> None:
    assert found("Then what is it that they saw?", "What is it?") == ""
    assert found("what is it", "What is it?") == "exact"


def test_languages_without_spaces_are_read_by_the_character() -> None:
    question = "\u5c0f\u660e\u67095\u4e2a\u82f9\u679c\uff0c\u5403\u4e862\u4e2a\u3002"
    assert found("Question: " + question + " Answer:", question) == "near"
    assert found(question.replace("5", "6"), question) == ""


def test_test_questions_are_counted_once_and_as_the_worse_kind() -> None:
    train = pairs("Note: " + LONG, LONG, LONG.lower(), kind="train")
    result = find(train, pairs(LONG, "What is 3 + 4?", kind="test"))
    assert (result.train, result.test, result.exact, result.near) == (3, 2, 1, 0)
    assert result.pairs == (("train1", "test0", "exact"),)


def test_at_most_twenty_examples_are_kept() -> None:
    texts = [TEMPLATE.format(name="Tom", a=i, b=i + 1) for i in range(50)]
    result = find(pairs(*texts), pairs(*texts))
    assert (result.exact, len(result.pairs)) == (50, 20)


def test_empty_questions_match_nothing() -> None:
    assert find(pairs("", "..."), pairs("", "?!")).pairs == ()


@pytest.mark.parametrize("family", ["school", "market", "travel", "sums", "counting", "sorting"])
def test_families_of_the_miniature_share_templates_not_questions(family: str) -> None:
    task = tasks.load(tasks.reference(family))
    train = [(p.id, p.question) for p in task.train]
    test = [(p.id, p.question) for p in task.test]
    clean = find(train, test)
    assert (clean.exact, clean.near) == (0, 0)
    leaked = [(i, f"Please answer.\n{q.upper()} Think!") for i, q in test[:50]]
    assert find([*train, *leaked], test).near == 50


def test_gsm8k_training_problems_hold_no_test_question(shared_data) -> None:
    folder = shared_data / "gsm8k"
    if not folder.is_dir():
        pytest.skip(f"no GSM8K at {folder}")
    train, test = read_questions(folder / "train.jsonl"), read_questions(folder / "test.jsonl")
    result = find(train, test)
    assert (result.train, result.test) == (7473, 1319)
    assert (result.exact, result.near) == (0, 0)
    dressed = [
        (i, "INSTRUCTION: answer briefly.\n" + q.upper().replace("?", " !")) for i, q in test
    ]
    assert find(dressed, test).near == 1319


def test_a_template_of_thousands_is_searched_in_linear_time() -> None:
    rng = random.Random("overlap")
    texts = [
        TEMPLATE.format(name="Tom", a=rng.randint(1, 99), b=rng.randint(100, 999))
        for _ in range(10_000)
    ]
    start = time.process_time()
    result = find(pairs(*texts[:8000]), pairs(*texts[8000:]))
    assert time.process_time() - start < 10
    assert result.exact < 500
    assert result.near == 0


ROWS = [
    {"id": "a", "question": "What is 1 + 2?"},
    {"problem": "What is 1 + 2?"},
    {"prompt": "What is 1 + 2?", "completion": "3"},
    {"instruction": "Add.", "input": "What is 1 + 2?"},
    {"instruction": "What is 1 + 2?", "input": ""},
    {"text": "What is 1 + 2? 3"},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is 1 + 2?"},
            {"role": "assistant", "content": "3"},
        ]
    },
]


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_questions_are_read_under_their_usual_names(tmp_path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    path.write_text(
        json.dumps(ROWS) if suffix == "json" else "\n".join(json.dumps(row) for row in ROWS)
    )
    rows = read_questions(path)
    assert [name for name, _ in rows] == ["a", "2", "3", "4", "5", "6", "7"]
    assert all("What is 1 + 2?" in text for _, text in rows)
    assert "Be brief" not in rows[-1][1]


@pytest.mark.parametrize(
    "row",
    [
        {"id": 1},
        {"question": 5},
        {"question": ["a"]},
        {"messages": "hello"},
        {"messages": [{"role": "assistant", "content": "3"}]},
        {"messages": [{"role": "user", "content": None}]},
    ],
)
def test_a_row_without_a_question_is_named(tmp_path, row) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + json.dumps(row))
    with pytest.raises(BadData, match="line 2"):
        read_questions(path)


def test_counts_are_told_to_a_program_and_to_a_person() -> None:
    result = find(pairs(LONG, "Something else", kind="a"), pairs(LONG, "What is 3 + 4?", kind="b"))
    assert overlap.overlap_counts(result) == {"train": 2, "test": 2, "exact": 1, "near": 0}
    assert list(result.pairs) == [("a0", "b0", "exact")]
    said = overlap.overlap_sentence(result)
    assert said.startswith("1 of 2 test questions stands in 2 training texts")
    assert said.isascii()
    clean = overlap.overlap_sentence(find(pairs("Something else"), pairs(LONG)))
    assert clean.startswith("none of 1 test question stands in 1 training text")
