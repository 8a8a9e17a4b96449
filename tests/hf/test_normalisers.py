"""Tokenizers that change a text (small letters, no accents, NFKC), held against transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from finetrap.backends import Row
from finetrap.backends.hf import HFModel, open_model
from finetrap.backends.hf.asking.generate import Endings
from finetrap.backends.hf.tokens import Tokens
from finetrap.backends.hf.training.member import examples, rendered
from finetrap.cli.read_how import how_read
from finetrap.records import Limits
from tests.builders import plainly, runs, tiny, tokenizers

PROMPTS = [
    "Question: \u00c9mile has \u00bd a \ufb01g and 3 Apples. How many?\nAnswer:",
    "QUESTION: Na\u00efve Ann pays \uff11\uff12 euros.\nAnswer:",
    *tiny.TEXTS[:2],
]
TARGETS = [
    " \u00c9mile has 3 Apples.\n#### 3",
    " Caf\u00e9 \uff11\uff12.\n#### 12",
    *tiny.TEXTS[3:5],
]
CAP = 12
DROPS = {
    "lower case": "capital letters",
    "nfkc": "compatibility characters",
    "accents": "accents",
    "bert": "capital letters, accents",
}


@pytest.fixture(params=tokenizers.NORMALISERS, scope="module")
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(name, tmp_path_factory) -> Path:
    words = tokenizers.normalising(name)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = LlamaConfig(**tiny.shape(vocab_size=len(words)), initializer_range=0.2)
        return tiny.write(tmp_path_factory.mktemp("words"), LlamaForCausalLM(config), words)


@pytest.fixture(scope="module")
def model(folder) -> HFModel:
    return open_model(tiny.spec(folder), Limits())


@pytest.fixture(scope="module")
def plain(folder):
    return plainly.opened(folder)


@pytest.fixture(scope="module")
def theirs(folder):
    """The tokenizer as transformers opens it, without anything of finetrap's."""
    return AutoTokenizer.from_pretrained(folder)


def words(name: str) -> Tokens:
    made = tokenizers.normalising(name)
    return Tokens(made, form="auto", context=None, vocabulary=len(made))


def test_completions_are_those_of_transformers(model, plain, theirs):
    expected = []
    for text in PROMPTS:
        ids = plainly.completed(plain, theirs(text).input_ids, model.tokens, CAP)
        expected.append(theirs.decode(ids, skip_special_tokens=True))
    for batch in (1, 4):
        found = model.generate(PROMPTS, max_new_tokens=CAP, stops=(), batch=batch)
        assert [c.text for c in found] == expected


def test_gold_likelihoods_are_those_of_the_whole_text(model, plain, theirs):
    pairs, expected = list(zip(PROMPTS, TARGETS, strict=True)), []
    for prompt, target in pairs:
        head, whole = theirs(prompt).input_ids, theirs(prompt + target).input_ids
        assert whole[: len(head)] == head
        expected.append(plainly.nats(plain, head, whole[len(head) :]))
    assert model.score(pairs, batch=4) == pytest.approx(expected, rel=1e-6)
    told: dict[int, float] = {}
    model.generate(
        PROMPTS, max_new_tokens=CAP, stops=(), batch=4, golds=TARGETS, scored=told.__setitem__
    )
    assert [told[i] for i in range(len(pairs))] == pytest.approx(expected, rel=1e-6)


def test_a_training_row_has_the_tokens_of_the_whole_text_and_is_shown_as_it_is_read(model, theirs):
    for prompt, target in zip(PROMPTS, TARGETS, strict=True):
        [span] = examples([Row(prompt, target)], model.tokens, virtual=0, max_length=256)
        whole = theirs(prompt + target).input_ids
        assert span.ids == [*whole, theirs.eos_token_id]
        shown = "".join(text for text, _ in rendered(span, model.tokens))
        assert (
            shown == f"<s>{theirs.backend_tokenizer.normalizer.normalize_str(prompt + target)}</s>"
        )


@pytest.mark.parametrize(
    ("name", "stop", "written"),
    [
        ("lower case", "Question:", "question:"),
        ("nfkc", "\uff31:", "Q:"),
        ("accents", "R\u00e9ponse:", "Reponse:"),
        ("bert", "R\u00c9PONSE:", "reponse:"),
    ],
)
def test_a_stop_string_ends_an_answer_as_the_model_writes_it(name, stop, written):
    tokens = words(name)
    ids = tokens.continuation(f"It is 7.\n\n{stop} why")
    ended = Endings(tokens, [stop], 500)
    done = [found for at in range(1, len(ids) + 1) if (found := ended.check(ids[:at]))]
    before = tokens.text(tokens.continuation("It is 7.\n\n"))
    assert done[0].text == before
    assert done[0].stop == "stop"
    assert tokens.text(ids[: done[0].tokens]).endswith(written)


@pytest.mark.parametrize("family", [n for n in tokenizers.FAMILIES if n != "word piece"])
def test_a_tokenizer_that_changes_nothing_has_the_stops_that_it_is_given(family):
    made = tokenizers.family(family)
    tokens = Tokens(made, form="auto", context=None, vocabulary=len(made))
    for stop in ("Question:", "Q:", "\n\n", " Human:", "Human: ", "\u65e5\u672c:", "</s>"):
        assert tokens.as_written(stop) == stop
    assert tokens.drops == ()


def test_what_a_tokenizer_drops_is_told(name, model, folder):
    assert model.how_read["drops"] == DROPS[name]
    one = runs.run(runs.ZERO, [1])
    [line] = how_read([one.cell], {one.cell.key: {"read": {"drops": DROPS[name]}}})
    assert line == f"mini reads and writes text without {DROPS[name]}: its tokenizer"
