"""What a right answer is read as, and what most of a file's are."""

from __future__ import annotations

import pytest

from finetrap.text.golds import count_golds, described_golds, doubtful_gold, read_gold


@pytest.mark.parametrize(
    ("gold", "kind", "text"),
    [
        ("because 2 + 4\n#### 6", "number", "6"),
        ("6 dollars", "number", "6"),
        ("\\$32,\\!348", "number", "\\$32,\\!348"),
        ("\\frac{270}7\\text{ degrees}", "number", "270/7"),
        ("137 \\frac{1}{2}", "number", "137 \\frac{1}{2}"),
        ("x = -5", "number", "-5"),
        ("2 + 4 = 6", "number", "6"),
        ("6!", "number", "6!"),
        ("x", "text", "x"),
        ("Q", "letter", "Q"),
        ("\\text{(C)}", "letter", "C"),
        ("C) 20 apples", "letter", "C"),
        ("J. Smith", "text", "J. Smith"),
        ("12 Angry Men", "text", "12 Angry Men"),
        ("5x - 7y + 4 = 0", "text", "5x - 7y + 4 = 0"),
        ("2k", "text", "2k"),
        ("$2k", "number", "2"),
        ("6 or 7", "text", "6 or 7"),
        ("12 and a half", "number", "12 and a half"),
        ("18 dollars and 50 cents", "number", "18 dollars and 50 cents"),
        ("Rs.700/-", "number", "700"),
        ("12 m²", "number", "12"),
        ("The answer is \\boxed{\\text{Paris}}.", "text", "\\text{Paris}"),
    ],
)
def test_a_gold_is_read_by_its_form(gold, kind, text):
    found = read_gold(gold)
    assert (found.kind, found.text) == (kind, text)


def test_most_golds_of_a_file_decide_how_a_doubtful_one_is_read():
    numbers, letters = count_golds(["1", "2", "Apollo 11"]), count_golds(["A", "C", "b"])
    assert (numbers.mostly, letters.mostly) == ("number", "letter")
    assert read_gold("Apollo 11").kind == "text"
    assert doubtful_gold("Apollo 11", numbers) == "11"
    assert doubtful_gold("b", letters) == "B"
    assert doubtful_gold("Apollo 11", letters) is None
    assert doubtful_gold("11", numbers) is None
    assert read_gold("two", "number").value == read_gold("2").value
    for formula in ("3R^2", "2\\sqrt{5}", "p - q", "none"):
        assert read_gold(formula, "number").kind == "text", formula


def test_golds_are_counted_and_three_are_shown():
    count = count_golds(["1", "1", "2 pens", "A", "yes"])
    assert (count.number, count.letter, count.text, count.mostly) == (3, 1, 1, "number")
    assert count.odd == (3, 4)
    said = "3 numbers, 1 option letter, 1 text; such as '1', '2 pens', 'A'"
    assert described_golds(count) == said
    assert described_golds(count_golds([])) == "none"


@pytest.mark.parametrize(
    ("golds", "letters"),
    [(["A", "B"], "ABCDE"), (["G", "A"], "ABCDEFG"), (["T", "F", "T"], "FT"), (["1"], "")],
)
def test_letters_are_those_of_all_golds(golds, letters):
    assert count_golds(golds).letters == letters
