"""What every task file must do. A new task is tested without an edit here.

Where a task needs data, a few rows of our own writing in the original layout lie in tests/data/NAME
(a folder, or a file with any ending); where the real data is at hand it is tested too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from finetrap import tasks
from finetrap.errors import BadInput
from finetrap.records import TaskKind
from finetrap.tasks._splits import wording
from finetrap.text.scorers import scored as grade

OWN = [name for name in tasks.names() if name != tasks.HUB_DATA]
"""Every task but the one whose name is that of a data set on the hub."""
OWN_ROWS = Path(__file__).parent.parent / "data"
REAL = {
    "gsm8k": ("gsm8k", 7473, 1319),
    "svamp": ("svamp", 700, 300),
    "arc_easy": ("arc", 0, 2376),
    "arc_challenge": ("arc", 0, 1172),
    "hellaswag": ("hellaswag", 0, 10042),
    "piqa": ("piqa", 0, 1838),
    "prose": ("wikitext-2", 0, 915),
    "math500": ("math500", 0, 500),
}
"""Folder of ../shared/data, training and test problems: as published, but for our own cuts."""


@pytest.fixture(scope="module", params=[*OWN, *(f"real {name}" for name in REAL)])
def ref(request):
    """A reference of each task, on rows of our own or on the real data."""
    real, _, name = request.param.rpartition(" ")
    if real:
        return tasks.reference(name, request.getfixturevalue("shared_data") / REAL[name][0])
    return tasks.reference(name, next(OWN_ROWS.glob(f"{name}*"), None))


@pytest.fixture(scope="module")
def task(ref):
    return tasks.load(ref)


def test_a_task_has_its_name_its_kind_and_a_test(ref, task):
    assert task.name == ref.name
    assert task.kind == tasks.names()[tasks.as_named(ref.name).partition(":")[0]]
    assert task.kind in TaskKind.__args__
    assert task.test
    if ref.source is not None and OWN_ROWS not in Path(ref.source).parents:
        assert (len(task.train), len(task.test)) == REAL[ref.name][1:]


def test_ids_are_unique(task):
    ids = [p.id for p in (*task.train, *task.test)]
    assert all(ids)
    assert len(set(ids)) == len(ids)


def test_no_training_problem_is_asked_in_the_test(task):
    train = {wording(p.question) for p in task.train}
    assert not train & {wording(p.question) for p in task.test}


def test_loading_twice_gives_the_same_problems(ref, task):
    again = tasks.reference(ref.name.partition(":")[0], ref.source, ref.options)
    assert again.revision == ref.revision
    assert tasks.load(again) == task


def test_the_gold_answer_is_right_under_its_own_scorer(task):
    for problem in (*task.train, *task.test):
        if task.kind == "math":
            found = grade(problem.solution, problem.answer)
            assert found.correct, problem
            gold = problem.answer  # a formula, or a number without its zero, is no `#### n`
            assert found.strict or "\\" in gold or "=" in gold or gold[0] == ".", problem
            assert grade(problem.answer, problem.answer).correct, problem
        elif task.kind == "prose":
            assert problem.solution.strip()
            assert not problem.question
        else:
            assert problem.label in range(len(problem.choices))
            assert len(problem.choices) > 1
            assert all(choice.strip() for choice in problem.choices)
            assert problem.choices[problem.label] == problem.answer == problem.solution


def test_the_revision_says_which_data_it_is(ref):
    assert ref.revision
    if ref.source not in (None, "miniature"):
        assert ref.revision.startswith("sha256:")
        assert ref.source not in ref.name


def test_the_most_that_is_asked_of_a_task_bounds_tests_and_probes(ref):
    name = ref.name.partition(":")[0]
    found = tasks.load(tasks.reference(name, ref.source, {**ref.options, "test_problems": 2}))
    assert tasks.probed(found, 1000, "test") == tasks.probed(found, 2, "test")
    assert len(tasks.asked(found, None, "test", 0)) == min(2, len(found.test))
    for wrong in (0, True, "2"):
        with pytest.raises(BadInput, match="whole number from 1"):
            tasks.reference(name, ref.source, {"test_problems": wrong})


def test_an_unknown_option_is_refused(ref):
    with pytest.raises(BadInput, match="no_such_option"):
        tasks.reference(ref.name.partition(":")[0], ref.source, {"no_such_option": 1})
