"""What is known of a call is not found again, and all else comes out as if nothing were known."""

from __future__ import annotations

import random

import pytest

from finetrap import catalog
from finetrap.backends import NOTHING_KNOWN, Known
from finetrap.backends.hf import HFModel, open_model
from finetrap.records import Limits, StrategySpec, TrainSpec
from tests.builders import tiny
from tests.builders.cases import standing_for_all
from tests.builders.tiny import FAMILIES, ROWS

CAP, BATCH = 24, 5


class Killed(BaseException):
    """Ends a call at once."""


def prompts(start: str) -> list[str]:
    draw = random.Random(start)
    letters = "abcdefghij mnoprst"
    sizes = [draw.randrange(1, 30) for _ in range(23)]
    return [start + "".join(draw.choice(letters) for _ in range(size)) for size in sizes]


def opened(name: str, folder, dtype: str) -> HFModel:
    return open_model(tiny.spec(FAMILIES[name](folder)), Limits(dtype=dtype))


def asked(model: HFModel, texts, stop: int | None = None, known: Known = NOTHING_KNOWN):
    """Generate and score golds; what was told is returned too, up to the `stop`-th completion."""
    told = Known({}, {})

    def written(number, completion):
        if stop is not None and len(told.completions) == stop:
            raise Killed
        told.completions[number] = completion

    golds = [text[:-draw:-1] for draw, text in enumerate(texts, start=2)]
    try:
        found = model.generate(
            texts,
            max_new_tokens=CAP,
            stops=["o", "s"],
            batch=BATCH,
            written=written,
            golds=golds,
            scored=told.nats.__setitem__,
            known=known,
        )
    except Killed:
        found = None
    return found, told


CASES = [
    (name, dtype, start)
    for name in FAMILIES
    for dtype in ("fp32", "bf16")
    for start in ("", tiny.TEXTS[4])
]
STANDING = (
    ("llama", "bf16", tiny.TEXTS[4]),
    ("qwen2", "fp32", ""),
    ("gemma3", "bf16", tiny.TEXTS[4]),
)


def ends_the_same(model: HFModel, texts: list[str]) -> None:
    whole, told = asked(model, texts)
    assert len({completion.tokens for completion in whole}) > 1, "rows end at different times"
    for stop in (0, 1, 4, 9, 15, 22):
        _, first = asked(model, texts, stop)
        found, second = asked(model, texts, known=first)
        assert found == whole, f"stopped after {stop} completions"
        assert not first.completions.keys() & second.completions.keys()
        assert {**second.nats, **first.nats} == told.nats
        assert all(second.nats[n] == told.nats[n] for n in second.nats)


@pytest.mark.parametrize("case", standing_for_all(CASES, *STANDING))
def test_completions_and_golds_go_on_with_the_same_bits(case, tmp_path):
    name, dtype, start = case
    ends_the_same(opened(name, tmp_path, dtype), prompts(start))


@pytest.mark.parametrize(
    "name", standing_for_all(["prompt-tuning", "prefix-tuning", "lora"], "prefix-tuning")
)
def test_after_a_learned_prompt_too(name, tmp_path):
    model = opened("llama", tmp_path, "fp32")
    table = catalog.strategies()[name]
    strategy = StrategySpec(name, "peft", learning_rate=3e-2, peft=table["peft"])
    model.train(ROWS, strategy, TrainSpec(epochs=1), 0)
    ends_the_same(model, prompts(""))


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_likelihoods_go_on_with_the_same_bits(dtype, windows, tmp_path):
    model = opened("llama", tmp_path, dtype)
    pairs = [(text[:10], text * (1 + 9 * windows)) for text in prompts("")]
    told: dict[int, float] = {}
    whole = model.score(pairs, batch=BATCH, windows=windows, scored=told.__setitem__)
    for stop in (1, 7, 20, 23):
        known = dict(list(told.items())[:stop])
        more: dict[int, float] = {}
        found = model.score(
            pairs,
            batch=BATCH,
            windows=windows,
            scored=more.__setitem__,
            known=Known(nats=known),
        )
        assert found == whole
        assert {**more, **known} == told


def test_divergences_go_on_with_the_same_bits(tmp_path):
    model = opened("llama", tmp_path, "fp32")
    model.train(ROWS, tiny.STRATEGIES["full"], TrainSpec(epochs=1), 0)
    pairs, told = [(row.prompt, row.target) for row in ROWS], {}
    whole = model.divergence(pairs, batch=BATCH, moved=told.__setitem__)
    assert [told[n] for n in range(len(pairs))] == whole
    known, more = dict(list(told.items())[:7]), {}
    past = Known(divergences=known)
    assert model.divergence(pairs, batch=BATCH, moved=more.__setitem__, known=past) == whole
    assert len(more) < len(pairs)
