"""A model asked by several prompts: each is judged by itself, and their spread is told."""

from __future__ import annotations

from dataclasses import replace

from finetrap.judge.prompted import told_apart
from finetrap.judge.verdicts import verdicts_on
from finetrap.references import PromptSpec
from finetrap.report import wording
from tests.builders.runs import FULL, MINI, ZERO, run

SOLVE = replace(MINI, prompt=PromptSpec("plain", template="Solve: {question}"))
ASKED = [
    run(ZERO, [1, 1, 0, 0]),
    run(FULL, [1, 1, 1, 1], 0),
    run(ZERO, [1, 1, 1, 1], model=SOLVE),
    run(FULL, [0, 0, 0, 1], 0, model=SOLVE),
]


def test_each_prompt_is_judged_against_the_base_model_asked_by_it() -> None:
    found = verdicts_on(ASKED)
    changes = {e.model: e.delta for e in found.effects if e.measure == "accuracy"}
    assert changes == {"mini [default prompt]": 50.0, "mini [template=Solve: {question}]": -75.0}


def test_how_far_the_base_model_hangs_on_its_prompt_is_told() -> None:
    (spread,) = verdicts_on(ASKED).prompts
    assert [(level.accuracy, level.prompt) for level in spread.levels] == [
        (50.0, "default prompt"),
        (100.0, "template=Solve: {question}"),
    ]
    told = wording.prompt_spread(spread)
    assert told.startswith(
        "mini on market: by prompt alone the base model is right in 50.0 to 100.0% of 4 problems"
    )


def test_prompts_that_were_asked_within_other_limits_are_not_beside_each_other() -> None:
    other = replace(ASKED[2].cell.limits, max_new_tokens=7)
    assert verdicts_on([ASKED[0], run(ZERO, [1, 1, 1, 1], model=SOLVE, limits=other)]).prompts == ()


def test_one_prompt_leaves_a_models_name_and_a_label_changes_no_key() -> None:
    assert told_apart(ASKED[:2]) == ASKED[:2]
    labelled = told_apart(ASKED)
    assert [r.cell.key for r in labelled] == [r.cell.key for r in ASKED]
    assert {r.cell.model.name for r in labelled} == {"mini"}


def test_prompts_that_begin_alike_have_different_names() -> None:
    long = "Please solve the following problem and write"
    models = [
        replace(MINI, prompt=PromptSpec(template=f"{long} {end}: {{question}}")) for end in "ab"
    ]
    labels = {r.cell.model.shown for r in told_apart([run(ZERO, [1], model=m) for m in models])}
    assert len(labels) == 2
