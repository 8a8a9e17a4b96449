import copy
import math
from dataclasses import replace

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from finetrap.backends import Row
from finetrap.backends.hf import HFModel, open_model, trials
from finetrap.backends.hf.kernels import head
from finetrap.backends.hf.layout import Span
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.training import step as train
from finetrap.backends.hf.training.member import Schedule, _generator_seed, examples
from finetrap.backends.hf.training.passes import cut, token_bytes
from finetrap.errors import BadInput, ContextTooLong, Diverged
from finetrap.records import Limits, StrategySpec, TrainSpec
from tests.builders import tiny
from tests.builders.reading import reading
from tests.builders.tiny import LINEAR, ROWS, STRATEGIES, digest, write_gemma3

BUDGET = TrainSpec(epochs=2, batch=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def model(folder) -> HFModel:
    return open_model(tiny.spec(folder), Limits())


def plain_losses(folder, tokens, strategy: StrategySpec, steps: int, seed: int) -> list[float]:
    """A training loop as anyone would write it: padded rows, labels, the model's own loss."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if strategy.peft:
        torch.manual_seed(_generator_seed(f"adapter/train/{seed}"))
        network = peft.get_peft_model(
            network, peft.get_peft_config({**strategy.peft, "task_type": "CAUSAL_LM"})
        )
    weights = [p for p in network.parameters() if p.requires_grad or not strategy.peft]
    for weight in weights:
        weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(weights, lr=1.0, weight_decay=0.0, fused=False, foreach=False)
    peak, warm, losses = strategy.learning_rate, 2, []
    for step, batch in enumerate(Schedule(7, 6, peak, 0.1, 0, 1).batches(len(ROWS), seed)):
        if step == steps:
            break
        pairs = [
            (tokens.prompt(r.prompt), [*tokens.continuation(r.target), tokens.end])
            for r in (ROWS[i] for i in batch)
        ]
        width = max(len(a) + len(b) for a, b in pairs)
        padded = [(a, b, width - len(a) - len(b)) for a, b in pairs]
        output = network(
            input_ids=torch.tensor([a + b + [0] * n for a, b, n in padded]),
            attention_mask=torch.tensor([[1] * (width - n) + [0] * n for *_, n in padded]),
            labels=torch.tensor([[-100] * len(a) + b + [-100] * n for a, b, n in padded]),
        )
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        done = (step - warm) / (21 - warm)
        rise = (step + 1) / (warm + 1)
        optimizer.param_groups[0]["lr"] = peak * (
            rise if step < warm else (1 + math.cos(math.pi * done)) / 2
        )
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    return losses


@pytest.mark.parametrize("name", ["full", "lora", "dora"])
def test_the_first_twenty_losses_equal_a_plain_loop(folder, model, name):
    run = model.train(ROWS, STRATEGIES[name], TrainSpec(epochs=7, batch=6), seed=3)
    expected = plain_losses(folder, model.tokens, STRATEGIES[name], steps=20, seed=3)
    assert run.steps == 21
    assert run.evidence["loss"][:20] == pytest.approx(expected, rel=1e-4)
    assert expected[-1] < expected[0]


@pytest.mark.parametrize("write", [tiny.write_llama, write_gemma3], ids=["in chunks", "capped"])
def test_accumulated_passes_give_the_gradient_of_the_whole_batch(tmp_path, write):
    model = open_model(tiny.spec(write(tmp_path)), Limits())
    spans = examples(ROWS, model.tokens, virtual=0, max_length=256)
    network = Network(model._base.requires_grad_(True))
    in_chunks = network.head is not None
    assert in_chunks == (write is tiny.write_llama)
    losses, gradients, cuts = [], [], []

    def step(logits: int = train.LOGITS, room: int | None = None) -> None:
        held = None if room is None else room * token_bytes(network)
        with reading(network.core) as passes:
            losses.append(train.accumulate(network, spans, 0, logits, room=held))
        cuts.append(len(passes))
        gradients.append([p.grad.clone() for p in model._base.parameters()])
        model._base.zero_grad()

    step()
    step(room=60)
    step(room=1)
    step(320 * 40)
    step(1)
    assert cuts[0] == 1
    assert 1 < cuts[1] < len(spans) == cuts[2]
    if in_chunks:  # a head whose loss is taken in chunks needs no cuts for its logits
        assert cuts[3:] == [1, 1]
    else:
        assert 1 < cuts[3] < len(spans) == cuts[4]
    for loss, gradient in zip(losses[1:], gradients[1:], strict=True):
        assert loss == pytest.approx(losses[0], rel=1e-6)
        for one, whole in zip(gradient, gradients[0], strict=True):
            assert torch.allclose(one, whole, rtol=1e-4, atol=1e-7)


def starved(monkeypatch, most: int) -> None:
    """Let every pass over more than so many tokens exhaust the memory once its gradient is made."""
    real = train.backward

    def backward(network, spans, *arguments, **options):
        loss = real(network, spans, *arguments, **options)
        if sum(len(span.ids) for span in spans) > most:
            torch.empty(2**50)
        return loss

    monkeypatch.setattr(train, "backward", backward)


@pytest.mark.parametrize("name", ["full", "dora"])
def test_where_memory_runs_out_the_micro_batch_halves_and_the_step_is_the_same(
    folder, model, monkeypatch, name
):
    longest = max(len(span.ids) for span in examples(ROWS, model.tokens, virtual=0, max_length=256))
    whole = model.train(ROWS, STRATEGIES[name], BUDGET, seed=3)
    starved(monkeypatch, 2 * longest)
    run = model.train(ROWS, STRATEGIES[name], BUDGET, seed=3)
    assert whole.evidence["micro_batch_halved"] == []
    assert run.evidence["micro_batch_halved"] == [1, 1]
    for curve in ("loss", "gradient_norm"):
        assert run.evidence[curve] == pytest.approx(whole.evidence[curve], rel=1e-4)


def test_a_row_that_does_not_fit_alone_is_out_of_memory(model, monkeypatch):
    before = digest(model)
    starved(monkeypatch, 1)
    with pytest.raises(RuntimeError, match="allocate memory"):
        model.train(ROWS, STRATEGIES["full"], BUDGET, seed=3)
    assert digest(model) == before


def test_a_batch_is_cut_by_targets_and_by_padded_places():
    spans = [Span(list(range(n)), 2) for n in (9, 3, 5, 7)]

    def lengths(*limits: int) -> list[list[int]]:
        return [[len(s.ids) for s in rows] for rows in cut(spans, *limits)]

    assert lengths(99, 18) == [[9, 7], [5, 3]]
    assert lengths(8, 99) == [[9], [7, 5], [3]]


def test_order_and_initialisation_come_from_the_seed_alone(model):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = model.train(ROWS, STRATEGIES["lora"], BUDGET, seed=0).evidence["loss"]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert model.train(ROWS, STRATEGIES["lora"], BUDGET, seed=0).evidence["loss"] == first
    assert model.train(ROWS, STRATEGIES["lora"], BUDGET, seed=1).evidence["loss"] != first


@pytest.mark.parametrize("name", STRATEGIES)
def test_reset_returns_the_very_same_weights(model, name):
    untouched, asked = digest(model), [("Tom has", " 3 apples.")]
    before = model.score(asked, batch=1)
    model.train(ROWS, STRATEGIES[name], TrainSpec(epochs=1, batch=6), seed=0)
    assert model.score(asked, batch=1) != before
    model.reset()
    assert digest(model) == untouched
    assert model.score(asked, batch=1) == before


def test_training_starts_from_the_untouched_weights_each_time(model):
    first = model.train(ROWS, STRATEGIES["full"], BUDGET, seed=0).evidence["loss"]
    assert model.train(ROWS, STRATEGIES["full"], BUDGET, seed=0).evidence["loss"] == first


def test_a_loss_that_is_not_finite_ends_the_run_with_its_step_and_leaves_no_trace(model):
    untouched = digest(model)
    wild = StrategySpec("full", "full", learning_rate=1e30)
    with pytest.raises(Diverged) as caught:
        model.train(ROWS, wild, TrainSpec(epochs=2, batch=6, clip=1e30), seed=0)
    assert caught.value.step == 2
    assert len(caught.value.curve["loss"]) == 1
    assert digest(model) == untouched


def test_a_row_that_is_too_long_is_an_error_that_names_it(model):
    rows = [ROWS[0], Row("Question: " + "mill " * 90, " 1")]
    with pytest.raises(ContextTooLong, match=r"text 2: the training row .*max_length is 100"):
        model.train(rows, STRATEGIES["full"], TrainSpec(max_length=100), seed=0)
    rows = [Row("Question: " + "mill " * 300, " 1")]
    with pytest.raises(ContextTooLong, match="the model's context is 256"):
        model.train(rows, STRATEGIES["full"], TrainSpec(), seed=0)


def test_a_trained_strategy_needs_rows_and_a_rate(model):
    with pytest.raises(BadInput, match="no training row"):
        model.train([], STRATEGIES["full"], BUDGET, seed=0)
    for rate in (None, 0.0, -1e-4, math.nan):
        with pytest.raises(BadInput, match="learning rate"):
            model.train(ROWS, StrategySpec("full", "full", learning_rate=rate), BUDGET, seed=0)


def test_the_evidence_shows_what_is_in_the_loss(model):
    run = model.train(ROWS, STRATEGIES["lora"], BUDGET, seed=0)
    assert len(run.evidence["rows"]) == 2
    row = run.evidence["rows"][0]
    assert "".join(text for text, _ in row) == ROWS[0].prompt + ROWS[0].target + "<|eos|>"
    assert "".join(text for text, inside in row if inside) == ROWS[0].target + "<|eos|>"
    assert run.evidence["eos_share"] == 1.0
    assert run.steps == len(run.evidence["gradient_norm"]) == 6
    lengths = [len(s.ids) for s in examples(ROWS, model.tokens, virtual=0, max_length=256)]
    assert run.tokens == 2 * sum(lengths)


def test_the_update_ratio_is_the_norm_of_the_change_over_the_norm_of_the_weights(model):
    before = copy.deepcopy(model._base)
    run = model.train(
        ROWS, STRATEGIES["full"], TrainSpec(epochs=1, batch=99, weight_decay=0.1), seed=0
    )
    old, new = (torch.cat([p.flatten() for p in m.parameters()]) for m in (before, model._base))
    assert run.steps == 1
    assert run.evidence["update_ratio"][0] == pytest.approx(
        float((new - old).norm() / old.norm()), rel=1e-3
    )


def test_the_rate_rises_linearly_and_falls_along_a_cosine():
    schedule = Schedule(1, 1, 1.0, 0.1, 0, 1)
    rates = [schedule.rate(step, 20) for step in range(1, 21)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[11] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.01
    assert Schedule(1, 1, 1.0, 0.0, 0, 1).rate(1, 1) == 1.0


def test_every_row_is_seen_once_an_epoch_whatever_the_batch():
    batches = Schedule(2.5, 4, 1.0, 0, 0, 1).batches(6, seed=0)
    assert [len(batch) for batch in batches] == [4, 4, 4, 3]
    stream = [row for batch in batches for row in batch]
    assert sorted(stream[:6]) == sorted(stream[6:12]) == list(range(6))
    assert stream[:6] != stream[6:12]


def test_progress_is_told_at_every_step(model):
    heard = []
    run = model.train(ROWS, STRATEGIES["lora"], BUDGET, 0, lambda event, facts: heard.append(facts))
    assert [h["step"] for h in heard] == list(range(1, 7))
    assert [h["loss"] for h in heard] == run.evidence["loss"]
    assert {h["steps"] for h in heard} == {6}


def test_only_the_strategys_own_dropout_acts(tmp_path, model):
    folder = tiny.write_llama(tmp_path / "dropout", attention_dropout=0.9)
    careless = open_model(tiny.spec(folder), Limits())
    for name in ("full", "lora"):
        calm = model.train(ROWS, STRATEGIES[name], BUDGET, seed=0).evidence["loss"]
        assert careless.train(ROWS, STRATEGIES[name], BUDGET, seed=0).evidence["loss"] == calm
    asked = StrategySpec("lora", "peft", learning_rate=3e-4, peft={**LINEAR, "lora_dropout": 0.5})
    dropped = model.train(ROWS, asked, BUDGET, seed=0).evidence["loss"]
    assert dropped[2:] != pytest.approx(calm[2:], rel=1e-5)


@pytest.mark.parametrize("chunk", [1, 320 * 7, 2**23])
@pytest.mark.parametrize("trained", [True, False])
def test_the_heads_loss_in_chunks_is_cross_entropy(chunk, trained):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(50, 16, generator=generator, requires_grad=True)
    weight = torch.randn(320, 16, generator=generator, requires_grad=trained)
    targets = torch.randint(320, (50,), generator=generator)
    shares = torch.rand(50, generator=generator)
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="none")
    (3 * (expected * shares).sum()).backward()
    grown = [t.grad.clone() for t in (hidden, weight) if t.requires_grad]
    hidden.grad = weight.grad = None
    total, losses = head.HeadLoss.apply(hidden, weight, targets, shares, None, chunk)
    (3 * total).backward()
    assert torch.allclose(losses, expected, rtol=1e-6)
    assert not losses.requires_grad
    found = [t.grad for t in (hidden, weight) if t.requires_grad]
    for one, other in zip(found, grown, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_the_heads_gradient_in_a_pass_without_targets_is_zero():
    hidden = torch.randn(0, 16, requires_grad=True)
    weight = torch.randn(320, 16, requires_grad=True)
    none = torch.zeros(0, dtype=torch.long)
    torch.use_deterministic_algorithms(True)  # fills uninitialised memory with NaN
    try:
        total, losses = head.HeadLoss.apply(hidden, weight, none, torch.zeros(0))
        total.backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(losses) == 0
    assert torch.equal(weight.grad, torch.zeros_like(weight))


def test_logits_that_are_more_than_a_product_are_left_to_the_model(tmp_path, model):
    capped = open_model(tiny.spec(write_gemma3(tmp_path)), Limits())
    assert capped._network.head is None
    assert model._network.head is model._base.get_output_embeddings().weight
    faster = replace(STRATEGIES["full"], learning_rate=3e-3)
    loss = capped.train(ROWS, faster, TrainSpec(epochs=7, batch=6), seed=0).evidence["loss"]
    assert loss[-1] < loss[0] - 1


def test_what_is_first_tried_on_trained_weights_is_compared_with_them(model, monkeypatch):
    monkeypatch.setattr(trials, "_SHOWN", set())
    model.score([("a", "b")], batch=1)  # compares with the base weights
    strategy = replace(STRATEGIES["full"], learning_rate=0.01)
    model.train(ROWS, strategy, BUDGET, seed=1)
    assert model.how_read["completions"] == "shared"
