"""On whatever device is chosen, an accelerator's as on the CPU's, to a stated tolerance.

`make test` runs these on the CPU, where they hold exactly or nearly so; benchmarks/gpu.sh on a GPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from finetrap.backends.hf import HFModel, open_model
from finetrap.backends.hf.device import CHOICE, chosen
from finetrap.records import Limits, Precision, TrainSpec
from tests.builders import tiny
from tests.builders.tiny import ROWS, STRATEGIES

pytestmark = pytest.mark.device
NATS = {"fp32": 1e-4, "bf16": 3e-2}
"""Relative difference of a text's likelihood from the CPU's in fp32."""
LOSS = 1e-3
"""Relative difference of a training's loss from the CPU's, after three steps in fp32."""
PAIRS = list(zip(tiny.TEXTS[::2], [*tiny.TEXTS[1::2], " and that is all."], strict=False))


def opened(folder: Path, monkeypatch: pytest.MonkeyPatch, device: str, dtype: str) -> HFModel:
    monkeypatch.setenv(CHOICE, device)
    limits = Limits(dtype="bf16" if dtype == "bf16" else "fp32")
    return open_model(tiny.spec(folder), limits)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_llama(tmp_path / "llama")


def test_completions_are_those_of_transformers_on_the_same_device(folder: Path) -> None:
    model, device = open_model(tiny.spec(folder), Limits()), chosen()
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device)
    expected = []
    for text in tiny.TEXTS:
        ids = torch.tensor([model.tokens.prompt(text)], device=device)
        out = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=sorted(model.tokens.ends),
            pad_token_id=0,
        )
        expected.append(model.tokens.text(out[0, ids.shape[1] :].tolist()))
    found = model.generate(list(tiny.TEXTS), max_new_tokens=12, stops=(), batch=4)
    assert [one.text for one in found] == expected


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_likelihoods_are_those_of_the_cpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: Precision
) -> None:
    here = opened(folder, monkeypatch, "auto", dtype).score(PAIRS, batch=2)
    there = opened(folder, monkeypatch, "cpu", "fp32").score(PAIRS, batch=2)
    assert here == pytest.approx(there, rel=NATS[dtype])


def test_a_training_loses_what_it_loses_on_the_cpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {}
    for device in ("auto", "cpu"):
        model = opened(folder, monkeypatch, device, "fp32")
        trained = model.train(ROWS, STRATEGIES["full"], TrainSpec(epochs=1, batch=6), 0)
        losses[device] = trained.evidence["loss"]
    assert len(losses["cpu"]) >= 3
    assert losses["auto"] == pytest.approx(losses["cpu"], rel=LOSS)
