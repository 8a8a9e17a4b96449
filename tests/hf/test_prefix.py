"""What all prompts start with is read once, and nothing else changes."""

from contextlib import nullcontext

import pytest

from finetrap.backends import Row
from finetrap.backends.hf import HFModel, network, open_model
from finetrap.backends.hf.asking.trees import gather
from finetrap.backends.hf.kernels import cache
from finetrap.backends.hf.kernels.cache import shared_length
from finetrap.backends.hf.layout import Span
from finetrap.records import Limits, StrategySpec, TrainSpec
from tests.builders import tiny
from tests.builders.tiny import FAMILIES

SHOTS = "Question: Tom has 5 corn.\nAnswer: 5 * 60 = 300.\n\n" * 4
QUESTIONS = [*tiny.TEXTS, "12 + 5", "the mill " * 4]
PROMPTS = [f"{SHOTS}Question: {text}\nAnswer:" for text in QUESTIONS]
PAIRS = [(prompt, f" {text}") for prompt, text in zip(PROMPTS, QUESTIONS[::-1], strict=True)]


@pytest.fixture(params=FAMILIES, scope="module")
def model(request, tmp_path_factory) -> HFModel:
    folder = FAMILIES[request.param](tmp_path_factory.mktemp(request.param))
    return open_model(tiny.spec(folder), Limits())


@pytest.fixture
def reads(monkeypatch) -> list[int]:
    """Lengths of the prefixes that are read."""
    seen: list[int] = []
    plain = network.Network.prefix

    def counted(self, ids):
        found = plain(self, ids)
        seen.append(found.length if found else 0)
        return found

    monkeypatch.setattr(network.Network, "prefix", counted)
    return seen


def test_completions_are_the_same_with_and_without_sharing(model, reads, monkeypatch):
    settings = {"max_new_tokens": 12, "stops": ("Question:",), "batch": 3}
    shared = model.generate(PROMPTS, **settings)
    assert len(reads) == 1
    monkeypatch.setattr(cache, "LEAST", 10_000)
    assert model.generate(PROMPTS, **settings) == shared
    assert len(reads) == 1


def test_a_gold_scored_on_the_way_has_the_nats_that_it_has_by_itself(model):
    told: dict[int, float] = {}
    golds = [gold for _, gold in PAIRS]
    settings = {"max_new_tokens": 12, "stops": ("Question:",), "batch": 3}
    done = model.generate(PROMPTS, **settings, golds=golds, scored=told.__setitem__)
    assert done == model.generate(PROMPTS, **settings)
    nats = [told[number] for number in range(len(PAIRS))]
    assert nats == pytest.approx(model.score(PAIRS, batch=3), abs=1e-4)


def test_a_prefix_is_read_again_only_with_other_weights(model, monkeypatch):
    if not model._network.shares:
        pytest.skip("this family's rows cannot share a prefix")
    read: list[int] = []
    plain = network.Network._prefix

    def counted(self, ids):
        read.append(len(ids))
        return plain(self, ids)

    monkeypatch.setattr(network.Network, "_prefix", counted)
    model._network.forget()
    model.score(PAIRS, batch=3)
    model.score(PAIRS, batch=2)
    assert len(read) == 1
    model._network.forget()
    model.score(PAIRS, batch=3)
    assert len(read) == 2


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


def test_nats_are_the_same_with_and_without_sharing(model, reads, monkeypatch):
    shared = model.score(PAIRS, batch=3)
    assert len(reads) == 1
    monkeypatch.setattr(cache, "LEAST", 10_000)
    assert model.score(PAIRS, batch=3) == pytest.approx(shared, abs=1e-4)


def test_endings_of_one_context_read_it_once_and_cost_what_they_cost_alone(model, monkeypatch):
    endings = (" 7", " Tom has 3 + 4 = 7 apples.", " a", " the mill grinds corn")
    pairs = [(text, ending) for text in (*QUESTIONS, *PROMPTS) for ending in endings]
    read: list[int] = []
    plain = network.Network.logits

    def counted(self, ids, *args):
        read.append(ids.numel())
        return plain(self, ids, *args)

    monkeypatch.setattr(network.Network, "logits", counted)
    together = model.score(pairs, batch=3)
    alone = [model.score([pair], batch=1)[0] for pair in pairs]
    assert together == pytest.approx(alone, abs=1e-4)
    if model._network.shares:
        tokens = [len(model.tokens.prompt(c) + model.tokens.continuation(e)) for c, e in pairs]
        assert sum(read[: -len(pairs)]) < sum(tokens) / 2


def test_long_endings_of_a_short_context_stand_alone(model):
    spans = [Span([1] + [i] * 40, 1) for i in range(5)]
    trees = gather(enumerate(spans), share=model._network.shares)
    assert [tree.members for tree in trees] == [[0], [1], [2], [3], [4]]


def test_an_attention_that_knows_of_no_prefix_is_found_out(tmp_path, monkeypatch):
    model = open_model(tiny.spec(tiny.write_llama(tmp_path)), Limits())
    assert model._network.shares
    monkeypatch.setattr(network, "after", lambda core, prefix: nullcontext())
    assert not network.Network(model._base).shares


def test_a_model_with_windows_shares_nothing(model, reads):
    model.score(PAIRS, batch=3)
    windowed = "gemma3" in type(model._base).__name__.lower()
    assert (reads[0] == 0) == windowed


def test_every_row_keeps_a_token_of_its_own():
    same = [[1] * 50, [1] * 50]
    assert shared_length(same, [50, 50]) == 49
    assert shared_length(same, [50, 40]) == 39
    assert shared_length([[1] * 50, [1] * 40 + [2] * 10], [50, 50]) == 40
    assert shared_length([[1] * 50, [1] * 20 + [2] * 30], [50, 50]) == 0
    assert shared_length([[1] * 50], [50]) == 0
