"""What PEFT refuses is told before a study starts, and nothing is trained first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetrap.backends import adapter_layers
from finetrap.errors import BadInput
from tests.builders import decoders, tiny
from tests.builders.cases import standing_for_all
from tests.builders.commands import finetrap

STUDY = """
name = "fits"
models = ["./model"]
tasks = ["market"]
strategies = ["zero-shot", "lora", "mine"]
seeds = [0]
[train]
problems = 20
[limits]
test_problems = 2
[strategy.mine]
kind = "peft"
learning_rate = 1e-3
peft = { peft_type = "LORA", target_modules = ["lm_head"] }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.write_llama(tmp_path / "model")
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def test_an_adapter_that_does_not_go_on_a_model_ends_a_run_before_it_starts(folder):
    done = finetrap("run", "study.toml", "--workers", 1, cwd=folder)
    assert done.returncode == 2
    assert "mine on model: LORA on 'lm_head'" in done.stderr
    assert "leave it out of target_modules" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(folder.glob("runs/*/run.json"))


def test_status_tells_the_layers_of_adapters_and_those_that_are_refused(folder):
    done = finetrap("status", "study.toml", cwd=folder)
    assert done.returncode == 2
    assert "mine on model: LORA on 'lm_head'" in done.stderr
    assert "lora on model adapts q_proj, k_proj, v_proj, o_proj, gate_proj" in done.stdout
    said = finetrap("status", "study.toml", "--set", 'strategies=["lora"]', "--json", cwd=folder)
    assert said.returncode == 0
    assert any("lora on model adapts q_proj" in line for line in json.loads(said.stdout)["models"])


@pytest.mark.parametrize("name", standing_for_all(decoders.SHAPES, "llama", "deepseek-v3"))
def test_the_layers_foretold_are_those_that_are_adapted(name, tmp_path):
    from finetrap.backends.hf import open_model
    from finetrap.records import Limits, TrainSpec

    spec = tiny.spec(decoders.write_decoder(tmp_path / name, name))
    model = open_model(spec, Limits())
    for method in ("lora", "dora"):
        strategy = tiny.STRATEGIES[method]
        foretold = outcome(adapter_layers, spec, strategy, fetch=False)
        budget = TrainSpec(epochs=1, batch=2)
        assert foretold == outcome(trained_layers, model, strategy, budget)


def trained_layers(model, strategy, budget) -> list[str]:
    model.train(tiny.ROWS[:2], strategy, budget, seed=0)
    return model.how_read["adapted"].split(", ")


def outcome(trial, *given, **said):
    """What a trial returns, or the text of its refusal."""
    try:
        return trial(*given, **said)
    except BadInput as fault:
        return str(fault)


def test_a_model_that_cannot_be_had_is_left_to_its_opening(tmp_path):
    lora = tiny.STRATEGIES["lora"]
    assert adapter_layers(tiny.spec(tmp_path / "none"), lora, fetch=False) is None
    assert adapter_layers(tiny.spec(Path("org/none")), lora, fetch=False) is None
