"""Verdicts of planted and of measured runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finetrap.findings import Missing
from finetrap.judge.tables import cell_rows
from finetrap.judge.verdicts import study_verdicts, verdicts_on
from finetrap.records import Judge, StrategySpec, TrainSpec
from finetrap.runs.store import Store
from finetrap.stats.changes import mcnemar_mid_p
from tests.builders.reported import study
from tests.builders.runs import (
    FULL,
    LORA,
    MINI,
    SHOTS,
    ZERO,
    answer,
    answers,
    by_strategy,
    failed,
    prose,
    run,
    simulated,
    trial,
)


def test_planted_effects_are_found_and_a_planted_null_is_equivalent():
    findings = verdicts_on(simulated((SHOTS, 0.0), (FULL, -0.15), (LORA, 0.08)), Judge(margin=3))
    found = by_strategy(findings)
    assert found["full"].verdict == "harmed"
    assert found["lora"].verdict == "improved"
    assert found["few-shot-5"].verdict == "equivalent"
    assert found["full"].delta == pytest.approx(-15, abs=3)
    assert (found["full"].n, found["full"].seeds, found["full"].margin) == (1200, 3, 3)
    assert found["full"].low < found["full"].delta < found["full"].high < 0
    assert found["full"].needed_n is None
    assert findings.missing == ()


def test_rows_stand_against_the_best_in_context_arm_too():
    weaker = StrategySpec("few-shot-1", "prompt", shots=1)
    runs = simulated((weaker, -0.2), (SHOTS, 0.1), (FULL, 0.0))
    rows = by_strategy(verdicts_on(runs, Judge(margin=3)), "best-icl")
    assert set(rows) == {"few-shot-1", "full"}
    assert rows["full"].verdict == "harmed"
    assert rows["full"].before == pytest.approx(70, abs=3)
    assert rows["full"].seeds == 3


def test_flips_are_counted_per_seed_and_never_summed():
    before = [1] * 30 + [0] * 30
    seeds = [[1] * 20 + [0] * 10 + [1] * s + [0] * (30 - s) for s in (2, 4)]
    runs = [run(ZERO, before), *(run(FULL, flags, s) for s, flags in enumerate(seeds))]
    (row,) = verdicts_on(runs).effects
    assert (row.lost, row.gained) == (10, 3)
    assert row.per_seed == (
        (0, 10, 2, mcnemar_mid_p(10, 2), pytest.approx(-100 * 8 / 60)),
        (1, 10, 4, mcnemar_mid_p(10, 4), pytest.approx(-10)),
    )
    assert row.noise_floor == pytest.approx(100 * 2 / 60)


def test_scores_between_0_and_1_are_judged_by_their_means_without_what_counts_flips():
    rng = np.random.default_rng(3)
    before, after = rng.random(400), rng.random((2, 400)) * 0.6

    def scored(values):
        return tuple(replace(answer(f"p{i}", False), score=v) for i, v in enumerate(values))

    runs = [run(ZERO, scored(before)), *(run(FULL, scored(v), s) for s, v in enumerate(after))]
    findings = verdicts_on(runs)
    (row,) = findings.effects
    assert row.verdict == "harmed"
    assert row.before == pytest.approx(100 * before.mean())
    assert row.delta == pytest.approx(100 * (after.mean() - before.mean()))
    assert (row.lost, row.noise_floor, row.churn) == (round((after < before).sum() / 2), None, None)
    assert [one.p for one in row.per_seed] == [None, None]
    assert row.per_seed[1].delta == pytest.approx(100 * (after[1] - before).mean())
    for cell in cell_rows(runs):
        assert (cell.low, cell.high) == (None, None)
    assert cell_rows(runs)[0].accuracy == pytest.approx(100 * before.mean())


def test_answers_pair_by_id_not_by_place():
    rng = np.random.default_rng(1)
    flags = rng.random(50) < 0.5
    shuffled = run(FULL, flags, 0)
    shuffled = replace(shuffled, answers=tuple(reversed(shuffled.answers)))
    (row,) = verdicts_on([run(ZERO, flags), shuffled]).effects
    assert (row.lost, row.gained, row.delta) == (0, 0, 0)


def test_one_seed_is_about_this_checkpoint():
    (row,) = verdicts_on(
        [run(ZERO, [1] * 80 + [0] * 20), run(FULL, [1] * 40 + [0] * 60, 0)]
    ).effects
    assert row.verdict == "harmed"
    assert "this checkpoint" in row.note
    assert "vary by less than" in row.note


def test_failed_seeds_are_counted_and_an_all_failed_strategy_is_a_cell_only():
    flags = [1] * 60 + [0] * 40
    runs = [run(ZERO, flags), run(FULL, flags, 0), run(FULL, flags, 1), failed(FULL, 2)]
    runs += [failed(LORA, s, "oom") for s in (0, 1)]
    findings = verdicts_on(runs)
    assert [e.strategy for e in findings.effects] == ["full"]
    assert "1 of 3 seeds ended without answers (diverged)" in findings.effects[0].note
    assert findings.effects[0].seeds == 2
    assert [c.status for c in findings.cells].count("oom") == 2


def test_a_seed_with_other_problems_is_left_out_and_said_so():
    flags = [1] * 30 + [0] * 30
    short = run(FULL, flags[:-5], 1)
    twice = run(FULL, flags, 2)
    twice = replace(twice, answers=(*twice.answers, twice.answers[0]))
    findings = verdicts_on([run(ZERO, flags), run(FULL, flags, 0), short, twice])
    (row,) = findings.effects
    assert row.seeds == 1
    assert "full seed 1 left out: 5 ids" in row.note
    assert Missing("left out", "mini", "market", "full", 2, "1 duplicate ids") in findings.missing


def test_another_gold_answer_is_another_problem():
    flags = [1] * 30 + [0] * 30
    other = run(FULL, flags, 0)
    other = replace(other, answers=tuple(replace(a, gold="19") for a in other.answers))
    findings = verdicts_on([run(ZERO, flags), other])
    assert findings.effects == ()
    assert "60 problems have another gold answer" in findings.missing[0].reason


def test_without_the_untouched_model_nothing_is_judged():
    findings = verdicts_on([run(FULL, [1, 0, 1], 0)])
    assert findings.effects == ()
    assert findings.missing[0].kind == "base model"
    assert len(findings.cells) == 1


def test_a_task_not_trained_on_is_transfer():
    flags = [1] * 30 + [0] * 30
    runs = [run(ZERO, flags), run(FULL, flags, 0, trained_on="school")]
    (row,) = verdicts_on(runs).effects
    assert (row.kind, row.task, row.trained_on) == ("transfer", "market", "school")


def test_examples_on_a_probe_are_transfer_and_never_forgetting():
    flags = [1] * 30 + [0] * 30
    probe = {"school": answers(flags)}
    rows = by_strategy(
        verdicts_on(
            [
                run(ZERO, flags, probes=probe),
                run(SHOTS, flags, 0, probes=probe),
                run(FULL, flags, 0, probes=probe),
            ]
        ),
        kind="probe",
    )
    assert rows["few-shot-5"].note.startswith("transfer")
    assert "transfer" not in rows["full"].note
    assert rows["full"].task == "school"
    assert rows["full"].trained_on == "market"


def test_a_training_tested_on_two_tasks_counts_once_on_a_probe():
    flags = [1] * 30 + [0] * 30
    probe = {"prose": prose([1.0, 1.1, 1.2])}
    runs = [
        run(strategy, flags, seed, task=task, trained_on="market", probes=probe)
        for task in ("market", "school")
        for strategy, seed in ((ZERO, None), (FULL, 0), (FULL, 1))
    ]
    rows = [e for e in verdicts_on(runs).effects if e.kind == "probe"]
    assert [(e.strategy, e.seeds) for e in rows] == [("full", 2)]


def test_more_bits_per_byte_of_prose_are_harm():
    rng = np.random.default_rng(3)
    base = rng.uniform(1.0, 2.0, 60)
    flags = [1] * 30 + [0] * 30
    runs = [run(ZERO, flags, probes={"prose": prose(base)})]
    for strategy, rise in ((FULL, 0.3), (LORA, 0.0)):
        for seed in range(3):
            after = base + rise + rng.normal(0, 0.01, 60)
            runs.append(run(strategy, flags, seed, probes={"prose": prose(after)}))
    findings = verdicts_on(runs, Judge(bits_margin=0.05))
    rows = by_strategy(findings, kind="probe", measure="bits_per_byte")
    assert by_strategy(findings, kind="probe") == {}
    assert rows["full"].verdict == "harmed"
    assert rows["full"].delta == pytest.approx(0.3, abs=0.01)
    assert rows["full"].before == pytest.approx(base.mean())
    assert (rows["full"].margin, rows["full"].lost) == (0.05, None)
    assert rows["lora"].verdict == "equivalent"


def test_learning_rates_are_rows_of_their_own_and_other_axes_are_in_the_name():
    flags = [1] * 30 + [0] * 30
    slow = replace(FULL, learning_rate=3e-5)
    wide = replace(LORA, peft={"peft_type": "LORA", "r": 64})
    runs = [run(ZERO, flags)] + [run(s, flags, 0) for s in (FULL, slow, LORA, wide)]
    findings = verdicts_on(runs)
    assert [(e.strategy, e.learning_rate) for e in findings.effects] == [
        ("full", 3e-5),
        ("full", 3e-4),
        ("lora[r=8]", 3e-4),
        ("lora[r=64]", 3e-4),
    ]
    assert {c.strategy for c in findings.cells} == {e.strategy for e in findings.effects} | {
        "zero-shot"
    }


def test_strategies_of_different_training_precision_are_told_apart():
    runs = [run(ZERO, [1, 0] * 200), run(FULL, [1, 0] * 200, 0), run(LORA, [1, 0] * 200, 0)]
    assert verdicts_on(runs).missing == ()
    half = [replace(r, cell=replace(r.cell, train=TrainSpec(dtype="bf16"))) for r in runs[1:]]
    assert verdicts_on([runs[0], *half]).missing == ()
    (told,) = verdicts_on([runs[0], runs[1], half[1]]).missing
    assert (told.kind, told.reason) == ("precision", "fp32: full; bf16: lora")
    old = [replace(r, cell=replace(r.cell, train=TrainSpec(dtype=None))) for r in runs[1:]]
    (told,) = verdicts_on([runs[0], *old]).missing
    assert told.reason == "unknown: full, lora"
    both = verdicts_on([*runs, half[0]])
    assert {e.strategy for e in both.effects} == {"full[dtype=fp32]", "full[dtype=bf16]", "lora"}


def test_gold_solutions_are_a_second_measure_with_a_verdict_of_its_own():
    rng = np.random.default_rng(4)
    nats = rng.uniform(5, 15, 400)
    wrong = [0] * 400
    runs = [run(ZERO, wrong, nats=nats, probes={"school": answers(wrong, nats=nats)})]
    for seed in range(3):
        worse = nats + 2 + rng.normal(0, 0.5, 400)
        probe = {"school": answers(wrong, nats=nats)}
        runs.append(run(FULL, wrong, seed, nats=worse, probes=probe))
        runs.append(run(LORA, wrong, seed, nats=nats + rng.normal(0, 0.1, 400), probes=probe))
    findings = verdicts_on(runs, Judge(bits_margin=0.05))
    accuracy, bits = (by_strategy(findings, measure=m) for m in ("accuracy", "bits_per_byte"))
    assert accuracy["full"].verdict == "inconclusive"
    assert bits["full"].verdict == "harmed"
    assert bits["full"].delta == pytest.approx(0.2 / np.log(2), abs=0.01)
    assert bits["lora"].verdict == "equivalent"
    assert (bits["full"].floor, bits["full"].lost, bits["full"].margin) == (False, None, 0.05)
    probes = by_strategy(findings, kind="probe", measure="bits_per_byte")
    assert probes["full"].verdict == "equivalent"


def test_a_run_without_likelihoods_is_left_out_of_the_second_measure_only():
    flags = [1] * 30 + [0] * 30
    nats = np.linspace(5, 15, 60)
    findings = verdicts_on([run(ZERO, flags, nats=nats), run(FULL, flags, 0)])
    assert [e.measure for e in findings.effects] == ["accuracy"]
    assert "60 answers have no likelihood of the gold text" in findings.missing[0].reason


def test_no_change_below_the_untouched_models_own_flips_is_an_effect():
    before = np.array([1] * 1000 + [0] * 1000)
    after = before.copy()
    after[:30] = 0
    trained = [run(FULL, after, s) for s in range(3)]

    def change(flips):
        again = {"self_flips": {"n": 2000, "flips": flips, "changed_texts": flips}}
        (row,) = verdicts_on([run(ZERO, before, evidence=again), *trained], Judge(margin=3)).effects
        return row

    assert (change(0).verdict, change(0).small, change(0).self_flips) == ("equivalent", True, 0)
    assert "detectably worse, by less than the margin" in change(0).note
    assert change(10).small
    noisy = change(40)
    assert (noisy.verdict, noisy.self_flips, noisy.needed_n) == ("equivalent", 2, None)
    assert not noisy.small
    assert "alone changes 2 points of its answers" in noisy.note


def test_churn_is_described_and_never_harm():
    rng = np.random.default_rng(6)
    before = rng.random(3000) < 0.6
    seeds = []
    for seed in range(3):
        flipped = rng.random(3000) < 0.1
        seeds.append(run(FULL, np.where(flipped, rng.random(3000) < 0.6, before), seed))
    (row,) = verdicts_on([run(ZERO, before), *seeds], Judge(margin=3)).effects
    assert row.verdict == "equivalent"
    # Two seeds differ in twice as many problems as one does from the untouched model.
    assert row.noise_floor == pytest.approx(9, abs=1.5)
    assert row.churn == pytest.approx(-row.noise_floor / 2, abs=1)
    assert 0 < row.churn_error < 0.5


def test_trials_of_a_search_are_compared_with_nothing():
    flags = [1] * 60 + [0] * 40
    runs = [run(ZERO, flags), run(FULL, flags, 0)]
    searched = [trial(FULL, rate, 50, 1.0) for rate in (1e-4, 3e-4)]
    before, after = verdicts_on(runs), verdicts_on(runs + searched)
    assert [e.seeds for e in after.effects] == [1] * len(after.effects)
    assert {e.strategy for e in after.effects} == {"full"}
    assert {(e.delta, e.p, e.n) for e in after.effects} == {
        (e.delta, e.p, e.n) for e in before.effects
    }
    assert [(t.learning_rate, t.accuracy) for t in after.trials] == [(1e-4, 50), (3e-4, 50)]


def test_the_searched_rate_is_the_tuned_one_and_any_other_the_fixed_one():
    runs = simulated((FULL, -0.15), (replace(FULL, learning_rate=1e-4), 0.0))
    runs += [trial(FULL, 3e-4, 30, 2.0), trial(FULL, 1e-4, 60, 1.0)]
    rows = [e for e in verdicts_on(runs, Judge(margin=3)).effects if e.against == "zero-shot"]
    assert [(e.setting, e.learning_rate, e.verdict) for e in rows] == [
        ("tuned", 1e-4, "equivalent"),
        ("fixed", 3e-4, "harmed"),
    ]


def test_a_rate_that_is_fixed_and_tuned_is_told_twice_and_counts_once():
    runs = simulated((FULL, -0.02), (LORA, 0.01), n=400)
    once = verdicts_on(runs).effects
    twice = verdicts_on([*runs, trial(FULL, 3e-4, 60, 1.0), trial(FULL, 1e-4, 60, 2.0)]).effects
    full = [e for e in twice if e.strategy == "full"]
    assert [e.setting for e in full] == ["fixed", "tuned"]
    assert replace(full[1], setting="fixed") == full[0] == once[0]
    assert next(e for e in twice if e.strategy == "lora") == once[1]


def test_many_templates_are_the_rows_and_few_are_named():
    rng = np.random.default_rng(5)
    flags = rng.random((240, 2)) < 0.5

    def templates(count):
        names = [f"t{i % count}" for i in range(240)]
        runs = [run(ZERO, flags[:, 0]), run(FULL, flags[:, 1], 0)]
        return verdicts_on(
            [
                replace(r, answers=answers(f, families=names))
                for r, f in zip(runs, flags.T, strict=True)
            ]
        ).effects[0]

    assert "20 problem families are the rows" in templates(20).note
    assert "about these 4 problem families" in templates(4).note
    assert "famil" not in templates(1).note


def test_models_are_judged_apart():
    flags = [1] * 30 + [0] * 30
    other = replace(MINI, name="large", revision="r2", parameters=5_000_000)
    runs = [run(s, flags, x, model=m) for m in (other, MINI) for s, x in ((ZERO, None), (FULL, 0))]
    assert [e.model for e in verdicts_on(runs).effects] == ["mini", "large"]


def test_a_runs_folder_is_judged_without_its_study(tmp_path):
    store = Store(tmp_path)
    runs = [run(ZERO, [1] * 30 + [0] * 30), run(FULL, [1] * 10 + [0] * 50, 0)]
    for each in runs:
        store.commit(each)
    findings, measured = study_verdicts(store)
    assert [e.verdict for e in findings.effects] == ["harmed"]
    assert len(measured) == 2
    left = run(LORA, [], 0).cell
    findings, _ = study_verdicts(store, cells=[*(r.cell for r in runs), left], margin=50)
    (missing,) = findings.missing
    assert (missing.kind, missing.cell, missing.remaining) == ("cell", left.slug, 1)
    assert (missing.planned, missing.strategy, missing.seed) == (1, "lora", 0)
    assert findings.effects[0].margin == 50


def test_of_two_studies_in_one_folder_only_the_named_one_is_judged(tmp_path):
    store = Store(tmp_path)
    base, full, lora = (run(s, [1] * 30 + [0] * 30, 0) for s in (ZERO, FULL, LORA))
    first, other = study(), replace(study(), name="other", judge=Judge(margin=7))
    for each in (base, full, lora):
        store.commit(each)
    store.remember(first, [base.cell, full.cell])
    store.remember(other, [base.cell, lora.cell, run(LORA, [], 1).cell])
    findings, measured = study_verdicts(store, first)
    assert {r.cell.strategy.name for r in measured} == {"zero-shot", "full"}
    assert (findings.remaining, findings.missing) == (0, ())
    findings, measured = study_verdicts(store, other)
    assert {r.cell.strategy.name for r in measured} == {"zero-shot", "lora"}
    assert findings.remaining == 1
    findings, measured = study_verdicts(store)
    assert (len(measured), findings.remaining) == (3, 1)
    assert findings.missing == (Missing("study", study="other", remaining=1, planned=3),)
    assert {e.margin for e in findings.effects} == {Judge().margin}, "of two margins neither"


def test_a_folder_of_one_study_is_judged_by_its_margin(tmp_path):
    store, runs = Store(tmp_path), [run(ZERO, [1, 0] * 30), run(FULL, [1, 0] * 30, 0)]
    for each in runs:
        store.commit(each)
    store.remember(replace(study(), judge=Judge(margin=7)), [each.cell for each in runs])
    findings, _ = study_verdicts(store)
    assert {round(effect.margin, 9) for effect in findings.effects} == {7}
