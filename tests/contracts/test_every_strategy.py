"""Every strategy file of the catalog is tested here without being named here."""

from pathlib import Path

import pytest

from finetrap import catalog, tasks
from finetrap.backends import open_model
from finetrap.measure import strategies
from finetrap.measure.study import models, reading
from finetrap.records import Limits, TrainSpec
from tests.builders.cases import standing_for_all

TRAINED = [name for name, table in catalog.strategies().items() if table["kind"] != "prompt"]
BUDGET = TrainSpec(epochs=2, batch=8)
ROWS = 96


@pytest.fixture(scope="module")
def model():
    return open_model(models.resolve("mini-1m", Path(), {}), Limits())


@pytest.fixture(scope="module")
def problems():
    return tasks.load(tasks.reference("school-terse")).train[:ROWS]


@pytest.mark.parametrize("name", catalog.strategies())
def test_a_strategy_says_what_it_is_and_can_be_trained_from_its_file(name):
    table = catalog.strategies()[name]
    assert table["about"].strip()
    assert table["kind"] in ("prompt", "full", "peft")
    assert ("learning_rate" in table) == (table["kind"] != "prompt")
    if table["kind"] == "peft":
        assert catalog.check_peft(table["peft"]) == []


@pytest.mark.parametrize("name", standing_for_all(TRAINED, "full", "lora", "prefix-tuning"))
def test_training_at_its_own_rate_lowers_the_loss_by_five_percent(name, model, problems):
    model.reset()
    rows = strategies.training_rows(problems, model)
    pairs = [(row.prompt, row.target) for row in rows]
    before = sum(model.score(pairs, batch=64))
    table = {
        "name": "one",
        "models": ["mini-1m"],
        "tasks": ["market"],
        "strategies": [name],
        "train": {"replay_task": "world"},
    }
    (spec,) = reading.check(table, at="one", base=Path()).strategies
    solver = strategies.adapt(model, problems, spec, BUDGET, seed=0)
    assert sum(model.score(pairs, batch=64)) <= 0.95 * before
    assert 0 < solver.training.trainable <= model.parameters
    assert model.ship_bytes > 0


@pytest.mark.parametrize("name", catalog.models())
def test_a_model_says_where_it_is_and_how_it_is_asked(name):
    table = catalog.models()[name]
    assert table["about"].strip()
    assert table["prompt"] in ("plain", "chat")
    assert table["source"]
    packaged = table["source"].startswith("package:")
    assert packaged or table["parameters"] > 10_000_000
    assert packaged or table["revision"]
