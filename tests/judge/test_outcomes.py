from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finetrap.judge.outcomes import join_outcomes
from finetrap.judge.verdicts import verdicts_on
from finetrap.records import Judge
from tests.builders.runs import FULL, LORA, SHOTS, ZERO, run, simulated, trial

SLOW = replace(FULL, learning_rate=1e-4)
SEARCH = [trial(FULL, 3e-4, 30, 2.0), trial(FULL, 1e-4, 60, 1.0)]
"""Chooses the slow rate; the strategy's own is the fixed one."""


def words(found):
    """Return the verdicts at the fixed and at the tuned rate."""
    return tuple(side and side.verdict for side in (found.fixed, found.tuned))


@pytest.mark.parametrize(
    ("fixed", "tuned", "outcome"),
    [
        ("harmed", "harmed", "harm"),
        ("harmed", "equivalent", "avoidable harm"),
        ("harmed", "improved", "avoidable harm"),
        ("equivalent", "harmed", "avoidable harm"),
        ("improved", "equivalent", "no harm"),
        ("harmed", "inconclusive", "inconclusive"),
        ("inconclusive", "equivalent", "inconclusive"),
        ("inconclusive", "harmed", "inconclusive"),
        ("inconclusive", "inconclusive", "inconclusive"),
    ],
)
def test_both_settings_together_say_whether_harm_is_avoidable(fixed, tuned, outcome):
    (effect,) = verdicts_on(simulated((FULL, 0.0), n=100)).effects
    (found,) = join_outcomes(
        [
            replace(effect, verdict=fixed),
            replace(effect, setting="tuned", learning_rate=1e-4, verdict=tuned),
        ]
    )
    assert found.outcome == outcome
    assert (found.fixed.learning_rate, found.tuned.learning_rate) == (3e-4, 1e-4)
    assert words(found) == (fixed, tuned)
    assert found.reason == f"fixed rate: {fixed} at 3e-4; tuned rate: {tuned} at 1e-4"


def test_harm_that_the_searched_rate_avoids_is_avoidable():
    runs = simulated((FULL, -0.15), (SLOW, 0.0))
    (found,) = verdicts_on([*runs, *SEARCH], Judge(margin=3)).outcomes
    assert (found.outcome, *words(found)) == ("avoidable harm", "harmed", "equivalent")


def test_without_a_search_harm_may_or_may_not_be_avoidable():
    (found,) = verdicts_on(simulated((FULL, -0.15))).outcomes
    assert (found.outcome, *words(found)) == ("inconclusive", "harmed", None)
    assert "without a search" in found.reason


def test_without_a_search_another_rate_of_the_grid_is_named():
    (found,) = verdicts_on(simulated((FULL, -0.15), (SLOW, 0.0)), Judge(margin=3)).outcomes
    assert (found.outcome, found.fixed) == ("inconclusive", None)
    assert "equivalent at 1e-4, harmed at 3e-4; another rate avoided it" in found.reason


def test_without_a_search_no_harm_is_no_harm():
    (found,) = verdicts_on(simulated((SHOTS, -0.2), (LORA, 0.0)), Judge(margin=3)).outcomes
    assert (found.strategy, found.outcome) == ("lora", "no harm")


def test_a_search_that_chose_the_fixed_rate_leaves_no_way_out():
    runs = [*simulated((SLOW, -0.15)), *SEARCH]
    (found,) = verdicts_on(runs).outcomes
    assert (found.outcome, *words(found)) == ("harm", "harmed", "harmed")
    assert "chose the fixed rate" in found.reason


def test_at_the_floor_bits_per_byte_decide():
    rng = np.random.default_rng(0)
    wrong, nats = [0] * 300, rng.uniform(5, 15, 300)
    runs = [run(ZERO, wrong, nats=nats)]
    runs += [run(FULL, wrong, s, nats=nats + 2 + rng.normal(0, 0.3, 300)) for s in range(3)]
    runs += [run(SLOW, wrong, s, nats=nats + rng.normal(0, 0.3, 300)) for s in range(3)]
    findings = verdicts_on([*runs, *SEARCH])
    (found,) = findings.outcomes
    assert (found.outcome, *words(found)) == ("avoidable harm", "harmed", "equivalent")
    assert found.reason.count("by bits per byte: accuracy is at the floor") == 2
    behind = found.fixed, found.tuned
    assert [(e.measure, e.verdict) for e in behind] == [
        ("bits_per_byte", "harmed"),
        ("bits_per_byte", "equivalent"),
    ]
    (found,) = join_outcomes([e for e in findings.effects if e.measure == "accuracy"])
    assert found.outcome == "inconclusive"
