"""Where a text says that its answer stands, and where it only seems to."""

from __future__ import annotations

import pytest

from finetrap.text import places
from finetrap.text.number_answer import find_number
from finetrap.text.text_answer import find_text


@pytest.mark.parametrize(
    "mark",
    [
        *("The answer is", "The answers are", "The answer was", "The answer will be", "Ans:"),
        *("The answer would be", "The answer should be", "The answer must be", "Answer:"),
        *("Answer =", "answer is:", "**Answer:**", "Respuesta es", "La respuesta final es"),
        *("La réponse est", "La réponse finale est", "Die Antwort ist", "Die Antwort lautet:"),
        *("Ответ:", "Ответ —", "Jibu ni", "Jibu:", "La risposta è", "A resposta é", "答案是"),
        *("答案为", "答案：", "答え：", "答えは", "คำตอบคือ", "উত্তর:", "উত্তর হল", "సమాధానం:"),
    ],
)
def test_every_way_to_announce_an_answer_does(mark):
    found = find_number(f"{mark} 18, of which 7 are left")
    assert (found.value, found.rule) == ("18", "answer-is")


@pytest.mark.parametrize(
    "name",
    [
        *("answer", "ans", "label", "class", "category", "sentiment", "verdict", "conclusion"),
        *("prediction", "option", "choice"),
    ],
)
def test_every_name_of_an_answer_announces_a_text(name):
    for said in (f"The {name} is", f"{name.title()}:", f"**{name} =**"):
        found = find_text(f"{said} spam\nThat was one more long line of it.")
        assert (found.value, found.rule) == ("spam", "answer-is")


@pytest.mark.parametrize("name", ["statement", "claim", "hypothesis", "assertion"])
def test_what_is_said_to_be_true_or_false_is(name):
    found = find_text(f"The {name} is false.\nThat was one more long line of it.")
    assert (found.value, found.rule) == ("false", "answer-is")


@pytest.mark.parametrize(
    "open_close",
    [
        *("<answer> </answer>", "<ans> </ans>", "<solution> </solution>", "<result> </result>"),
        *("<final> </final>", "<final_answer> </final_answer>", "<final answer> </final answer>"),
        *("<final-answer> </final-answer>", "[ANSWER] [/ANSWER]", "<Answer> </Answer>"),
    ],
)
def test_every_tag_of_an_answer_holds_it(open_close):
    start, _, end = open_close.replace("> <", ">\0<").replace("] [", "]\0[").partition("\0")
    found = find_number(f"{start}18{end} of 20")
    assert (found.value, found.rule) == ("18", "tag")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("<answer>5</answer> <answer>6</answer>", "6"),
        ("<answer>5</answer> <answer></answer>", "5"),
        ("<answer>5</answer> in <answer> and </answer> tags", "5"),
        ("<answer>5</answer> as in <answer>...</answer>", "5"),
        ("<answer></answer> 5", ""),
        ("</answer> 5", None),
        ("<b>5</b>", None),
        ("no tag", None),
    ],
)
def test_the_last_tag_that_holds_something_counts(text, content):
    assert places.in_tag(text) == content


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"answer": "5"}', "5"),
        ("{'answer': '5'}", "5"),
        ('{"answer": 5}', "5"),
        ('{"answer" : 5, "of": 6}', "5"),
        ('{"final_answer": "5", "answer": "6"}', "6"),
        ('{"finalanswer": "5"}', "5"),
        ('{"final answer": "5"}', "5"),
        ('{"answer": "a \\" b"}', 'a \\" b'),
        ('{"answer": null}', ""),
        ('{"answer": ""}', ""),
        ('{"other": 5}', None),
    ],
)
def test_the_value_of_the_last_answer_key_is_read(text, value):
    assert places.json_answer(text) == value


@pytest.mark.parametrize(
    "check",
    [
        *("Check the answer:", "Recheck our answer:", "Double-check the answer:", "Verify the"),
        *("To verify that the answer:", "Confirming this answer:", "Test of my answer =",),
    ],
)  # fmt: skip
def test_a_check_states_no_answer(check):
    check = check if check[-1] in ":=" else f"{check} answer:"
    found = find_number(f"The answer is 18.\n{check} 6 + 12 is it")
    assert (found.value, found.rule) == ("18", "answer-is")


@pytest.mark.parametrize(
    "condition",
    [
        *("if the", "whether our", "suppose that the", "assume the", "assuming this", "is it so"),
        *("if that my", "if your final", "suppose the correct", "is it true that the"),
    ],
)
def test_a_condition_states_no_answer(condition):
    found = find_number(f"The answer is 18.\nNow {condition} answer is 6 then 7")
    assert (found.value, found.rule) == ("18", "answer-is")


@pytest.mark.parametrize("doubt", ["not 6", "6? No", "*not* 6", "6 pens? It is no"])
def test_a_denial_or_a_doubt_states_no_answer(doubt):
    found = find_number(f"The answer is 18.\nBut the answer is {doubt}")
    assert (found.value, found.rule) == ("18", "answer-is")


@pytest.mark.parametrize(
    "back",
    [
        *("I made a mistake", "I made an error", "I have made a mistake", "I’ve made an error"),
        *("I made a small mistake", "I was wrong", "I mean", "I meant", "that's wrong"),
        *("that’s incorrect", "that is not right", "that was not correct", "Correction:"),
    ],
)
def test_what_takes_an_answer_back_is_followed_by_the_answer(back):
    assert places.after_retraction(f"It is 5. {back}, 6 it is") == "6 it is"


@pytest.mark.parametrize("kept", ["I mean that 6", "A mistake", "It was wrong", "all is well"])
def test_what_takes_nothing_back_leaves_the_text(kept):
    assert places.after_retraction(f"It is 5. {kept}") == ""


@pytest.mark.parametrize(
    ("tail", "inside"),
    [
        ("{18} of 20", "18"),
        ("{\\frac{1}{2}} of 20", "\\frac{1}{2}"),
        ("{18 of", "18 of"),
        ("18 of 20", "18"),
        ("18$.", "18"),
        ("", ""),
        ("  ", ""),
        ("{}", ""),
    ],
)
def test_braces_hold_what_stands_in_them(tail, inside):
    assert places.braced(tail) == inside


def test_lines_of_emphasis_alone_are_no_lines():
    text = "**\n\n$$\n `:` \nfirst\n\nlast\n***\n__\n"
    assert (places.first_line(text), places.last_line(text)) == ("first", "last")
    assert places.first_line("**") == places.last_line("**") == ""


@pytest.mark.parametrize(
    "thought",
    [
        *("Wait, no, 24.", "Actually, it is 24.", "Sorry, it's 24.", "Scratch that, it's 24."),
        *("No, the correct answer is 24.", "Oops, make that 24 pens.", "Correction: 24"),
        *("Hold on, that should be 24.", "Wait, 4 * 6 = 24. So it should be 24."),
        *("Actually it is really $24, not $25.", "Hmm... no, **24**"),
    ],
)
@pytest.mark.parametrize(
    "marked", ["The answer is 25.", "\\boxed{25}.", "#### 25\n", "Answer: 25…"]
)
def test_a_second_thought_replaces_a_marked_number(marked, thought):
    assert find_number(f"{marked} {thought}").value == "24"


@pytest.mark.parametrize(
    "thought",
    [
        *("Wait, is that right? 4 boxes of 6.", "Actually, 5 pens are blue.", "No, 5 is too few."),
        *("Sorry for the 2 mistakes.", "Actually, it is 3 more than 21.", "Wait, 5 + 5 = 10."),
        *("No 5 is there.", "It is no, 5 times."),
    ],
)
def test_other_second_thoughts_leave_a_marked_number(thought):
    assert find_number(f"The answer is 24. {thought}").value == "24"


@pytest.mark.parametrize("opening", ["She has 25.", "Answer: First, 25 are there."])
def test_without_a_marked_number_nothing_is_replaced(opening):
    text = f"{opening} No, 3 pens.\nSo 22."
    assert places.corrected(text) == text
