"""Where a completion is cut, and what is left out of it."""

from __future__ import annotations

import pytest

from finetrap.text.turns import TURNS, graded_part


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
