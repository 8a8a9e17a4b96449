"""How often advice is wrong, over many planted studies."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from finetrap.judge.advice.noninferior import Standing, adjusted_by_holm, standings
from finetrap.judge.arms import comparisons
from finetrap.judge.pairwise import declared
from finetrap.judge.verdicts import verdicts_on
from finetrap.stats.changes import ALPHA
from tests.builders.advised import MARGIN, advised
from tests.builders.runs import (
    DORA,
    FULL,
    LORA,
    SHOTS,
    runs,
)


def test_as_good_as_the_best_holds_for_the_true_best_in_most_studies() -> None:
    """Four equal arms and one that is worse by just the margin: it is rarely called as good."""
    wrong = 0
    for number in range(20):
        measured = runs(
            *((replace(LORA, name=f"l{i}"), 0.1) for i in range(4)),
            (FULL, 0.06),
            n=250,
            sd=0.01,
            seed=number,
        )
        (comparison,) = comparisons(measured)
        margins = declared(verdicts_on(measured, MARGIN))
        arms = list(comparison.arms)
        place = [a.label for a in arms].index("full")
        wrong += standings(comparison, arms, "accuracy", margins)[place].shown
    assert wrong <= 3


@pytest.mark.parametrize("arms", [3, 4, 5])
def test_of_arms_at_the_margin_below_the_best_few_are_shown_within_it(arms: int) -> None:
    """Their p is uniform, the best arm's own is tiny: 5% of the families may err."""
    draw, families = Random(0), 8000
    wrong = 0
    for _ in range(families):
        p = [1e-9, *(draw.random() for _ in range(arms - 1))]
        found = adjusted_by_holm([Standing(one, one, None, False) for one in p])
        wrong += any(one.p_adjusted <= ALPHA for one in found[1:])
    assert wrong / families <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / families) ** 0.5


def test_a_harmed_strategy_is_rarely_advised() -> None:
    """Planted: LoRA harms the task, full fine-tuning gains and harms a probe, DoRA only gains."""
    shipped: Counter[str] = Counter()
    probes = {"school": {"full": -0.1}}
    for number in range(16):
        measured = runs(
            (SHOTS, 0.0), (LORA, -0.08), (FULL, 0.1), (DORA, 0.1),
            n=400, sd=0.01, seed=number, probes=probes,
        )  # fmt: skip
        shipped[str(advised(measured).ship)] += 1
    assert shipped["lora at 3e-4"] + shipped["full at 3e-4"] <= 1
    assert shipped["dora at 3e-4"] >= 11


def test_equal_arms_rarely_send_anyone_beyond_the_untouched_model() -> None:
    """Of 120 such studies 3 are shown to gain, and 15 more name another arm provisionally."""
    beyond: Counter[str] = Counter()
    for number in range(16):
        measured = runs((SHOTS, 0.0), (LORA, 0.0), (FULL, 0.0), n=300, sd=0.01, seed=number)
        advice = advised(measured)
        beyond[advice.grade] += str(advice.ship) not in ("None", "zero-shot")
    assert beyond["shown"] <= 1
    assert beyond.total() <= 4
