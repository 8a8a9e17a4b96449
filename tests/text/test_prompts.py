"""What a model is asked, letter by letter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetrap import catalog
from finetrap.errors import BadModel
from finetrap.measure.study.forms import prompts_of
from finetrap.references import PromptSpec
from finetrap.text.prompts import PLAIN, Form, Shot, lettered

LM_EVAL = json.loads((Path(__file__).parents[1] / "data" / "lm-eval-gsm8k.json").read_text("utf-8"))
"""Requests that lm-eval 0.4.13 made of GSM8K's first test problem: by task and number of shots."""
SHOT = Shot("How many?", "It is 5.")
CHOICES = ("red", "blue")


def as_json(messages) -> str:
    return json.dumps(list(messages))


def test_without_settings_questions_and_exemplars_have_their_own_form() -> None:
    assert PLAIN.prompt("Why?", [SHOT]) == (
        "Question: How many?\nAnswer: It is 5.\n\nQuestion: Why?\nAnswer:"
    )
    assert (PLAIN.target("So."), PLAIN.stops) == (" So.", ("Question:",))
    chat = Form(chat=as_json)
    assert [m["content"] for m in json.loads(chat.prompt("Why?", [SHOT]))] == [
        *("How many?", "It is 5.", "Why?")
    ]
    assert (chat.target("So."), chat.stops) == ("So.", ())


def test_system_template_and_prefix_stand_in_every_plain_turn() -> None:
    spec = PromptSpec("plain", "Be brief.", "Do: {question}\nDone:", "The result is")
    form = Form(spec)
    assert form.prompt("Why?", [SHOT]) == (
        "Be brief.\n\nDo: How many?\nDone: The result is It is 5.\n\nDo: Why?\nDone: The result is"
    )
    assert (form.target("So."), form.stops) == (" So.", ("Do:",))


def test_system_template_and_prefix_stand_in_every_turn_of_a_chat() -> None:
    form = Form(PromptSpec("chat", "Be brief.", "Do: {question}", "So"), as_json)
    messages, prefix = form.prompt("Why?", [SHOT]).rsplit("]", 1)
    assert [(m["role"], m["content"]) for m in json.loads(messages + "]")] == [
        ("system", "Be brief."),
        ("user", "Do: How many?"),
        ("assistant", "So It is 5."),
        ("user", "Do: Why?"),
    ]
    assert (prefix, form.target("5."), form.stops) == ("So", " 5.", ())


@pytest.mark.parametrize(
    ("template", "prefix", "prompt", "target"),
    [
        ("{question}\n", "", "Why?\n", "5"),
        ("{question}", "", "Why?", " 5"),
        ("{question}", "\nA:", "Why?\nA:", " 5"),
        ("{question}\n", "A: ", "Why?\nA: ", "5"),
    ],
)
def test_one_space_or_line_end_stands_before_an_answer(template, prefix, prompt, target) -> None:
    form = Form(PromptSpec(template=template, answer_prefix=prefix))
    assert (form.prompt("Why?"), form.target("5")) == (prompt, target)


def test_choices_keep_their_own_form_unless_the_template_shows_them() -> None:
    own = Form(PromptSpec(template="Solve: {question}", answer_prefix="####"))
    assert own.prompt("Which?", (), CHOICES) == "Question: Which?\nAnswer:"
    assert own.target("red", CHOICES) == " red"
    form = Form(PromptSpec(template="{question}\n{options}\nAnswer:"))
    shot = Shot("Sky?", "blue", CHOICES)
    assert form.prompt("Which?", [shot], CHOICES) == (
        "Sky?\nA. red\nB. blue\nAnswer: B\n\nWhich?\nA. red\nB. blue\nAnswer:"
    )
    assert (form.target("red", CHOICES), form.answer("blue", CHOICES)) == (" A", "B")
    assert form.prompt("Why?") == "Why?\nAnswer:", "the line of options is left out"
    assert Form(PromptSpec(template="{question} {options}")).prompt("Why?") == "Why? "


def test_braces_of_a_question_are_text() -> None:
    form = Form(PromptSpec(template='Give {"n": 1}. {question}'))
    assert form.prompt("Is {options} a set?") == 'Give {"n": 1}. Is {options} a set?'
    assert lettered(["a", "b"]) == "A. a\nB. b"


def test_a_chat_template_that_leaves_the_question_out_is_refused() -> None:
    """As one does that walks through parts of a message, where it is given a text."""
    with pytest.raises(BadModel, match="leaves the question out"):
        Form(chat=lambda messages: "<user><end>" * len(messages))


def test_a_chat_template_that_leaves_exemplars_out_is_refused_where_there_are_some() -> None:
    form = Form(chat=lambda messages: messages[-1]["content"])
    assert form.prompt("Why?") == "Why?"
    with pytest.raises(BadModel, match="leaves exemplars out"):
        form.prompt("Why?", [SHOT])


def test_a_chat_template_that_drops_the_system_message_is_refused() -> None:
    with pytest.raises(BadModel, match="leaves the system message out; put that text into"):
        Form(PromptSpec(system="Be brief."), lambda messages: messages[-1]["content"])


@pytest.mark.parametrize("asked", LM_EVAL)
def test_presets_ask_what_lm_eval_asks(asked: str) -> None:
    task, shots, *chat = asked.split("/")
    request, settings = LM_EVAL[asked]
    (spec,) = prompts_of({"preset": f"lm-eval-{task.replace('_', '-')}"})
    form = Form(spec, as_json if chat else None)
    question = LM_EVAL["gsm8k/0"][0].removeprefix("Question: ").removesuffix("\nAnswer:")
    shown = [Shot(*exemplar) for exemplar in spec.exemplars[: int(shots)]]
    assert form.prompt(question, shown) == request
    assert list(form.stops) == settings["until"]


def test_every_preset_is_a_prompt_with_a_sentence_about_it() -> None:
    for name, table in catalog.presets().items():
        assert table["about"]
        assert prompts_of({"preset": name})[0] != PromptSpec()
