"""Attention in whole products: torch's numbers, and torch's own code where it does not apply."""

from dataclasses import replace

import pytest
import torch

from finetrap.backends.hf import open_model
from finetrap.backends.hf.kernels import attention
from finetrap.backends.hf.kernels.attention import attend_whole, whole_products
from finetrap.records import Limits, TrainSpec
from tests.builders import tiny
from tests.builders.tiny import ROWS, STRATEGIES


def states(dtype: torch.dtype, length: int = 40) -> list[torch.Tensor]:
    """Queries of six heads, keys and values of two."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(3, heads, length, 16, generator=generator).to(dtype).requires_grad_()
        for heads in (6, 2, 2)
    ]


def fused(tensors: list[torch.Tensor], scale: float | None) -> torch.Tensor:
    query, key, value = (t.detach().float().requires_grad_() for t in tensors)
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, enable_gqa=True, scale=scale
    )
    return output, (query, key, value)


def made_by(tensor: torch.Tensor) -> str:
    """Names of what autograd would go through."""
    waiting, names = [tensor.grad_fn], []
    while waiting:
        step = waiting.pop()
        names.append(type(step).__name__)
        waiting += [before for before, _ in step.next_functions if before is not None]
    return " ".join(names)


@pytest.mark.parametrize(
    ("dtype", "within"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)], ids=["fp32", "bf16"]
)
@pytest.mark.parametrize("scale", [None, 0.4])
def test_whole_products_give_what_torchs_kernel_gives(dtype, within, scale):
    own = states(dtype)
    output, _ = attend_whole(torch.nn.Module(), *own, None, scaling=scale)
    expected, others = fused(own, scale)
    assert output.dtype == dtype
    slope = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    output.backward(slope.to(dtype))
    expected.backward(slope.transpose(1, 2))
    pairs = [(output, expected.transpose(1, 2))]
    pairs += [(one.grad, other.grad) for one, other in zip(own, others, strict=True)]
    for one, other in pairs:
        assert float((one.detach() - other.detach()).norm() / other.detach().norm()) < within


@pytest.mark.parametrize("case", ["mask", "long", "cache", "not causal"])
def test_what_is_not_short_causal_attention_is_left_to_torch(case):
    longest = attention.LONGEST[torch.float32]
    module, mask = torch.nn.Module(), None
    module.num_key_value_groups = 3
    own = states(torch.float32, longest)
    assert "_Causal" in made_by(attend_whole(module, *own, None)[0])
    query, key, value = states(torch.float32, longest + 1) if case == "long" else own
    if case == "mask":
        mask = torch.ones(3, 1, longest, longest, dtype=torch.bool).tril()
    if case == "cache":
        query = query[:, :, -1:]
    module.is_causal = case != "not causal"
    assert "_Causal" not in made_by(attend_whole(module, query, key, value, mask)[0])


def test_training_attends_in_whole_products_and_answers_as_before(tmp_path):
    model = open_model(tiny.spec(tiny.write_llama(tmp_path)), Limits())
    ways: list[str] = []
    for layer in model._base.model.layers:
        layer.self_attn.register_forward_hook(
            lambda module, _, __: ways.append(module.config._attn_implementation)
        )
    dropout = {**STRATEGIES["lora"].peft, "lora_dropout": 0.1}  # PEFT's own layers train it
    spec = replace(STRATEGIES["lora"], peft=dropout)
    model.train(ROWS, spec, TrainSpec(batch=6), seed=0)
    assert attention.WHOLE in ways
    ways.clear()
    model.score([(row.prompt, row.target) for row in ROWS], batch=4)
    assert ways
    assert attention.WHOLE not in ways
    config = model._base.config
    with whole_products(model._base):
        assert config._attn_implementation == attention.WHOLE
    assert config._attn_implementation == "sdpa"


def test_few_queries_in_each_of_many_rows_have_the_kernels_numbers():
    _, key, value = states(torch.float32, 12)
    query = torch.randn(3, 2, 3, 16, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(3, 1, 1, 12, dtype=torch.bool)
    mask[1, ..., :5] = False
    key, value = key.detach(), value.detach()
    found = attention.softmax(query, key, value, mask, None)
    added = torch.zeros(mask.shape).masked_fill(~mask, float("-inf")).expand(-1, -1, 3, -1)
    expected = attention.fused(query, key, value, added, None, causal=False)
    assert not torch.equal(found[1], expected[1]), "both went the same way"
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
