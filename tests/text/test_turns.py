"""Where a completion is cut, and what is left out of it."""

from __future__ import annotations

import pytest

from finetrap.text.scoring import grade
from finetrap.text.turns import TURNS, asks_only, graded_part, whole_numbers


@pytest.mark.parametrize("turn", TURNS, ids=[turn.name for turn in TURNS])
def test_each_turn_cuts_after_an_answer_and_never_at_the_start(turn):
    opened = f"{turn.example}\nmore"
    part = graded_part(f"She has 24 pens.\n\n{opened}")
    assert part.text.strip() == "She has 24 pens."
    assert part.dropped == opened
    assert part.cut is not None
    assert turn.example.startswith(part.cut)
    assert graded_part(opened).text == opened
    assert graded_part(f"Here is what we know:\n\n{opened}").cut is None


def test_the_cut_can_be_switched_off_and_stops_can_be_added():
    text = "24 pens. STOP 15\n\nQuestion: Tom has 3 bags?\n15"
    assert graded_part(text).text == "24 pens. STOP 15\n\n"
    assert graded_part(text, cut=False) == graded_part(text, ["STOP"], cut=False)
    assert graded_part(text, cut=False).text == text
    stopped = graded_part(text, ["STOP", ""])
    assert (stopped.text, stopped.cut) == ("24 pens. ", "STOP")
    assert stopped.text + stopped.dropped == text


@pytest.mark.parametrize("text", ["STOP", "STOP 24", "\n STOP", ""])
def test_a_stop_never_leaves_an_empty_text(text):
    assert graded_part(text, ["STOP"]).text == text


def test_marks_of_templates_end_a_text_and_are_taken_off():
    text = "<|start_header_id|>assistant<|end_header_id|>\n\nIt is 24.<|eot_id|>15"
    part = graded_part(text)
    assert part.text.strip() == "It is 24."
    assert (part.cut, part.dropped) == ("<|eot_id|>", "<|eot_id|>15")
    assert graded_part("<s> 24 </s>").text == " 24 "
    assert graded_part("<s> 24 </s>", cut=False).text == " 24 "


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),
        ("<think>a", ""),
        ("a</think>", ""),
        ("<think>a</think>b</think>", "b"),
        ("<think>a</think>b<think>c", "b"),
        ("perhaps 24 <think>a", ""),
        ("#### 24 <think>a", "#### 24 "),
        ("[THINK]a[/THINK]b", "b"),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b",
            "b",
        ),
    ],
)
def test_reasoning_is_left_out(text, kept):
    part = graded_part(text)
    assert (part.text, part.reasoning) == (kept, True)


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
        ("<|user|>\n", "\n<|assistant|>\n"),
        ("<s>[INST] ", " [/INST] "),
        (
            "<|start_header_id|>user<|end_header_id|>\n",
            "<|start_header_id|>assistant<|end_header_id|>\n",
        ),
    ],
)
def test_a_question_restated_as_a_users_turn_is_no_answer(user, assistant):
    text = f"{user}How many are 4 boxes of 6?{assistant}24"
    assert graded_part(text).text.strip() == "24"
    part = graded_part(f"{text}{user}And 15?{assistant}15")
    assert part.text.strip() == "24"
    assert part.dropped.endswith("15")


def test_a_question_inside_reasoning_cuts_nothing():
    part = graded_part("<think>It is 1.\nQuestion: is it?</think>So 2.\nQuestion: next?")
    assert (part.text, part.dropped) == ("So 2.\n", "Question: next?")


@pytest.mark.parametrize(
    "text",
    [
        "Lena has 4 boxes of 6 pens.\nQuestion: How many pens does she have?\nAnswer: 24",
        "Lena has 4 boxes of 6 pens. Question: How many pens does she have? Answer: 24",
        "Here is my reasoning. There are 4 boxes.\n\nQuestion: How many are there?\n\nAnswer: 24",
        "We know 4 boxes.\nWe know 6 pens.\nQ: total?\nA: 24",
        "There are 4 boxes of 6.\n### Question\nHow many are there?\n### Answer\n24",
    ],
)
def test_a_labelled_question_about_the_numbers_before_it_is_restated(text):
    assert graded_part(text).text == text
    other = "Question: Tom has 3 bags of 5 nuts. How many?\nAnswer: 15"
    assert graded_part(f"{text}\n\n{other}").dropped == other


@pytest.mark.parametrize(
    "before",
    [
        *(
            "She has 24 pens.",
            "So 4 boxes of 6 make 24.",
            "4 * 6 = 24. She has 24.",
            "24",
            "Paris.",
        ),
        *("4 boxes of 6. The answer is 24.", "#### 24\nIt is 24.", "She had 30. She has 24 left."),
        *("I am not sure.", "I don't know. Ask Lena.", "In all, 4 boxes of 6 hold 24."),
    ],
)
@pytest.mark.parametrize("name", ["Question:", "Q:", "**Problem:**", "Question 1:"])
def test_a_labelled_question_after_an_answer_is_another_problem(before, name):
    asked = f"{name} How many pens does Tom have?\nAnswer: 15"
    assert graded_part(f"{before}\n\n{asked}").dropped == asked


@pytest.mark.parametrize(
    "asked",
    [
        *("Question 2: How many are there?", "User: How many are there?", "Next question: Why?"),
        *("Question: Tom has 3. How many?", "Question: Tom has three. How many?", "Q: Count!"),
    ],
)
def test_a_question_with_a_statement_or_a_count_of_its_own_is_another_problem(asked):
    assert graded_part(f"Lena has 4 boxes of 6 pens.\n{asked}\nAnswer: 15").dropped


@pytest.mark.parametrize(
    "opening",
    [
        *("", "---\n\n", "***\n\n", "2) Question: ", "Question - ", "Question\n", "(Question) "),
        *("Problem 2 - ", "Word Problem: ", "Another example: ", "Query: ", "Solve this problem: "),
        *("Pregunta: ", "Frage: ", "\u95ee\u9898\uff1a", "\u0412\u043e\u043f\u0440\u043e\u0441: "),
    ],
)
def test_what_asks_between_two_marked_answers_is_another_problem(opening):
    text = f"4 * 6 = 24\n#### 24\n\n{opening}Tom has 3 bags of 5 nuts. How many?\n"
    part = graded_part(f"{text}3 * 5 = 15\n#### 15\n\nQuestion: And 4 bags?\n#### 20")
    assert part.text.startswith("4 * 6 = 24\n#### 24\n")
    assert "Tom" not in part.text
    assert part.cut
    assert part.dropped.startswith(part.cut)
    assert graded_part(text).text == text


@pytest.mark.parametrize(
    "between",
    [
        *("Wait, 4 * 6 + 1 = 25.", "Wait, is that right? No: 25.", "Is 24 correct? It is 25."),
        *("Let me check: do 4 boxes of 6 make it? And 1.", "Did I make a mistake? Yes."),
        *("It is 25.", "", "How many are there with the one in her bag?"),
    ],
)
def test_a_correction_between_two_marked_answers_cuts_nothing(between):
    assert graded_part(f"#### 24\n{between}\n#### 25").dropped == ""


def test_a_question_between_two_marked_letters_needs_no_numbers():
    part = graded_part("#### B\nWhich of these sinks?\nA. iron\nB. wood\n#### A")
    assert (part.text, part.cut) == ("#### B\n", "Which of these sinks?")


def test_headings_that_ask_are_no_answers_between_which_a_problem_starts():
    text = (
        "#### 1. Known\nWhat is it? 4, 6\n#### 2. Wanted\nWhat is it? 4 * 6\n#### Answer\n#### 24"
    )
    assert graded_part(text).text == text


@pytest.mark.parametrize(
    "text",
    [
        "Lena has 4 boxes of 6 pens. How many pens does she have?",
        "Lena has 4 boxes of 6 pens. How many pens does she have in total?",
        "How many pens are in 5 boxes?",
        "**How many pens are in 5 boxes?**\n",
        "Let's see: Lena has 4 boxes.\nWhat is 4 times 6?",
        "Lena paid $5. How much is left?",
    ],
)
def test_a_text_that_only_asks_has_no_number(text):
    assert asks_only(text)
    assert grade(text, "6").extracted is None


@pytest.mark.parametrize(
    "text",
    [
        *("So she has 24. What is next?", "4 * 6 = 24. How many do you want?", "24. Is that so?"),
        *("How many pens are there? 24", "The answer is 24. How much more?", "24?"),
        *("#### 24\nHow many are there?", "In total 24. How many do you want?"),
    ],
)
def test_a_question_after_a_result_leaves_it(text):
    assert not asks_only(text)
    assert grade(text, "24").correct


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("The answer is 24.\n\nThe answer is 24.\n\nThe answer is 2", "\n\nThe "),
        ("So \\boxed{24}. So \\boxed{24}. So \\boxed{2", " So "),
        ("<answer>24</answer>\n<answer>24</answer>\n<answer>2", "</answer>\n"),
        ('{"answer": 24}\n{"answer": 24}\n{"answer": 2', "}\n{"),
        ("24\n24\n24\n2", "24\n"),
        ("Answer: $24.50\nAnswer: $24", "$24.50\n"),
        ("The answer is 24. So \\boxed{2", "So "),
    ],
)
def test_a_number_that_may_not_be_whole_is_left_out_after_one_that_begins_so(text, whole):
    assert whole_numbers(text).endswith(whole)
    assert grade(whole_numbers(text), "24.5" if ".5" in text else "24").correct


@pytest.mark.parametrize(
    "text",
    [
        *("The answer is 7.\nThe answer is 24", "Answer: 4 boxes.\nThe answer is 24", "4\n6\n24"),
        *("The answer is 24.\nThe answer is 2.5 or so", "The answer is 24. So \\boxed{2}", "2"),
    ],
)
def test_a_number_that_no_other_begins_with_is_kept(text):
    assert whole_numbers(text) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<|thinking|>25<|/thinking|>24", "24"),
        ("<|x|>25<|y|>24", " 25 24"),
        ("\x1b[32m24\x1b[0m pens", "24 pens"),
        ("#### 2\u200b4", "#### 24"),
        ("2\u2060\ufeff4", "24"),
        ("a\u200bb", "a\u200bb"),
    ],
)
def test_marks_of_machines_neither_join_nor_part_numbers(text, kept):
    assert graded_part(text).text == kept
