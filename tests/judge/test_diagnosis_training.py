"""What a diagnosis reads from the training: template, mask, rows, leaks, labels, forgetting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from finetrap.findings import Effect
from finetrap.judge import diagnosis, verdicts
from tests.builders.diagnosed import (
    BAD,
    GOOD,
    PROBE,
    RIGHT,
    ROW,
    SLIP,
    WRONG_PLAN,
    N,
    answers,
    cell,
    likely_causes,
    suspects,
    trained,
    untouched,
    verdict,
)

# --- what the training shows ------------------------------------------------------------------


def test_a_sound_training_convicts_nobody() -> None:
    assert likely_causes(trained()) == set()


def test_another_template_is_a_likely_cause_and_silences_the_likelihoods() -> None:
    other = {"text": "### {question}\n{solution}", "sha256": "b"}
    silenced = {"swapped_nats": [1.0] * 40, "loss": [0.5, 0.1, 0.01, 0.01, 0.01]}
    unlikely = tuple(replace(a, nats=9.0) for a in BAD)
    found = suspects(trained(unlikely, train_template=other, **silenced))
    assert {n for n, s in found.items() if s.verdict == "likely cause"} == {"template mismatch"}
    for name in ("labels", "style distance", "too little or duplicated data"):
        assert found[name].verdict == "not enough data"


def test_a_chat_template_that_leads_to_no_answer_is_a_likely_cause() -> None:
    fault = "the chat template opens a block of reasoning: answers are written inside '<think>'"
    found = suspects(trained(template_faults=[fault]))["chat template"]
    assert (found.verdict, found.evidence) == ("likely cause", fault)
    assert 'prompt = "plain"' in found.remedy
    assert suspects(trained())["chat template"].verdict == "ruled out"
    assert suspects(trained(template_faults=None))["chat template"].verdict == "not enough data"


@pytest.mark.parametrize(
    "fault",
    [
        {"eos_share": 0.0},
        {"rows": [[["Question", False], [":", True], [" 1", True], ["<end>", True]]]},
        {"rows": [[*ROW[:3], ["2", True], ["<end>", False]]]},
        {"rows": [[[text, False] for text, _ in ROW]]},
    ],
)
def test_a_wrong_mask_is_a_likely_cause(fault: dict[str, Any]) -> None:
    assert likely_causes(trained(**fault)) == {"target masking"}


@pytest.mark.parametrize(
    "fault",
    [
        {"exact_duplicates": 30},
        {"near_duplicates": 30},
        {"loss": [0.5, 0.1, 0.01, 0.01, 0.01]},
    ],
)
def test_repeated_rows_and_rows_learnt_by_heart_are_a_likely_cause(fault: dict[str, Any]) -> None:
    unlikely = tuple(replace(a, nats=9.0) for a in BAD)
    assert likely_causes(trained(unlikely, **fault)) == {"too little or duplicated data"}


def test_a_low_training_loss_is_no_fault_where_the_test_is_as_likely() -> None:
    assert likely_causes(trained(loss=[0.5, 0.1, 0.01, 0.01])) == set()


def test_rows_whose_loss_rose_were_not_learnt_by_heart() -> None:
    unlikely = tuple(replace(a, nats=90.0) for a in BAD)
    assert likely_causes(trained(unlikely, loss=[0.5, 0.5, 0.51, 0.52])) == set()


def test_a_leak_is_a_likely_cause_of_gains_not_of_harm() -> None:
    leak = {"overlap": {"train": 100, "test": N, "exact": 3, "near": 2, "pairs": []}}
    found = suspects(trained(GOOD, **leak))["train-test overlap"]
    assert found.verdict == "likely cause"
    assert "no gain here can be trusted" in found.evidence


def test_foreign_style_is_a_likely_cause_where_the_model_knows_the_task() -> None:
    far = [{"nats": 60.0, "bytes": 20}] * 40
    foreign = {"base_loss": far, "swapped_nats": [70.0] * 40}
    assert likely_causes(trained(**foreign)) == {"style distance"}
    unknown = untouched(answers((N, WRONG_PLAN)))
    assert verdict("style distance", trained(**foreign), unknown) == "not enough data"


def test_labels_are_a_likely_cause_where_no_solution_fits_its_question() -> None:
    unlikely = [{"nats": 30.0 + i % 2, "bytes": 20} for i in range(40)]
    shuffled = {"base_loss": unlikely, "swapped_nats": [30.5] * 40}
    found = suspects(trained(**shuffled))
    assert {n for n, s in found.items() if s.verdict == "likely cause"} == {"labels"}
    assert "20 of 40" in found["labels"].evidence
    assert found["style distance"].verdict == "not enough data"


@pytest.mark.parametrize("nats", [60.0, 9.0])
def test_a_model_that_cannot_read_solutions_does_not_judge_labels(nats: float) -> None:
    swapped = {"swapped_nats": [2.0] * 20 + [1.0] * 20}
    reader = untouched(tuple(replace(a, nats=nats) for a in GOOD))
    expected = "not enough data" if nats > 20 else "likely cause"
    assert verdict("labels", trained(**swapped), reader) == expected


def test_a_model_that_does_not_know_the_task_does_not_judge_labels() -> None:
    swapped = {"swapped_nats": [2.0] * 20 + [1.0] * 20}
    unknown = untouched(answers((5, RIGHT), (55, WRONG_PLAN)))
    assert verdict("labels", trained(**swapped), unknown) == "not enough data"


def probe(verdict: str, **changes: Any) -> Effect:
    return Effect(
        "m", "sorting", "probe", "full", 3e-5, "fixed", "zero-shot", 1, 60, 80.0, 40.0, -40.0,
        -50.0, -30.0, 24, 0, 0.0, 0.0, 2.0, verdict, None, None, trained_on="sums", **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (probe("harmed"), "likely cause"),
        (probe("harmed", small=True), "ruled out"),
        (probe("equivalent"), "ruled out"),
        (probe("inconclusive"), "not enough data"),
    ],
)
def test_forgetting_is_what_the_probes_say(effect: Effect, expected: str) -> None:
    run = replace(trained(), cell=cell(probes=(PROBE,)))
    runs = [untouched(), run]
    found = verdicts.verdicts_on(runs)
    found = replace(found, effects=(*found.effects, effect))
    named = {s.suspect: s for s in diagnosis.diagnose_run(run, runs, found).suspects}
    assert named["forgetting"].verdict == expected
    assert "sorting 80.0 to 40.0%" in named["forgetting"].evidence


def test_uneven_digits_are_a_likely_cause_only_of_miscalculation() -> None:
    uneven = {"rows": [[["12", False], [" is", False], ["1", True], ["3", True], ["<e>", True]]]}
    slips = answers((20, RIGHT), (40, SLIP))
    assert verdict("number tokenisation", trained(slips, **uneven)) == "likely cause"
    assert verdict("number tokenisation", trained(**uneven)) == "ruled out"
    assert verdict("number tokenisation", trained(slips)) == "ruled out"


def test_a_run_without_evidence_still_has_every_suspect() -> None:
    bare = replace(trained(), evidence={})
    found = suspects(bare)
    assert found["noise"].verdict == "ruled out"
    assert {found[n].verdict for n in ("template mismatch", "labels", "style distance")} == {
        "not enough data"
    }
