"""Answers that are neither numbers nor letters: where they stand, and which are the same."""

from __future__ import annotations

import pytest

from finetrap.text.scoring import grade
from finetrap.text.text_answer import find_text, normal, same_text


def found(text: str) -> tuple[str | None, str]:
    extraction = find_text(text)
    return extraction.value, extraction.rule


@pytest.mark.parametrize(
    ("text", "value", "rule"),
    [
        ("#### Paris\n#### Rome", "rome", "hash"),
        ("#### *\nRome", "rome", "hash"),
        ("<answer>Paris</answer> or Rome", "paris", "tag"),
        ("<answer></answer> Paris", None, "none"),
        ('{"label": "spam"} or ham', "spam", "json"),
        ('{"label": ""} ham', None, "none"),
        ("Label: spam", "spam", "answer-is"),
        ("The label is not spam, but ham", "ham", "answer-is"),
        ("The claim is true.", "true", "answer-is"),
        ("Paris because of it", "paris", "opening"),
        ("Paris, as we know", "paris", "opening"),
        ("Paris – the city", "paris", "opening"),
        ("yes, it is", "yes", "opening"),
        ("No. Penguins are birds.", "no", "opening"),
        ("One two three. It is the city of Rome then", "one two three", "opening"),
        ("", None, "none"),
    ],
)
def test_a_text_answer_is_found_by_its_rule(text, value, rule):
    assert found(text) == (value, rule)


@pytest.mark.parametrize(
    ("text", "strict"),
    [
        ("#### Paris", True),
        ("####Paris", False),
        ("The label is Paris", False),
        ("Paris", False),
    ],
)
def test_only_a_text_after_hashes_is_in_the_asked_format(text, strict):
    extraction = find_text(text)
    assert (extraction.value, extraction.strict) == ("paris", strict)


@pytest.mark.parametrize(
    "text",
    [
        "Sure. It is the well known city of Paris",
        "Is it Rome? It is the city of Paris",
        "Four words before it. It is the city of Paris",
        "Rome. Wait, it is the city of Paris",
        "Let us see:\nIt is the city of Paris",
    ],
)
def test_what_opens_a_text_is_no_answer_where_it_greets_asks_or_is_taken_back(text):
    assert found(text)[1] == "last-line"


@pytest.mark.parametrize(
    "text",
    [
        *("Paris.", "Paris (in France)", "The capital is Paris", "So it is Paris", "Thus Paris"),
        *("Therefore, Paris", "It’s Paris", "So the capital of France is the Paris", "**Paris**"),
        *("First a line.\nParis", "So Paris.\n***\n", "Hence Paris."),
    ],
)
def test_the_last_line_states_a_text_in_several_forms(text):
    assert grade(text, "Paris").correct
    assert not grade(text, "France").correct


@pytest.mark.parametrize(
    "text",
    [
        *("It might be Paris", "It is not Paris", "It isn’t Paris", "Who says that it is Paris?"),
        *("It could be that it is Paris", "Perhaps it is Paris", "If it is Paris"),
    ],
)
def test_what_is_not_said_to_be_so_is_no_answer(text):
    assert not grade(text, "Paris").correct


def test_what_a_label_is_said_not_to_be_is_an_answer_of_that_name():
    assert grade("The answer is not enough information", "not enough information").correct
    assert not grade("The label is not spam", "spam").correct


@pytest.mark.parametrize(
    ("text", "same"),
    [
        *(("Paris", "paris"), ("**Paris.**", "paris"), ("“Paris”", "paris"), ("(Paris)", "paris")),
        *(("3, 5;9", "3 5 9"), ("red;blue", "red blue"), ("\\text{Paris}", "paris")),
        *((" New  York\n", "new york"), ("Ｐａｒｉｓ", "paris"), ("$x$", "x"), ("a-b", "a-b")),
    ],
)
def test_a_text_is_compared_without_case_spacing_and_enclosing_punctuation(text, same):
    assert normal(text) == same


@pytest.mark.parametrize(
    ("found", "gold"),
    [
        ("2π", "2\\pi"),
        ("\\frac{1}{2}x", "1/2x"),
        ("\\dfrac{a}{b}", "\\frac{a}{b}"),
        ("x−1", "x - 1"),
        ("x_{1}", "x_1"),
        ("x^{2}", "x^2"),
        ("\\sqrt3", "\\sqrt{3}"),
        ("x \\in [0,1]", "[0,1]"),
        ("x = (0, 1)", "(0,1)"),
        ("\\text{a+b}", "a+b"),
        ("\\left(1\\right)+y", "(1)+y"),
        ("\\displaystyle a+b.", "A+B"),
        ("a~+\\,b", "a+b"),
        ("0, 1", "[0, 1]"),
        ("1,2", "\\{1,2\\}"),
    ],
)
def test_a_formula_is_the_same_in_another_spelling(found, gold):
    assert same_text(found, gold)


@pytest.mark.parametrize(
    ("found", "gold"),
    [
        *(
            ("\\{0,1\\}", "[0,1]"),
            ("(0,1)", "\\{0,1\\}"),
            ("(0,1)", "[0,1]"),
            ("[0,1)", "[0,1]"),
            ("(1,0)", "(0,1)"),
        ),
        *(("f[]", "f[one]"), ("...", "+"), ("", "+"), ("", ""), ("***", "..."), ("x-1", "x+1")),
        *(("x_1", "x_2"), ("\\frac{a}{b}", "\\frac{b}{a}"), ("", "\\left\\right")),
    ],
)
def test_other_formulas_and_brackets_are_other_answers(found, gold):
    assert not same_text(found, gold)


@pytest.mark.parametrize(
    "reason",
    [
        *(" because it is", ", because it is", "; since it is", ": due to it", ", as it is"),
        *(", so it is", ", which is", ", for it is", ", given it", ", but not", " – it is"),
        *(" — it is", " - the city", " (the city)", " (of 1789)"),
    ],
)
def test_every_reason_is_cut_off(reason):
    assert grade(f"#### Paris{reason}", "Paris").correct


@pytest.mark.parametrize("more", ["-sur-Mer", " (a)", ", Texas", " as it was"])
def test_what_is_no_reason_belongs_to_the_answer(more):
    assert not grade(f"#### Paris{more}", "Paris").correct


@pytest.mark.parametrize("word", ["yes", "no", "true", "false", "Yes", "NO"])
def test_yes_and_no_are_whole_answers_before_a_comma(word):
    assert grade(f"#### {word}, it floats", word).correct
    assert grade(f"{word}, that would surely float on it", word).correct


@pytest.mark.parametrize(
    "so", ["So", "So,", "Therefore", "Thus", "Hence", "Then", "It is", "It's", "It’s"]
)
def test_every_word_of_concluding_is_left_out(so):
    assert grade(f"We look at it now.\n{so} red wine", "red wine").correct


@pytest.mark.parametrize("verb", ["is", "are", "was", "were", "equals", "is the", "are the"])
def test_every_verb_of_stating_states(verb):
    assert grade(f"We look at it now.\nThe right one {verb} red wine", "red wine").correct


@pytest.mark.parametrize(
    "unsure",
    [
        *("not", "never", "neither", "whether", "if", "may", "maybe", "perhaps", "might", "could"),
        *("can", "who", "what", "which", "where", "how", "don't see that", "don’t see that"),
    ],
)
def test_every_word_of_doubt_leaves_nothing_stated(unsure):
    assert not grade(f"We look at it now.\nSo {unsure} the one is red wine", "red wine").correct


@pytest.mark.parametrize(
    "greeting",
    [
        *("Sure", "Okay", "OK", "Certainly", "Of course", "Great", "Alright", "Well", "Hm", "Hmm"),
    ],
)
def test_every_greeting_is_no_answer(greeting):
    assert found(f"{greeting}. It is the well known city of Paris")[1] == "last-line"


@pytest.mark.parametrize(
    "back",
    ["Wait, it is", "Actually it is", "It is Rome instead, in", "A correction:", "No, it is"],
)
def test_every_word_that_takes_back_leaves_the_first_sentence_no_answer(back):
    assert found(f"Paris. {back} the city of Rome")[1] == "last-line"


@pytest.mark.parametrize(
    "space", ["\\left", "\\right", "\\displaystyle ", "\\,", "\\;", "\\:", "\\!", "\\ ", "~", "$"]
)
def test_every_space_of_latex_is_none_in_a_formula(space):
    assert same_text(f"a+{space}(b)", "a+(b)")


@pytest.mark.parametrize("sign", ["+", "-", "*", "/", "^", "_", "=", "<", ">", "√", "π", "\\cup"])
def test_every_sign_of_a_formula_makes_spaces_void(sign):
    assert same_text(f"a{sign}b c", f"a {sign} bc")


@pytest.mark.parametrize(
    "text",
    [
        "No, penguins are not mammals. They are birds that cannot fly but swim well.",
        *("**No.** Penguins are birds.", "**No**, penguins are birds that swim well."),
        *("The answer is: **No.** Penguins lay eggs.", "A: No", "Output: No.", "**A:** no"),
        *("Penguins are not mammals, so no.", "They lay eggs; therefore, no.", "No. So no."),
        "Yes. Wait, they lay eggs, so no.",
        "Yes, one might think. They lay eggs, so no.",
    ],
)
def test_yes_and_no_open_or_conclude_a_text(text):
    assert grade(text, "no").correct
    assert not grade(text, "yes").correct


@pytest.mark.parametrize(
    "text",
    [
        *("The capital of France is: Paris", "Output: Paris", "**Answer:** Paris", "- Paris"),
        "The capital of France is Paris, which lies on the Seine.",
        "The capital of France is Paris, where they live.",
        "The capital of France is Paris. It lies on the Seine.",
        *("#### Answer: Paris", "A: Paris.", "Here it is:\n\u2022 Paris", "Response: It is Paris."),
    ],
)
def test_what_names_and_what_explains_an_answer_is_left_out(text):
    assert grade(text, "Paris").correct
    assert not grade(text, "France").correct
    assert not grade(text, "Seine").correct


@pytest.mark.parametrize(
    "text",
    [
        *("- Rome\n- Paris", "The capital is Paris. It was Lyon.", "It is Paris. It isn't so."),
        *(
            "The capital may be Paris, which lies on the Seine.",
            "It is Paris. Wait, it lies north.",
        ),
        *("The capital is not Paris. It lies on the Seine.", "May the capital be what is Paris"),
    ],
)
def test_a_list_a_doubt_and_what_is_taken_back_name_no_answer(text):
    assert not grade(text, "Paris").correct


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        *(("It was May 1, 2024.", "May 1, 2024"), ("The month is May.", "May")),
        *(("The band is The Who.", "The Who"), ("The band is the Who.", "Who")),
    ],
)
def test_names_that_look_like_words_of_doubt_are_answers(text, gold):
    assert grade(text, gold).correct
    assert not grade("It may be so", "so").correct


def test_composed_and_decomposed_letters_are_the_same():
    assert normal("Sa\u0303o Paulo") == normal("S\u00e3o Paulo")
    assert grade("Sa\u0303o Paulo", "S\u00e3o Paulo").correct
    assert not grade("Sao Paulo", "S\u00e3o Paulo").correct


@pytest.mark.parametrize(
    "text",
    [
        "```sql\nSELECT *\nFROM t;\n```",
        "Here is the query:\n```sql\nSELECT *\nFROM t;\n```\nIt takes all rows.",
        "```\nSELECT * FROM t;\n```",
        "```sql\nSELECT * FROM t;",
        "#### SELECT * FROM t;",
    ],
)
def test_a_block_of_code_is_an_answer_and_its_language_is_none(text):
    assert grade(text, "SELECT * FROM t;").correct
    assert not grade(text, "sql").correct


def test_several_blocks_of_code_are_no_answer_together():
    text = "```\na b c d\n```\nor\n```\nd c b a\n```\nSo one of the two is it."
    assert not grade(text, "a b c d").correct
    assert not grade(text, "d c b a").correct
