from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finetrap.stats.changes import (
    ALPHA,
    Components,
    accuracy_components,
    bits_components,
    estimate,
    estimates,
    judge_family,
)
from finetrap.stats.disagreement import noise_floor
from finetrap.stats.power import (
    POWER,
    SAFETY,
    Spread,
    accuracy_spread,
    decidable,
    difference_power,
    equivalence_power,
    observed_spread,
    would_decide,
)
from tests.builders.simulated import mean_squares, scores, study


@pytest.mark.parametrize(
    ("seeds", "shared", "ratio"), [(3, 1, 3.3), (5, 1, 1.7), (8, 1, 1.2), (3, 4, 2.7), (5, 4, 1.6)]
)
def test_without_enough_seeds_no_number_of_problems_suffices(seeds, shared, ratio):
    def endless(by: float) -> float:
        spread = Spread(0.19, 0.05, (0.05 / by) ** 2, shared)
        return float(difference_power(spread, 0.05, [1e8], seeds)[0])

    assert endless(0.9 * ratio) < 0.8 < endless(1.1 * ratio)


@pytest.mark.parametrize(("seeds", "ratio"), [(3, 2.3), (5, 1.3)])
def test_a_plan_knows_that_sharing_is_not_certain(seeds, ratio):
    sd, studies = 0.05 / ratio, 1500
    drawn = mean_squares(
        np.random.default_rng(0),
        studies,
        n=10**6,
        seeds=seeds,
        changes=(-0.05, 0, 0, 0),
        sds=(sd,) * 4,
    )
    shown = np.mean([estimates(family)[0].p <= ALPHA for family in drawn])
    spread = Spread(0.19, 0.05, sd**2, shared=4)
    planned = difference_power(spread, 0.05, [1e6], seeds)[0]
    assert shown == pytest.approx(planned, abs=3 * np.sqrt(0.2 / studies))


def test_an_outlying_strategy_is_planned_with_the_degrees_of_freedom_of_its_seeds():
    spread = Spread(0.19, 0.05, 0.005**2)
    sharing, left_out = (
        difference_power(replace(spread, outlying=out), 0.05, [600], 3)[0] for out in (False, True)
    )
    assert left_out < sharing - 0.1
    steady = [Components(0.0, 300, 0.0, 302, 3, 0.3, m, 0.1) for m in (0.2, 0.5, 0.8)]
    wild = Components(0.0, 300, 0.0, 302, 3, 0.3, 40.0, 0.1)
    found = estimates([wild, *steady])
    plans = [
        accuracy_spread(own, e, 0.1, 0.05, 0.02)
        for own, e in zip([wild, *steady], found, strict=True)
    ]
    assert [plan.outlying for plan in plans] == [True, False, False, False]


def test_more_seeds_are_asked_for_where_problems_cannot_help():
    plan = would_decide(Spread(0.19, 0.05, 0.03**2), 0.02, n=1319, seeds=3)
    assert plan.note.endswith("; add seeds")
    assert plan.problems
    assert plan.seeds
    assert plan.seeds > 3
    hopeless = would_decide(Spread(0.19, 0.05, 0.2**2), 0.02, n=1319, seeds=3)
    assert hopeless[:2] == (None, None)
    assert hopeless.note == "neither more problems nor 30 seeds would decide"


def test_a_single_checkpoint_is_planned_without_seeds():
    plan = would_decide(Spread(0.0996, 0.0, None), 0.02, n=200, seeds=1)
    assert plan.seeds == 1
    # 10% discordance: the normal formula (1.96 + 0.84)² · 0.0996 / 0.02², and a twentieth more.
    assert plan.problems == pytest.approx(1.05 * 2.8**2 * 0.0996 / 0.0004, rel=0.02)


def test_enough_problems_for_a_difference_turn_the_question_to_equivalence():
    spread = Spread(0.0996, 0.0, None)
    difference = would_decide(spread, 0.02, n=200, seeds=1).problems
    equivalence = would_decide(spread, 0.02, n=difference, seeds=1).problems
    assert equivalence > difference
    assert equivalence_power(spread, 0.02, [equivalence], 1)[0] > 0.8
    beyond = would_decide(spread, 0.02, n=equivalence, seeds=1)
    assert beyond.problems is None
    assert "smaller" in beyond.note


def test_an_effect_cannot_come_from_fewer_flips_than_itself():
    same = np.ones((100, 3))
    own = accuracy_components(same[:, 0], same)
    spread = accuracy_spread(own, estimate(own), 0.0, 0.0, 0.02)
    assert spread.total == pytest.approx(0.02 - 0.0004)


def test_the_observed_spread_gives_the_observed_standard_error():
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (400, 3)) + rng.normal(0, 0.2, 3)
    own = bits_components(np.zeros(400), table * np.log(2), np.ones(400))
    found = estimate(own)
    spread = observed_spread(own, found)
    per_problem = spread.total - (1 - 1 / 3) * spread.within
    assert found.variance == pytest.approx(found.seed_variance / 3 + per_problem / 400)


@pytest.mark.parametrize(("sd", "seeds", "base"), [(0.0, 3, 0.6), (0.01, 5, 0.6), (0.0, 1, 0.3)])
def test_the_planned_problems_have_the_planned_power(sd, seeds, base):
    rng = np.random.default_rng(1)
    size = 0.05
    before, (after,) = study(rng, n=200_000, seeds=seeds, base=base, changes=(-size,), sd=0)
    flips = np.abs(after - before[:, None].astype(float)).mean()
    own = accuracy_components(before, after)
    observed = accuracy_spread(own, estimate(own), flips, noise_floor(after), size)
    spread = Spread(observed.total, observed.within, None if seeds == 1 else sd**2)
    plan = would_decide(spread, size, n=10, seeds=seeds)
    assert plan.seeds == seeds
    shown = 0
    for _ in range(800):
        before, (after,) = study(
            rng, n=plan.problems, seeds=seeds, base=base, changes=(-size,), sd=sd
        )
        found = estimate(accuracy_components(before, after))
        shown += judge_family([found], 0.02)[0].p_adjusted <= ALPHA
    assert 0.75 <= shown / 800 <= 0.87


def test_no_more_problems_are_asked_for_than_there_are():
    spread = Spread(0.19, 0.05, 0.01**2)
    free = would_decide(spread, 0.02, n=300, seeds=3)
    assert free.problems > 300
    some = would_decide(spread, 0.02, n=300, seeds=3, most=free.problems - 1)
    assert some.problems is None or some.problems < free.problems
    spent = would_decide(spread, 0.02, n=300, seeds=3, most=300)
    assert (spent.problems, spent.seeds) == (None, None)
    # The margin that is named is one that these problems decide, and a smaller one is not.
    assert spent.decides == decidable(spread, 300, 3)
    for margin, enough in ((spent.decides, True), (spent.decides - 0.002, False)):
        power = min(
            p(spread, margin, [300 / SAFETY], 3)[0] for p in (difference_power, equivalence_power)
        )
        assert (power >= POWER) == enough
    assert decidable(Spread(0.19, 0.05, 0.5**2), 300, 3) is None


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_planned_problems_have_the_planned_power_for_scores_between_0_and_1(seeds):
    rng = np.random.default_rng(2)
    size, kind = 0.02, {"fields": 4, "seeds": seeds, "base": 0.6, "changes": (-0.02,)}
    before, (after,) = scores(rng, n=50_000, **kind)
    own = accuracy_components(before, after)
    spread = observed_spread(own, estimate(own))
    plan = would_decide(spread, size, n=10, seeds=seeds)
    shown = 0
    for _ in range(400):
        before, (after,) = scores(rng, n=plan.problems, **kind)
        found = estimate(accuracy_components(before, after))
        shown += judge_family([found], 0.02)[0].p_adjusted <= ALPHA
    assert 0.75 <= shown / 400 <= 0.87
