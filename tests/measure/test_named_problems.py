"""A problem that does not fit is named by where it stands, whatever was being done with it."""

from __future__ import annotations

import json

import pytest

from finetrap import tasks
from finetrap.backends.hf import open_model
from finetrap.errors import ContextTooLong
from finetrap.measure import evidence
from finetrap.measure.strategies import Solver, adapt, ask
from finetrap.records import Limits, Problem, TrainSpec
from tests.builders import tiny
from tests.builders.runs import FULL

LIMITS = Limits(max_new_tokens=8, batch=4)
LINE = 61
LONG = "Mia sees rows of seats in the old mill by the river " + "and more " * 300


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return open_model(tiny.spec(tiny.write_llama(tmp_path_factory.mktemp("tiny"))), Limits())


@pytest.fixture
def problems(tmp_path):
    """Problems of which the one on line 61 is too long."""
    rows = [{"question": f"What is {i} + 1?", "answer": i + 1} for i in range(80)]
    rows[LINE - 1]["question"] = LONG
    path = tmp_path / "mine.csv.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = tasks.load(tasks.reference(f"jsonl:{path}", options={"test_share": 1}))
    return path, task.test


def said(path):
    return f"{path}, line {LINE} ('Mia sees rows of seats in the old…'): "


@pytest.mark.parametrize(
    "use",
    [
        lambda model, p: ask(Solver(model), "math", p, LIMITS),
        lambda model, p: adapt(model, p, FULL, TrainSpec(epochs=1), 0),
        lambda model, p: evidence.before_training(model, p, 4),
    ],
    ids=["asked", "trained on", "scored"],
)
def test_a_problem_that_does_not_fit_is_named_by_its_line_and_first_words(model, problems, use):
    path, chosen = problems
    with pytest.raises(ContextTooLong) as error:
        use(model, chosen[10:])
    assert str(error.value).startswith(said(path))
    assert "the model's context is 256" in str(error.value)


def test_a_problem_with_choices_is_named_once_for_all_of_them(model):
    short = Problem("a", "Yes?", "no", "no", "", ("yes", "no"), 1, place="x.json, row 0")
    long = Problem("b", LONG, "no", "no", "", ("yes", "no"), 1, place="x.json, row 1")
    with pytest.raises(ContextTooLong, match=r"^x\.json, row 1 \('Mia sees"):
        ask(Solver(model), "choice", [short, long], LIMITS)


def test_a_place_is_no_part_of_a_problem():
    one, other = (Problem("a", "Yes?", "no", place=place) for place in ("here", "there"))
    assert one == other
    assert one.named == "here ('Yes?')"
    assert Problem("a", "Yes?", "no").named == "problem a ('Yes?')"
