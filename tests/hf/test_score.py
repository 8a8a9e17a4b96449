import pytest
import torch
from transformers import AutoModelForCausalLM

from finetrap.backends import Row
from finetrap.backends.hf import HFModel, open_model
from finetrap.backends.hf.asking import score
from finetrap.backends.hf.kernels import head
from finetrap.backends.hf.layout import join
from finetrap.errors import ContextTooLong
from finetrap.records import Limits, StrategySpec, TrainSpec
from tests.builders import tiny
from tests.builders.reading import reading

PAIRS = [
    (tiny.TEXTS[0], tiny.TEXTS[1]),
    (tiny.TEXTS[2], tiny.TEXTS[3]),
    (tiny.TEXTS[2], " 5"),
    ("a", tiny.TEXTS[4]),
    ("The mill", " grinds"),
    ("", tiny.TEXTS[0]),
]
WRITERS = {
    "llama with BOS": lambda folder: tiny.write_llama(folder, bos=True),
    "llama": tiny.write_llama,
    "qwen2": tiny.write_qwen2,
}


@pytest.fixture(params=WRITERS, scope="module")
def folder(request, tmp_path_factory):
    return WRITERS[request.param](tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def model(folder) -> HFModel:
    return open_model(tiny.spec(folder), Limits())


def direct(folder, context: list[int], continuation: list[int]) -> float:
    """Nats of a continuation by one plain forward pass in double precision after the logits."""
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([context + continuation])
    with torch.no_grad():
        logprobs = reference(ids).logits[0, :-1].double().log_softmax(-1)
    nats = -logprobs.gather(1, ids[0, 1:, None])[len(context) - 1 :]
    return float(nats.sum())


def test_nats_equal_a_direct_forward_pass(folder, model):
    for (context, continuation), nats in zip(PAIRS, model.score(PAIRS, batch=4), strict=True):
        after = model.tokens.continuation(continuation)
        expected = direct(folder, model.tokens.prompt(context), after)
        assert nats == pytest.approx(expected, abs=1e-4 * len(after))


def test_nats_do_not_depend_on_the_batch_nor_on_how_logits_are_cut(model):
    alone = model.score(PAIRS, batch=1)
    assert model.score(PAIRS, batch=16) == pytest.approx(alone, abs=1e-4)
    spans = [join(model.tokens, *pair) for pair in PAIRS]
    cut = score.score(model._network, spans, filler=0, batch=16, logits=320 * 20)
    assert cut == pytest.approx(alone, abs=1e-4)


def test_nats_are_told_once_as_they_are_known(model):
    told = {}

    def scored(number, nats):
        assert number not in told
        told[number] = nats

    assert told == dict(enumerate(model.score(PAIRS, batch=2, scored=scored)))
    told.clear()
    texts = [tiny.TEXTS[0] * 40, tiny.TEXTS[1]]
    whole = model.score([("", text) for text in texts], batch=1, windows=True, scored=scored)
    assert told == pytest.approx(dict(enumerate(whole)))


def test_an_empty_continuation_costs_nothing(model):
    assert model.score([("Tom", ""), ("Tom", " has")], batch=2)[0] == 0.0


def test_a_text_that_does_not_fit_is_an_error_that_names_it(model):
    with pytest.raises(ContextTooLong, match="text 2: the text to be scored takes"):
        model.score([("a", "b"), ("a", " mill" * 300)], batch=2)


def test_scored_tokens_are_counted(folder):
    model = open_model(tiny.spec(folder), Limits())
    model.score(PAIRS[:1], batch=1)
    context, continuation = PAIRS[0]
    read = len(model.tokens.prompt(context)) + len(model.tokens.continuation(continuation))
    assert model.tokens_read == read


def test_short_prose_stands_after_the_begin_token_or_the_prefix(folder, model):
    text, prefix = tiny.TEXTS[4], tiny.TEXTS[0] + tiny.TEXTS[1] + "\n\n"
    after = model.tokens.continuation(text)
    [plain] = model.score([("", text)], batch=1, windows=True)
    [prefixed] = model.score([(prefix, text)], batch=1, windows=True)
    begin = [model.tokens.begin]
    assert plain == pytest.approx(direct(folder, begin, after), abs=1e-4 * len(after))
    expected = direct(folder, model.tokens.prompt(prefix), after)
    assert prefixed == pytest.approx(expected, abs=1e-4 * len(after))


def test_long_prose_is_read_whole_in_disjoint_windows(folder, model):
    text = " ".join([tiny.TEXTS[4]] * 16)
    ids = model.tokens.continuation(text)
    room = 256 - 1
    assert len(ids) > 2 * room
    parts = [ids[at : at + room] for at in range(0, len(ids), room)]
    expected = sum(direct(folder, [model.tokens.begin], part) for part in parts)
    [nats] = model.score([("", text)], batch=2, windows=True)
    assert nats == pytest.approx(expected, abs=1e-4 * len(ids))


def test_a_prefix_that_leaves_no_room_for_prose_is_an_error(model):
    with pytest.raises(ContextTooLong, match="no room"):
        model.score([("mill " * 300, "a text")], batch=1, windows=True)


def test_the_first_token_of_prose_is_not_scored_where_nothing_can_stand_before_it(tmp_path):
    folder = tiny.write_llama(tmp_path / "llama")
    model = open_model(tiny.spec(folder), Limits())
    model.tokens.begin = None
    ids = model.tokens.continuation(tiny.TEXTS[4])
    [nats] = model.score([("", tiny.TEXTS[4])], batch=1, windows=True)
    assert nats == pytest.approx(direct(folder, ids[:1], ids[1:]), abs=1e-4 * len(ids))


def test_bf16_is_near_fp32_and_returns_to_the_stored_weights(tmp_path):
    folder = tiny.write_llama(tmp_path / "llama")
    exact, half = (open_model(tiny.spec(folder), Limits(dtype=d)) for d in ("fp32", "bf16"))
    before = half.score(PAIRS, batch=6)
    assert before != exact.score(PAIRS, batch=6)
    assert before == pytest.approx(exact.score(PAIRS, batch=6), rel=0.05)
    full = StrategySpec("full", "full", learning_rate=1e-3)
    rows = [Row(*pair) for pair in PAIRS]
    losses = [m.train(rows, full, TrainSpec(epochs=2), 0).evidence["loss"] for m in (exact, half)]
    assert losses[0] == losses[1]
    assert half.score(PAIRS, batch=6) != before
    half.reset()
    assert half.score(PAIRS, batch=6) == before


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_batch_that_exhausts_the_memory_is_halved_in_fp32_alone(tmp_path, dtype):
    model = open_model(tiny.spec(tiny.write_llama(tmp_path)), Limits(dtype=dtype))
    whole = model.score(PAIRS, batch=6)
    longest = max(sum(pair) for pair in model.lengths(PAIRS))
    with reading(model._base, lambda read: read.tokens > 1.2 * longest) as passes:
        if dtype == "fp32":
            assert model.score(PAIRS, batch=6) == pytest.approx(whole, abs=1e-5)
        else:
            with pytest.raises(MemoryError, match=r"write batch = \d in \[limits\]"):
                model.score(PAIRS, batch=6)
    assert max(read.tokens for read in passes) > 1.2 * longest


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_heads_sums_block_by_block_equal_those_of_all_logits(dtype):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(37, 24, generator=generator).to(dtype)
    weight = torch.randn(2 * head.BLOCK + 5, 24, generator=generator).to(dtype)
    weight[3] *= 40  # one logit towers over all others
    sources = torch.randint(37, (50,), generator=generator)
    targets = torch.randint(len(weight), (50,), generator=generator)
    logits = hidden @ weight.mT
    whole = head.Predictions(logits, None).nats(sources, targets)
    found = head.Predictions(hidden, weight)
    assert found.nats(sources, targets).tolist() == pytest.approx(
        whole.tolist(), rel=1e-5, abs=1e-4
    )
    exact = torch.nn.functional.cross_entropy(logits.double()[sources], targets, reduction="none")
    assert whole.tolist() == pytest.approx(exact.tolist(), rel=1e-5, abs=1e-4)
    assert torch.equal(found.logits(sources[:3]).argmax(-1), logits[sources[:3]].argmax(-1))
