"""Every suspect is a likely cause of what it did and ruled out for the rest, on made answers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from finetrap.errors import BadInput
from finetrap.judge import diagnosis, verdicts
from finetrap.records import (
    Failure,
    Run,
    StrategySpec,
)
from tests.builders.diagnosed import (
    BAD,
    GOOD,
    RIGHT,
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

# --- noise ------------------------------------------------------------------------------------


def test_noise_is_a_likely_cause_of_a_change_that_is_not_shown() -> None:
    found = suspects(trained(answers((57, RIGHT), (3, WRONG_PLAN))))
    assert found["noise"].verdict == "likely cause"
    assert "inconclusive" in found["noise"].evidence


def test_noise_is_ruled_out_for_a_change_that_is_shown() -> None:
    assert verdict("noise", trained()) == "ruled out"


def test_there_is_nothing_for_noise_to_explain_in_a_gain() -> None:
    found = verdict("noise", trained(answers((45, RIGHT), (15, SLIP))), untouched(BAD))
    assert found == "not enough data"


def test_at_the_floor_the_likelihoods_decide_about_noise() -> None:
    lost = answers((N, WRONG_PLAN))
    unlikely = [replace(a, nats=20.0 + i % 3) for i, a in enumerate(lost)]
    assert verdict("noise", trained(tuple(unlikely)), untouched(lost)) == "ruled out"
    assert verdict("noise", trained(lost), untouched(lost)) == "not enough data"
    within_the_margin = tuple(replace(a, nats=2.2 + i % 3 / 100) for i, a in enumerate(lost))
    assert verdict("noise", trained(within_the_margin), untouched(lost)) == "not enough data"


def test_a_failure_without_a_message_is_named_by_its_cause() -> None:
    failed = replace(trained(()), status="failed", failure=Failure("KeyError", ""))
    assert suspects(failed)["noise"].evidence == "no answers: KeyError"


def test_without_the_untouched_model_nothing_can_be_said_of_noise() -> None:
    run = trained()
    found = diagnosis.diagnose_run(run, [run], verdicts.verdicts_on([run]))
    assert found.suspects[0].verdict == "not enough data"


# --- the learning rate ------------------------------------------------------------------------


def test_a_rate_is_a_likely_cause_where_another_does_no_harm() -> None:
    found = suspects(trained(rate=3e-4), untouched(), trained(GOOD, rate=3e-5))
    assert found["learning rate"].verdict == "likely cause"
    assert found["learning rate"].remedy == "learning_rate = 3e-5 instead of 3e-4"


def test_a_rate_is_ruled_out_where_every_other_is_as_bad() -> None:
    assert verdict("learning rate", trained(rate=3e-4), untouched(), trained()) == "ruled out"


def test_trials_of_a_search_convict_a_rate_too() -> None:
    trials = [
        replace(trained(found, rate), cell=cell(rate, seed=9, split="dev"))
        for rate, found in ((3e-4, BAD), (3e-5, GOOD))
    ]
    found = suspects(trained(rate=3e-4), untouched(), untouched(split="dev"), *trials)
    assert found["learning rate"].verdict == "likely cause"
    assert "of dev" in found["learning rate"].evidence


def test_trials_of_another_strategy_say_nothing_of_this_one() -> None:
    other = replace(
        trained(GOOD), cell=replace(cell(3e-5), strategy=StrategySpec("lora", "peft", 0, 3e-5))
    )
    assert verdict("learning rate", trained(), untouched(), other) == "not enough data"


def test_half_trained_trials_and_other_amounts_of_data_are_no_other_rate() -> None:
    planned = cell(3e-4)
    for budget in (replace(planned.train, problems=50), replace(planned.train, share=0.5)):
        other = replace(trained(GOOD), cell=replace(cell(3e-5), train=budget))
        assert verdict("learning rate", trained(rate=3e-4), untouched(), other) == "not enough data"


def test_a_rate_that_may_be_no_better_neither_convicts_nor_clears() -> None:
    here, other = (answers((right, RIGHT), (N - right, WRONG_PLAN)) for right in (50, 57))
    found = verdict("learning rate", trained(here, 3e-4), untouched(), trained(other))
    assert found == "not enough data"


def test_one_rate_and_a_steady_loss_cannot_tell() -> None:
    assert verdict("learning rate", trained()) == "not enough data"


def test_a_loss_that_spikes_convicts_the_rate() -> None:
    assert likely_causes(trained(loss=[0.5, 0.4, 2.5, 0.9])) == {"learning rate"}


def test_batches_that_scatter_are_no_spike() -> None:
    assert verdict("learning rate", trained(loss=[2.0, 2.4, 1.9])) == "not enough data"


def test_large_updates_convict_the_rate_of_full_fine_tuning_only() -> None:
    large = {"update_ratio": [0.03] * 5}
    assert likely_causes(trained(**large)) == {"learning rate"}
    adapter = trained(**large)
    spec = StrategySpec("lora", "peft", learning_rate=3e-5)
    adapter = replace(adapter, cell=replace(adapter.cell, strategy=spec))
    assert likely_causes(adapter) == set()


def test_a_diverged_run_is_diagnosed_from_its_curve_alone() -> None:
    run = Run(
        cell(3e-2),
        "diverged",
        evidence={"loss": [0.5, 9.0], "update_ratio": [0.1, 0.2]},
        failure=Failure("diverged", "loss nan at step 3", 3),
    )
    found = suspects(run)
    assert {n for n, s in found.items() if s.verdict == "likely cause"} == {"learning rate"}
    assert "step 3" in found["learning rate"].evidence
    assert found["noise"].verdict == "not enough data"
    runs = [untouched(), run]
    assert len(diagnosis.diagnose_worse(verdicts.verdicts_on(runs), runs)) == 1


# --- what the completions show ----------------------------------------------------------------


@pytest.mark.parametrize(
    "unmarked",
    ["He has {b}, which is more than {a}", "{b} is what {a} + 5 makes, not {c}"],
)
def test_right_answers_that_are_not_marked_convict_the_format(unmarked: str) -> None:
    run = trained(answers((20, RIGHT), (40, unmarked)))
    assert likely_causes(run) == {"format instead of ability"}


def test_a_cut_text_that_holds_the_answer_is_not_called_unmarked() -> None:
    assert likely_causes(
        trained(answers((N, "{b} is what {a} + 5 makes, not {c}"), stop="cap"))
    ) == {"truncation and missing EOS"}


def test_marked_wrong_answers_clear_the_format() -> None:
    assert verdict("format instead of ability", trained()) == "ruled out"


def test_choices_have_no_format() -> None:
    chosen = tuple(replace(a, rule="likelihood", strict=None) for a in BAD)
    found = suspects(trained(chosen), untouched(tuple(replace(a, rule="likelihood") for a in GOOD)))
    for name in ("format instead of ability", "truncation and missing EOS", "arithmetic slips"):
        assert found[name].verdict == "not enough data"


def test_completions_cut_before_their_answer_convict_a_short_cap() -> None:
    short = answers((N, "He has {a} apples and gets some more"), stop="cap")
    found = suspects(trained(short))
    assert {n for n, s in found.items() if s.verdict == "likely cause"} == {
        "truncation and missing EOS"
    }
    assert "cap is too short" in found["truncation and missing EOS"].remedy
    assert "above 40" in found["truncation and missing EOS"].remedy


def test_a_cap_that_cuts_both_sides_is_found_at_the_floor() -> None:
    short = answers((N, "He has {a} apples and gets some more"), stop="cap")
    assert verdict("truncation and missing EOS", trained(short), untouched(short)) == "likely cause"


@pytest.mark.parametrize(
    "endless",
    ["{a} + 5 = {b}. #### {b}\n#### {c}\n#### 4", "so so " * 40 + "{c}"],
)
def test_texts_that_do_not_end_convict_the_end_token(endless: str) -> None:
    found = suspects(trained(answers((20, RIGHT), (40, endless))))
    assert found["truncation and missing EOS"].verdict == "likely cause"
    assert "does not stop" in found["truncation and missing EOS"].remedy


def test_texts_that_end_clear_the_end_token() -> None:
    assert verdict("truncation and missing EOS", trained()) == "ruled out"


def test_miscalculated_answers_convict_the_arithmetic() -> None:
    assert likely_causes(trained(answers((20, RIGHT), (40, SLIP)))) == {"arithmetic slips"}


def test_a_few_slips_do_not_explain_a_large_loss() -> None:
    few = answers((20, RIGHT), (8, SLIP), (32, WRONG_PLAN))
    assert verdict("arithmetic slips", trained(few)) == "ruled out"


def test_rightly_calculated_wrong_plans_clear_the_arithmetic() -> None:
    found = suspects(trained())["arithmetic slips"]
    assert found.verdict == "ruled out"
    assert "0 of 40 wrong answers" in found.evidence


def test_answers_without_calculations_cannot_tell() -> None:
    assert verdict("arithmetic slips", trained(answers((N, "#### {c}")))) == "not enough data"


def test_a_model_that_always_miscalculated_does_not_explain_harm_by_it() -> None:
    half = answers((30, RIGHT), (30, SLIP))
    worse = answers((10, RIGHT), (20, WRONG_PLAN), (30, SLIP))
    assert verdict("arithmetic slips", trained(worse), untouched(half)) == "ruled out"


# --- which runs are diagnosed -----------------------------------------------------------------


def test_only_harmed_and_floor_strategies_are_diagnosed() -> None:
    runs = [untouched(), trained(BAD), trained(GOOD, rate=1e-5)]
    (found,) = diagnosis.diagnose_worse(verdicts.verdicts_on(runs), runs)
    assert (found.model, found.task, found.strategy) == ("m", "sums", "full")
    assert (found.learning_rate, found.setting) == (3e-5, "fixed")
    floor = answers((N, WRONG_PLAN))
    runs = [untouched(floor), trained(floor)]
    assert len(diagnosis.diagnose_worse(verdicts.verdicts_on(runs), runs)) == 1


def test_seeds_of_one_strategy_are_one_case() -> None:
    other = replace(trained(), cell=cell(seed=1))
    runs = [untouched(), trained(), other]
    (found,) = diagnosis.diagnose_worse(verdicts.verdicts_on(runs), runs)
    named = {s.suspect: s for s in found.suspects}
    assert "seeds = 2" in named["noise"].evidence
    assert "0 of 80 wrong answers" in named["arithmetic slips"].evidence


@pytest.mark.parametrize(
    "refused", [untouched(), replace(trained(), cell=cell(split="dev"))], ids=["prompt", "trial"]
)
def test_runs_that_cannot_be_diagnosed_are_refused(refused: Run) -> None:
    with pytest.raises(BadInput, match="diagnose a"):
        diagnosis.diagnose_run(refused, [refused], verdicts.verdicts_on([refused]))


def test_a_diagnosis_is_told_to_a_program_and_to_a_person() -> None:
    run = trained(loss=[0.5, 0.4, 2.5, 0.9])
    runs = [untouched(), run]
    found = diagnosis.diagnose_run(run, runs, verdicts.verdicts_on(runs))
    listed = diagnosis.suspects_document(found)
    assert all(set(row) == {"suspect", "verdict", "evidence", "remedy"} for row in listed)
    json.dumps(listed)
    lines = diagnosis.diagnosis_text(found).splitlines()
    assert lines[0] == "m on sums, full at 3e-5"
    assert lines[1].startswith("  likely cause     learning rate: ")
    assert lines[2].strip().startswith("remedy: learning_rate")
    assert diagnosis.diagnosis_text(found).isascii()


@pytest.mark.parametrize(
    ("scoring", "found"),
    [("json", "likely cause"), ("text", "ruled out"), ("python:a.py:f", "ruled out")],
)
def test_completions_are_read_again_by_what_scores_their_task(scoring: str, found: str) -> None:
    """The gold stands in every text; only where JSON is asked for is it an answer."""
    asked = {"scoring": scoring, "gold": '{"n": 1}', "completion": 'So {"n": 1}, of 2'}
    base = tuple(replace(a, correct=True, **asked) for a in GOOD)
    wrong = tuple(replace(a, correct=False, **asked) for a in GOOD)
    assert verdict("format instead of ability", trained(wrong), untouched(base)) == found
