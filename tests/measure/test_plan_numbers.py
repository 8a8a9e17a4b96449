"""The sums behind a plan: operations, slots, fitted seconds, lengths, sizes and memory."""

import numpy as np
import pytest

from finetrap.measure.meter import flops
from finetrap.measure.plan import pace, timing
from finetrap.measure.plan.rehearsal import Call


def test_operations_are_six_for_each_weight_and_token_and_four_where_weights_are_frozen():
    assert flops("full", 100, 100, 10, 0) == 6 * 100 * 10
    assert flops("peft", 100, 5, 10, 0) == 4 * 100 * 10 + 6 * 5 * 10
    assert flops("prompt", 100, 0, 0, 7) == 2 * 100 * 7


def test_rows_take_the_slots_of_rows_that_ended():
    call = Call("decode", "t", rows=6, batch=2, tokens=60)
    assert timing.decode_features(call, [10]) == (3, 60, 30, 60)
    one_long = Call("decode", "t", rows=4, batch=4, tokens=40)
    assert timing.decode_features(one_long, [1, 1, 1, 9]) == (1, 40, 9, 12)


def test_a_fit_finds_planted_seconds_and_never_negative_ones():
    rng = np.random.default_rng(0)
    planted = np.array([0.02, 1e-4, 3e-3])
    features = rng.uniform(1, 1000, (12, 3))
    found = pace.fitted([(row, float(row @ planted)) for row in features])
    assert found == pytest.approx(planted, rel=1e-6)
    falling = pace.fitted([((1.0, 1.0), 2.0), ((1.0, 2.0), 1.0)])
    assert min(falling) >= 0


def test_completions_that_were_cut_go_on_at_the_rate_at_which_others_ended():
    assert pace.uncut([3, 8, 8], 8, 8) == (3, 8, 8)
    assert pace.uncut([8, 8], 8, 40) == (40, 40)
    lengths = pace.uncut([4] * 50 + [10] * 50, 10, 1000)
    # 50 ends in 700 tokens: the others go on for 14 tokens on average
    assert sum(lengths[50:]) / 50 == pytest.approx(10 + 14, rel=0.1)


def test_sizes_grow_while_they_fit_and_as_far_as_is_needed():
    def timed(per_row, most=100, least=2):
        sizes = []
        timing.grow(lambda n: sizes.append(n) or n * per_row, most, 1.0, least)
        return sizes

    assert timed(10.0) == [1, 2]
    assert timed(10.0, least=1) == [1]
    assert timed(10.0, most=1) == [1]
    assert timed(1e-6)[-1] == 100
    assert sum(timed(0.01)) * 0.01 <= 1.0


def test_memory_grows_with_the_tokens_at_once():
    held = [(100.0, 1000), (300.0, 2000)]
    assert pace.extrapolated(held, 50) == 2000
    assert pace.extrapolated(held, 500) == 3000
    assert pace.extrapolated([], 500) is None
