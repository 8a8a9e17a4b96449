"""Which option letter a text chooses."""

from __future__ import annotations

import pytest

from finetrap.text.letter_answer import find_letter, letters_up_to


@pytest.mark.parametrize(
    ("golds", "letters"),
    [
        ("", "ABCDE"),
        ("A", "ABCDE"),
        ("E", "ABCDE"),
        ("BF", "ABCDEF"),
        ("J", "ABCDEFGHIJ"),
        ("KAK", "AK"),
        ("TF", "FT"),
    ],
)
def test_options_have_the_usual_letters_up_to_the_highest_or_their_own(golds, letters):
    assert letters_up_to(golds) == letters


@pytest.mark.parametrize(
    ("text", "rule", "strict"),
    [
        ("#### B", "hash", True),
        ("####B", "hash", False),
        ("#### none\nThe answer is B", "answer-is", False),
        ("The answer is B.", "answer-is", False),
        ("B is correct.", "is-correct", False),
        ("B) red", "opening", False),
        ("So B", "last-letter", False),
    ],
)
def test_only_a_letter_after_hashes_is_in_the_asked_format(text, rule, strict):
    found = find_letter(text, "ABCDE")
    assert (found.value, found.rule, found.strict) == ("B", rule, strict)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#### A or B", "A or B"),
        ("#### A and B", "A and B"),
        ("#### (A) or (B)", "A) or (B"),
        ("#### A, B", "A, B"),
        ("#### A/B", "A/B"),
        ("The answer is A & B", "A & B"),
        ("The answer is A or B, or none", "A or B"),
    ],
)
def test_a_choice_between_two_is_kept_as_it_stands(text, found):
    assert find_letter(text, "ABCDE").value == found


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is <b>, or so", None),
        ("#### b", "B"),
        ("#### b is best", None),
        ("b", "B"),
        ("option b", "B"),
        ("a red one", None),
    ],
)
def test_a_small_letter_counts_alone_and_where_an_answer_stands(text, letter):
    assert find_letter(text, "ABCDE").value == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("(B) is correct. I pick A", "A"),
        ("I pick A, no: (B) is correct", "B"),
        ("I would go with option C, as D sinks", "C"),
        ("I select (D), as C sinks", "D"),
        ("I answer with E, as D sinks", "E"),
        ("A and C are right. B is best", "B"),
        ("A and B are correct", None),
        ("A sinks, A or B is right", None),
    ],
)
def test_the_last_option_that_is_called_right_is_chosen(text, letter):
    assert find_letter(text, "ABCDE").value == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B\nIt is red.", "B"),
        ("B - it is red and A is not", "B"),
        ("[B]: since A sinks", "B"),
        ("A) red\nB) blue\nC) green", None),
        ("A) red\nB) blue", None),
        ("A) red\nB) blue\nA) red", "A"),
        ("B. red, not A. blue", "B"),
        ("A. red. Wait, no, B", "B"),
        ("\n\n \nC) green. A is too few", "C"),
        ("", None),
        ("  \n ", None),
    ],
)
def test_a_letter_opens_a_text_that_does_not_list_the_options(text, letter):
    assert find_letter(text, "ABCDE").value == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("So it is A.\nNot B.", "A"),
        ("It isn't A. It is C", "C"),
        ("Not A, nor B", None),
        ("We think of A or B", None),
        ("So it is A/B", None),
        ("So it is A & B", None),
        ("It has vitamin C", None),
        ("It has only C", "C"),
        ("List:\nA. red\nB. blue\nSo B", "B"),
        ("List:\nA. red\nB. blue", None),
        ("We count 20 apples:\nB. 20 apples", "B"),
        ("We rule out A and B, so C", "C"),
        ("We rule out A, B and C", None),
        ("A, B and C are wrong. So D", "D"),
        ("A and B can be eliminated, so C", "C"),
        ("Hm. A is a common distractor", None),
        ("In a Q-A round", None),
        ("Take A’s word", None),
        ("Final one: D!", "D"),
        ("We see\n\nC", "C"),
        ("Now C\nand that is all", "C"),
        ("So G", None),
    ],
)
def test_the_only_letter_of_the_last_sentence_that_has_one_is_found(text, letter):
    assert find_letter(text, "ABCDE").value == letter


def test_a_letter_is_looked_for_in_the_last_lines_alone():
    filler = "\nand then some more"
    assert find_letter(f"So B{filler * 15}", "ABCDE").value == "B"
    assert find_letter(f"So B{filler * 16}", "ABCDE").value is None


def test_options_that_are_listed_beyond_the_usual_letters_are_found():
    assert find_letter("So it is G", "ABCDEFG").value == "G"
    assert find_letter("The answer is R.", "PQR").value == "R"
    assert find_letter("The answer is A.", "PQR").value is None


@pytest.mark.parametrize(
    "filler",
    [
        *("the", "option", "choice", "letter", "answer", "definitely", "clearly", "therefore"),
        *("probably", "most likely", "indeed", "correct", "one", "Option", "*", "_", '"', "'", "“"),
        *("(", "[", "{", "$", "\\text{", "\\textbf{", "\\mathrm{", ":", "is"),
    ],
)
def test_words_and_marks_before_a_letter_are_passed_over(filler):
    space = " " if filler[-1].isalpha() else ""
    assert find_letter(f"The answer is {filler}{space}B.\nNow A is next", "ABCDE").value == "B"


@pytest.mark.parametrize(
    "after",
    [
        *(") x", "] x", ". x", ": x", ", x", "; x", "! x", "? x", "* x", "_ x", "} x", "$ x"),
        *('" x', "' x", "” x", "", " ", " - x", "-x", " – x", " — x", " (x)", "\n", " because x"),
        *(
            " since x",
            " as x",
            " is x",
            " due to x",
            " for x",
            " which x",
            " 20",
            " \\quad x",
            "/x",
        ),
        *(" and it floats", " or so"),
    ],
)
def test_what_follows_a_letter_shows_that_it_is_one(after):
    found = find_letter(f"#### B{after}", "ABCDE")
    assert (found.value, found.rule) == ("B", "hash")


@pytest.mark.parametrize("after", [" x", "x", "1"])
def test_a_letter_before_other_words_is_none(after):
    assert find_letter(f"#### A{after}", "ABCDE").value is None


@pytest.mark.parametrize(
    "verb", ["choose", "select", "pick", "go with", "answer with", "pick with"]
)
@pytest.mark.parametrize("option", ["B", "option B", "choice B", "answer B", "(B)", "**B**", "[B]"])
def test_every_verb_of_choosing_chooses(verb, option):
    found = find_letter(f"I {verb} {option} here, as the other was A", "ABCDE")
    assert (found.value, found.rule) == ("B", "is-correct")


@pytest.mark.parametrize("praise", ["correct", "right", "best", "true", "the best", "the true one"])
@pytest.mark.parametrize("verb", ["is", "are"])
def test_every_praise_chooses(praise, verb):
    found = find_letter(f"Now (B) {verb} {praise} of all, as the other was A", "ABCDE")
    assert (found.value, found.rule) == ("B", "is-correct")


@pytest.mark.parametrize("verb", ["are", "can be", "were", "are all", "were all"])
@pytest.mark.parametrize(
    "blame", ["wrong", "incorrect", "false", "eliminated", "excluded", "ruled out"]
)
@pytest.mark.parametrize("pair", ["B and C", "A, B and C", "B or C", "(B) and (C)", "B, and C"])
def test_options_that_are_called_wrong_together_are_left_out(verb, blame, pair):
    assert find_letter(f"It leaves D. Now {pair} {verb} {blame}", "ABCDE").value == "D"


@pytest.mark.parametrize(
    "denial",
    ["not", "isn't", "isn’t", "neither", "cannot be", "except", "rather than", "not option"],
)
def test_every_denial_before_a_letter_denies_it(denial):
    assert find_letter(f"So D.\nNow it is {denial} (B)", "ABCDE").value == "D"


@pytest.mark.parametrize(
    "denial",
    [
        *("is not it", "isn't it", "isn’t it", "is incorrect", "is wrong", "is false", "is out"),
        *("is impossible", "is a distractor", "is a common distractor"),
    ],
)
def test_every_denial_after_a_letter_denies_it(denial):
    for letter in ("B", "(B)", "B)"):
        assert find_letter(f"So D.\nNow {letter} {denial}", "ABCDE").value == "D"


@pytest.mark.parametrize(
    "verb",
    [
        *("rule out", "ruled out", "ruling out", "eliminate", "eliminates", "eliminated"),
        *("exclude", "excluded", "reject", "rejected", "discard", "discarded", "cross out"),
        *("crossed out",),
    ],
)
def test_every_way_to_rule_an_option_out_does(verb):
    assert find_letter(f"So D.\nNow we {verb} option (B)", "ABCDE").value == "D"


@pytest.mark.parametrize(
    "left", ["leaving", "so", "thus", "therefore", "hence", "but choose", "and pick", "and select"]
)
def test_what_is_left_when_options_are_ruled_out_is_chosen(left):
    assert find_letter(f"Now we exclude A and B, {left} C", "ABCDE").value == "C"


@pytest.mark.parametrize(
    "before",
    [
        *("is", "are", "was", "be", "a", "an", "the", "of", "in", "on", "has", "have", "get"),
        *("gets", "take", "takes", "called"),
    ],
)
def test_a_letter_after_a_noun_is_part_of_a_name(before):
    assert find_letter(f"So D.\nNow it {before} vitamin C", "ABCDE").value == "D"


@pytest.mark.parametrize(
    "word",
    [
        *("option", "options", "choice", "letter", "either", "just", "only", "still", "always"),
        *("indeed", "clearly", "definitely"),
    ],
)
def test_a_letter_after_a_word_that_is_no_noun_is_a_choice(word):
    assert find_letter(f"So D.\nNow it is {word} C", "ABCDE").value == "C"


@pytest.mark.parametrize(
    ("text", "letters", "letter"),
    [
        ("A. 1 B. 2 C. 3", "ABCD", None),
        ("They are A. 1 B. 2 C. 3 D. 4", "ABCD", None),
        ("They are A. Yes B. No", "AB", None),
        ("A. dog B. cat C. cow D. rat. So it is B.", "ABCD", "B"),
        ("A. dog B. cat C. cow: (B)", "ABCD", "B"),
        ("It is A. 1, then B. 2 and C", "ABCD", "C"),
    ],
)
def test_options_listed_in_one_line_are_no_choice(text, letters, letter):
    assert find_letter(text, letters).value == letter


@pytest.mark.parametrize(
    "text",
    [
        *("The answer is \\(B\\).", "The correct answer is \\(\\text{B}\\).", "The answer is `B`."),
        *(
            "`B`",
            "\\boxed{\\rm B}",
            "\\boxed{\\bf B}",
            "\uff22",
            "The answer is \uff22\u3002",
            "So `B`.",
        ),
    ],
)
def test_marks_around_a_letter_are_taken_off(text):
    assert find_letter(text, "ABCDE").value == "B"


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is B. No, D.", "D"),
        ("The answer is B. Hmm, actually it's D.", "D"),
        ("B. Wait, the correct answer should be (D) because B sinks.", "D"),
        ("#### B\nSorry, I meant D!", "D"),
        ("The answer is B. No, D. Hm. So the answer is C.", "C"),
        ("The answer is B. No, D is wrong since it sinks.", "B"),
        ("The answer is B. Wait, D is also possible.", "B"),
        ("The answer is B. Actually, A, C and D are too big.", "B"),
        ("The answer is B. No, A and C are wrong.", "B"),
        ("The answer is B. No other fits, D.", "B"),
        ("The answer is B. Wait, a. But B stays.", "B"),
    ],
)
def test_a_letter_that_replaces_another_is_chosen(text, letter):
    assert find_letter(text, "ABCDE").value == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        *(("B is the wrong answer", None), ("B is an incorrect choice", None)),
        *(("I don't think it is B", None), ("I do not believe that B is right", None)),
        *(("I am not sure whether B is correct", None), ("If B is right, it floats", None)),
        *(("Everything except B is right", None), ("All but B are true", None)),
        *(("Is it B? No.", None), ("Could it be B? It sinks.", None), ("So it is B?", "B")),
        *(("Which one? B", "B"), ("Is D right? No. So B.", "B"), ("B does not float", None)),
        ("B is true but does not answer the question; D does.", "D"),
        ("B is correct, but it is not the best. D is best.", "D"),
    ],
)
def test_what_is_denied_doubted_or_asked_is_no_choice(text, letter):
    assert find_letter(text, "ABCDE").value == letter


@pytest.mark.parametrize(
    "text",
    [
        *("B makes the most sense.", "B fits best", "B seems correct.", "B must be correct."),
        *("B seems to be the right one", "Only B works.", "B since plants make food", "So B does."),
        *("The answer is thus B", "By elimination, B.", "By process of elimination, B."),
        *(
            "(b) plants",
            "b) plants",
            "\u7b54\u6848\u662fB\u3002",
            "\u9009\u62e9B",
            "\u7b54\u6848\uff1aB",
        ),
        *("A: false\nB: true\nC: false\nD: false", "(A) Wrong.\n(B) Right.\n(C) Wrong."),
    ],
)
def test_plain_words_choose(text):
    assert find_letter(text, "ABCDE").value == "B"


@pytest.mark.parametrize(
    "text",
    [
        *("a) red\nb) blue\nc) green", "(a) red (b) blue (c) green", "A: true\nB: true\nC: false"),
        *("A: true story\nB: false start", "A: false\nB: false"),
    ],
)
def test_lists_of_small_letters_and_of_several_truths_are_no_choice(text):
    assert find_letter(text, "ABCDE").value is None
