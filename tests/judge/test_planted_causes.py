"""Causes planted in real trainings of the miniature are found, each alone or with what it causes.

A planted run is a cell like any other in which one thing is wrong: the rows' template, their end,
the rate, the problems or the cap. The untouched model solves every problem of the family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from finetrap import tasks
from finetrap.backends import Model, Row
from finetrap.backends.hf import model as hf_model
from finetrap.backends.hf.training.encoded import Encoded
from finetrap.findings import Suspect
from finetrap.judge import diagnosis as diagnose
from finetrap.judge import verdicts
from finetrap.measure import evidence, strategies
from finetrap.measure.problems import Problems
from finetrap.measure.runner import attempt
from finetrap.measure.session import Session
from finetrap.measure.strategies import Trained
from finetrap.measure.study import models
from finetrap.records import Cell, Limits, Problem, Run, StrategySpec, TrainSpec

FAMILY = "school"
RATE = 3e-4
"""A rate at which full fine-tuning does no harm here."""
PROBLEMS, TESTED, CAP = 120, 80, 64


def cell(rate: float | None = None, cap: int = CAP) -> Cell:
    """Full fine-tuning at a rate, or without one the untouched model."""
    task = tasks.reference(FAMILY)
    return Cell(
        model=models.resolve("mini-0.3m", Path(), {}),
        task=task,
        strategy=StrategySpec("full", "full", learning_rate=rate)
        if rate
        else StrategySpec("zero-shot", "prompt"),
        train=TrainSpec(problems=PROBLEMS, epochs=3, batch=16),
        limits=Limits(test_problems=TESTED, probe_problems=40, max_new_tokens=cap),
        seed=0 if rate else None,
        trained_on=task if rate else None,
        probes=(tasks.reference("sums"),) if cap == CAP else (),
    )


class Misled(Problems):
    """Other training problems than the task's."""

    def __init__(self, mislead: Callable[[Sequence[Problem]], Sequence[Problem]]) -> None:
        super().__init__()
        self.mislead = mislead

    def trained(self, cell: Cell) -> Trained:
        return Trained(tuple(self.mislead(super().trained(cell).problems)))


def run(planned: Cell, problems: Problems | None = None) -> Run:
    done = attempt(planned, Session(problems=problems), lambda event: None)
    assert done.status == "done", done.failure
    return done


@pytest.fixture(scope="module")
def untouched() -> Run:
    return run(cell())


@pytest.fixture(scope="module")
def sound() -> Run:
    """Nothing is planted."""
    return run(cell(RATE))


@pytest.fixture(scope="module")
def wrecked() -> Run:
    return run(cell(100 * RATE))


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as changed:
        yield changed


def suspects(planted: Run, *others: Run) -> dict[str, Suspect]:
    runs = [*others, planted]
    found = diagnose.diagnose_run(planted, runs, verdicts.verdicts_on(runs))
    return {s.suspect: s for s in found.suspects}


def likely_causes(found: dict[str, Suspect]) -> set[str]:
    return {name for name, s in found.items() if s.verdict == "likely cause"}


def accuracy(measured: Run) -> float:
    return sum(bool(a.correct) for a in measured.answers) / len(measured.answers)


def test_no_cause_is_likely_where_nothing_was_planted(untouched: Run, sound: Run) -> None:
    assert accuracy(untouched) > 0.95
    assert accuracy(sound) > 0.95
    assert likely_causes(suspects(sound, untouched)) == set()
    assert (
        diagnose.diagnose_worse(verdicts.verdicts_on([untouched, sound]), [untouched, sound]) == ()
    )


def test_a_hundredfold_learning_rate_is_the_likely_cause_of_a_wrecked_model(
    untouched: Run, wrecked: Run
) -> None:
    found = suspects(wrecked, untouched)
    # A wrecked model writes on without end, calculates wrongly and forgets everything else.
    known = {"truncation and missing EOS", "arithmetic slips", "forgetting"}
    assert {"learning rate"} <= likely_causes(found) <= {"learning rate"} | known
    (diagnosis,) = diagnose.diagnose_worse(
        verdicts.verdicts_on([untouched, wrecked]), [untouched, wrecked]
    )
    assert set(diagnosis.suspects) == set(found.values())


def test_another_rate_without_harm_names_the_remedy(
    untouched: Run, sound: Run, wrecked: Run
) -> None:
    found = suspects(wrecked, untouched, sound)
    assert found["learning rate"].remedy == "learning_rate = 3e-4 instead of 3e-2"


def test_shuffled_answers_are_labels_that_do_not_fit(untouched: Run) -> None:
    def shuffled(problems: Sequence[Problem]) -> Sequence[Problem]:
        other = list(problems)
        Random("planted").shuffle(other)
        pairs = zip(problems, other, strict=True)
        return [replace(p, solution=o.solution, answer=o.answer) for p, o in pairs]

    planted = run(cell(RATE), Misled(shuffled))
    found = suspects(planted, untouched)
    assert accuracy(planted) < 0.2
    # What is learnt from wrong answers is wrong on the probe too.
    assert {"labels"} <= likely_causes(found) <= {"labels", "forgetting"}
    assert found["arithmetic slips"].verdict == "ruled out"


def test_another_template_in_training_is_found(untouched: Run, patch: pytest.MonkeyPatch) -> None:
    def rows(problems: Sequence[Problem], model: Model) -> list[Row]:
        return [
            Row(f"### Instruction:\n{p.question}\n\n### Response:\n", p.solution) for p in problems
        ]

    patch.setattr(strategies, "training_rows", rows)
    patch.setattr(evidence, "training_rows", rows)
    planted = run(cell(RATE))
    found = suspects(planted, untouched)
    assert accuracy(planted) < 0.9
    # Shaken by rows that it cannot read, the small model miscalculates; so it does on the probe.
    known = {"arithmetic slips", "forgetting"}
    assert {"template mismatch"} <= likely_causes(found) <= {"template mismatch"} | known
    assert "### Response" in found["template mismatch"].evidence


def test_an_end_left_out_of_the_loss_is_found(untouched: Run, patch: pytest.MonkeyPatch) -> None:
    encode = hf_model.examples

    def without_end(rows, tokens, **limits):
        """Put a line break where the end token belongs, as a row that goes on would have."""
        newline = tokens.continuation("\n")
        spans = encode(rows, tokens, **limits)
        texts = [[*span.ids[:-1], *newline] for span in spans]
        ends = np.cumsum([len(ids) for ids in texts])
        starts = np.array([span.start for span in spans])
        return Encoded(np.concatenate(texts), ends, starts, spans.apart)

    patch.setattr(hf_model, "examples", without_end)
    planted = run(cell(RATE))
    found = suspects(planted, untouched)
    assert accuracy(planted) < 0.5
    # The model does not stop; its last answer is of a problem that nobody asked.
    known = {"truncation and missing EOS", "forgetting"}
    assert {"target masking"} <= likely_causes(found) <= {"target masking"} | known
    assert "0% of the rows" in found["target masking"].evidence
    assert "does not stop" in found["truncation and missing EOS"].remedy


def test_a_leaked_test_set_is_found(untouched: Run) -> None:
    asked = tasks.asked(tasks.load(tasks.reference(FAMILY)), TESTED, "test", 0)

    def leaked(problems: Sequence[Problem]) -> Sequence[Problem]:
        wrapped = [replace(p, question=f"Please answer. {p.question}") for p in asked[::2]]
        return [*problems[: PROBLEMS - TESTED], *wrapped, *asked[1::2]]

    found = suspects(run(cell(RATE), Misled(leaked)), untouched)
    assert likely_causes(found) == {"train-test overlap"}
    assert found["train-test overlap"].evidence.startswith("40 of 80 test questions")


def test_a_cap_that_is_too_short_is_found() -> None:
    cut = run(cell(cap=12))
    found = suspects(run(cell(RATE, cap=12)), cut)
    assert likely_causes(found) == {"truncation and missing EOS"}
    assert found["truncation and missing EOS"].remedy.startswith("the cap is too short")
    assert "above 12" in found["truncation and missing EOS"].remedy
