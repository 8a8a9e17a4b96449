"""What keeps a change from a verdict, what the verdict says of it, and what would settle it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finetrap.judge.verdicts import verdicts_on
from finetrap.records import Judge, Limits
from finetrap.report import console
from tests.builders.runs import (
    FULL,
    LORA,
    ZERO,
    answers,
    by_strategy,
    run,
    simulated,
)


def test_inconclusive_says_what_would_decide():
    runs = simulated((FULL, 0.0), n=150, sd=0.01, limits=Limits(test_problems=150))
    (row,) = verdicts_on(runs, Judge(margin=3)).effects
    assert row.verdict == "inconclusive"
    assert row.needed_n > 150
    assert row.needed_seeds >= 3
    assert f"needs {row.needed_n:,} problems with {row.needed_seeds} seeds" in row.note


def test_seeds_that_vary_too_much_ask_for_more_seeds():
    flags = np.zeros((2000, 3))
    for s, share in enumerate((0.45, 0.60, 0.75)):
        flags[: int(2000 * share), s] = 1
    runs = [run(ZERO, [1] * 1200 + [0] * 800)] + [run(FULL, flags[:, s], s) for s in range(3)]
    (row,) = verdicts_on(runs).effects
    assert row.verdict == "inconclusive"
    assert "too few seeds" in row.note
    assert row.too_few == "seeds"
    assert "neither more problems nor 30 seeds would decide" in row.note


def test_an_interval_that_excludes_zero_alone_is_explained():
    flags = np.array([1] * 300 + [0] * 300)
    lost = flags.copy()
    lost[:30] = 0
    lost[300:313] = 1
    runs = [run(ZERO, flags), run(FULL, lost, 0)]
    others = [replace(LORA, name=f"lora{i}") for i in range(8)]
    alone = verdicts_on(runs).effects[0]
    assert alone.verdict == "harmed"
    crowd = verdicts_on(
        runs + [run(o, 1 - flags if i % 2 else flags[::-1], 0) for i, o in enumerate(others)]
    )
    row = by_strategy(crowd)["full"]
    assert row.p == alone.p < 0.05 < row.p_adjusted
    assert row.verdict == "inconclusive"
    assert "not significant after correcting for 9 comparisons (p = 0.1" in row.note


def test_at_the_floor_accuracy_never_shows_equivalence():
    runs = [run(ZERO, [1] + [0] * 2999), *(run(FULL, [0] * 3000, s) for s in range(3))]
    (row,) = verdicts_on(runs).effects
    assert -row.margin < row.low < row.high < row.margin
    assert row.floor
    assert row.verdict == "inconclusive"
    assert row.needed_n is None
    assert "see bits per byte" in row.note


def test_a_gain_from_the_floor_is_a_gain():
    runs = [run(ZERO, [0] * 3000), *(run(FULL, [1] * 50 + [0] * 2950, s) for s in range(3))]
    (row,) = verdicts_on(runs).effects
    assert row.floor
    assert row.verdict == "improved"


def test_the_floor_of_multiple_choice_is_guessing():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 4000)

    def chosen(flags):
        return tuple(
            replace(a, rule="likelihood", stop="none", gold=str(label), choices=4)
            for a, label in zip(answers(flags), labels, strict=True)
        )

    flags = rng.random(4000) < 0.25
    runs = [run(ZERO, flags), *(run(FULL, flags, s) for s in range(3))]
    runs = [replace(r, answers=chosen(flags)) for r in runs]
    (row,) = verdicts_on(runs).effects
    assert row.floor
    assert row.verdict == "inconclusive"
    assert "guessing (25%)" in row.note
    able = rng.random(4000) < 0.5
    (row,) = verdicts_on([replace(r, answers=chosen(able)) for r in runs]).effects
    assert (row.floor, row.verdict) == (False, "equivalent")
    unknown = [tuple(replace(a, choices=None) for a in chosen(flags)) for r in runs]
    found = verdicts_on([replace(r, answers=a) for r, a in zip(runs, unknown, strict=True)])
    (row,) = found.effects
    assert not row.floor
    assert "do not say how many choices" in row.note


@pytest.mark.parametrize("available", [300, 100_000])
def test_nothing_asks_for_more_problems_than_a_test_has(available):
    known = {"available": {"market": available}}
    limits = Limits(test_problems=300)
    runs = simulated((FULL, 0.0), n=300, sd=0.01, seed=1, limits=limits)
    runs[0] = replace(runs[0], evidence=known)
    (row,) = verdicts_on(runs, Judge(margin=2)).effects
    assert row.verdict == "inconclusive"
    if available == 300:
        assert (row.needed_n, row.needed_seeds) == (None, None)
        assert 2 < row.decides < 20
        assert "the test's 300 problems are too few for this margin" in row.note
        assert f"suffice for one of {row.decides:.1f} points" in row.note
    else:
        assert 300 < row.needed_n <= available
        assert row.decides is None


def test_all_problems_are_known_to_be_asked_where_fewer_are_than_allowed():
    runs = simulated((FULL, 0.0), n=300, sd=0.01, seed=1, limits=Limits(test_problems=301))
    assert verdicts_on(runs, Judge(margin=2)).effects[0].decides is not None


@pytest.mark.parametrize(
    ("flags", "seeds", "lacking"),
    [(15, 3, "problems"), (2000, 3, ""), (12, 1, "problems")],
)
def test_a_wide_interval_says_what_there_is_too_little_of(flags, seeds, lacking):
    rng = np.random.default_rng(0)
    before = rng.random(flags) < 0.5
    runs = [run(ZERO, before), *(run(FULL, rng.random(flags) < 0.5, s) for s in range(seeds))]
    (row,) = verdicts_on(runs).effects
    assert row.too_few == lacking
    assert (f"too few {lacking}" in row.note) == bool(lacking)
    assert -row.before <= row.low
    assert row.high <= 100 - row.before


def test_intervals_are_cut_at_what_is_possible():
    runs = [run(ZERO, [1] + [0] * 29), *(run(FULL, [0] * 30, s) for s in range(3))]
    (row,) = verdicts_on(runs).effects
    assert row.low == pytest.approx(-row.before)
    runs = [run(ZERO, [1] * 29 + [0]), *(run(FULL, [1] * 30, s) for s in range(3))]
    assert verdicts_on(runs).effects[0].high == pytest.approx(100 - 100 * 29 / 30)


def test_measures_that_say_the_opposite_are_explained():
    rng = np.random.default_rng(0)
    nats = rng.uniform(5, 15, 400)
    runs = [run(ZERO, [1] * 300 + [0] * 100, nats=nats)]
    for seed in range(3):
        likelier = nats - 2 + rng.normal(0, 0.3, 400)
        runs.append(run(FULL, [1] * 100 + [0] * 300, seed, nats=likelier))
        runs.append(run(LORA, [1] * 100 + [0] * 300, seed, nats=nats + 2 + rng.normal(0, 0.3, 400)))
    effects = verdicts_on(runs).effects
    full, lora = ([e for e in effects if e.strategy == name] for name in ("full", "lora"))
    assert sorted(e.verdict for e in full) == ["harmed", "improved"]
    assert all(
        e.opposed and "accuracy fell while the gold solutions became" in e.note for e in full
    )
    assert not any(e.opposed for e in lora)
    (line,) = [one for one in console.remarks(verdicts_on(runs)) if one.startswith("full")]
    assert "accuracy fell while the gold solutions became likelier" in " ".join(line.split())
