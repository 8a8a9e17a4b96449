"""oneDNN's products: torch's numbers, the same bits in every batch and order of the weights."""

import pytest
import torch

from finetrap.backends.hf import open_model
from finetrap.backends.hf.kernels import onednn
from finetrap.backends.hf.kernels.onednn import multiplying, product
from finetrap.records import Limits
from tests.builders import tiny

TYPES = [torch.float32, torch.bfloat16]
ROOM = 2**20
"""Bytes that packed weights may take: more than one layer's here."""
ENDLESS = 2**30


WIDTH, OUT = 72, onednn.LEAST // 72 + 1
"""A weight just large enough to gain."""
pytestmark = pytest.mark.skipif(
    torch.float32 not in onednn._types(), reason="oneDNN multiplies nothing better with this torch"
)


def layer(dtype: torch.dtype, *, bias: bool = False, outputs: int = OUT) -> torch.nn.Module:
    """A model of one layer."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return torch.nn.Sequential(torch.nn.Linear(WIDTH, outputs, bias=bias)).to(dtype)


def states(rows: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(rows)).to(dtype)


def supported(dtype: torch.dtype) -> torch.dtype:
    if dtype not in onednn._types():
        pytest.skip("this processor has no bfloat16 instructions")
    return dtype


@pytest.mark.parametrize("tokens", [0, onednn.ENOUGH], ids=["plain", "packed"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", TYPES, ids=["fp32", "bf16"])
@torch.no_grad()
def test_products_are_torchs(dtype, bias, tokens):
    model = layer(supported(dtype), bias=bias)
    shaped = states(12, dtype).view(3, 4, WIDTH)
    expected = model.double()(shaped.double())
    model = model.to(dtype)
    with multiplying(model, tokens, ROOM):
        found = model(shaped)
    assert found.dtype == dtype
    assert found.shape == (3, 4, OUT)
    within = 1e-6 if dtype == torch.float32 else 5e-3
    assert float((found - expected).norm() / expected.norm()) < within


@torch.no_grad()
def test_no_bit_depends_on_the_rows_beside_or_on_packing():
    model, whole = layer(torch.float32), states(300, torch.float32)
    with multiplying(model):
        expected = model(whole)
    for tokens in (0, onednn.ENOUGH):
        with multiplying(model, tokens, ROOM):
            for rows in (1, 2, 3, 7, 16, 65, 300):
                assert torch.equal(model(whole[:rows]), expected[:rows]), (tokens, rows)
    assert torch.equal(product(whole[5:6], model[0].weight), expected[5:6])


@torch.no_grad()
def test_no_rows_make_no_products():
    model = layer(torch.float32)
    for tokens in (0, onednn.ENOUGH):
        with multiplying(model, tokens, ROOM):
            assert model(torch.empty(2, 0, WIDTH)).shape == (2, 0, OUT)


@torch.no_grad()
def test_what_is_not_finite_stays_in_its_row():
    model, rows = layer(torch.float32), states(3, torch.float32)
    rows[1] = float("nan")
    with multiplying(model, onednn.ENOUGH, ROOM):
        found = model(rows)
    assert found[[0, 2]].isfinite().all()
    assert found[1].isnan().all()


def test_layers_are_themselves_afterwards_even_after_a_fault():
    model = layer(torch.float32)
    with multiplying(model):
        assert "forward" in vars(model[0])
        with pytest.raises(RuntimeError):
            model(torch.zeros(2, 5))
    with pytest.raises(ZeroDivisionError), multiplying(model):
        _ = 1 / 0
    assert "forward" not in vars(model[0])


def test_nothing_is_packed_for_few_tokens_or_where_memory_is_short():
    model, packed = layer(torch.float32), []
    short = model[0].weight.nbytes - 1
    enough = onednn.ENOUGH
    for tokens, room in ((enough - 1, ROOM), (enough, ROOM), (enough, short)):
        with multiplying(model, tokens, room) as are:
            packed.append(are)
    assert packed == [False, True, False]


class Reader(torch.nn.Module):
    """Two layers, two more that share a weight, and a head."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.own, self.other, self.first, self.second, self.head = (
            torch.nn.Linear(WIDTH, OUT, bias=False, dtype=dtype) for _ in range(5)
        )
        self.second.weight = self.first.weight

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head


@pytest.mark.parametrize("dtype", TYPES, ids=["fp32", "bf16"])
@torch.no_grad()
def test_weights_that_are_laid_aside_are_empty_meanwhile_and_the_same_afterwards(dtype):
    model, shown = Reader(supported(dtype)), states(5, dtype)
    weights = {name: weight.clone() for name, weight in model.named_parameters()}
    with multiplying(model, onednn.ENOUGH, ENDLESS):
        expected = model.own(shown)
    with multiplying(model, onednn.ENOUGH, ENDLESS, aside=True):
        empty = {name for name, weight in model.named_parameters() if not weight.numel()}
        found = model.own(shown)
    assert empty == {"own.weight", "other.weight"}
    assert torch.equal(found, expected)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, weights[name]), name
    assert model.own.weight.is_contiguous()


def test_weights_are_whole_again_after_a_fault():
    model = Reader(torch.float32)
    weight = model.own.weight.clone()
    with pytest.raises(ZeroDivisionError), multiplying(model, onednn.ENOUGH, ENDLESS, aside=True):
        _ = 1 / model.own.weight.numel()
    assert torch.equal(model.own.weight, weight)


def test_weights_laid_aside_need_the_room_of_the_largest():
    model = Reader(torch.float32)
    size = model.own.weight.nbytes
    for aside, room in ((False, 5 * size), (True, 4 * size)):
        for less in (0, 1):
            with multiplying(model, onednn.ENOUGH, room - less, aside=aside) as packed:
                assert packed == (not less)


def test_small_weights_and_other_processors_are_left_to_torch(switch_operators_off):
    model = layer(torch.float32, outputs=OUT - 1)
    with multiplying(model):
        assert "forward" not in vars(model[0])
    model = layer(torch.float32)
    with multiplying(model):
        assert "forward" in vars(model[0])
    switch_operators_off()
    with multiplying(model):
        assert "forward" not in vars(model[0])


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_model_answers_as_with_torchs_products(tmp_path, switch_operators_off, dtype):
    supported({"fp32": torch.float32, "bf16": torch.bfloat16}[dtype])
    model = open_model(
        tiny.spec(tiny.write_llama(tmp_path, intermediate_size=2 * onednn.LEAST // 32)),
        Limits(dtype=dtype),
    )
    prompts, pairs = [text[:60] for text in tiny.TEXTS], [(t[:20], t[20:]) for t in tiny.TEXTS]

    def answers(tokens: int) -> tuple[list[str], list[float]]:
        """Few tokens are multiplied as the weights lie, many by packed weights."""
        with multiplying(model._network.core, tokens, 2**30) as packed:
            assert packed == (tokens >= onednn.ENOUGH)
            done = model.generate(prompts, max_new_tokens=20, stops=(), batch=2)
            return [c.text for c in done], model.score(pairs, batch=2)

    apart, packed = answers(0), answers(onednn.ENOUGH)
    switch_operators_off()
    torchs = answers(0)
    if dtype == "bf16":  # two tokens that are nearly as likely may change places
        assert packed[1] == pytest.approx(torchs[1], rel=1e-2)
        return
    assert packed == apart
    assert packed[0] == torchs[0]
    assert packed[1] == pytest.approx(torchs[1], rel=1e-6)


def opened(folder, **sizes):
    """A Llama with layers large enough to be packed."""
    return open_model(
        tiny.spec(tiny.write_llama(folder, intermediate_size=2 * onednn.LEAST // 32, **sizes)),
        Limits(),
    )


def test_a_model_answers_the_same_while_its_weights_are_laid_aside(tmp_path):
    model = opened(tmp_path)
    prompts = [text[:60] for text in tiny.TEXTS]

    def answers() -> list[str]:
        done = model.generate(prompts, max_new_tokens=20, stops=(), batch=2)
        return [completion.text for completion in done]

    expected = answers()
    assert model._network.trials.lays_aside
    with multiplying(model._network.core, onednn.ENOUGH, ENDLESS, aside=True):
        assert not model._network.core.model.layers[0].mlp.up_proj.weight.numel()
        found = answers()
    assert found == expected == answers()


def test_weights_that_a_model_reads_itself_are_not_laid_aside(tmp_path):
    network = opened(tmp_path, max_position_embeddings=999)._network
    part = network.core.model.layers[0].mlp
    gate = part.gate_proj.weight

    def reads(states: torch.Tensor) -> torch.Tensor:
        gated = part.act_fn(torch.nn.functional.linear(states, part.gate_proj.weight))
        return part.down_proj(gated * part.up_proj(states))

    part.forward = reads
    assert not network.trials.lays_aside
    assert gate.numel()
    assert network.trials.way == "shared"
