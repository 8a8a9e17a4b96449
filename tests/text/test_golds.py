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


@pytest.mark.parametrize(
    "lead",
    [
        *("about ", "approximately ", "roughly ", "around ", "exactly ", "only ", "a total of "),
        *("US$", "A$", "C$", "$", "Rs. ", "Rs.", "Rs ", "USD ", "EUR ", "GBP ", "INR ", "₹", "= "),
        *(
            "~",
            "+",
            "\\boxed{",
            "x = ",
            "2 * 9 = ",
            "(9 + 9) = ",
            "$x = ",
            "The answer is ",
            "[",
            "(",
        ),
    ],
)
def test_what_leads_a_number_leaves_it_one(lead):
    assert read_gold(f"{lead}18").value == read_gold("18").value


@pytest.mark.parametrize(
    "unit",
    [
        *(" g", "g", " m", " s", " h", " L", " C", " F", " kg", "kg", " km", " cm", " mm", " ml"),
        *(" am", " pm", " USD", " EUR", " GBP", " INR", " RMB", " GB", " MB", " KG", " CM", " PM"),
        *(" Dollars", " Euros", " Pounds", " Cents", " Percent", " Hours", " Minutes", " Days"),
        *(" Weeks", " Years", " Miles", " Meters", " Feet", " Inches", "%", " %", "€", " €", "°"),
        *("°C", " °F", "lbs", " lb", "oz", "hrs", "mins", "secs", "mph", "km/h", "kWh", "ft", "in"),
        *("st", "nd", "rd", "th", " (apples)", " apples", " red apples (in all)", "/-", ".", "**"),
        *(" m²", " cm^2", " m^{3}", " feet²", "-year old", " of them each day", "\\text{ cm}"),
    ],
)
def test_what_follows_a_number_leaves_it_one(unit):
    assert read_gold(f"18{unit}").value == read_gold("18").value


@pytest.mark.parametrize(
    "more",
    [
        *(" and", " or more", " plus x", " minus x", " times x", " to x", " by x", "x", "x^2"),
        *(" (18)", " 19", ":30", ", 19", " = x", " Angry Men", " < x", " half"),
    ],
)
def test_a_number_that_is_part_of_more_is_text(more):
    assert read_gold(f"18{more}").kind != "number"


@pytest.mark.parametrize(
    "gold",
    [
        *("B", "(B)", "[B]", "{B}", "B.", "B)", "B:", "**B**", "$B$", "'B'", '"B"', "_B_"),
        *("option B", "choice B", "B) red", "B: red", "\\textbf{B}", "The answer is B", "#### B"),
    ],
)
def test_a_letter_is_read_in_many_forms(gold):
    found = read_gold(gold)
    assert (found.kind, found.text) == ("letter", "B")


@pytest.mark.parametrize(("gold", "kind"), [("b", "letter"), ("B. red", "letter"), ("be", "text")])
def test_where_most_golds_are_letters_a_doubtful_one_is_a_letter(gold, kind):
    assert read_gold(gold).kind == "text"
    assert read_gold(gold, "letter").kind == kind


@pytest.mark.parametrize(
    ("gold", "also"),
    [
        *(("1.5 million", 1_500_000), ("$2k", 2000), ("€3bn", 3 * 10**9), ("2 dozen", 24)),
        *(("18", None), ("18 m", None)),
    ],
)
def test_a_gold_with_a_word_of_scale_says_two_numbers(gold, also):
    found = read_gold(gold)
    assert found.kind == "number"
    assert (found.also and found.also[0]) == also


def test_a_factorial_is_its_value():
    assert read_gold("so many: 5!", "number").value == read_gold("120").value


def test_a_long_text_is_no_number_and_holds_one_at_its_start_alone():
    assert read_gold("18 " + "a" * 298).kind == "text"
    assert read_gold("in all " + "a " * 200 + "18", "number").kind == "number"
    assert read_gold("in all 18 " + "a " * 300 + "19", "number").text == "18"


def test_half_of_the_golds_are_not_most():
    assert count_golds(["1", "2", "a b", "c d"]).mostly is None
    assert count_golds(["1", "2", "3", "a b", "c d"]).mostly == "number"
    assert count_golds([]).mostly is None


def test_a_description_shortens_long_golds_and_counts_thousands():
    count = count_golds(["1"] * 1000 + ["2"] * 200 + ["a" * 50])
    assert described_golds(count) == f"1,200 numbers, 1 text; such as '1', '2', '{'a' * 40}'"


@pytest.mark.parametrize(
    "gold",
    [
        *("6\\,\\text{cm}", "6\\;\\text{m}", "6~\\text{cm}", "6\u00a0dollars", "6 CHF", "CHF 6"),
        *("$6/hour", "6元", "6 円", "6\u200b", "\ufeff6", "6 cm^{2}"),
    ],
)
def test_units_of_every_script_and_spacing_leave_the_number(gold):
    found = read_gold(gold)
    assert (found.kind, found.value) == ("number", read_gold("6").value)


def test_spaced_thousands_are_one_number_where_most_golds_are_numbers():
    assert read_gold("1 234 567", "number").value == read_gold("1234567").value
    assert read_gold("1 234 567").kind == "text"
