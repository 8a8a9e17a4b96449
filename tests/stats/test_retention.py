from __future__ import annotations

import numpy as np
import pytest

from finetrap.judge.verdicts import verdicts_on
from finetrap.stats.changes import accuracy_components, estimate
from finetrap.stats.retention import chance, retained
from tests.builders.runs import FULL, SHOTS, ZERO, answer, answers, by_strategy, run
from tests.builders.simulated import study


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ([], 0),
        ([2] * 100, 1 / 2),
        ([4] * 998 + [5, 3], (998 / 4 + 1 / 5 + 1 / 3) / 1000),  # as in ARC
        ([4, 4, None], None),
    ],
)
def test_chance_is_the_mean_of_one_over_the_choices(choices, expected):
    asked = [answer(rule="likelihood", choices=count) for count in choices]
    assert chance(asked) == (expected if expected is None else pytest.approx(expected))


def test_open_answers_are_never_guessed():
    assert chance([answer(), answer()]) == 0


def test_half_of_what_was_above_chance_is_left():
    before = np.array([1] * 75 + [0] * 25)
    after = np.column_stack([[1] * 50 + [0] * 50] * 3)
    own = accuracy_components(before, after)
    found = retained(before, after, own, estimate(own), 0.25)
    assert found.value == pytest.approx(0.5)
    assert found.low < 0.5 < found.high < 1


def test_an_ability_near_chance_has_no_retention():
    rng = np.random.default_rng(0)
    before, after = rng.random(200) < 0.27, rng.random((200, 3)) < 0.27
    own = accuracy_components(before, after)
    assert retained(before, after, own, estimate(own), 0.25) is None
    assert retained(before, after, own, estimate(own), 0.0) is not None


@pytest.mark.parametrize("rows", [None, np.arange(300) % 30])
def test_all_is_left_within_the_interval_exactly_where_no_change_is(rows):
    rng = np.random.default_rng(1)
    agreed = 0
    for _ in range(100):
        before, (after,) = study(rng, n=300, seeds=3, base=0.6, changes=(-0.05,), sd=0.01)
        own = accuracy_components(before, after, rows)
        change = estimate(own)
        found = retained(before, after, own, change, 0.25, rows)
        assert (found.low <= 1 <= found.high) == (change.low <= 0 <= change.high)
        agreed += found.low <= 1 <= found.high
    assert 10 < agreed < 90


@pytest.mark.parametrize(
    ("base", "by_chance", "kept", "seeds", "sd"),
    [(0.6, 0.25, 0.7, 3, 0.015), (0.4, 0.0, 0.1, 3, 0.0), (0.8, 0.5, 1.0, 5, 0.015)],
)
def test_intervals_of_retention_cover_the_truth(base, by_chance, kept, seeds, sd):
    rng = np.random.default_rng(2)
    change, held = (kept - 1) * (base - by_chance), 0
    for _ in range(600):
        before, (after,) = study(rng, n=200, seeds=seeds, base=base, changes=(change,), sd=sd)
        own = accuracy_components(before, after)
        found = retained(before, after, own, estimate(own), by_chance)
        held += found.low <= kept <= found.high
    assert 0.925 <= held / 600 <= 0.99


def test_training_retains_and_examples_only_transfer():
    flags = [1] * 60 + [0] * 40
    after = [1] * 30 + [0] * 70
    runs = [
        run(strategy, flags, seed, probes={"school": answers(probe)})
        for strategy, seed, probe in ((ZERO, None, flags), (SHOTS, 0, after), (FULL, 0, after))
    ]
    findings = verdicts_on(runs)
    rows = by_strategy(findings, kind="probe")
    assert rows["full"].retention == pytest.approx(50)
    assert 30 < rows["full"].retention_low < 50 < rows["full"].retention_high < 70
    assert rows["few-shot-5"].retention is None
    assert by_strategy(findings)["full"].retention is None
