"""Root-mean-square norms with fewer passes: transformers' numbers, or its own code."""

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from finetrap.backends.hf import open_model
from finetrap.backends.hf.kernels.norm import fewer_passes, normed
from finetrap.records import Limits
from tests.builders import tiny
from tests.builders.tiny import write_gemma3


@pytest.mark.parametrize(
    ("dtype", "within"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)], ids=["fp32", "bf16"]
)
@pytest.mark.parametrize("trained", [True, False])
def test_the_norm_and_its_gradients_are_those_of_autograd(dtype, within, trained):
    generator = torch.Generator().manual_seed(0)
    theirs = LlamaRMSNorm(48, eps=1e-3).to(dtype)
    with torch.no_grad():
        theirs.weight.copy_(torch.randn(48, generator=generator))
    theirs.weight.requires_grad_(trained)
    states, slope = (torch.randn(3, 7, 48, generator=generator).to(dtype) for _ in range(2))
    found = []
    for norm in (theirs, lambda x: normed(x, theirs.weight, 1e-3)):
        own = states.clone().requires_grad_()
        theirs.weight.grad = None
        output = norm(own)
        output.backward(slope)
        found.append([output.detach(), own.grad, theirs.weight.grad])
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            assert float((one - other).norm() / one.norm()) < within
    assert (found[1][2] is not None) == trained


def test_a_norm_that_weighs_otherwise_is_left_alone_and_none_stays_changed(tmp_path):
    for write, plain in ((tiny.write_llama, True), (write_gemma3, False)):
        (tmp_path / write.__name__).mkdir()
        core = open_model(tiny.spec(write(tmp_path / write.__name__)), Limits())._base
        norms = [m for m in core.modules() if type(m).__name__.endswith("RMSNorm")]
        with fewer_passes(core):
            assert norms
            assert all(("forward" in vars(m)) == plain for m in norms)
        assert not any("forward" in vars(m) for m in norms)
