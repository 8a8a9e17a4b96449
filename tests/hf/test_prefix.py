"""What all prompts start with is read once, and nothing else changes."""

import pytest
import torch

from finetrap.backends import Row
from finetrap.backends.hf import HFModel, open_model
from finetrap.backends.hf.asking.trees import gather
from finetrap.backends.hf.kernels.cache import shared_length
from finetrap.backends.hf.layout import Span
from finetrap.backends.hf.network import Network
from finetrap.records import Limits, StrategySpec, TrainSpec
from tests.builders import tiny
from tests.builders.reading import Read, reading
from tests.builders.tiny import FAMILIES

SHOTS = "Question: Tom has 5 corn.\nAnswer: 5 * 60 = 300.\n\n" * 4
QUESTIONS = [*tiny.TEXTS, "12 + 5", "the mill " * 4]
PROMPTS = [f"{SHOTS}Question: {text}\nAnswer:" for text in QUESTIONS]
PAIRS = [(prompt, f" {text}") for prompt, text in zip(PROMPTS, QUESTIONS[::-1], strict=True)]


@pytest.fixture(params=FAMILIES, scope="module")
def model(request, tmp_path_factory) -> HFModel:
    folder = FAMILIES[request.param](tmp_path_factory.mktemp(request.param))
    opened = open_model(tiny.spec(folder), Limits())
    _ = (
        opened._network.trials.way,
        opened._network.trials.lays_aside,
    )  # trials, which read the model too
    return opened


def read_apart(model: HFModel) -> int:
    """Tokens of all prompts, each read whole."""
    return sum(len(model.tokens.prompt(prompt)) for prompt in PROMPTS)


def test_completions_are_the_same_with_and_without_sharing(model):
    settings = {"max_new_tokens": 12, "stops": ("Question:",), "batch": 3}
    with reading(model._base) as together:
        shared = model.generate(PROMPTS, **settings)
    with reading(model._base) as apart:  # with a prompt that has no start with the others
        assert model.generate([*PROMPTS, "a"], **settings)[:-1] == shared
    first = [
        sum(read.tokens for read in passes if not read.is_step) for passes in (together, apart)
    ]
    assert first[1] >= read_apart(model)
    assert (first[0] < 0.7 * first[1]) == model._network.trials.shares


def test_a_gold_scored_on_the_way_has_the_nats_that_it_has_by_itself(model):
    told: dict[int, float] = {}
    golds = [gold for _, gold in PAIRS]
    settings = {"max_new_tokens": 12, "stops": ("Question:",), "batch": 3}
    done = model.generate(PROMPTS, **settings, golds=golds, scored=told.__setitem__)
    assert done == model.generate(PROMPTS, **settings)
    nats = [told[number] for number in range(len(PAIRS))]
    assert nats == pytest.approx(model.score(PAIRS, batch=3), abs=1e-4)


def test_a_prefix_is_read_again_only_with_other_weights(model):
    if not model._network.trials.shares:
        pytest.skip("this family's rows cannot share a prefix")

    def prefixes(found: list[Read]) -> int:
        return sum(read.caches for read in found)  # scoring keeps nothing else

    model._network.forget()
    with reading(model._base) as found:
        model.score(PAIRS, batch=3)
        model.score(PAIRS, batch=2)
        assert prefixes(found) == 1
        model._network.forget()
        model.score(PAIRS, batch=3)
    assert prefixes(found) == 2


def test_on_the_way_back_a_prefix_is_read_with_the_weights_at_hand(model):
    untouched = model.score(PAIRS, batch=3)
    rows = [Row(prompt, target) for prompt, target in PAIRS]
    full = StrategySpec("full", "full", learning_rate=1e-2)
    model.train(rows, full, TrainSpec(epochs=1, batch=2, max_length=512), seed=0)
    trained = model.score(PAIRS, batch=3)
    assert trained != pytest.approx(untouched, abs=1e-2)
    model.rewind(0.0)
    assert model.score(PAIRS, batch=3) == pytest.approx(untouched, abs=1e-4)
    model.rewind(1.0)
    assert model.score(PAIRS, batch=3) == pytest.approx(trained, abs=1e-4)
    model.reset()


def test_nats_are_the_same_with_and_without_sharing(model):
    shared = model.score(PAIRS, batch=3)
    with reading(model._base) as apart:  # with a pair that has no start with the others
        assert model.score([*PAIRS, ("a", " b")], batch=3)[:-1] == pytest.approx(shared, abs=1e-4)
    assert sum(read.tokens for read in apart) >= read_apart(model)


def test_endings_of_one_context_read_it_once_and_cost_what_they_cost_alone(model):
    endings = (" 7", " Tom has 3 + 4 = 7 apples.", " a", " the mill grinds corn")
    pairs = [(text, ending) for text in (*QUESTIONS, *PROMPTS) for ending in endings]
    _ = model._network.trials.way
    with reading(model._base) as found:
        together = model.score(pairs, batch=3)
    alone = [model.score([pair], batch=1)[0] for pair in pairs]
    assert together == pytest.approx(alone, abs=1e-4)
    if model._network.trials.shares:
        tokens = [len(model.tokens.prompt(c) + model.tokens.continuation(e)) for c, e in pairs]
        assert sum(read.tokens for read in found) < sum(tokens) / 2


def test_long_endings_of_a_short_context_stand_alone(model):
    spans = [Span([1] + [i] * 40, 1) for i in range(5)]
    trees = gather(enumerate(spans), share=model._network.trials.shares)
    assert [tree.members for tree in trees] == [[0], [1], [2], [3], [4]]


class OwnAttention(torch.nn.Module):
    """A layer that attends as it always does, whatever attention the model is told to use."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *args, **given):
        config = self.layer.config
        told, config._attn_implementation = config._attn_implementation, "sdpa"
        try:
            return self.layer(*args, **given)
        finally:
            config._attn_implementation = told


def test_an_attention_that_knows_of_no_prefix_is_found_out(tmp_path):
    model = open_model(tiny.spec(tiny.write_llama(tmp_path)), Limits())
    assert model._network.trials.shares
    for layer in model._base.model.layers:
        layer.self_attn = OwnAttention(layer.self_attn)
    assert not Network(model._base).trials.shares


def test_a_model_with_windows_shares_nothing(model):
    windowed = "gemma3" in type(model._base).__name__.lower()
    assert model._network.trials.shares != windowed
    assert (model._network.prefix(model.tokens.prompt(SHOTS)) is None) == windowed


def test_every_row_keeps_a_token_of_its_own():
    same = [[1] * 50, [1] * 50]
    assert shared_length(same, [50, 50]) == 49
    assert shared_length(same, [50, 40]) == 39
    assert shared_length([[1] * 50, [1] * 40 + [2] * 10], [50, 50]) == 40
    assert shared_length([[1] * 50, [1] * 20 + [2] * 30], [50, 50]) == 0
    assert shared_length([[1] * 50], [50]) == 0
