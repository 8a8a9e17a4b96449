"""Gradients added where they lie, and feed-forwards that keep less: autograd's numbers."""

import copy

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP

from finetrap.backends.hf import open_model
from finetrap.backends.hf.kernels import gated, head
from finetrap.backends.hf.kernels.sums import Sum
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.training import embeddings
from finetrap.backends.hf.training.embeddings import summed, widest
from finetrap.backends.hf.training.member import examples
from finetrap.backends.hf.training.step import accumulate
from finetrap.records import Limits, TrainSpec
from tests.builders import tiny
from tests.builders.tiny import ROWS, STRATEGIES, digest

SIZES = {"hidden_size": 16, "intermediate_size": 40, "num_attention_heads": 4}


@pytest.fixture(params=[tiny.write_llama, tiny.write_qwen2], ids=["tied", "apart"])
def model(request, tmp_path):
    return open_model(tiny.spec(request.param(tmp_path)), Limits())


def test_a_heads_gradient_in_pieces_is_that_of_cross_entropy():
    places = head.LINES + 2  # the last piece is smaller
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(places, 50, generator=generator)).requires_grad_()
    targets = torch.randint(50, (places,), generator=generator)
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    expected.sum().backward()
    found = logits.detach().clone()
    losses = head._to_gradient(found, targets)
    assert torch.allclose(losses, expected, atol=1e-6)
    assert torch.allclose(found, logits.grad, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_sum_adds_whole_gradients_rows_and_products(dtype):
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    weight = torch.nn.Parameter(torch.zeros(5, 9).T)  # lies in memory the other way around
    half = torch.nn.Parameter(torch.zeros(9, 5, dtype=dtype))
    added = Sum(weight, piece=7, block=4)
    for _ in range(2):  # two steps: the same place, and nothing of the first in it
        weight.grad = None
        one, two, rows = drawn(9, 5), drawn(9, 5), drawn(3, 5)
        left, right = drawn(6, 9), drawn(6, 5)
        for gradient in (one, two):
            half.grad = gradient.clone()
            added.take(half)
            assert half.grad is None
        added.take(half)  # which has none
        added.add_rows(torch.tensor([4, 0, 4]), rows)
        added.add_product(left, right)
        expected = one.float() + two.float() + left.float().T @ right.float()
        for at, row in zip((4, 0, 4), rows, strict=True):
            expected[at] += row.float()
        near = 1e-5 if dtype == torch.float32 else 1e-2
        assert float((weight.grad - expected).norm() / expected.norm()) < near
    weight.grad = None
    added.add_rows(torch.tensor([1]), torch.ones(1, 5, dtype=dtype))
    assert weight.grad.sum() == 5


@pytest.mark.parametrize("padding", [None, 5])
def test_summed_gradients_are_autograds(model, padding):
    core = model._base.requires_grad_(True)
    core.get_input_embeddings().padding_idx = padding
    network = Network(core)
    spans = examples(ROWS, model.tokens, virtual=0, max_length=256)
    if padding is not None:
        spans = [span._replace(ids=[5, *span.ids[1:]]) for span in spans]
    found = []
    for places in ({}, widest(network)):
        with summed(network, places):
            assert (network.into is not None) == bool(places)
            loss = accumulate(network, spans[:8], 0)
        found.append((loss, [p.grad.clone() for p in core.parameters()]))
        core.zero_grad()
    assert network.into is None
    assert "forward" not in vars(core.get_input_embeddings())
    assert found[1][0] == found[0][0]
    for one, other in zip(found[1][1], found[0][1], strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6 * float(other.abs().max()))


def test_layers_that_do_more_than_look_up_are_left_to_autograd(model):
    lookup = model._base.get_input_embeddings()
    assert embeddings._is_lookup(lookup)
    lookup.max_norm = 1.0
    assert not embeddings._is_lookup(lookup)
    lookup.max_norm = None
    lookup.register_forward_hook(lambda *_: None)
    assert not embeddings._is_lookup(lookup)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_feed_forward_that_keeps_less_has_the_same_gradients(dtype):
    torch.manual_seed(0)
    module = LlamaMLP(LlamaConfig(**SIZES)).to(dtype)
    states = torch.randn(3, gated.LINES // 2, 16).to(dtype)
    found, kept = [], []
    for way in (module, lambda x: gated.gated(module, x)):
        given = states.clone().requires_grad_()
        held: list[int] = []

        def pack(saved, held=held):
            held.append(saved.numel() if saved.shape[-1] == 40 else 0)
            return saved

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            output = way(given)
        slopes = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
        output.backward(slopes.to(dtype))
        found.append([output, given.grad, *(p.grad for p in module.parameters())])
        module.zero_grad()
        kept.append(sum(held))
    near = 1e-5 if dtype == torch.float32 else 2e-2
    for one, other in zip(*found, strict=True):
        assert float((one.float() - other.float()).norm() / other.float().norm()) < near
    assert kept[1] < 0.6 * kept[0]


def test_only_plain_gated_feed_forwards_keep_less(model, tmp_path):
    core = model._base
    with gated.made_again(core):
        changed = [m for m in core.modules() if "forward" in vars(m)]
        assert [type(m).__name__ for m in changed] == [type(core.model.layers[0].mlp).__name__] * 2
    assert not [m for m in core.modules() if "forward" in vars(m)]
    state = torch.get_rng_state()
    gated._is_gated(core.model.layers[0].mlp)
    assert torch.equal(torch.get_rng_state(), state), "what is tried leaves no trace"
    other = copy.copy(core.model.layers[0].mlp)
    other._modules = {**other._modules, "act_fn": torch.nn.GELU()}
    assert not gated._is_gated(other)


def test_full_training_adds_its_widest_gradients_in_place(model):
    in_place: list[bool] = []
    hook = model._base.register_forward_pre_hook(
        lambda core, _: in_place.append("forward" in vars(core.get_input_embeddings()))
    )
    before = digest(model)
    _ = model._network.head
    in_place.clear()
    model.train(ROWS, STRATEGIES["full"], TrainSpec(batch=6), seed=0)
    assert in_place[-1]
    assert digest(model) != before
    in_place.clear()
    model.score([("Tom has", " 3 apples.")], batch=1)
    assert in_place
    assert not any(in_place)
    hook.remove()
    model.reset()
    assert digest(model) == before
