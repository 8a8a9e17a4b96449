"""Which of a text's numbers is its answer."""

from __future__ import annotations

import pytest

from finetrap.text.number_answer import find_number


def found(text: str) -> tuple[str | None, str]:
    extraction = find_number(text)
    return extraction.value, extraction.rule


@pytest.mark.parametrize(
    ("text", "strict"),
    [
        ("#### 18", True),
        ("####18", False),
        ("#### 18 eggs", False),
        ("#### x\nThe answer is 18", False),
        ("<answer>18</answer>", False),
        ("The answer is 18.", False),
        ("It is 18", False),
    ],
)
def test_only_a_number_after_hashes_is_in_the_asked_format(text, strict):
    extraction = find_number(text)
    assert (extraction.value, extraction.strict) == ("18", strict)


@pytest.mark.parametrize(
    "denied",
    [
        *("It isn't 20.", "It isn’t 20.", "It is not 20.", "20 is wrong.", "20 is incorrect."),
        *("20 is too many.", "20 is not possible.", "It lies between 10 and 20."),
    ],
)
def test_a_number_that_is_denied_is_no_answer(denied):
    assert found(f"She has 18. {denied}") == ("18", "last-number")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3, 4", None),
        ("3 or 4", None),
        ("3, 4 and 5", None),
        ("10 or 18 apples", None),
        ("So there are 10 or 18", None),
        ("10, 18 apples", "18"),
        ("3 or 3.0", "3.0"),
        ("3 or 1/0", None),
        ("1/0 or 3", None),
        ("The answer is 10 or 18.", None),
        ("The answer is 10 or 18 apples.", None),
        ("\\boxed{3, 4}", None),
        ("\\boxed{3,\\ 5}", None),
        ("#### 10 or 18", None),
    ],
)
def test_several_numbers_that_differ_are_no_answer(text, value):
    assert found(text)[0] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("24 = 4 * 6", "24"),
        ("24 pens = 4 * 6", "24"),
        ("24 = x = 4 * 6", "24"),
        ("4 * 6 =", None),
        ("4 * 6 = ?", None),
        ("4 * 6", None),
        ("10 - 8 = 4 * 6", None),
        ("First it is 3.\n24 = 4 * 6", "24"),
        ("#### 12 * 3", None),
        ("24 = 4 * 6\nSo 24 it is", "24"),
    ],
)
def test_a_calculation_without_its_result_says_nothing(text, value):
    assert found(text)[0] == value


@pytest.mark.parametrize(
    ("text", "value", "rule"),
    [
        ("So he makes 60 * 2 = $120 in 2 weeks", "120", "equation"),
        ("So he makes 60 * 2 ≈ 120 in 2 weeks", "120", "equation"),
        ("He has x = 3, so it is 12", "12", "last-number"),
        ("He has x = 3; 12 remain", "12", "last-number"),
        ("60 * 2 = 120", "120", "last-number"),
        ("In 2 weeks of 5", "5", "last-number"),
        ("= 7 for 3 days", "7", "equation"),
    ],
)
def test_the_result_of_an_equation_is_followed_by_nothing_but_an_adverbial(text, value, rule):
    assert found(text) == (value, rule)


@pytest.mark.parametrize("right_side", ["120 - 20 for 3 days", "price of 120 pens for 3 days"])
def test_a_term_of_an_equation_is_not_its_result(right_side):
    assert found(f"x = {right_side}")[0] != "120"


def test_an_adverbial_is_short():
    assert found(f"x = 7 {'a' * 292} 3 days") == ("7", "equation")
    assert found(f"x = 7 {'a' * 293} 3 days") == ("3", "last-number")


@pytest.mark.parametrize(
    ("text", "value", "rule"),
    [
        ("18\n\nExplanation: 2 * 9", "18", "opening"),
        ("18 pens\nReasoning: 9 and 9", "18", "opening"),
        ("18 pens.\n\nExplanation: no others.", "18", "opening"),
        ("She has 18 pens.\n\nExplanation: 9 and 9", "18", "opening"),
        ("Of 20 pens, 2 broke\n\nExplanation: 20 - 2 = 18", "18", "last-number"),
        ("A text\n18 pens\n\nExplanation: 9", "9", "last-number"),
        ("She has 18 pens.\nShe has 9", "9", "last-number"),
    ],
)
def test_a_first_line_that_is_explained_holds_the_answer(text, value, rule):
    assert found(text) == (value, rule)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1. She has 12.\n2.", "12"),
        ("1. She has 12.\n2) ", "12"),
        ("She has 12.\n2.", "2"),
        ("1. She has 12.\n3.", "3"),
        ("9. She has 12.\n10.", "12"),
    ],
)
def test_an_item_that_was_begun_and_not_written_is_no_answer(text, value):
    assert found(text)[0] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<answer>18</answer> of 20", "18"),
        ("<answer>18", "18"),
        ("<answer>a</answer> 5", None),
        ("<answer>It is 10 + 8 = 18</answer>", "18"),
        ("<answer>#### 5 of 6</answer>", "5"),
        ("<answer>\n6\nThe answer is 5.\n6\n</answer>", "5"),
        ("<answer>\n6\n\\boxed{5}\n6\n</answer>", "5"),
        ("<answer>\nShe has 10.\nHe has 8.\n</answer>", "8"),
        ("<answer>\nFirst 60.\nSo 60 * 2 = $120 in 2 weeks\n</answer>", "120"),
        ("<answer>\nmany\npens\n</answer> 5", None),
        ('{"answer": 5, "of": 6}', "5"),
        ('{"answer": null} 5', None),
    ],
)
def test_a_place_that_holds_nothing_but_the_answer_is_read_whole(text, value):
    assert found(text)[0] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The answer is 10 + 8 = 18, of 20.", "18"),
        ("The answer is 18 = 10 + 8.", "18"),
        ("The answer is \\boxed{18}, of 20", "18"),
        ("The answer is \\boxed{x}, of 20", "20"),
        ("The answer is correct: 5 and 6", "6"),
        ("The answer is clear. It has 6", "6"),
        ("Answer: 10 + 8\nso 18", "18"),
        ("Answer: He has 10.\nThen 18", "18"),
        ("Answer: He has 18.\nThat is all.", "18"),
        ("Answer:\nStep 1: 5 boxes are full.\nStep 2: 5 + 3 = 8.", "8"),
        ("The answer is 18.\nIt was 20.\nIf the answer is 19, no", "18"),
        ("The answer is many. No, 7", "7"),
    ],
)
def test_what_is_called_the_answer_is_its_first_statement(text, value):
    assert found(text)[0] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\\boxed{18} of 20", "18"),
        ("\\boxed{x = 18} of 20", "18"),
        ("\\boxed{2\\sqrt{3}} of 20", None),
        ("\\boxed{\\sqrt{9} = 3} of 20", "3"),
        ("\\boxed{a} \\boxed{5} \\boxed{b} of 20", "5"),
        ("\\boxed{3} and \\boxed{5}", "5"),
        ("\\boxed{a} of 20", "20"),
    ],
)
def test_the_last_box_that_holds_a_number_is_read(text, value):
    assert found(text)[0] == value


@pytest.mark.parametrize(
    ("text", "value", "rule"),
    [
        ("#### 5. Check\nIt is 6", "6", "last-number"),
        ("#### 5\n#### Check", "5", "hash"),
        ("\\#\\#\\#\\# 5 of 6", "5", "hash"),
        ("#### 18 (10 + 8)", "18", "hash"),
        ("#### 10 + 8 = 18 of 20", "18", "hash"),
        ("#### 1 250 pens", "1250", "hash"),
        ("#### 1 250 000", "1250000", "hash"),
        ("#### $5 each. Or 6", "5", "hash"),
    ],
)
def test_hashes_open_an_answer_where_they_are_no_heading(text, value, rule):
    assert found(text) == (value, rule)


def test_marks_are_tried_from_the_last_backwards():
    assert found("#### 5" + "\n#### none" * 15)[0] == "5"
    assert found("#### 5" + "\n\\boxed{none}" * 20)[0] == "5"


@pytest.mark.parametrize(
    "word",
    [
        *("correct", "right", "wrong", "incorrect", "consistent", "reasonable", "valid"),
        *("verified", "confirmed", "plausible", "clear", "obvious", "unknown", "**correct**"),
    ],
)
def test_an_answer_that_is_only_praised_or_blamed_is_not_stated_there(word):
    assert found(f"The answer is 18. That answer is {word} after 5 checks.") == ("18", "answer-is")


@pytest.mark.parametrize(
    "denial",
    [
        *("it is not", "they are not", "it was not", "they were not", "it can be not", "it isn't"),
        *("they aren’t", "it wasn't", "they weren't", "not", "it cannot be", "it can't be"),
        *("it should not be", "it is not exactly", "it is not just", "it is not $", "it is not **"),
        *("it is not 1,0", "it is not 2.", "it is not -"),
    ],
)
def test_every_denial_of_a_number_is_one(denial):
    space = "" if denial[-1] in "$*0.-" else " "
    assert found(f"She has 18, {denial}{space}20.")[0] == "18"


@pytest.mark.parametrize("verb", ["is", "was", "are"])
@pytest.mark.parametrize(
    "blame",
    [
        *("wrong", "incorrect", "too many", "not right", "not correct", "not valid"),
        *("not possible", "not final", "not the answer", "not a valid number"),
    ],
)
def test_every_way_to_call_a_number_wrong_is_one(verb, blame):
    for number in ("20", "$20", "1,020", "20.5"):
        assert found(f"She has 18, since {number} {verb} {blame}.")[0] == "18"


@pytest.mark.parametrize(
    "calculation",
    [
        *("4 * 6", "4*6", "4 × 6", "4 ÷ 2", "4 · 6", "4 + 6", "4 - 2", "4 x 6", "4 pens * 6"),
        *("4 * $6", "4 * (6", "4 * 6 pens", "4 * 6.", "$4 * 6$", "4 * 1,000", "**4 * 6**"),
        *("4 * 6 = ?", "4 * 6 = _", "4 * 6 = ...", "4 * 6 = …", "4 * 6 = \\\\", "4 * 6 = **"),
    ],
)
def test_every_calculation_lacks_its_result(calculation):
    assert found(f"So it is {calculation}")[0] is None


@pytest.mark.parametrize("joined", [", ", ",", " and ", " or ", ", and ", ", or ", "  or  "])
def test_several_numbers_are_joined_in_many_ways(joined):
    assert found(f"10{joined}18 ")[0] is None


@pytest.mark.parametrize("heading", ["1. First", "12) Then", "2: Then", "3.** Then"])
def test_a_numbered_heading_after_hashes_is_no_answer(heading):
    assert found(f"#### {heading}\nShe has 18") == ("18", "last-number")


@pytest.mark.parametrize("operator", ["-", "+", "*", "×", "÷", "·", "^"])
def test_a_worked_solution_after_answer_is_read_to_its_end(operator):
    assert found(f"Answer: 10 {operator} 8 gives it\nso 18")[0] == "18"


@pytest.mark.parametrize(
    "clause",
    [
        *("is", "are", "was", "were", "be", "so", "then", "thus", "and", "or", "has", "have"),
        *("make", "makes", "leave", "leaves", "give", "gives", ".", "!", "?", ",", ";", ":"),
        *("\n", "<", ">"),
    ],
)
def test_a_clause_after_an_equation_states_anew(clause):
    assert found(f"He has x = 7 {clause} with 3 days") == ("3", "last-number")


@pytest.mark.parametrize(
    "word",
    [
        *("Explanation", "Reasoning", "Rationale", "Justification", "Calculation", "Because"),
        *("This is because", "Here's", "Here’s", "Here is", "**Explanation", "### Explanation"),
    ],
)
def test_every_word_of_explaining_leaves_the_first_line_the_answer(word):
    assert found(f"18 red pens.\n\n{word} 9 and 9") == ("18", "opening")


@pytest.mark.parametrize("word", ["Explanation", "**Rationale", "## Justification"])
def test_an_explanation_follows_a_sentence_too(word):
    assert found(f"So she has 18 of them.\n{word}: 9 and 9") == ("18", "opening")


@pytest.mark.parametrize(
    "formula",
    [
        *("2\\pi", "2\\sqrt{3}", "\\log 2", "\\ln 2", "\\sin 2", "\\cos 2", "\\tan 2", "2π", "2√3"),
        *("2^{n}", "2^n", "2n", "2 x", "2y", "(2)z"),
    ],
)
def test_a_box_that_holds_a_formula_holds_no_number(formula):
    assert found(f"\\boxed{{{formula}}} of 20")[0] is None


@pytest.mark.parametrize(
    ("line", "value"),
    [
        *(("It was 5? 18", "5"), ("Many; 18", "18"), ("None. 18", "18"), ("Wow! 18", "18")),
        *(("3! * 3 = 18", "18"), ("$18.50. Or 5", "18.50"), ("10 + 8 = 18. Or 20", "18")),
    ],
)
def test_a_place_is_read_sentence_by_sentence(line, value):
    assert found(f"<answer>{line}</answer>")[0] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1. There are 4.\n2. So 4 * 6 = 24.\n3. That is all", "24"),
        ("To solve this:\n1. Multiply them.\n2. Add the results.", None),
        ("The answer is:\n1. Take 4 boxes\n2. So 4 * 6 = 24", "24"),
        ("**1.** 4 * 6 = 24\n**2.** Done", "24"),
    ],
)
def test_the_number_of_a_list_item_is_no_answer(text, value):
    assert found(text)[0] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("So she has 24 pens.\n\nCheck: 24 / 6 = 4.", "24"),
        ("There are 44 rows. To check: 17 * 44 = 748.", "44"),
        ("So x = 44. Verification: 17 * 44 = 748.", "44"),
        ("There are 6 pens. Check: 4 * 6 = 24. So she has 24 in 4.", "4"),
        ("There are 4 boxes. Check: 3 * 8 = 24.", "24"),
        ("Check: 4 * 6 = 24.", "24"),
    ],
)
def test_a_check_of_the_number_before_it_is_left_out(text, value):
    assert found(text)[0] == value


@pytest.mark.parametrize(
    "said", ["rounded to 2 decimals", "an even number less than 50", "less than 50", "a prime of 2"]
)
def test_what_an_answer_is_like_is_no_statement_of_it(said):
    assert found(f"\\boxed{{44}}\nThe answer is {said}.") == ("44", "boxed")


@pytest.mark.parametrize(
    "formula",
    [
        *("$4\\pi$", "$\\sqrt{2}$", "2\\sqrt{3}", "5x", "4\\pi", "±24", "\\pm 5", "x > 5", "52_8"),
        *("5i", "x = 2\\pi", "24–25", "24-25", "24; 25", "x = 24 or x = 25", "\\log 5", "2^n"),
    ],
)
@pytest.mark.parametrize("mark", ["The answer is {}", "#### {}", "<answer>{}</answer>"])
def test_a_formula_or_a_range_after_a_mark_is_no_number(mark, formula):
    assert found(mark.format(formula))[0] is None


@pytest.mark.parametrize(
    "content",
    [
        *("\\pm 5", "x > 5", "x \\geq 5", "52_8", "5i", "\\binom{5}{2}", "\\frac{6!}{3!}"),
        *("4\\times6", "4\\cdot6"),
    ],
)
def test_a_box_of_what_is_no_plain_number_holds_none(content):
    assert found(f"\\boxed{{{content}}}")[0] is None


@pytest.mark.parametrize(
    "said",
    ["5 x $3 = $15", "5 x 3 = 15", "15 in", "15^o", "<b>15</b>", "15 > 5", "\\sqrt{225} = 15"],
)
def test_a_number_before_a_sign_or_a_letter_is_no_formula(said):
    assert found(f"The answer is {said}.")[0] == "15"


@pytest.mark.parametrize(
    "options", ["A) 24 B) 25 C) 26", "(A) 24 (B) 25", "Options: 24, 25 or 26", "x = ±24"]
)
def test_options_in_one_line_and_both_signs_are_no_choice(options):
    assert found(f"It is one of two.\n{options}")[0] is None
