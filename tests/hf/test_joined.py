"""Rows in one row: the numbers of padded ones, and only where nothing reads across."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from finetrap.backends import Row
from finetrap.backends.hf import HFModel, open_model
from finetrap.backends.hf.kernels import joined
from finetrap.backends.hf.layout import Span, Tree, in_one_row
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.training import step
from finetrap.backends.hf.training.half import Copies
from finetrap.backends.hf.training.member import examples
from finetrap.backends.hf.training.passes import cut
from finetrap.records import Limits, StrategySpec, TrainSpec
from tests.builders import tiny
from tests.builders.reading import reading
from tests.builders.tiny import ROWS, STRATEGIES, write_gemma3

VARIED = [Row(row.prompt * (1 + at % 4), row.target) for at, row in enumerate(ROWS)]
F32 = torch.float32
PEFT = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}


@pytest.fixture(params=[tiny.write_llama, tiny.write_qwen2], ids=["llama", "qwen2"])
def model(request, tmp_path) -> HFModel:
    return open_model(tiny.spec(request.param(tmp_path)), Limits())


def taken(network: Network, batch: list, together: bool) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of one step."""
    loss = step.accumulate(network, batch, 0, together=together)
    gradients = [p.grad.clone() for p in network.core.parameters()]
    network.core.zero_grad()
    return loss, gradients


def difference(ones: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    """The largest relative difference of gradients that are not nothing."""
    norms = [float(other.float().norm()) for other in others]
    return max(
        float((one.float() - other.float()).norm()) / norm
        for one, other, norm in zip(ones, others, norms, strict=True)
        if norm > 1e-4 * max(norms)
    )


@pytest.mark.parametrize("longest", [40, 0], ids=["products", "kernel"])
def test_joined_rows_have_the_loss_and_gradients_of_padded_ones(model, longest, monkeypatch):
    spans = examples(VARIED, model.tokens, virtual=0, max_length=256)
    assert len({len(span.ids) for span in spans}) > 3
    network = Network(model._base.requires_grad_(True))
    assert network.trials.joins
    padded = taken(network, spans, together=False)
    monkeypatch.setattr(joined, "LONGEST", {torch.float32: longest})
    loss, gradients = taken(network, spans, together=True)
    assert loss == pytest.approx(padded[0], rel=1e-6)
    assert difference(gradients, padded[1]) < 1e-5


def test_joined_rows_in_bfloat16_are_as_near_as_padded_ones(model):
    spans = examples(VARIED, model.tokens, virtual=0, max_length=256)
    exact = Network(model._base.requires_grad_(True))
    expected = taken(exact, spans, together=False)
    copies = Copies(exact)
    copies.refresh()
    errors = []
    for together in (False, True):
        loss = step.accumulate(copies.network, spans, 0, together=together)
        errors.append(difference([p.grad for p in model._base.parameters()], expected[1]))
        model._base.zero_grad()
        assert loss == pytest.approx(expected[0], rel=0.01)
    assert errors[1] < 1.1 * errors[0] + 1e-3
    assert errors[1] < 0.1


def test_rows_of_about_one_length_attend_together():
    laid = in_one_row([Tree.of(Span([1] * (n + 1), 1)) for n in (20, 18, 17, 17, 9, 9, 12)], F32)
    rows = joined.Joined(laid.seen.pieces, padded=100)
    assert [(group.width, group._shape[0]) for group in rows.groups] == [
        (20, 2),
        (17, 2),
        (9, 2),
        (12, 1),
    ]
    assert laid.places[0].tolist()[18:22] == [18, 19, 0, 1]
    states = torch.randn(3, 102, 4)
    back = torch.zeros_like(states)
    for group in rows.groups:
        parts = group.take(states)
        assert parts.shape == (group._shape[0], 3, group.width, 4)
        group.put(back, parts)
    assert torch.equal(back, states)
    assert not rows.groups[0].take(states)[1, :, 18:].any(), "padding is zero"


def test_what_is_not_finite_in_a_row_stays_in_it(model):
    states = torch.randn(4, 20, 8)
    laid = in_one_row([Tree.of(Span([1] * (n + 1), 1)) for n in (12, 8)], F32)
    rows = joined.Joined(laid.seen.pieces, padded=10**6)
    attended = []
    for poison in (0.0, float("nan")):
        query = states.clone()
        query[:, :12] += poison
        token = joined._joined.set((rows, None))
        attended.append(joined.attend_joined(None, *[query[None]] * 3, None)[0])
        joined._joined.reset(token)
    assert torch.equal(attended[0][:, 12:], attended[1][:, 12:])
    assert attended[1][:, :12].isnan().all()


def test_models_whose_layers_read_across_are_padded(tmp_path, model):
    assert not open_model(tiny.spec(write_gemma3(tmp_path)), Limits())._network.trials.joins
    model._base.config._attn_implementation = "eager"
    assert not Network(model._base).trials.joins
    model._base.config._attn_implementation = "sdpa"


class CountsForItself(GPT2LMHeadModel):
    """Does not listen where its tokens stand."""

    def forward(self, position_ids=None, **more):
        return super().forward(**more)


def test_whether_rows_know_their_places_is_tried():
    config = GPT2Config(vocab_size=320, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    assert Network(GPT2LMHeadModel(config).eval()).trials.joins
    assert not Network(CountsForItself(config).eval()).trials.joins


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (STRATEGIES["full"], True),
        (STRATEGIES["dora"], True),
        (
            StrategySpec(
                "ia3",
                "peft",
                learning_rate=1e-3,
                peft={
                    "peft_type": "IA3",
                    "target_modules": ["k_proj", "down_proj"],
                    "feedforward_modules": ["down_proj"],
                },
            ),
            False,
        ),
        (StrategySpec("prompt", "peft", learning_rate=1e-3, peft=PEFT), False),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_peft_computes_itself_is_padded(model, spec, expected):
    with reading(model._base) as passes:
        steps = model.train(ROWS, spec, TrainSpec(batch=6), seed=0).steps
    assert {read.rows == 1 for read in passes[-steps:]} == {expected}


def test_joined_rows_are_cut_into_passes_of_about_one_size():
    spans = [Span(list(range(n)), 2) for n in (9, 3, 5, 7)]

    def lengths(places: int) -> list[list[int]]:
        parts = cut(spans, 99, places, together=True)
        return [[len(s.ids) for s in rows] for rows in parts]

    assert lengths(24) == [[9, 7, 5, 3]]
    assert lengths(23) == [[9, 7], [5, 3]]
    assert lengths(1) == [[9], [7], [5], [3]]
