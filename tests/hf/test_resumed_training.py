"""A training that is stopped goes on from its checkpoint, and ends with the very same bits."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from finetrap import catalog
from finetrap.backends.hf import HFModel, open_model
from finetrap.records import Limits, StrategySpec, TrainSpec
from finetrap.runs.unfinished import Checkpoint
from tests.builders import tiny
from tests.builders.cases import standing_for_all
from tests.builders.tiny import ROWS, digest

BUDGET = TrainSpec(epochs=2, batch=6)
DROPPING = StrategySpec(
    "dropping",
    "peft",
    learning_rate=3e-3,
    peft={"peft_type": "LORA", "r": 4, "target_modules": "all-linear", "lora_dropout": 0.3},
)
TRAINED = [name for name, table in catalog.strategies().items() if table["kind"] != "prompt"]


class Killed(BaseException):
    """Ends a training without letting it write anything."""


def named(name: str) -> StrategySpec:
    if name == "dropping":
        return DROPPING
    table = catalog.strategies()[name]
    return StrategySpec(name, table["kind"], learning_rate=3e-3, peft=table.get("peft"))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> HFModel:
    folder = tmp_path_factory.mktemp("llama")
    wide = {"hidden_size": 64, "intermediate_size": 128}
    return open_model(tiny.spec(tiny.write_llama(folder, **wide)), Limits())


def checkpoint(place, made: str = "this", every: float = 0.0) -> Checkpoint:
    return Checkpoint(place / "training", made, every, most=math.inf)


def trained(model, strategy, place=None, stop: int | None = None, train: TrainSpec = BUDGET):
    """Train, up to a step if one is given; return the training and what the model then is."""

    def progress(event, facts):
        seen.append(facts["step"])
        if facts["step"] == stop:
            raise Killed

    seen: list[int] = []
    kept = checkpoint(place) if place else None
    found = model.train(ROWS, strategy, train, 3, progress, kept)
    nats = model.score([(row.prompt, row.target) for row in ROWS], batch=4)
    return found, nats, digest(model), seen


STANDING = ("full", "lora", "dora", "prompt-tuning", "dropping")


@pytest.mark.parametrize("name", standing_for_all([*TRAINED, "dropping"], *STANDING))
def test_a_training_killed_after_any_step_ends_as_an_undisturbed_one(name, model, tmp_path):
    strategy = named(name)
    whole = trained(model, strategy)
    steps = whole[0].steps
    for stop in (1, steps // 2, steps - 1, steps):
        place = tmp_path / str(stop)
        with pytest.raises(Killed):
            trained(model, strategy, place, stop)
        *found, seen = trained(model, strategy, place)
        assert tuple(found) == whole[:3], f"killed after step {stop} of {steps}"
        assert seen == list(range(stop + 1, steps + 1))


@pytest.mark.parametrize("name", ["full", "lora"])
def test_a_training_in_bf16_goes_on_with_the_same_bits(name, model, tmp_path):
    strategy, train = named(name), replace(BUDGET, dtype="bf16")
    whole = trained(model, strategy, train=train)
    with pytest.raises(Killed):
        trained(model, strategy, tmp_path, 4, train)
    assert trained(model, strategy, tmp_path, train=train)[:3] == whole[:3]


def test_between_two_checkpoints_the_last_one_counts(model, tmp_path):
    strategy = named("lora")
    with pytest.raises(Killed):
        trained(model, strategy, tmp_path, 3)
    rare = checkpoint(tmp_path, every=1e9)
    with pytest.raises(Killed):
        model.train(ROWS, strategy, BUDGET, 3, stopping_at(5), rare)
    assert trained(model, strategy, tmp_path)[3] == [4, 5, 6]


def test_ctrl_c_loses_no_step(model, tmp_path):
    strategy, rare = named("lora"), checkpoint(tmp_path, every=1e9)
    with pytest.raises(KeyboardInterrupt):
        model.train(ROWS, strategy, BUDGET, 3, stopping_at(4, KeyboardInterrupt), rare)
    assert trained(model, strategy, tmp_path)[3] == [5, 6]


def stopping_at(step: int, fault: type[BaseException] = Killed):
    def progress(event, facts):
        if facts["step"] == step:
            raise fault

    return progress
