"""How much the base model differs from itself: some problems are asked again, or all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from finetrap.backends import Completion
from finetrap.events import Event
from finetrap.measure.evidence import asked_again, variation
from finetrap.measure.strategies import Questions, Solver, ask
from finetrap.measure.telling import Teller
from finetrap.records import Cell, Limits, Problem, StrategySpec, TaskRef, TrainSpec
from finetrap.text import prompts
from tests.builders.runs import FULL, MINI, ZERO

LIMITS = Limits(batch=8)


class Scripted:
    """Answers what stands in the question, until it `wavers` on a number from its second time."""

    form = prompts.PLAIN

    def __init__(self, wavers: str = "") -> None:
        self.asked: list[tuple[list[str], int]] = []
        self._wavers = wavers

    def generate(self, prompts: Sequence[str], **settings: Any) -> list[Completion]:
        self.asked.append((list(prompts), settings["batch"]))
        found = []
        for number, prompt in enumerate(prompts):
            value = re.findall(r"\d+", prompt)[-1]
            wrong = value == self._wavers and len(self.asked) > 1
            found.append(Completion("#### -1" if wrong else f"#### {value}", 3, "eos"))
            settings["written"](number, found[-1])
            if settings["golds"]:
                settings["scored"](number, 1.0)
        return found


def problems(count: int) -> Questions:
    rows = [Problem(f"p{i}", f"Say {i} .", f"#### {i}", str(i)) for i in range(count)]
    return Questions("math", tuple(rows))


def measured(
    asked: Questions, model: Scripted, strategy: StrategySpec = ZERO, **changes: Any
) -> tuple[dict[str, Any], list[Event]]:
    told: list[Event] = []
    solver: Any = Solver(model)  # type: ignore[arg-type]
    cell = Cell(MINI, TaskRef("sums", "1"), strategy, TrainSpec(), LIMITS)
    cell = replace(cell, **changes)
    answers = ask(solver, "math", asked.problems, cell.limits)
    return variation(solver, cell, asked, answers, Teller(told.append, "a")), told


@pytest.mark.parametrize(("count", "again"), [(300, 30), (201, 21), (60, 20), (12, 12)])
def test_a_tenth_is_asked_again_in_another_order_and_smaller_batches(count, again):
    model, asked = Scripted(), problems(count)
    found, told = measured(asked, model)
    assert found == {"self_flips": {"n": again, "flips": 0, "changed_texts": 0}}
    (first, batch), (second, smaller) = model.asked
    assert (batch, smaller) == (8, 4)
    assert len(second) == again
    assert set(second) <= set(first)
    assert second != [prompt for prompt in first if prompt in second]
    phase, rows = told[0].as_json(), told[-1].as_json()
    assert (phase["phase"], phase["task"], phase["problems"]) == ("again", "sums", again)
    assert (rows["phase"], rows["done"], rows["of"]) == ("again", again, again)


def test_one_text_that_differs_has_all_of_them_asked_again():
    asked = problems(300)
    wavers = asked_again(asked.problems)[5].answer
    model = Scripted(wavers)
    found, told = measured(asked, model)
    assert found == {"self_flips": {"n": 300, "flips": 1, "changed_texts": 1}}
    assert [len(prompts) for prompts, _ in model.asked] == [300, 30, 300]
    phases = [event.as_json() for event in told if event.name == "phase"]
    assert [phase["problems"] for phase in phases] == [30, 300]


def test_few_problems_that_differ_are_not_asked_a_third_time():
    model = Scripted("3")
    assert measured(problems(8), model)[0]["self_flips"]["flips"] == 1
    assert len(model.asked) == 2


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        (FULL, {}),
        (StrategySpec("few-shot-2", "prompt", shots=2), {}),
        (ZERO, {"split": "dev"}),
    ],
    ids=["trained", "with examples", "a trial"],
)
def test_only_the_base_model_is_asked_again(strategy, changes):
    model = Scripted()
    assert measured(problems(40), model, strategy, **changes) == ({}, [])
    assert len(model.asked) == 1
