"""A training that harms nothing rings an alarm in at most 5% of trainings, however it is looked at.

One fixed set of problems is asked at every look; successive checkpoints are correlated as real ones
are, by latent normals: an answer is right where its latent lies below the base accuracy's quantile.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from finetrap.stats.looks import LEVEL, harm_evidence, needed_evidence

LOOKS, TRAININGS, PROBLEMS = 50, 2000, 100


def alarms(accuracy: float, correlation: float, trainings: int, drop: float = 0.0) -> float:
    """Return the share of trainings with an alarm; `drop` is the true loss of accuracy."""
    random = np.random.default_rng([int(100 * accuracy), int(100 * correlation), trainings])
    before_below, after_below = norm.ppf([accuracy, accuracy - drop])
    latent = random.standard_normal((trainings, PROBLEMS))
    before = latent < before_below
    total = np.zeros(trainings)
    for _ in range(LOOKS):  # each checkpoint comes from the one before it
        step = random.standard_normal(latent.shape)
        latent = correlation * latent + np.sqrt(1 - correlation**2) * step
        after = latent < after_below
        lost, gained = (before & ~after).sum(1), (~before & after).sum(1)
        total += harm_evidence(lost, gained) / LOOKS
    return float((total >= needed_evidence()).mean())


FEW = [(0.3, 0.9), (0.6, 0.99)]
ALL = [(a, c) for a in (0.05, 0.3, 0.6, 0.9) for c in (0.5, 0.8, 0.9, 0.95, 0.99)]


@pytest.mark.parametrize(("accuracy", "correlation"), FEW)
def test_a_harmless_training_rings_no_alarm(accuracy, correlation):
    assert alarms(accuracy, correlation, 300) <= LEVEL


@pytest.mark.full
@pytest.mark.parametrize(("accuracy", "correlation"), ALL)
def test_a_harmless_training_rings_no_alarm_at_any_accuracy(accuracy, correlation):
    assert alarms(accuracy, correlation, TRAININGS) <= LEVEL


def test_a_harmful_training_rings_an_alarm():
    assert alarms(0.6, 0.9, 100, drop=0.25) >= 0.9


def test_pooling_looks_as_fresh_data_would_ring_false_alarms():
    """The simulation can fail: fifty looks at one checkpoint are not fifty times the problems."""
    random = np.random.default_rng(5)
    before = random.standard_normal((300, PROBLEMS))
    after = 0.9 * before + np.sqrt(1 - 0.81) * random.standard_normal(before.shape)
    lost = ((before < 0) & (after >= 0)).sum(1)
    gained = ((before >= 0) & (after < 0)).sum(1)
    pooled = binom.sf(LOOKS * lost - 1, LOOKS * (lost + gained), 0.5)
    assert (pooled <= LEVEL).mean() > 4 * LEVEL


def test_the_evidence_of_a_look_has_a_mean_of_one_at_most():
    for changed in (1, 5, 40, 300):
        lost = np.arange(changed + 1)
        chance = binom.pmf(lost, changed, 0.5)
        assert (chance * harm_evidence(lost, changed - lost)).sum() <= 1 + 1e-9


@pytest.mark.parametrize(("lost", "gained"), [(3, 1), (0, 0), (10, 2)])
def test_the_evidence_is_the_mean_over_shares_that_are_lost(lost, gained):
    share = (np.arange(100000) + 0.5) / 200000 + 0.5
    mean = ((2 * share) ** lost * (2 * (1 - share)) ** gained).mean()
    assert float(harm_evidence(lost, gained)) == pytest.approx(mean, rel=1e-4)
