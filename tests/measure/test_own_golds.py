"""Every scorer calls its own right answer right, or the row is named before a model is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest

from finetrap import tasks
from finetrap.errors import BadData, BadInput
from finetrap.measure import own_golds
from finetrap.measure.engines import rounds
from finetrap.measure.study.cells import cells_of
from finetrap.records import Problem, Study
from finetrap.runs.store import Store
from finetrap.text import expressions
from finetrap.text.scorers import NAMES, scored
from tests.builders.studies import load, small, write_rows

OWN = """
def score(completion, row):
    if row["answer"] == "torn": raise ValueError("oh")
    return completion == "Rome" or 0.5
"""
SOUND: dict[str, object] = {
    "number": "about 6 apples",
    "text": ["New York", "NYC"],
    "expression": r"\frac{\sqrt{3}}{3}",
    "json": {"a": [1, None]},
    "json-fields": {"a": 1, "b": "x"},
    "choice": "blue",
    "letter": "blue",
    "python:own.py:score": "Rome",
}
OPTIONS = ["red", "blue"]
needs_math = pytest.mark.skipif(not expressions.available(), reason="needs finetrap[math]")


def marked(how: str) -> Any:
    return pytest.param(how, marks=needs_math if how == "expression" else ())


def task(folder: Path, how: str, *answers: object, **more: object) -> tasks.Task:
    (folder / "own.py").write_text(OWN)
    rows = [
        {"question": f"What is q{i}?", "answer": answer, "options": OPTIONS, **more}
        for i, answer in enumerate(answers)
    ]
    file = write_rows(folder / "rows.jsonl", *rows)
    named = {name: name for name in more}
    return tasks.load(tasks.reference("jsonl", file, {"test_share": 1, "scoring": how, **named}))


def study(folder: Path, how: str, *answers: object) -> Study:
    task(folder, how, *answers)
    own = f'[task."jsonl:rows.jsonl"]\nscoring = "{how}"\ntest_share = 1'
    lines = {"tasks": '["jsonl:rows.jsonl"]', "strategies": '["zero-shot"]'}
    return load(folder, small(**lines, own=own))


def right(problem: Problem) -> bool:
    if problem.scoring == "choice":
        return problem.choices[problem.label] == problem.answer == problem.solution
    return bool(scored(problem.solution, problem.answer, problem.scoring).correct)


def test_every_scorer_is_tried() -> None:
    assert {*SOUND} == {*NAMES, "python:own.py:score"}


@pytest.mark.parametrize("how", [*map(marked, SOUND)])
def test_every_scorer_calls_its_own_gold_right(tmp_path: Path, how: str) -> None:
    (problem,) = task(tmp_path, how, SOUND[how]).test
    assert right(problem)
    own_golds.check_golds(cells_of(study(tmp_path, how, SOUND[how])))


@pytest.mark.parametrize(
    ("how", "gold", "solution"),
    [
        ("number", "6", "It is 7.\n#### 7"),
        ("text", "Paris", "It is Rome.\n#### Rome"),
        ("json", {"a": 1}, 'So: {"a": 2}\n#### {"a": 3}'),
        ("json-fields", {"a": 1, "b": 2}, '#### {"a": 1, "b": 3}'),
    ],
)
def test_a_solution_that_is_wrong_by_its_answer_is_named(tmp_path, how, gold, solution) -> None:
    with pytest.raises(BadData, match=r"rows.jsonl, line 1 .*is wrong by its own answer"):
        task(tmp_path, how, gold, solution=solution)


@pytest.mark.parametrize(
    ("how", "gold", "told"),
    [
        pytest.param(
            "expression", "@@@", "'@@@' is no formula that math-verify can read", marks=needs_math
        ),
        ("python:own.py:score", "Paris", "python:own.py:score calls its own solution not right"),
        ("python:own.py:score", "torn", "score ValueError: oh"),
    ],
)
def test_a_gold_that_its_scorer_does_not_call_right_stops_a_study_before_it_runs(
    tmp_path: Path, how: str, gold: str, told: str
) -> None:
    def unreached(*_: object, **__: object) -> NoReturn:
        raise AssertionError("an engine was started")

    wrong = study(tmp_path, how, SOUND[how], gold)
    store = Store(tmp_path / "runs")
    with pytest.raises(BadInput, match=told) as error:
        rounds.run_study(wrong, store, emit=print, allow_code=True, engine=unreached)
    if gold != "torn":
        assert "rows.jsonl, line 2 " in str(error.value)
        assert "nothing was run" in str(error.value)


@needs_math
def test_a_gold_for_which_math_verify_takes_too_long_is_not_called_wrong() -> None:
    assert not expressions.unequal_to_itself("x^2", seconds=0.0)
    assert expressions.unequal_to_itself("@@@")
