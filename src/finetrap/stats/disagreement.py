"""How many answers flip between two models, and between two seeds: descriptions, not tests."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finetrap.stats.changes import per_seed_table

Floats = NDArray[np.float64]


def flips(before: ArrayLike, after: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each seed, the problems lost (right to wrong) and gained (wrong to right)."""
    change = np.asarray(after, dtype=float) - per_seed_table(before)
    return (change < 0).sum(axis=0), (change > 0).sum(axis=0)


def noise_floor(after: ArrayLike) -> float | None:
    """Return the share of problems on which two seeds of one strategy disagree (0/1, n × k).

    None with one seed. Flips against a baseline that are no more frequent than this are churn.
    """
    table = np.asarray(after, dtype=float)
    return None if table.shape[1] < 2 else float(_disagreement(table).mean())


def churn(before: ArrayLike, after: ArrayLike) -> tuple[float, float] | None:
    """Return the share of flips beyond the noise floor, D − D_ss, and its standard error.

    None with one seed or one problem. It describes how much changed, never whether that is harm.
    """
    table = np.asarray(after, dtype=float)
    if min(table.shape) < 2:
        return None
    excess = np.abs(table - per_seed_table(before)).mean(axis=1) - _disagreement(table)
    return float(excess.mean()), float(excess.std(ddof=1) / math.sqrt(len(excess)))


def _disagreement(table: Floats) -> Floats:
    """Return, for each problem, the share of pairs of seeds of which one is right."""
    seeds, right = table.shape[1], table.mean(axis=1)
    pairs: Floats = 2 * right * (1 - right) * seeds / (seeds - 1)
    return pairs
