"""Every decoder that transformers loads: one small random checkpoint of each family.

What finetrap computes fast or plainly is held against transformers itself, one row after another.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finetrap.backends.hf import HFModel, open_model
from finetrap.backends.hf.training import adapters
from finetrap.backends.hf.training.member import schedule_of
from finetrap.errors import BadInput
from finetrap.records import Limits, TrainSpec
from tests.builders import decoders, plainly, tiny
from tests.builders.cases import standing_for_all

CAUSES = (
    "lfm2",  # states of a convolution beside keys and values
    "gemma4",  # sizes that differ from layer to layer
    "minicpm3",  # values of another width than keys
    "falcon-rotary",  # an attention that goes by the name of its implementation
    "bitnet",  # a norm inside the feed-forward
    "gemma2",  # without torch's attention
    "falcon-h1",  # layers that PEFT refuses
    "recurrent-gemma",  # a cache of the model's own
)
PROMPTS = [*tiny.TEXTS, "a", "Question: Tom", "12 + 5 * 60 = ", "the mill " * 9, tiny.TEXTS[0] * 3]
CAP = 16
BUDGET = TrainSpec(epochs=1, batch=4)
ROWS = tiny.ROWS[:12]
NO_DORA = {"qwen3-next", "deepseek-v3", "deepseek-v2", "afmoe"}
"""Families in which PEFT takes in experts that are one tensor, to which it does not apply DoRA."""


@pytest.fixture(params=standing_for_all(decoders.SHAPES, *CAUSES), scope="module")
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(name, tmp_path_factory) -> Path:
    return decoders.write_decoder(tmp_path_factory.mktemp("decoder") / name, name)


@pytest.fixture(scope="module")
def opened(folder) -> HFModel:
    return open_model(tiny.spec(folder), Limits())


@pytest.fixture
def model(opened) -> Iterator[HFModel]:
    yield opened
    opened.reset()


@pytest.fixture
def plain(name, folder):
    # transformers' written-out attention adds Falcon's linear biases twice.
    attention = "sdpa" if name == "falcon-alibi" else "eager"
    return plainly.opened(folder, attn_implementation=attention)


def documented() -> dict[str, str]:
    """How each family is completed, as docs/how-to/add-a-model.md has it."""
    page = (Path(__file__).parents[2] / "docs/how-to/add-a-model.md").read_text()
    rows = re.findall(r"^\| (shared|padded|plain) \|.*\| (.+) \|$", page, re.MULTILINE)
    return {name: way for way, names in rows for name in re.findall(r"`([^`]+)`", names)}


def test_every_family_stands_in_the_table():
    assert documented().keys() == decoders.SHAPES.keys()


def stops_in(texts: list[str]) -> list[str]:
    """Stop strings that end some rows early, at different steps, and leave others alone."""
    starts = [(text, range(i * 5 % 11 + 1, len(text) - 1)) for i, text in enumerate(texts) if i % 2]
    pieces = [[text[at : at + 2] for at in places] for text, places in starts]
    return [whole[0] for found in pieces if (whole := [p for p in found if "\ufffd" not in p])]


def test_completions_equal_greedy_generate_where_rows_end_at_different_steps(name, model, plain):
    tokens = model.tokens
    whole = [
        tokens.text(plainly.completed(plain, tokens.prompt(text), tokens, CAP)) for text in PROMPTS
    ]
    stops = stops_in(whole)
    ends = [[at for at in map(text.find, stops) if at >= 0] for text in whole]
    cut = [text[: min(at)] if at else text for text, at in zip(whole, ends, strict=True)]
    assert model._network.trials.way == documented()[name]
    for batch in (3, 16):
        said = {"max_new_tokens": CAP, "batch": batch}
        assert [c.text for c in model.generate(PROMPTS, stops=(), **said)] == whole
        completions = model.generate(PROMPTS, stops=stops, **said)
        assert [c.text for c in completions] == cut
        assert len({c.tokens for c in completions}) > 1


def test_likelihoods_equal_a_forward_pass_of_one_row(model, plain):
    pairs = [(tiny.TEXTS[0] * k, tiny.TEXTS[1][: 5 + 7 * k]) for k in (1, 2, 3)]
    pairs += [(tiny.TEXTS[2], tiny.TEXTS[3]), (tiny.TEXTS[2], tiny.TEXTS[1]), ("a", "b c d")]
    expected = [plainly.nats(plain, *model.tokens.pair(*pair)[:2]) for pair in pairs]
    assert model.score(pairs, batch=4) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", ["full", "lora", "dora"])
def test_losses_equal_a_plain_loop(method, name, model, plain):
    strategy = tiny.STRATEGIES[method]
    if method == "dora" and name in NO_DORA:
        with pytest.raises(BadInput, match=r"PEFT cannot put LORA on .*use_dora"):
            model.train(ROWS, strategy, BUDGET, seed=1)
        return
    run = model.train(ROWS, strategy, BUDGET, seed=1)
    schedule = schedule_of(strategy, BUDGET)
    if strategy.peft:
        layers = adapters.linear_layers(plain, adapters.peft_configuration(strategy.peft))
        strategy = replace(strategy, peft={**strategy.peft, "target_modules": layers})
    expected = plainly.losses(plain, ROWS, model.tokens, strategy, schedule, seed=1)
    assert run.evidence["loss"] == pytest.approx(expected, rel=1e-5)
    assert torch.isfinite(torch.tensor(expected)).all()


def test_a_model_says_how_it_is_read(name, model, folder):
    model.train(ROWS[:4], tiny.STRATEGIES["lora"], TrainSpec(epochs=1, batch=4), seed=1)
    told = dict(model.how_read)
    model.reset()
    assert told["completions"] == documented()[name]
    assert "lm_head" not in told["adapted"]
    assert told["adapted"].split(", ") == list(dict.fromkeys(told["adapted"].split(", ")))
    assert "adapted" not in model.how_read
