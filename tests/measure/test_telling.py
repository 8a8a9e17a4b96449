"""What is told of a cell while it is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from finetrap.events import cell_ends
from finetrap.measure.telling import Teller
from finetrap.records import Failure
from tests.builders import runs


def test_no_count_of_right_answers_is_told_where_one_is_partly_right() -> None:
    heard: list[Any] = []
    told = Teller(heard.append, "key").rows("answer", "t", 2)
    told("answers", True)
    told("answers", None)
    assert heard[-1].right is None
    half = (runs.answer("a"), replace(runs.answer("b", False), score=0.5))
    assert cell_ends(runs.run(runs.ZERO, half)).right is None
    assert cell_ends(runs.run(runs.ZERO, half[:1])).right == 1


def test_a_failure_without_a_message_is_told_by_its_cause() -> None:
    failed = replace(runs.run(runs.FULL, (), 0, status="failed"), failure=Failure("KeyError", ""))
    assert cell_ends(failed).message == "KeyError"
