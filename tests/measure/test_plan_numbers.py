"""The sums behind a plan: operations, slots, fitted seconds, lengths and memory."""

import pytest

from finetrap.measure.meter import flops
from finetrap.measure.plan import timing
from finetrap.measure.plan.counting import Asked, Sort


def test_operations_are_six_for_each_weight_and_token_and_four_where_weights_are_frozen():
    assert flops("full", 100, 100, 10, 0) == 6 * 100 * 10
    assert flops("peft", 100, 5, 10, 0) == 4 * 100 * 10 + 6 * 5 * 10
    assert flops("prompt", 100, 0, 0, 7) == 2 * 100 * 7


def test_rows_take_the_slots_of_rows_that_ended():
    asked = Asked(Sort("t", False), rows=6, batch=2, tokens=60, read=60, cap=20)
    assert timing.steps_of(asked, 10, 10) == 30
    assert timing.steps_of(asked._replace(rows=4, batch=4), 3, 9) == 9


def sample(units: float, tokens: float, seconds: float) -> timing.Sample:
    return timing.Sample(units, tokens, seconds, tokens, None)


def test_two_points_give_the_planted_seconds_and_never_negative_ones():
    unit_s, token_s = 0.02, 1e-4
    two = [sample(u, t, u * unit_s + t * token_s) for u, t in ((1, 30), (3, 4000))]
    assert timing.fitted(two) == pytest.approx((unit_s, token_s), rel=1e-6)
    assert min(timing.fitted([sample(1, 1, 2.0), sample(1, 2, 1.0)])) >= 0


def test_completions_that_were_cut_go_on_at_the_rate_at_which_others_ended():
    assert timing.uncut([3, 8, 8], 8, 8) == (3, 8, 8)
    assert timing.uncut([8, 8], 8, 40) == (40, 40)
    lengths = timing.uncut([4] * 50 + [10] * 50, 10, 1000)
    # 50 ends in 700 tokens: the others go on for 14 tokens
    assert lengths[50:] == (10 + 14,) * 50


def test_memory_grows_with_the_tokens_at_once():
    held = [timing.Sample(1, 1, 1.0, *pair) for pair in ((100.0, 1000), (300.0, 2000))]
    assert timing.extrapolated(held, 50) == 2000
    assert timing.extrapolated(held, 500) == 3000
    assert timing.extrapolated([], 500) is None
