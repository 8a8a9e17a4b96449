"""LoRA and DoRA through merged weights: PEFT's own numbers, faster."""

from dataclasses import replace

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from finetrap.backends.hf import HFModel, open_model
from finetrap.backends.hf.training import step as train
from finetrap.backends.hf.training.lowrank import Merging
from finetrap.backends.hf.training.member import trainable
from finetrap.errors import Unsupported
from finetrap.records import Limits, StrategySpec, TrainSpec
from tests.builders import tiny
from tests.builders.cases import standing_for_all
from tests.builders.tiny import LINEAR, ROWS, STRATEGIES

BUDGET = TrainSpec(epochs=9, batch=3)
HALF = replace(BUDGET, dtype="bf16")
METHODS = {
    "lora": LINEAR,
    "dora": {**LINEAR, "use_dora": True},
    "rslora": {**LINEAR, "use_rslora": True},
}


def strategy(name: str, rate: float = 3e-4, **peft: object) -> StrategySpec:
    return StrategySpec(name, "peft", learning_rate=rate, peft={**METHODS[name], **peft})


@pytest.fixture(params=[tiny.write_llama, tiny.write_qwen2], ids=["llama", "qwen2"])
def model(request, tmp_path) -> HFModel:
    return open_model(tiny.spec(request.param(tmp_path)), Limits())


@pytest.fixture
def llama(tmp_path) -> HFModel:
    return open_model(tiny.spec(tiny.write_llama(tmp_path)), Limits())


@pytest.mark.parametrize("name", standing_for_all(METHODS, "lora", "dora"))
def test_loss_and_gradients_equal_pefts_in_twenty_states_of_a_run(model, name, monkeypatch):
    seen: list[tuple[list[float], list[float]]] = []
    current: list[Merging] = []
    refresh, plain = Merging.refresh, train.accumulate

    def noted(self):
        current[:] = [self]
        refresh(self)

    def both_ways(network, batch, filler, *, room, together):
        """Take PEFT's loss and gradients in the same state first."""
        weights = trainable(network)
        tuned = [m for m in network.core.modules() if isinstance(m, BaseTunerLayer)]
        layers = [m for m in tuned if "forward" in vars(m)]
        ours = [vars(layer).pop("forward") for layer in layers]
        for layer in current[0]._layers.values():
            layer.restore()
        loss = plain(network, batch, filler)  # PEFT's layers, padded
        theirs = [weight.grad.clone() for weight in weights]
        for weight in weights:
            weight.grad = None
        for layer, forward in zip(layers, ours, strict=True):
            layer.forward = forward
        refresh(current[0])
        assert len(layers) == len(current[0]._layers) > 0
        merged = plain(network, batch, filler, together=together)
        errors = [
            float((weight.grad - grad).norm() / grad.norm())
            for weight, grad in zip(weights, theirs, strict=True)
            if grad.norm() > 0
        ]
        seen.append(([loss, merged], errors))
        return merged

    monkeypatch.setattr(Merging, "refresh", noted)
    monkeypatch.setattr(train, "accumulate", both_ways)
    model.train(ROWS, strategy(name, 3e-3), TrainSpec(epochs=4, batch=3), seed=1)
    assert len(seen) >= 20
    for (loss, merged), errors in seen[-20:]:
        assert merged == pytest.approx(loss, rel=1e-6)
        assert errors
        assert max(errors) < 1e-5


@pytest.mark.parametrize("name", standing_for_all(METHODS, "lora", "dora"))
def test_fifty_steps_follow_pefts_own_layers(model, name):
    ours = model.train(ROWS, strategy(name), BUDGET, seed=0)
    # A dropout that drops nothing, and is PEFT's to compute all the same.
    theirs = model.train(ROWS, strategy(name, lora_dropout=1e-30), BUDGET, seed=0)
    assert ours.steps == 54
    assert ours.evidence["loss"] == pytest.approx(theirs.evidence["loss"], rel=1e-4)
    assert ours.evidence["loss"] != theirs.evidence["loss"]
    assert ours.evidence["loss"][-1] < ours.evidence["loss"][0]


@pytest.mark.parametrize(
    "change",
    [
        {"lora_dropout": 0.1},
        {"lora_bias": True},
        {"bias": "lora_only"},
        {"modules_to_save": ["lm_head"]},
    ],
    ids=str,
)
def test_what_merging_cannot_do_exactly_is_left_to_peft(tmp_path, change):
    model = open_model(tiny.spec(tiny.write_qwen2(tmp_path)), Limits())
    computed: list[str] = []
    for layer in model._base.model.layers:
        layer.mlp.up_proj.register_forward_hook(lambda *_: computed.append("by PEFT"))
    budget = TrainSpec(batch=6)
    model.train(ROWS, strategy("lora"), budget, seed=0)
    merged = len(computed)
    computed.clear()
    assert len(computed) == 0 < model.train(ROWS, strategy("lora", **change), budget, seed=0).steps
    assert merged < len(computed)


@pytest.mark.parametrize("name", standing_for_all(["full", *METHODS], "full", "dora"))
def test_passes_in_bfloat16_follow_those_in_fp32(model, name):
    spec = STRATEGIES["full"] if name == "full" else strategy(name)
    exact = model.train(ROWS, spec, BUDGET, seed=0).evidence
    rounded = model.train(ROWS, spec, HALF, seed=0).evidence
    assert rounded["loss"] != exact["loss"]
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.03)
    assert rounded["gradient_norm"][0] == pytest.approx(exact["gradient_norm"][0], rel=0.03)
    assert rounded["update_ratio"] == pytest.approx(exact["update_ratio"], rel=0.2)


def test_weights_stay_in_fp32_where_passes_run_in_bfloat16(llama):
    """A step too small for bfloat16 moves them all the same."""
    before = [p.detach().clone() for p in llama._base.parameters()]
    budget = TrainSpec(batch=6, dtype="bf16")
    llama.train(ROWS, replace(STRATEGIES["full"], learning_rate=1e-6), budget, seed=0)
    for old, new in zip(before, llama._base.parameters(), strict=True):
        assert new.dtype == torch.float32
        moved = (new - old).abs()
        assert 0 < float(moved.max()) < 1e-4
        assert not torch.equal(new.bfloat16().float(), new)


@pytest.mark.parametrize("change", [{"lora_dropout": 0.1}, {"modules_to_save": ["lm_head"]}])
def test_what_peft_alone_can_compute_is_refused_in_bfloat16(tmp_path, change):
    model = open_model(tiny.spec(tiny.write_qwen2(tmp_path)), Limits())
    with pytest.raises(Unsupported, match="fp32 alone"):
        model.train(ROWS, strategy("lora", **change), HALF, seed=0)
    assert model.train(ROWS, strategy("lora"), HALF, seed=0).steps == 54


def test_frozen_weights_kept_in_bfloat16_are_held_once_and_come_back_exactly(llama):
    for weight in llama._base.parameters():  # as if it was stored in bfloat16
        weight.data = weight.data.bfloat16().float()
    before = [p.detach().clone() for p in llama._base.parameters()]
    seen: list[int] = []

    def weigh(event: str, facts: object) -> None:
        seen.append(sum(p.numel() for p in llama._base.parameters()))

    llama.train(ROWS, strategy("lora", 1e-3), HALF, 0, weigh)
    assert set(seen) == {0}
    llama.reset()
    for old, new in zip(before, llama._base.parameters(), strict=True):
        assert torch.equal(old, new)
    seen.clear()
    llama.train(ROWS, strategy("dora"), HALF, 0, weigh)
    assert set(seen) == {sum(p.numel() for p in before)}, "its norms are those of fp32 weights"
