"""One text has one tokenisation, in training, scoring and generating, in every family."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from finetrap.backends import Row
from finetrap.backends.hf import HFModel, open_model
from finetrap.backends.hf.layout import join
from finetrap.backends.hf.tokens import Tokens
from finetrap.backends.hf.training.member import examples, rendered
from finetrap.records import Limits, StrategySpec, TrainSpec
from finetrap.references import PromptSpec
from finetrap.text import prompts
from tests.builders import tiny, tokenizers

SHOTS = ((), (prompts.Shot("How many?", "It is 5.\n#### 5"),))
QUESTION, SOLUTION = "Tom has 3 apples and buys 4 more.", "Tom has 7 apples.\n#### 7"
LOSSLESS = [name for name in tokenizers.FAMILIES if name != "word piece"]
"""Word pieces forget spaces."""


def tokens(name: str, *, chat: bool) -> Tokens:
    words = tokenizers.family(name, chat=chat)
    return Tokens(words, form="auto", context=None, vocabulary=len(words))


def asked(words: Tokens, shots: tuple[prompts.Shot, ...] = ()) -> tuple[str, str]:
    form = prompts.Form(chat=words.chat)
    return form.prompt(QUESTION, shots), form.target(SOLUTION)


def open_tiny(folder, words, **settings: Any) -> HFModel:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = LlamaConfig(**tiny.shape(vocab_size=len(words)), tie_word_embeddings=True)
        tiny.write(folder, LlamaForCausalLM(config), words)
    return open_model(tiny.spec(folder, **settings), Limits())


@pytest.mark.parametrize("shots", SHOTS, ids=["zero-shot", "few-shot"])
@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("name", tokenizers.FAMILIES)
def test_a_prompt_and_its_target_have_the_tokens_of_the_whole_text(name, chat, shots):
    words = tokens(name, chat=chat)
    prompt, target = asked(words, shots)
    pair = words.pair(prompt, target)
    assert list(pair.prompt) == words.prompt(prompt)
    assert pair.apart == (name == "gemma" and not chat)
    if not pair.apart:
        assert list(pair.prompt + pair.target) == words.prompt(prompt + target)


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("name", LOSSLESS)
def test_the_ids_of_a_row_decode_to_its_text_and_the_pieces_shown_are_the_text(name, chat):
    words = tokens(name, chat=chat)
    prompt, target = asked(words)
    pair = words.pair(prompt, target)
    begin = "" if chat else "<s>"
    assert words.text(pair.target, pair.prompt[-1]) == target
    [span] = examples([Row(prompt, target)], words, virtual=0, max_length=256)
    row = rendered(span, words)
    assert "".join(text for text, _ in row) == f"{begin}{prompt}{target}</s>"
    assert "".join(text for text, scored in row if scored) == f"{target}</s>"


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("name", ["llama 2", "gemma", "byte level"])
def test_characters_of_several_tokens_are_shown_whole(name, chat):
    words = tokens(name, chat=chat)
    prompt, target = asked(words)[0], " 日本 é 🙂 is 7"
    pair = words.pair(prompt, target)
    assert words.text(pair.target, pair.prompt[-1]) == target
    [span] = examples([Row(prompt, target)], words, virtual=0, max_length=256)
    row = rendered(span, words)
    assert len(row) == len(span.ids)
    assert "".join(text for text, scored in row if scored) == f"{target}</s>"


@pytest.mark.parametrize("name", ["llama 2", "metaspace, always", "metaspace, first", "unigram"])
def test_no_mark_of_a_space_stands_between_a_prompt_and_its_target(name):
    words = tokens(name, chat=False)
    named = words._tokenizer.convert_ids_to_tokens
    assert named(words.continuation("Tom"))[0].startswith("▁")
    for prompt, target, expected in (("Answer:", " Tom", "▁Tom"), ("a\n", "Tom", "Tom")):
        assert "".join(named(list(words.pair(prompt, target).target))) == expected


def test_a_target_that_would_melt_into_its_prompt_leaves_the_prompt_as_it_is_asked():
    words = tokens("gemma", chat=False)
    pair = words.pair("Answer:", " Tom")
    assert pair.apart
    assert list(pair.prompt) == words.prompt("Answer:")
    assert words.prompt("Answer: Tom")[: len(pair.prompt)] != list(pair.prompt)
    assert words.text([*pair.prompt, *pair.target]) == "Answer: Tom"


def test_a_target_that_melts_has_no_mark_either():
    words = tokens("llama 2", chat=False)
    pair = words.pair("The ri", "ver")
    assert pair.apart
    assert words.text(pair.target, pair.prompt[-1]) == "ver"
    assert words.text([*pair.prompt, *pair.target]) == "The river"


@pytest.mark.parametrize("name", tokenizers.FAMILIES)
def test_chat_text_has_each_special_token_once(name):
    words = tokens(name, chat=True)
    prompt, target = asked(words, SHOTS[1])
    [span] = examples([Row(prompt, target)], words, virtual=0, max_length=256)
    shown = words._tokenizer.convert_ids_to_tokens(span.ids)
    assert shown.count("<s>") == 1
    assert shown.count("</s>") == 3 + 1  # three turns of the prompt, and the answer's own
    assert shown[-1] == "</s>"
    assert words.prompt(prompt) == span.ids[: span.start]


@pytest.mark.parametrize("name", tokenizers.FAMILIES)
def test_what_is_scored_is_what_is_trained_on(name):
    words = tokens(name, chat=False)
    prompt, target = asked(words)
    [row] = examples([Row(prompt, target)], words, virtual=0, max_length=256)
    span = join(words, prompt, target)
    assert (row.ids[:-1], row.start) == (span.ids, span.start)


@pytest.mark.parametrize(
    ("name", "chat"), [("llama 2", False), ("llama 2", True), ("unigram", False), ("gemma", False)]
)
def test_a_model_that_is_certain_of_a_row_generates_exactly_its_target(tmp_path, name, chat):
    model = open_tiny(tmp_path, tokenizers.family(name, chat=chat))
    prompt, target = asked(model.tokens)
    full = StrategySpec("full", "full", learning_rate=1e-2)
    trained = model.train([Row(prompt, target)] * 4, full, TrainSpec(epochs=20, batch=1), 0)
    assert trained.evidence["retokenised"] == (4 if name == "gemma" else 0)
    written, decode = [], model.tokens.text
    model.tokens.text = lambda ids, after: written.append(ids) or decode(ids, after)
    [done] = model.generate([prompt], max_new_tokens=60, stops=(), batch=1)
    assert done.text == target
    assert tuple(written[-1]) == model.tokens.pair(prompt, target).target


IGNORES = tokenizers.CHAT_TEMPLATE.partition("{% if add_generation_prompt %}")[0]
THINKS = tokenizers.CHAT_TEMPLATE.replace("\n{% endif", "\n<think>\n{% endif")
CLOSES = THINKS.replace("<think>\n{% endif", "<think>\n\n</think>\n\n{% endif")
NO_HEADER = (
    "{% for m in messages %}{{ m['content'] }}"
    "{% if m['role'] == 'user' %} [/INST]{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "faults"),
    [
        (tokenizers.CHAT_TEMPLATE, []),
        (CLOSES, []),
        (NO_HEADER, []),
        (IGNORES, ["ignores add_generation_prompt: prompts end without '<|assistant|>'"]),
        (THINKS, ["opens a block of reasoning: answers are written inside '<think>'"]),
    ],
    ids=["sound", "closed", "without a header", "ignores", "thinks"],
)
def test_a_template_that_does_not_lead_to_an_answer_is_named(tmp_path, template, faults):
    words = tokenizers.family("byte level", chat=True)
    words.chat_template = template
    model = open_tiny(tmp_path, words)
    lora = tiny.STRATEGIES["lora"]
    found = model.train([Row(*asked(model.tokens))], lora, TrainSpec(epochs=1, batch=1), 0)
    named = found.evidence["template_faults"]
    assert len(named) == len(faults)
    assert all(fault in name for fault, name in zip(faults, named, strict=True))
    plain = open_tiny(tmp_path, words, prompt=PromptSpec("plain"))
    assert plain.tokens.template_faults == ()
