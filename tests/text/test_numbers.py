"""What a written number is worth, and which numbers are equal."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest

from finetrap.text.numbers import ASCII, LONGEST_TERM, NUMBER, also, counted, equal, value
from finetrap.text.scoring import grade


def worth(text: str) -> Fraction | None:
    found = value(text)
    return None if found is None else Fraction(found[0]) / Fraction(found[1])


@pytest.mark.parametrize(
    "text",
    [
        *("18", "18.", "18%", "18\\%", "$18", "18 $", "$18$", "**18**", "18*", "_18_", "`18`"),
        *("+18", "+ 18", "\t18\r\n", "\u200918", "€18", "£ 18", "１８", "18。", "1.8e1"),
        *("1.8 × 10^{1}", "1.8*10^1", "1.8 x 10^+1", "36/2", "\\$18", "18°", "18^\\circ"),
    ],
)
def test_signs_around_a_number_leave_its_value(text):
    assert worth(text) == 18


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "18 19", "18..", "1/0", "1,25", "3,5", "1.25.5", "10 - 8", "1/2/3", "5:30"),
        *("1e99999999999999999999", "18 eggs"),
    ],
)
def test_what_is_not_one_number_has_no_value(text):
    assert value(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1 1/2", Fraction(3, 2)),
        ("1 and 1/2", Fraction(3, 2)),
        ("-1 1/2", Fraction(-3, 2)),
        ("-0 1/2", Fraction(-1, 2)),
        ("1½", Fraction(3, 2)),
        ("-2½", Fraction(-5, 2)),
        ("3⁄4", Fraction(3, 4)),
        ("\\frac{3}{4}", Fraction(3, 4)),
        ("\\frac34", Fraction(3, 4)),
        ("\\dfrac 3 4", Fraction(3, 4)),
        ("-\\frac{3}{4}", Fraction(-3, 4)),
        ("\\frac{-3}{4}", Fraction(-3, 4)),
        ("\\frac{3}{-4}", Fraction(-3, 4)),
        ("\\frac{-3}{-4}", Fraction(3, 4)),
        ("-\\frac{-3}{4}", Fraction(3, 4)),
        ("1\\frac{1}{2}", Fraction(3, 2)),
        ("(-3)/4", Fraction(-3, 4)),
        ("1.5/3", Fraction(1, 2)),
    ],
)
def test_fractions_and_mixed_numbers_have_their_value(text, number):
    assert worth(text) == number


@pytest.mark.parametrize("sign", "-\u2212\ufe63\u2010\u2011\u2012\u2013－")
def test_every_minus_makes_a_number_negative(sign):
    assert worth(f"{sign}18") == worth(f"{sign} 18") == -18


@pytest.mark.parametrize("space", "\u00a0\u2007\u2008\u2009\u202f\u3000")
def test_every_narrow_space_separates_thousands_and_fractions(space):
    assert worth(f"1{space}250") == 1250
    assert worth(f"1{space}1/2") == Fraction(3, 2)


@pytest.mark.parametrize(
    "text",
    [
        "1,250",
        "1’250",
        "1'250",
        "1{,}250",
        "1\\,250",
        "1,\\!250",
        "１，２５０",
        "1\\ 250",
        "1250.0",
    ],
)
def test_thousands_are_separated_in_many_ways(text):
    assert worth(text) == 1250


def test_a_number_of_more_groups_of_thousands_is_read_whole():
    assert worth("1,234,567,890") == worth("1\u2009234\u2009567\u2009890") == 1234567890
    assert worth("12,34,567") == 1234567, "as in India"


def test_full_width_forms_are_read_as_their_ascii():
    forms = [chr(place) for place in range(0xFF01, 0xFF5F)]
    assert "".join(forms).translate(ASCII) == "".join(map(chr, range(0x21, 0x7F)))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2^{10}", 1024),
        ("2^30", 2**30),
        ("10^15", 10**15),
        ("3^0", 1),
        ("5 dollars and 5 cents", Fraction(505, 100)),
        ("5 euros, 50 cents", Fraction(550, 100)),
        ("$1,200 and 1 cent", Fraction(120001, 100)),
        ("2 hours and 30 minutes", Fraction(5, 2)),
        ("1 hour 59 mins", Fraction(119, 60)),
        ("3 minutes, 30 seconds", Fraction(7, 2)),
        ("5 feet 6 inches", Fraction(11, 2)),
        ("5 ft 11 in", Fraction(71, 12)),
        ("5:00", 5),
        ("12 and a half", Fraction(25, 2)),
        ("minus 5", -5),
        ("negative 5", -5),
    ],
)
def test_numbers_of_several_parts_are_one(text, number):
    assert worth(text) == number


@pytest.mark.parametrize("text", ["2 hours 60 minutes", "5 ft 12 in", "2 minutes 60 seconds"])
def test_a_part_that_would_fill_a_whole_is_a_number_of_its_own(text):
    assert value(text) is None


@pytest.mark.parametrize("before", ["2.5", "3,5", "7/2"])
def test_minutes_belong_to_whole_hours_alone(before):
    assert grade(f"The drive takes {before} hours and 30 minutes are left.", "30").correct


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("zero", 0),
        ("ten", 10),
        ("a hundred", 100),
        ("a thousand", 1000),
        ("ninety nine", 99),
        ("twenty-one", 21),
        ("two hundred and five", 205),
        ("two thousand three hundred and five", 2305),
        ("twelve thousand", 12_000),
        ("a half", Fraction(1, 2)),
        ("one half", Fraction(1, 2)),
        ("five halves", Fraction(5, 2)),
        ("two thirds", Fraction(2, 3)),
        ("three quarters", Fraction(3, 4)),
        ("nine fourths", Fraction(9, 4)),
        ("one-fifth", Fraction(1, 5)),
        ("seven eighths", Fraction(7, 8)),
        ("three tenths", Fraction(3, 10)),
        ("Two Thirds", Fraction(2, 3)),
    ],
)
def test_a_number_in_words_has_its_value(text, number):
    assert worth(text) == number


def test_ten_quarters_are_coins_and_no_fraction():
    assert grade("It has ten quarters.", "10").correct


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ("There is one pen.", True),
        ("There is only one pen.", True),
        ("He has exactly one.", True),
        ("Pens: one", True),
        ("One.", True),
        ("#### one", True),
        ("So \\boxed{one}", True),
        ("<answer>one</answer>", True),
        ('{"answer": "one"}', True),
        ("One and a half", False),
        ("Each one gets some.", False),
        ("No one knows.", False),
    ],
)
def test_one_is_a_number_where_it_is_no_pronoun(said, counts):
    assert grade(said, "1").correct is counts


def test_one_that_is_mixed_is_a_number():
    assert grade("It takes one and a half days.", "1.5").correct


@pytest.mark.parametrize(
    ("written", "scale"),
    [
        *((f"5 {word}", 10**n) for word, n in (("hundred", 2), ("thousand", 3), ("million", 6))),
        *((f"5 {word}", 10**n) for word, n in (("billion", 9), ("trillion", 12), ("lakh", 5))),
        *((f"5 {word}", 10**n) for word, n in (("crores", 7), ("Millions", 6))),
        *((f"5{word}", 10**n) for word, n in (("k", 3), ("K", 3), ("M", 6), ("bn", 9))),
        ("5-dozen", 12),
        ("5 hundred thousand", 10**5),
        ("5\u2009million", 10**6),
    ],
)
def test_a_word_of_scale_may_belong_to_the_number(written, scale):
    assert also(NUMBER.match(written)) == ("scaled", (Decimal(5 * scale), Decimal(1)))


@pytest.mark.parametrize("written", ["5", "5 m", "5m", "5 kilos", "5 thousandths", "5 .", "5kg"])
def test_other_words_are_no_scale(written):
    assert also(NUMBER.match(written)) is None


@pytest.mark.parametrize("number", [0, 1, 5, 100])
def test_a_factorial_is_calculated(number):
    wanted = ("factorial", (Decimal(math.factorial(number)), Decimal(1)))
    assert also(NUMBER.match(f"{number}!")) == wanted


@pytest.mark.parametrize("written", ["-1!", "-3!", "2.5!", "1/2!"])
def test_only_a_whole_number_has_a_factorial(written):
    assert also(NUMBER.match(written)) is None


def test_fractions_are_compared_up_to_their_longest_terms():
    longest = int("3" * LONGEST_TERM)
    third = (Decimal(longest), Decimal(3))
    assert equal(third, (Decimal(2 * longest), Decimal(6)))
    assert not equal(third, (Decimal(2 * longest + 1), Decimal(6)))
    assert equal((Decimal(1), Decimal(longest)), (Decimal(2), Decimal(2 * longest)))
    for power in (LONGEST_TERM, -LONGEST_TERM):
        far = Decimal(1).scaleb(power)
        assert equal((far, Decimal(3)), (2 * far, Decimal(6)))


def test_numbers_of_any_length_are_compared_where_neither_is_a_fraction():
    huge = Decimal("1" * 3000)
    assert equal((huge, Decimal(1)), (huge, Decimal(1)))
    assert not equal((huge, Decimal(1)), (huge + 1, Decimal(1)))


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (1, "seed", "1 seed"),
        (3, "seed", "3 seeds"),
        (0, "seed", "0 seeds"),
        (2, "family", "2 families"),
        (1, "family", "1 family"),
        (1200, "row", "1,200 rows"),
    ],
)
def test_a_noun_is_counted(number, noun, said):
    assert counted(number, noun) == said


@pytest.mark.parametrize("whole", ["2 hours", "2 hour", "2 hrs", "2 hr"])
@pytest.mark.parametrize("part", ["30 minutes", "30 minute", "30 mins", "30 min"])
@pytest.mark.parametrize("between", [" ", ", ", " and ", ", and "])
def test_hours_and_minutes_are_written_in_many_ways(whole, between, part):
    assert worth(f"{whole}{between}{part}") == Fraction(5, 2)


@pytest.mark.parametrize(
    "text",
    [
        *("2 minutes 30 seconds", "2 mins 30 secs", "2 min 30 sec", "2 minute 30 second"),
        *("2 feet 6 inches", "2 ft 6 in", "2 foot 6 inch", "2½ ", "2 and a half", "2 and one half"),
        *("2 and a-half", "2 and one-half"),
    ],
)
def test_other_wholes_have_their_halves(text):
    assert worth(text) == Fraction(5, 2)


@pytest.mark.parametrize("whole", ["5 dollars", "5 dollar", "5 euros", "5 euro", "$5"])
@pytest.mark.parametrize("part", [" and 5 cents", ", 5 cents", " 5 cents", " and 5 cent"])
def test_cents_are_written_in_many_ways(whole, part):
    assert worth(f"{whole}{part}") == Fraction(505, 100)


@pytest.mark.parametrize("sentence", ["1.5 dollars and 5 cents", "15 dollars and 500 cents"])
def test_cents_belong_to_whole_dollars_alone_and_have_two_digits(sentence):
    assert value(sentence) is None


@pytest.mark.parametrize(
    "unit",
    [
        *("m2", "m3", " m2", " cm2", " km2", " dm3", " ft2", " in2", "cm2", " kg CO2", " g of NO2"),
        *(" g of SO4", " l of H2", " g of NH3", " l of CH4", " l of O2", " g of H2O", " m^2"),
    ],
)
def test_a_power_of_a_unit_or_an_index_is_no_number(unit):
    assert grade(f"So it has 18{unit}", "18").correct


@pytest.mark.parametrize("before", ["is", "was", "to", "at", "of", "####", "it is:", "**It is** *"])
def test_minus_in_words_is_a_sign_where_a_number_begins(before):
    text = before if before[0] in "#*" else f"It {before}"
    assert grade(f"{text} minus 5", "-5").correct
    assert grade(f"{text} minus $5", "-5").correct


def test_minus_in_words_between_numbers_is_no_sign():
    assert grade("It is about 10 minus 5", "5").correct
    assert worth("minus $5") == worth("negative $5") == -5


@pytest.mark.parametrize(
    "before", ["x =", "x = ", "(", "( ", "\\boxed{", "It is: ", "#### ", "####", "It is "]
)
def test_a_sign_apart_from_its_digits_is_one_where_a_number_begins(before):
    assert grade(f"{before}- 5", "-5").correct


@pytest.mark.parametrize("before", ["They are", "It was", "So it is"])
def test_a_sign_apart_follows_a_verb(before):
    assert grade(f"{before} - 5", "-5").correct


@pytest.mark.parametrize("text", ["她先有20。18", "It takes 18 hours 0 minutes/day"])
def test_what_ends_a_number_is_no_part_of_it(text):
    assert grade(text, "18").correct


def test_degrees_keep_two_numbers_apart():
    assert not grade("\\boxed{90^\\circ 45}", "9045").correct


def test_a_dash_between_words_and_numbers_is_no_sign():
    assert grade("Pens in all - 5", "5").correct
    assert grade("10-18", "18").correct


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4 * 6 = <<4*6=24>>24 pens", "24"),
        ("4 * 6 = <<4*6=24>>$24 pens", "24"),
        ("\\boxed{\\text{18}}", "18"),
        ("\\boxed{\\mathrm{18}}", "18"),
        ("\\boxed{\\mbox{18}}", "18"),
        ("The angle is 90^{\\circ} of it", "90"),
        ("The angle is 90 \\degrees wide", "90"),
        ("The angle is 90° wide", "90"),
        ("It opens at 12:00", "12"),
        ("\\boxed{\\$18}", "18"),
        ("The answer is 2 \\cdot 9 = 18, of 20", "18"),
        ("The answer is 2 \\times 9 = 18, of 20", "18"),
        ("So he makes 60 * 2 \\approx 120 in 2 weeks", "120"),
        ("\\boxed{1.8 \\cdot 10^{1}}", "18"),
        ("It has about 2^3 of them", "8"),
        ("It holds 3 * 10^2", "300"),
    ],
)
def test_markup_is_taken_off_a_number(text, number):
    assert grade(text, number).correct


@pytest.mark.parametrize("text", ["It was 5:30", "It is 1.2^3", "It is x^2"])
def test_a_time_of_day_and_an_exponent_are_no_number(text):
    assert not any(grade(text, number).correct for number in ("30", "3", "2"))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("5,50 €", "5.5"), ("It costs 5,50 Euro", "5.5"), ("€5,50", "5.5")),
        *(("1.250,75 €", "1250.75"), ("1.234.567", "1234567"), ("Antwort ist 3,5", "3.5")),
        *(("2 ¼", "2.25"), ("⅝", ".625"), ("1⅛", "1.125"), ("$2\\,\\frac{3}{4}$", "2.75")),
        *(("2 and a quarter", "2.25"), ("two and three quarters", "2.75")),
        *(("2×10⁶", "2000000"), ("10⁶", "1000000"), ("2**10", "1024"), ("3\\times10^6", "3000000")),
        *(("one million", "1000000"), ("half a dozen", "6"), ("half a million", "500000")),
        *(("There are none left.", "0"), ("She had 10 and has none.", "0")),
        *(("24 cm^{2}", "24"), ("8 m s^{-1}", "8"), ("24 mi2", "24"), ("9 m/s2", "9")),
        *(("6\u200b", "6"), ("\ufeff6", "6"), ("The answer is ~~25~~ 24", "24")),
        *(("It costs 1,250 euros", "1250"), ("The total is 1 234 567.", "1234567")),
    ],
)
def test_numbers_are_written_in_many_ways(text, number):
    assert grade(text, number).correct


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("4 of 6. The answer is twenty-four.", "24"), ("4\n#### twenty-four pens", "24")),
        *(("Of 10, \\boxed{six} left", "6"), ("Of 10, the answer is two and a half.", "2.5")),
        *(("4: <answer>one</answer>", "1"), ("The answer is one of these: 5", "5")),
    ],
)
def test_a_marked_number_in_words_is_read_beside_digits(text, number):
    assert grade(text, number).correct
