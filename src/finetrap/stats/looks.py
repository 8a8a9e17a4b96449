"""Whether a model under training is harmed, looked at again and again on the same problems.

Looks are not fresh data: they ask the same problems of checkpoints that are much alike. Each look
has an e-value of its own, a number whose mean is at most 1 where nothing is harmed, and a weight
that is fixed before the first; the weights of all tests sum to 1. A weighted mean of e-values is
one under any dependence (Vovk & Wang 2021, E-values: calibration, combination and applications,
Annals of Statistics 49, section 3), and it only grows with each look. So by Markov's inequality it
ever reaches 1/α with a probability of at most α, whatever the looks have in common and whenever one
stops.

Each of several tests has a sum of its own, so that an alarm is about the test that rings it. The
weights of one of m tests sum to 1/m: without harm its sum ever reaches 1/α with a probability of at
most α/m, and any of them does with at most α (Bonferroni), whatever is true of the other tests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaln

Floats = NDArray[np.float64]

LEVEL = 0.05
"""Chance of an alarm in a training that harms nothing."""


def harm_evidence(lost: ArrayLike, gained: ArrayLike) -> Floats:
    """Return the e-value against "no more problems are lost than gained", of one look each.

    Of the problems whose outcome changed a share θ is lost. Without harm θ ≤ 1/2, so (2θ)^lost ·
    (2(1−θ))^gained has a mean of at most 1 for every θ > 1/2, and so has its mean over θ, uniform
    from 1/2 to 1: 2^(d+1) · B(lost+1, gained+1) · P(Beta(lost+1, gained+1) > 1/2), d = lost+gained.
    """
    lost, gained = np.asarray(lost, dtype=float), np.asarray(gained, dtype=float)
    above = betainc(gained + 1, lost + 1, 0.5)
    with np.errstate(divide="ignore"):
        logarithm = (lost + gained + 1) * np.log(2) + betaln(lost + 1, gained + 1) + np.log(above)
    return np.asarray(np.exp(np.minimum(logarithm, 700.0)))


def needed_evidence(level: float = LEVEL) -> float:
    """Return what a test's weighted sum of e-values has to reach for an alarm."""
    return 1 / level
