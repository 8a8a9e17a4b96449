"""One odd or damaged run takes nothing from the judgement of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finetrap import judge
from finetrap.judge.verdicts import verdicts_on
from finetrap.records import PROTOCOL
from finetrap.report import wording
from finetrap.runs.store import Store
from tests.builders.diagnosed import GOOD, trained, untouched
from tests.builders.runs import FULL, LORA, SHOTS, ZERO, run, runs

INFINITE = {"nats": None, "bytes": 20}
"""How a likelihood of zero stands on disk: its nats are no JSON number."""


@pytest.mark.parametrize(
    "evidence",
    [
        {"base_loss": [INFINITE] * 40},
        {"swapped_nats": [None] * 40},
        {"divergence": [["p00", None, None]]},
        {"loss": [None] * 5, "update_ratio": [None] * 5},
    ],
    ids=lambda evidence: next(iter(evidence)),
)
def test_likelihoods_that_were_infinite_are_left_out(tmp_path, evidence):
    store = Store(tmp_path)
    base = replace(untouched(GOOD), evidence={"own_style": [INFINITE] * 10})
    for one in (base, trained(**evidence)):
        store.commit(one)
    findings, _ = judge.judge_study(store)
    (effect,) = [e for e in findings.effects if e.measure == "accuracy"]
    assert effect.verdict == "harmed"
    (diagnosis,) = findings.diagnoses
    assert len(diagnosis.suspects) == 14


def test_a_damaged_run_is_named_and_the_others_are_judged(tmp_path):
    store = Store(tmp_path)
    for one in runs((FULL, -0.3), (LORA, 0.0), seeds=2):
        folder = store.commit(one)
        if one.cell.strategy == LORA:
            damaged = folder / "answers.jsonl"
    damaged.write_bytes(damaged.read_bytes().replace(b"true", b"fals", 1))
    findings, measured = judge.judge_study(store)
    assert len(measured) == 4
    assert {e.strategy for e in findings.effects} >= {"full", "lora"}
    (missing,) = [m for m in findings.missing if m.kind == "damaged"]
    assert "answers.jsonl was edited" in wording.missing(missing)
    assert "fsck" in wording.missing(missing)


def test_runs_of_different_protocols_are_not_compared():
    """A protocol decides completions and likelihoods: a change of it is no effect of training."""
    base, tuned = run(ZERO, [1, 0] * 50), run(FULL, [1, 0, 0, 0] * 25, 0)
    assert verdicts_on([base, tuned]).effects
    older = replace(base, cell=replace(base.cell, protocol=PROTOCOL - 1))
    found = verdicts_on([older, tuned])
    assert not found.effects
    assert "base model" in {one.kind for one in found.missing}


def test_a_seed_without_a_partner_of_the_best_prompt_is_named():
    """Five-shot has two seeds, full fine-tuning three: the third is in no comparison of the two."""
    measured = [run(ZERO, [1, 0] * 50)]
    measured += [run(SHOTS, [1, 1, 0, 0] * 25, seed) for seed in (0, 1)]
    measured += [run(FULL, [1, 0, 0, 0] * 25, seed) for seed in (0, 1, 2)]
    found = verdicts_on(measured)
    (against,) = [e for e in found.effects if (e.strategy, e.against) == ("full", "best-icl")]
    assert against.seeds == 2
    assert "full seed 2 left out: few-shot-5 has 2 seeds to pair it with" in against.note
