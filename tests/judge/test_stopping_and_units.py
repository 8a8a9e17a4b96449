"""No verdict comes of how a completion stops, or of the unit that a gold answer is written with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from finetrap.judge import predictions
from finetrap.judge.logs import read_gradable
from finetrap.judge.verdicts import verdicts_on
from finetrap.runs.store import Store
from finetrap.text import scoring
from tests.builders.runs import FULL, ZERO, answers, run

NEXT = {
    "question": "\n\nQuestion: Ann has {b} pens, buys 9. Sum?\nAnswer: {b} + 9 = 31\n#### 31",
    "problem": "\n\nProblem: A box holds {b} eggs. And 2?\nSolution: 2 * {b} = 44\n#### 44",
    "user": "\n\nUser: And if there were {b}?\nAssistant: Then it is 57.\n#### 57",
    "heading": "\n\n### Instruction:\nAdd 1 to {b}.\n\n### Response:\nIt is 12.\n#### 12",
}


def graded(folder: Path, name: str, completions: Sequence[str], golds: Sequence[str]) -> Path:
    """Write rows, grade them as `grade` does, and return the graded file."""
    rows = [
        {"id": f"p{i}", "completion": completion, "gold": gold}
        for i, (completion, gold) in enumerate(zip(completions, golds, strict=True))
    ]
    raw = folder / f"{name}.jsonl"
    raw.write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    place = folder / f"{name}.graded.jsonl"
    lines = map(json.dumps, scoring.graded_rows(read_gradable(raw, None)))
    place.write_text("\n".join(lines) + "\n", "utf-8")
    return place


@pytest.mark.parametrize("turn", NEXT)
@pytest.mark.parametrize("answer", ["#### {x}", "The answer is {x}.", "So it is {x} in all."])
def test_a_base_model_that_runs_on_is_graded_on_its_own_answer(tmp_path, turn, answer):
    solved = [f"First {i} + 3 = {i + 3}.\n" + answer.format(x=i + 3) for i in range(80)]
    golds = [str(i + 3) for i in range(80)]
    on = [text + NEXT[turn].format(b=i + 5) for i, text in enumerate(solved)]
    before, after = (graded(tmp_path, n, c, golds) for n, c in (("base", on), ("tuned", solved)))
    found = predictions.compare_files(before, after, margin=5)
    assert (found["a"], found["b"], found["delta"]) == (100, 100, 0)
    assert found["verdict"] == "equivalent"


@pytest.mark.parametrize("unit", ["{x} dollars", "${x}", "{x} apples", "\\boxed{{{x}}}"])
def test_a_gold_with_its_unit_is_met_by_the_number_alone(tmp_path, unit):
    golds = [unit.format(x=i + 2) for i in range(80)]
    bare = [f"2 + {i} = {i + 2}\n#### {i + 2}" for i in range(80)]
    learned = [f"2 + {i} = {i + 2}\n#### " + gold for i, gold in enumerate(golds)]
    before, after = (graded(tmp_path, n, c, golds) for n, c in (("base", bare), ("tuned", learned)))
    found = predictions.compare_files(before, after, margin=5)
    assert (found["a"], found["b"]) == (100, 100)
    assert found["verdict"] == "equivalent"


def test_runs_on_disk_are_judged_by_the_answers_and_not_by_their_stops(tmp_path):
    """Graded as once, on the last number of all, the base model had three answers in four wrong."""
    golds = [str(i + 3) for i in range(80)]
    solved = [f"{i} + 3 = {i + 3}\n#### {i + 3}" for i in range(80)]
    on = [text + NEXT["question"].format(b=i) * (i % 4 > 0) for i, text in enumerate(solved)]
    once = [i % 4 == 0 for i in range(80)]

    def written(flags, texts):
        return tuple(
            replace(a, gold=gold, completion=text, extracted=None)
            for a, gold, text in zip(answers(flags), golds, texts, strict=True)
        )

    store = Store(tmp_path)
    for one in (run(ZERO, written(once, on)), run(FULL, written([True] * 80, solved), 0)):
        store.commit(replace(one, grading=1))
    (effect,) = verdicts_on(store.runs()).effects
    assert (effect.before, effect.after, effect.lost, effect.gained) == (100, 100, 0, 0)
    assert effect.verdict != "improved"
