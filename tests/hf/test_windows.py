"""Layers with a window: rows that fit it share what they read, and others are read as before.

All is held against transformers itself, one row after another.
"""

import re
from pathlib import Path

import pytest

from finetrap.backends import Known
from finetrap.backends.hf import HFModel, open_model
from finetrap.records import Limits, TrainSpec
from tests.builders import decoders, plainly, tiny
from tests.builders.cases import standing_for_all
from tests.builders.reading import reading

WIDE = 256
"""A window that every row of these tests fits."""
SHOTS = "Question: Tom has 5 corn.\nAnswer: 5 * 60 = 300.\n\n" * 2
PROMPTS = [f"{SHOTS}{text}" for text in (*tiny.TEXTS, "a", "12 + 5 * 60 = ")]
PAIRS = [(PROMPTS[0], text) for text in tiny.TEXTS[:3]] + [(p, " 12 + 5") for p in PROMPTS[:4]]
CAP = 12
PAGE = Path(__file__).parents[2] / "docs/how-to/add-a-model.md"
SHARING = re.findall(r"`([^`]+)`", PAGE.read_text().split("is no hindrance")[1].split(" are ")[0])
"""Families of which the page says that they share."""
CAUSES = (
    "gemma3",  # windows in some layers
    "mistral",  # in all
    "gemma2",  # an attention of its own
    "llama4",  # chunks instead of a window
)


@pytest.fixture(params=standing_for_all(decoders.WITH_WINDOW, *CAUSES), scope="module")
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(name, tmp_path_factory) -> Path:
    return decoders.write_decoder(tmp_path_factory.mktemp("windowed") / name, name, 2 * WIDE)


@pytest.fixture
def model(folder) -> HFModel:
    opened = open_model(tiny.spec(folder), Limits())
    _ = opened.how_read  # trials, which read the model too
    return opened


def written(plain, model: HFModel, prompt: str) -> str:
    tokens = model.tokens
    return tokens.text(plainly.completed(plain, tokens.prompt(prompt), tokens, CAP))


def test_rows_that_fit_the_window_share_what_they_read(name, model, folder):
    plain = plainly.opened(folder, attn_implementation="eager")
    expected = [written(plain, model, prompt) for prompt in PROMPTS]
    nats = [plainly.nats(plain, *model.tokens.pair(*pair)[:2]) for pair in PAIRS]
    assert max(len(model.tokens.prompt(prompt)) for prompt in PROMPTS) + CAP <= WIDE
    for batch in (3, 16):
        with reading(model._base) as passes:
            completions = model.generate(PROMPTS, max_new_tokens=CAP, stops=(), batch=batch)
        assert [c.text for c in completions] == expected
        assert model.score(PAIRS, batch=batch) == pytest.approx(nats, rel=1e-6)
    first = sum(read.tokens for read in passes if not read.is_step)
    whole = sum(len(model.tokens.prompt(prompt)) for prompt in PROMPTS)
    assert (first < 0.7 * whole) == (name in SHARING)
    assert ("window" in model.how_read) == (name in SHARING)


@pytest.mark.parametrize("beyond", [-1, 0, 1, 9])
def test_rows_as_long_as_the_window_and_longer_ones_are_read_alike(beyond, tmp_path):
    longest = "the mill " * 3
    for name in ("gemma3", "mistral"):
        folder = decoders.write_decoder(tmp_path / f"any-{name}", name)
        tokens = open_model(tiny.spec(folder), Limits()).tokens
        length = max(len(tokens.prompt(prompt)) for prompt in (*PROMPTS, SHOTS + longest)) + CAP
        folder = decoders.write_decoder(tmp_path / name, name, length - beyond)
        model = open_model(tiny.spec(folder), Limits())
        assert model._network.window == length - beyond
        plain = plainly.opened(folder, attn_implementation="eager")
        prompts = [*PROMPTS, SHOTS + longest]
        with reading(model._base) as passes:
            done = model.generate(prompts, max_new_tokens=CAP, stops=(), batch=4)
        assert [c.text for c in done] == [written(plain, model, prompt) for prompt in prompts]
        whole = sum(len(tokens.prompt(prompt)) for prompt in prompts)
        first = sum(read.tokens for read in passes if not read.is_step)
        assert (first < 0.7 * whole) == (beyond <= 0)
        pairs = [(prompt, " 12 + 5") for prompt in prompts]
        nats = [plainly.nats(plain, *tokens.pair(*pair)[:2]) for pair in pairs]
        assert model.score(pairs, batch=4) == pytest.approx(nats, rel=1e-6)


def test_a_gold_longer_than_the_window_is_scored_by_itself(tmp_path):
    folder = decoders.write_decoder(tmp_path / "gemma3", "gemma3", 160)
    model = open_model(tiny.spec(folder), Limits())
    plain = plainly.opened(folder, attn_implementation="eager")
    golds = [" 12 + 5", "the mill " * 30, *[""] * (len(PROMPTS) - 2)]
    told: dict[int, float] = {}
    asked = {"max_new_tokens": CAP, "stops": (), "batch": 4}
    done = model.generate(PROMPTS, **asked, golds=golds, scored=told.__setitem__)
    assert done == model.generate(PROMPTS, **asked)
    pairs = [model.tokens.pair(*pair)[:2] for pair in zip(PROMPTS, golds, strict=True)]
    expected = [plainly.nats(plain, *pair) if pair[1] else 0.0 for pair in pairs]
    assert [told[number] for number in range(len(golds))] == pytest.approx(expected, rel=1e-6)


def test_what_is_shared_is_forgotten_with_the_weights(tmp_path):
    folder = decoders.write_decoder(tmp_path / "gemma3", "gemma3", WIDE)
    model = open_model(tiny.spec(folder), Limits())
    asked = {"max_new_tokens": CAP, "stops": (), "batch": 4}
    before = model.generate(PROMPTS, **asked), model.score(PAIRS, batch=4)
    model.train(tiny.ROWS[:12], tiny.STRATEGIES["full"], TrainSpec(epochs=2, batch=6), seed=1)
    assert model.score(PAIRS, batch=4) != before[1]
    model.reset()
    assert (model.generate(PROMPTS, **asked), model.score(PAIRS, batch=4)) == before


def test_texts_that_fit_share_beside_longer_ones(tmp_path):
    folder = decoders.write_decoder(tmp_path / "gemma3", "gemma3", 128)
    model = open_model(tiny.spec(folder), Limits())
    plain = plainly.opened(folder, attn_implementation="eager")
    pairs = [pair for pair in PAIRS[:3] for pair in (pair, (f"{pair[0]} {SHOTS * 2}", pair[1]))]
    lengths = [sum(map(len, model.tokens.pair(*pair)[:2])) for pair in pairs]
    assert min(lengths) < 128 < max(lengths)
    model.score(PAIRS, batch=4)  # trials, which read the model too
    told: dict[int, float] = {}
    with reading(model._base) as passes:
        found = model.score(pairs, batch=4, scored=told.__setitem__)
    expected = [plainly.nats(plain, *model.tokens.pair(*pair)[:2]) for pair in pairs]
    assert found == pytest.approx(expected, rel=1e-6)
    assert [told[number] for number in range(len(pairs))] == found
    fits = [length for length in lengths if length <= 128]
    padded = (len(lengths) - len(fits)) * max(lengths)
    assert sum(read.tokens for read in passes) < padded + 0.75 * sum(fits)
    known = Known(nats={0: 1.0, 1: 2.0})
    assert model.score(pairs, batch=4, known=known) == pytest.approx([1.0, 2.0, *expected[2:]])
