"""What stays open between cells is theirs: nothing is measured on another model's weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from finetrap import tasks
from finetrap.backends import open_model, toy
from finetrap.events import PhaseBegins
from finetrap.measure.problems import Problems
from finetrap.measure.runner import attempt
from finetrap.measure.session import Session
from finetrap.measure.telling import Teller
from finetrap.records import Cell, Limits, ModelSpec, StrategySpec, TrainSpec
from finetrap.references import PromptSpec

MARKET = tasks.reference("market")
BASE = ModelSpec("a", "adapter", "sha256:1", "toy", base="one", base_revision="sha256:one")
ZERO = Cell(BASE, MARKET, StrategySpec("zero-shot", "prompt"), TrainSpec(), Limits())
FULL = StrategySpec("full", "full", learning_rate=1e-3)
TRAINED = Cell(
    replace(BASE, source="toy:"),
    MARKET,
    FULL,
    TrainSpec(problems=20),
    Limits(test_problems=5),
    seed=0,
    trained_on=MARKET,
)


def opened_for(*cells: Cell) -> list[ModelSpec]:
    """Return the models that one session opens for cells, one after the other."""
    found: list[ModelSpec] = []

    def opener(spec: ModelSpec, limits: Limits) -> Any:
        found.append(spec)
        return open_model(ModelSpec("toy", "toy:", toy.VERSION, "toy"), limits)

    session = Session(opener)
    for cell in cells:
        session.open(cell, Teller())
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"base": "two", "base_revision": "sha256:two"},
        {"trust_remote_code": True},
        {"source": "elsewhere"},
        {"revision": "sha256:2"},
        {"prompt": PromptSpec("plain")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_model_is_opened_anew(changes: dict[str, Any]) -> None:
    other = replace(BASE, **changes)
    assert opened_for(ZERO, replace(ZERO, model=other)) == [BASE, other]


def test_another_precision_is_opened_anew_and_another_test_is_not() -> None:
    exact = replace(ZERO, limits=Limits(dtype="bf16"))
    assert len(opened_for(ZERO, exact)) == 2
    assert opened_for(ZERO, replace(ZERO, task=tasks.reference("school"))) == [BASE]


def test_a_cell_that_fails_after_its_first_process_died_says_so() -> None:
    crashing = replace(BASE, source="toy:full=crash")
    session = Session(before="its worker was killed by signal 9")
    run = attempt(replace(TRAINED, model=crashing), session, lambda event: None)
    assert run.status == "failed"
    assert run.environment["tried_before"] == "its worker was killed by signal 9"


def test_an_error_without_a_message_is_recorded_by_its_class() -> None:
    def opener(spec: ModelSpec, limits: Limits) -> Any:
        raise KeyError

    failure = attempt(ZERO, Session(opener), lambda event: None).failure
    assert failure
    assert failure.message.splitlines()[0] == failure.cause == "KeyError"


@pytest.mark.parametrize(
    ("budget", "times"),
    [
        (TrainSpec(problems=20, epochs=7, batch=3), 1),
        (TrainSpec(problems=21), 2),
        (TrainSpec(problems=20, dev=5), 2),
        (TrainSpec(problems=20, share=0.5), 2),
    ],
)
def test_training_solutions_are_scored_once_for_all_that_train_on_them(
    budget: TrainSpec, times: int
) -> None:
    session, phases = Session(), []

    def emit(event: object) -> None:
        if isinstance(event, PhaseBegins):
            phases.append(event.phase)

    own = replace(FULL, name="lora", kind="peft")
    runs = [
        attempt(cell, session, emit)
        for cell in (TRAINED, replace(TRAINED, strategy=own, train=budget))
    ]
    assert [run.status for run in runs] == ["done", "done"]
    assert all(run.evidence["base_loss"] for run in runs)
    assert phases.count("before") == times


def test_problems_of_another_revision_are_scored_anew() -> None:
    market = tasks.load(MARKET)
    few = replace(market, train=market.train[:10])
    session = Session(problems=Problems(lambda ref: market if ref == MARKET else few))
    other = replace(TRAINED, trained_on=replace(MARKET, revision="other"))
    found = [attempt(cell, session, lambda event: None).evidence for cell in (TRAINED, other)]
    assert [len(run["base_loss"]) for run in found] == [20, 10]
