"""Which strategy is advised, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from finetrap.judge.advice.advise import Wishes, advice_document, conclude
from finetrap.judge.advice.candidates import gather_candidates
from finetrap.judge.arms import comparisons
from finetrap.judge.paper.prior import published_advice
from finetrap.judge.verdicts import verdicts_on
from finetrap.records import Judge, Limits, Run
from finetrap.report import advice_text
from tests.builders.advised import MARGIN, STUDY, advised, said, unwrapped
from tests.builders.runs import (
    DORA,
    FULL,
    LORA,
    MINI,
    REWIND,
    SHOTS,
    ZERO,
    answers,
    failed,
    run,
    runs,
    trial,
)


def test_the_best_is_shipped_where_nothing_cheaper_comes_near() -> None:
    found = advised(runs((SHOTS, 0.0), (LORA, 0.2), (FULL, -0.1)))
    assert str(found.ship) == "lora at 3e-4"
    assert "improved" in said(found.reasons)
    assert "full at 3e-4 is harmed" in said(found.reasons)
    assert len(found.keys) == 3


def test_of_equals_the_cheapest_is_shipped() -> None:
    found = advised(runs((SHOTS, 0.2), (LORA, 0.2), (FULL, 0.2), n=2000))
    assert str(found.ship) == "few-shot-5"
    assert str(found.runner_up) == "lora at 3e-4"
    assert str(advised(runs((LORA, 0.2), (FULL, 0.2), n=2000)).ship) == "lora at 3e-4"


def in_order(measured: list[Run]) -> list[str]:
    (comparison,) = comparisons(measured)
    return [
        c.name for c in gather_candidates(verdicts_on(measured), measured, comparison, Wishes())
    ]


def test_nothing_to_ship_is_cheapest_then_a_prompt_an_adapter_and_whole_weights() -> None:
    measured = runs((REWIND, 0), (FULL, 0), (LORA, 0), (SHOTS, 0), n=20, seeds=1)
    slow = [replace(r, costs=replace(r.costs, eval_s=1000.0)) for r in measured[:1]]
    assert in_order([*slow, *measured[1:]])[:3] == ["zero-shot", "few-shot-5", "lora at 3e-4"]


@pytest.mark.parametrize(("seconds", "first"), [(1.0, "dora"), (99.0, "lora"), (None, "lora")])
def test_of_two_adapters_the_one_trained_faster_is_cheaper(
    seconds: float | None, first: str
) -> None:
    measured = [
        replace(r, costs=replace(r.costs, train_s=seconds)) if r.cell.strategy == DORA else r
        for r in runs((DORA, 0), (LORA, 0), n=20, seeds=1)
    ]
    assert in_order(measured)[1].startswith(first)


def test_everything_harmed_ships_the_untouched_model() -> None:
    found = advised(runs((SHOTS, -0.2), (LORA, -0.2), (FULL, -0.2)))
    assert str(found.ship) == "zero-shot"
    assert found.runner_up is None
    assert "all that is left" in said(found.reasons)
    assert (found.open_questions, found.next_command) == ((), "")


def test_wide_intervals_tell_nothing_and_name_the_next_run() -> None:
    found = advised(runs((LORA, 0.02), (FULL, 0.0), n=60, limits=Limits(test_problems=60)))
    assert found.ship is None
    assert found.keys == ()
    assert "no strategy is shown to be within 4 points of the best" in said(found.open_questions)
    assert found.next_command.startswith(f"{STUDY} --set limits.test_problems=")
    problems = int(found.next_command.split("test_problems=")[1].split()[0])
    assert problems > 60


def test_a_test_that_is_used_up_asks_for_seeds() -> None:
    everything = Limits(test_problems=None)
    found = advised(runs((LORA, 0.02), (FULL, 0.0), n=800, sd=0.04, limits=everything))
    assert found.ship is None
    assert "test_problems" not in found.next_command
    seeds = found.next_command.split("'seeds=[")[1].split("]")[0].split(", ")
    assert seeds[:3] == ["0", "1", "2"]
    assert len(seeds) > 3
    assert len(set(seeds)) == len(seeds)
    hopeless = advised(runs((LORA, 0.02), (FULL, 0.0), n=40, limits=everything))
    assert "the margin is too narrow" in said(hopeless.open_questions)
    assert hopeless.next_command == ""


def test_a_gain_that_is_only_seen_ships_nothing() -> None:
    # As good as the untouched model within the margin, which the untouched model is not shown to
    # be of it: the difference lies between.
    flags = np.array([1] * 500 + [0] * 500)
    better = flags.copy()
    better[500:530] = 1
    better[:8] = 0
    measured = [run(ZERO, flags), *(run(LORA, better, s) for s in range(3))]
    found = verdicts_on(measured, Judge(margin=2.5))
    found = replace(found, effects=tuple(replace(e, verdict="inconclusive") for e in found.effects))
    ((one, _),) = conclude(found, measured, study_command=STUDY)
    assert one.ship is None
    assert str(one.runner_up) == "lora at 3e-4"
    assert "no gain over the base model is shown" in said(one.open_questions)
    assert one.next_command


def test_harm_on_a_probe_counts_as_harm() -> None:
    probes = {"school": {"lora": -0.2}}
    found = advised(runs((LORA, 0.2), (FULL, 0.2), n=2000, probes=probes))
    assert str(found.ship) == "full at 3e-4"
    assert "lora at 3e-4 is harmed (school" in said(found.reasons)


@pytest.mark.parametrize(("lost", "shipped"), [(12, "lora at 3e-4"), (120, "zero-shot")])
def test_harm_within_the_declared_margin_is_said_and_bars_nothing(lost, shipped):
    before, after = np.arange(600) < 200, np.arange(600) < 500
    left = np.arange(1000) >= lost
    measured = [run(ZERO, before, probes={"sums": answers(np.ones(1000))})]
    measured += [run(LORA, after, s, probes={"sums": answers(left)}) for s in range(3)]
    one = advised(measured)
    assert str(one.ship) == shipped
    assert ("detectably worse, by less than the margin: sums -1.2" in said(one.reasons)) == (
        lost == 12
    )


def test_what_exemplars_do_on_a_probe_is_not_harm_of_the_model() -> None:
    probes = {"school": {"few-shot-5": -0.3}}
    assert str(advised(runs((SHOTS, 0.2), (FULL, 0.2), n=2000, probes=probes)).ship) == "few-shot-5"


def test_harm_on_another_task_counts_for_trained_weights_alone() -> None:
    measured = runs((SHOTS, 0.2), (LORA, 0.2), n=1500)
    measured += runs((SHOTS, -0.2), (LORA, -0.2), n=1500, task="school", trained_on="market")
    assert str(advised(measured).ship) == "few-shot-5"
    measured = [r for r in measured if r.cell.strategy != SHOTS]
    assert str(advised(measured).ship) == "zero-shot"


def test_an_unshown_loss_beyond_the_margin_leaves_a_strategy_in_doubt() -> None:
    measured = runs((LORA, 0.2), n=1000, probes={"school": {}})
    rng = np.random.default_rng(4)
    noisy = [
        replace(r, probes={"school": answers(rng.random(30) < level, name="school")})
        for r, level in zip(measured, (0.7, 0.5, 0.55, 0.5), strict=True)
    ]
    found = advised(noisy)
    assert (str(found.ship), found.grade) == ("lora at 3e-4", "provisional")
    assert found.forgetting.unclear == ("school",)
    assert "may forget (school" in said(found.open_questions)
    assert "probe_problems" in found.next_command or "seeds" in found.next_command


def test_what_is_inconclusive_on_probes_is_said_of_what_is_shipped() -> None:
    measured = runs((LORA, 0.2), n=600, probes={"school": {}})
    short = [replace(r, probes={"school": r.probes["school"][:40]}) for r in measured]
    found = advised(short)
    assert str(found.ship) == "lora at 3e-4"
    assert "whether lora at 3e-4 forgets on school" in said(found.open_questions)
    assert "limits.probe_problems=" in found.next_command or "seeds" in found.next_command
    unprobed = advised(runs((LORA, 0.2)))
    assert "no probe was measured" in said(unprobed.open_questions)
    assert unprobed.next_command == f"{STUDY} --set 'probes=[\"prose\"]'"


def test_a_rewound_strategy_is_a_candidate_like_others() -> None:
    probes = {"school": {"full": -0.2}}
    found = advised(runs((FULL, 0.2), (REWIND, 0.18), n=1500, probes=probes))
    assert str(found.ship) == "full+rewind at 3e-4"


def test_a_strategy_at_the_floor_is_never_shipped() -> None:
    measured = runs((LORA, 0.0), (FULL, 0.0), n=15, base=0.002, bits={"lora": -4.0, "full": 4.0})
    found = advised(measured)
    assert (found.ship, found.runner_up, found.grade) == (None, None, "")
    assert found.reasons[0] == "no strategy solves this task (0 of 15)"
    assert "full at 3e-4 is harmed" in said(found.reasons)
    # Where another strategy leaves the floor, those that stay there are no candidates.
    one = advised(runs((SHOTS, 0.0), (LORA, 0.2), n=900, base=0.002))
    assert str(one.ship) == "lora at 3e-4"


def test_an_arm_that_diverged_is_ruled_out_and_said() -> None:
    measured = [*runs((LORA, 0.2), n=1000), *(failed(FULL, s) for s in range(3))]
    found = advised(measured)
    assert str(found.ship) == "lora at 3e-4"
    assert "full at 3e-4 has no answers (diverged)" in said(found.reasons)
    assert "full at 3e-4, if it finished" in found.would_change
    partly = [*runs((LORA, 0.2), n=1000), failed(LORA, 3, status="oom")]
    assert "1 of its 4 seeds failed" in said(advised(partly).reasons)


def test_a_model_all_of_whose_cells_failed_is_not_advised() -> None:
    measured = [failed(ZERO, 0, status="failed"), failed(LORA, 0, status="failed")]
    found = advised(measured)
    assert found.ship is None
    assert found.runner_up is None
    assert found.keys == ()


def test_without_the_untouched_model_nothing_is_advised() -> None:
    found = advised(runs((LORA, 0.2))[1:])
    assert (found.ship, found.next_command) == (None, STUDY)
    assert "no finished zero-shot run" in said(found.open_questions)


def test_what_remains_is_to_be_run_first() -> None:
    found = advised(runs((LORA, 0.2), n=1000), remaining=1)
    assert "--set" not in found.next_command
    assert str(found.ship) == "lora at 3e-4"
    assert found.remaining == 1
    assert "; 1 cell of the study remaining" in unwrapped(found)
    assert found.next_command.startswith(STUDY)


def test_no_runs_give_no_advice() -> None:
    assert conclude(verdicts_on([]), []) == ()
    assert conclude(verdicts_on([run(ZERO, [1, 0])]), [run(ZERO, [1, 0])]) == ()


def test_a_task_trained_on_and_never_tested_is_said() -> None:
    found = advised(runs((LORA, 0.2), task="school", trained_on="market"))
    assert (found.task, found.ship) == ("market", None)
    assert "was trained on and not tested" in said(found.reasons)


def test_each_model_and_task_has_its_own_advice() -> None:
    other = replace(MINI, name="other", revision="r2")
    measured = [
        *runs((LORA, 0.2), n=900),
        *runs((LORA, -0.2), n=900, seed=1, task="school"),
        *runs((LORA, -0.2), n=900, seed=2, model=other),
    ]
    found = [one.advice for one in conclude(verdicts_on(measured, MARGIN), measured)]
    assert {(a.model, a.task): str(a.ship) for a in found} == {
        ("mini", "market"): "lora at 3e-4",
        ("mini", "school"): "zero-shot",
        ("other", "market"): "zero-shot",
    }


def test_rates_of_a_search_compete_and_trials_never_do() -> None:
    low = replace(FULL, learning_rate=1e-5)
    measured = runs((FULL, -0.2), (low, 0.2), n=900)
    found = advised([*measured, trial(FULL, 1e-5, bits=1), trial(FULL, 3e-4, bits=3)])
    assert str(found.ship) == "full at 1e-5"
    assert len(found.keys) == 3


def test_where_a_search_chose_a_rate_the_other_is_no_rival() -> None:
    low = replace(FULL, learning_rate=1e-5)
    searched = [trial(FULL, 1e-5, bits=1), trial(FULL, 3e-4, bits=3)]
    measured = [*runs((FULL, 0.2), (low, 0.2), n=300, sd=0.02), *searched]
    assert (str(advised(measured).ship), str(advised(measured).runner_up)) == (
        "full at 1e-5",
        "zero-shot",
    )
    unsearched = advised([r for r in measured if r.cell.split == "test"])
    assert {str(unsearched.ship), str(unsearched.runner_up)} == {"full at 1e-5", "full at 3e-4"}
    # A tuned rate that harms does not stand for the strategy.
    harmed = [*runs((FULL, 0.2), (low, -0.2), n=300), *searched]
    assert str(advised(harmed).ship) == "full at 3e-4"


def test_advice_as_json_and_as_a_sentence() -> None:
    found = advised(runs((LORA, 0.2), (FULL, -0.2), n=900))
    assert {"ship", "grade", "forgetting", "reasons", "next_command"} <= set(advice_document(found))
    text = advice_text(found)
    assert text.startswith("mini on market: Ship LoRA at 3e-4: at least ")
    assert "; forgetting not measured - " in unwrapped(found)
    assert text.isascii()
    none = advised(runs((LORA, 0.02), n=40))
    assert advice_document(none)["ship"] is None
    assert advice_text(none).startswith("mini on market: No clear winner: keep the base model\n")


def test_advice_is_a_line_and_at_most_four_bullets() -> None:
    found = advised(runs((SHOTS, 0.0), (LORA, 0.2), (FULL, -0.1), n=300))
    for one in (found, published_advice("smollm2-135m", 134_515_008, False)):
        first, *lines = advice_text(one).splitlines()
        bullets = [line for line in lines if line.startswith("  - ")]
        assert not first.startswith(" ")
        assert 1 <= len(bullets) <= 4
        assert all(line.startswith("  ") for line in lines)
        assert all(len(line) <= 80 for line in (first, *lines) if "next: " not in line)
        longer = advice_text(one, verbose=True)
        assert longer.count("\n  - ") > len(bullets)
    assert all(key in advice_text(found, verbose=True) for key in found.keys)


@pytest.mark.parametrize(
    ("name", "parameters", "aligned", "runner_up", "rule"),
    [
        ("smollm2-135m", 134_515_008, False, "few-shot-5", "avoid full fine-tuning below 500M"),
        ("qwen2.5-0.5b-instruct", 494_032_768, True, "dora", "adapters by default for aligned"),
        ("llama-3.2-1b", 1_235_814_400, False, "full", "matches it on small sets"),
        ("mystery", None, None, "full", "its size is not known"),
        ("large", 7_000_000_000, False, "full", "lie beyond"),
        ("mini-1m", 900_000, False, "few-shot-5", "lie below"),
    ],
)
def test_the_prior_is_published_and_marked(
    name: str, parameters: int | None, aligned: bool | None, runner_up: str, rule: str
) -> None:
    found = published_advice(name, parameters, aligned)
    assert found.grade == "published"
    assert "published advice, nothing was measured" in advice_text(found).splitlines()[0]
    assert rule in said(found.reasons)
    assert "arXiv 2606.06920" in found.sources
    assert "2602.04998" in said(found.sources)
    assert "2602.04998" in advice_text(found, verbose=True)
    assert "2602.04998" not in advice_text(found)
    assert str(found.runner_up) == runner_up
    assert name in found.next_command
    assert found.keys == ()
    assert advice_text(found).isascii()
    if parameters and parameters > 490_000_000:
        assert "avoid full" not in said(found.reasons)


def test_two_gains_that_no_test_tells_apart_ship_the_one_that_risks_less() -> None:
    """Both far above a base of 3%, neither shown to be as good as the other; none loses much."""
    probes = {"sums": {}}
    measured = runs((LORA, 0.12), (FULL, 0.13), n=300, base=0.033, sd=0.015, seed=3, probes=probes)
    kept = {"zero-shot": 0, "lora": 4, "full": 8}
    measured = [
        replace(r, probes={"sums": answers(np.arange(400) >= kept[r.cell.strategy.name], name="s")})
        for r in measured
    ]
    found = advised(measured)
    assert (str(found.ship), found.grade) == ("full at 3e-4", "provisional")
    (gain,) = [
        e
        for e in verdicts_on(measured, MARGIN).effects
        if (e.strategy, e.kind, e.measure) == ("full", "task", "accuracy")
    ]
    assert found.above_base == gain.low > 0
    below = f"at worst, by its intervals, {found.below_best:.1f} points below the best on the task"
    assert found.reasons[1] == (f"none is shown to be best, and this one risks least: {below}"), (
        "the first screen shows it"
    )
    assert found.below_best > 2
    assert unwrapped(found).startswith(
        "mini on market: Ship full fine-tuning at 3e-4, provisionally: "
        f"at least {gain.low:.1f} points above the base model, "
        f"at most {found.below_best:.1f} below the best; forgets nothing"
    )


@pytest.mark.parametrize("safe", ["full", "lora"])
def test_a_loss_that_may_be_large_is_not_preferred_to_a_small_one(safe: str) -> None:
    probes = {"sums": {}}
    measured = runs((LORA, 0.13), (FULL, 0.13), n=900, base=0.033, sd=0.015, seed=3, probes=probes)
    wrong = {name: range(150, 300) for name in ("lora", "full")}
    wrong |= {"zero-shot": range(150), safe: range(156)}
    probed = {
        name: answers(~np.isin(np.arange(400), places), name="s") for name, places in wrong.items()
    }
    measured = [replace(r, probes={"sums": probed[r.cell.strategy.name]}) for r in measured]
    found = advised(measured)
    assert (str(found.ship), found.grade) == (f"{safe} at 3e-4", "provisional")


def test_what_is_shown_worse_than_another_is_not_shipped_provisionally() -> None:
    shipped = Counter(
        str(advised(runs((LORA, 0.08), (FULL, 0.25), n=250, sd=0.02, seed=s)).ship)
        for s in range(8)
    )
    assert shipped["lora at 3e-4"] <= 1
    assert shipped["full at 3e-4"] >= 5


def test_a_harm_alone_keeps_the_base_model_and_nothing_shown_names_no_winner() -> None:
    harm = advised(runs((LORA, 0.02), (FULL, -0.3), n=150, sd=0.01))
    assert str(harm.ship) == "zero-shot"
    none = advised(runs((LORA, 0.02), (FULL, 0.0), n=60))
    assert (none.ship, none.grade) == (None, "")
    assert none.reasons[0] == "nothing is shown against the base model, so it is kept"


def test_a_gain_that_costs_another_task_is_named_and_the_base_model_kept() -> None:
    probes = {"sums": {}}
    measured = runs((LORA, 0.5), n=300, base=0.1, sd=0.01, probes=probes)
    kept = {"zero-shot": 0, "lora": 120}
    measured = [
        replace(r, probes={"sums": answers(np.arange(400) >= kept[r.cell.strategy.name], name="s")})
        for r in measured
    ]
    found = advised(measured)
    assert str(found.ship) == "zero-shot"
    assert found.reasons[0] == (
        "lora at 3e-4 is better on the task, but harmed elsewhere; any harm rules a strategy out"
    )
