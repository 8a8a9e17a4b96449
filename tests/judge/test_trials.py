"""The rule of the search: what is tried next, and which learning rate is chosen."""

import math

import pytest

from finetrap.records import Search
from finetrap.runs import trials
from finetrap.runs.trials import Tried

FIVE, THREE = Search(trials=5), Search(trials=3)


def tried(accuracy: float, bits: float) -> Tried:
    return Tried(bits, round(200 * accuracy), 200)


FAILED = Tried(None, 0, 0)


def played(centre, search, outcome):
    """Follow a search to its end: its plans, one for each round."""
    known, plans = {}, []
    for _ in range(10):
        plans.append(trials.next_trials(centre, search, known))
        if plans[-1].settled:
            return plans
        known |= {point: outcome(*point) for point in plans[-1].points if point not in known}
    raise AssertionError("a search must end")


def test_rates_stand_around_the_strategys_own():
    assert trials.rates_around(3e-4, FIVE) == (3.3e-5, 1e-4, 3e-4, 9e-4, 2.7e-3)
    assert trials.rates_around(3e-4, Search(trials=4)) == (3.3e-5, 1e-4, 3e-4, 9e-4)


def test_five_rates_begin_on_half_of_the_problems_and_three_go_on():
    plans = played(3e-4, FIVE, lambda share, rate: tried(0.5, abs(math.log(rate / 3e-4)) + 1))
    assert [point[0] for point in plans[0].points] == [trials.FIRST_RUNG] * 5
    assert plans[1].points[5:] == ((1.0, 1e-4), (1.0, 3e-4), (1.0, 9e-4))
    assert plans[-1].chosen == 3e-4
    assert plans[-1].extended is None


def test_every_strategy_has_the_same_budget_of_trials():
    near = played(3e-4, FIVE, lambda share, rate: tried(0.5, abs(math.log(rate / 3e-4)) + 1))
    far = played(3e-5, FIVE, lambda share, rate: tried(0.5, abs(math.log(rate / 3e-5)) + 1))
    assert len(near[-1].points) == len(far[-1].points) == 8


@pytest.mark.parametrize(("slope", "edge", "beyond"), [(-1, 9e-4, 2.7e-3), (1, 1e-4, 3.3e-5)])
def test_a_best_rate_at_the_edge_extends_the_range_by_one_step(slope, edge, beyond):
    plans = played(3e-4, THREE, lambda share, rate: tried(0.5, 20 + slope * math.log(rate)))
    assert (1.0, edge) in plans[0].points
    assert (1.0, beyond) not in plans[0].points
    assert plans[1].extended == beyond
    assert plans[1].chosen is None
    assert plans[-1].chosen == beyond
    assert len(plans[-1].points) == 4


def test_accuracy_decides_between_survivors_and_bits_within_its_noise():
    clear = {1e-4: tried(0.9, 2.0), 3e-4: tried(0.5, 1.0)}
    close = {1e-4: tried(0.90, 2.0), 3e-4: tried(0.89, 1.0)}
    assert trials.best(clear) == (1e-4, "most accurate, by more than one standard error")
    assert trials.best(close) == (3e-4, "tie broken by bits per byte")


def test_equal_rates_are_chosen_between_whatever_their_order():
    rates = [1e-5, 3e-5, 1e-4]
    chosen = {trials.best(dict.fromkeys(o, tried(0.5, 1.0))).rate for o in (rates, rates[::-1])}
    assert chosen == {3e-5}


def test_a_diverged_trial_is_data_and_never_chosen():
    plans = played(3e-4, THREE, lambda share, rate: FAILED if rate > 3e-4 else tried(0.5, 1.0))
    assert plans[-1].chosen in (1e-4, 3e-4)


def test_where_every_trial_fails_one_lower_rate_is_tried_and_none_chosen():
    plans = played(3e-4, THREE, lambda share, rate: FAILED)
    assert plans[-1].points[-1] == (1.0, 3.3e-5)
    assert plans[-1].settled
    assert plans[-1].chosen is None
    rescued = played(3e-4, THREE, lambda s, rate: tried(0.5, 1.0) if rate < 1e-4 else FAILED)
    assert rescued[-1].chosen == 3.3e-5
