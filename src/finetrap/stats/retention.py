"""How much of an ability is left: accuracy above chance after training, over that before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from finetrap.records import Answer
from finetrap.stats.changes import ALPHA, Components, Estimate, wilson

Floats = NDArray[np.float64]


class Retention(NamedTuple):
    """Share of the accuracy above chance that is left, with its 95% interval."""

    value: float
    low: float
    high: float


def percent_of(values: Iterable[float | None]) -> float | None:
    """Return the mean, in percent, of what is known (True is 1); None where nothing is."""
    known = [value for value in values if value is not None]
    return 100 * sum(known) / len(known) if known else None


def percent_right(answers: Iterable[Answer]) -> float | None:
    """Return the percentage of right answers among those that have a score; None without any."""
    return percent_of(answer.value for answer in answers)


def right_interval(answers: Iterable[Answer]) -> tuple[float, float] | tuple[None, None]:
    """Return Wilson's interval of right answers in percent; None for scores between 0 and 1."""
    known = [answer.value for answer in answers if answer.value is not None]
    if any(0 < value < 1 for value in known):
        return None, None
    return wilson_percent(round(sum(known)), len(known))


def wilson_percent(right: int, n: int) -> tuple[float, float] | tuple[None, None]:
    """Return the interval in percent; None for both ends where nothing was counted."""
    if not n:
        return None, None
    low, high = wilson(right, n)
    return 100 * low, 100 * high


def chance(answers: Iterable[Answer]) -> float | None:
    """Return the accuracy of guessing: the mean of 1/choices, and 0 for open answers.

    None where it is not known, for runs of format 1 do not say how many choices there were.
    """
    counts = [answer.choices for answer in answers if answer.rule == "likelihood" or answer.choices]
    known = [1 / count for count in counts if count]
    if len(known) < len(counts):
        return None
    return sum(known) / len(known) if known else 0.0


def retained(
    before: ArrayLike,
    after: ArrayLike,
    own: Components,
    found: Estimate,
    by_chance: float,
    families: NDArray[np.int64] | None = None,
) -> Retention | None:
    """Return (after − chance) / (before − chance) of scores, `before` (n) and `after` (n × k).

    Fieller's interval (1954) with the pseudo-problems, the seed variance and the degrees of freedom
    of the change's own estimate: it holds 1 exactly where that interval holds 0. None where the
    accuracy before is not clearly above chance, so that there is nothing to divide by.
    """
    was, now = np.asarray(before, dtype=float).reshape(-1), np.asarray(after, dtype=float)
    level = float(was.mean()) - by_chance
    # One pseudo-problem is lost and one gained, as in the change.
    rows_was, mean_was = _analysis_rows(was, [1.0, 0.0], families)
    rows_now, mean_now = _analysis_rows(now.mean(axis=1), [0.0, 1.0], families)
    covariance = np.cov(rows_now, rows_was) / own.rows
    of_seeds = max(found.variance - own.ms_rows / (own.rows * own.seeds), 0.0)
    t_squared = float(stdtrit(found.df, 1 - ALPHA / 2)) ** 2
    top, bottom = mean_now - by_chance, mean_was - by_chance
    # The interval is where (top − θ·bottom)² ≤ t²·Var(top − θ·bottom): a·θ² − 2b·θ + c ≤ 0.
    a = bottom**2 - t_squared * covariance[1, 1]
    b = top * bottom - t_squared * covariance[0, 1]
    c = top**2 - t_squared * (covariance[0, 0] + of_seeds)
    if a <= 0 or bottom <= 0 or level <= 0:
        return None
    reach = math.sqrt(max(b * b - a * c, 0.0))
    return Retention((float(now.mean()) - by_chance) / level, (b - reach) / a, (b + reach) / a)


def _analysis_rows(
    values: Floats, pseudo: Sequence[float], families: NDArray[np.int64] | None
) -> tuple[Floats, float]:
    """Return the rows of the analysis, families linearised by their sizes, and their mean."""
    sums, sizes = values, np.ones_like(values)
    if families is not None:
        sums = np.bincount(families, weights=values).astype(np.float64)
        sizes = np.bincount(families).astype(np.float64)
    sums, sizes = np.append(sums, pseudo), np.append(sizes, [1.0, 1.0])
    centre = float(sums.sum() / sizes.sum())
    return (sums - centre * sizes) / sizes.mean(), centre
