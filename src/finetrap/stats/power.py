"""How many problems and seeds would decide: power of the paired tests.

SE²(N, K) = σ²/K + [D − Δ² − (1 − 1/K)·D_ss/2] / N. A test does not know it: the power is averaged
over the standard errors and degrees of freedom that a test may see (docs/protocol.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtri, gammaincinv, ndtr, stdtrit

from finetrap.stats.changes import ALPHA, GUARD, Components, Estimate
from finetrap.text.numbers import counted

Floats = NDArray[np.float64]

POWER = 0.8
MOST_PROBLEMS = 1_000_000
MOST_SEEDS = 30
SAFETY = 1.05
"""The formula takes the spread between problems as known; without this it gets 78% to 80%."""


@dataclass(frozen=True)
class Spread:
    """The variances that a plan starts from, in squared units of the change."""

    total: float
    """Of one seed's change over problems: D − Δ² for answers, D the share that flips."""
    within: float
    """Part of `total` that further seeds average out: half the noise floor D_ss for answers."""
    seed_variance: float | None
    """σ² between seeds; None plans for a single checkpoint."""
    shared: int = 1
    """Strategies that share σ²."""
    outlying: bool = False
    """Whether only the seeds' degrees of freedom count, as for an outlying strategy."""


def accuracy_spread(
    own: Components, found: Estimate, discordance: float, noise: float | None, size: float
) -> Spread:
    """Return the spread of a change of `size` at the observed flips and noise floor (shares)."""
    # A change of this size cannot come from fewer flips than itself.
    total = (max(discordance, size) - size * size) * own.design_effect
    within = min((noise or 0.0) / 2 * own.design_effect, total)
    return Spread(total, within, found.seed_variance, found.shared, found.outlying)


def observed_spread(own: Components, found: Estimate) -> Spread:
    """Return the spread of bits per byte, from the observed mean squares, in units per problem."""
    # With families as rows, a row holds several problems: the design effect turns it back.
    scale = own.problems / own.rows
    within = (own.ms_error or 0.0) * scale
    between_rows = max(own.ms_rows * scale - within, 0.0) / own.seeds
    return Spread(between_rows + within, within, found.seed_variance, found.shared, found.outlying)


def difference_power(
    spread: Spread, size: float, problems: ArrayLike, seeds: int, alpha: float = ALPHA
) -> Floats:
    """Return the power to show a true change of `size`, for each number of problems."""
    true, seen, df, weights = _errors(spread, np.asarray(problems, dtype=float), seeds)
    shown: Floats = weights @ ndtr((size - stdtrit(df, 1 - alpha / 2) * seen) / true)
    return shown


def equivalence_power(
    spread: Spread, margin: float, problems: ArrayLike, seeds: int, alpha: float = ALPHA
) -> Floats:
    """Return the power to show no change to be within ±margin where there is none."""
    true, seen, df, weights = _errors(spread, np.asarray(problems, dtype=float), seeds)
    # An equivalence also needs its printed interval inside the margin: never more than ALPHA / 2.
    quantile = stdtrit(df, 1 - min(alpha, ALPHA / 2))
    shown: Floats = weights @ np.maximum(0.0, 2 * ndtr((margin - quantile * seen) / true) - 1)
    return shown


class _Errors(NamedTuple):
    """What a study's standard error is, and what it may seem to be: (scenarios × problems)."""

    true: Floats
    seen: Floats
    df: Floats
    weights: Floats
    """Probability of each scenario."""


def _errors(spread: Spread, problems: Floats, seeds: int) -> _Errors:
    """Return the standard errors that studies of this spread come by.

    Few seeds show their spread badly, and on what they show hangs whether `changes.estimate` lets a
    strategy share that of its sisters. So the seeds' mean square runs through quantiles of its
    distribution.
    """
    if seeds == 1 or spread.seed_variance is None:
        error = np.sqrt(spread.total / problems)
        return _Errors(error, error[None], problems[None] - 1, np.ones(1))
    planned = _Planned(
        seeds * (spread.total - (1 - 1 / seeds) * spread.within),
        spread.within + problems * spread.seed_variance,
        spread.within,
        problems,
        seeds,
    )
    true = np.sqrt((planned.rows + planned.seeds - planned.error) / planned.scale)
    if spread.shared < 2:
        seen, df = planned.alone(_mean_square_quantiles(_middles(16), seeds - 1))
        df = np.full_like(df, seeds - 1) if spread.outlying else df
        return _Errors(true, seen, df, np.full(16, 1 / 16))
    m, pool_df = spread.shared, spread.shared * (seeds - 1)
    pool = _mean_square_quantiles(_middles(8), pool_df)
    # Beside its sisters' mean square a strategy's own is distributed as F, whatever the pool's.
    ratio = fdtri(seeds - 1, pool_df - seeds + 1, GUARD + (1 - GUARD) * _middles(4))
    own = np.outer(pool, m * ratio / (ratio + m - 1)).ravel()
    pairs = zip(planned.pooled(pool, pool_df), planned.alone(own), strict=True)
    seen, df = (np.concatenate(pair) for pair in pairs)
    weights = np.repeat([GUARD / len(pool), (1 - GUARD) / len(own)], [len(pool), len(own)])
    return _Errors(true, seen, df, weights)


def _middles(count: int) -> Floats:
    """Return the middles of as many equal parts of (0, 1)."""
    found: Floats = (np.arange(count) + 0.5) / count
    return found


def _mean_square_quantiles(quantiles: Floats, df: int) -> Floats:
    """Return quantiles of a mean square whose expectation is 1."""
    found: Floats = gammaincinv(df / 2, quantiles) * 2 / df
    return found


@dataclass(frozen=True)
class _Planned:
    """Expected mean squares for each number of problems."""

    rows: float
    seeds: Floats
    error: float
    problems: Floats
    k: int
    """Seeds."""

    @property
    def scale(self) -> Floats:
        """Answers, by which mean squares are divided."""
        return self.problems * self.k

    def alone(self, times: Floats) -> tuple[Floats, Floats]:
        """Return standard error and df of `changes.estimate` by a strategy's own seeds, where
        their mean square comes out as these multiples of what is expected."""
        seen = times[:, None] * self.seeds
        error = np.sqrt((self.rows + np.maximum(seen - self.error, 0)) / self.scale)
        top = self.rows + np.maximum(2 * seen - self.error, 0)
        bottom = (2 * seen) ** 2 / (self.k - 1) + self.rows**2 / (self.problems - 1)
        return error, np.maximum(_freedom(top**2, bottom), self.k - 1)

    def pooled(self, times: Floats, pool_df: int) -> tuple[Floats, Floats]:
        """Return them by the seeds of the whole pool."""
        seen = times[:, None] * self.seeds
        variance = (self.rows + np.maximum(seen - self.error, 0)) / self.scale
        bottom = (seen / self.scale) ** 2 / pool_df
        bottom = bottom + (self.rows / self.scale) ** 2 / (self.problems - 1)
        return np.sqrt(variance), np.maximum(_freedom(variance**2, bottom), self.k - 1)


def _freedom(top: Floats, bottom: Floats) -> Floats:
    """Return degrees of freedom; infinitely many where nothing varies at all."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(bottom > 0, top / bottom, np.inf)


Power = Callable[[Spread, float, ArrayLike, int, float], Floats]


def smallest(
    power: Power, spread: Spread, margin: float, seeds: int, alpha: float = ALPHA
) -> int | None:
    """Return the fewest problems with `POWER`, times `SAFETY`; None if no number of them has it.

    With few seeds the power may fall again as problems are added (the degrees of freedom shrink to
    those of the seeds), so a grid is scanned before the crossing is narrowed down.
    """

    def enough(problems: ArrayLike) -> NDArray[np.bool_]:
        return power(spread, margin, problems, seeds, alpha) >= POWER

    crossing = np.flatnonzero(enough(_GRID))
    if not len(crossing):
        return None
    low, high = int(_GRID[max(crossing[0] - 1, 0)]), int(_GRID[crossing[0]])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough([middle])[0] else (middle, high)
    return math.ceil(high * SAFETY)


_GRID = np.unique(np.geomspace(4, MOST_PROBLEMS, 80).astype(int))


def smallest_size(shown: Callable[[float], bool]) -> float | None:
    """Return the smallest size of a change, to 0.0005, from which it is shown; None if none is."""
    low, high = 0.0, 0.99
    if not shown(high):
        return None
    while high - low > 0.0005:
        middle = (low + high) / 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high


def decidable(spread: Spread, problems: int, seeds: int, alpha: float = ALPHA) -> float | None:
    """Return the smallest margin that so many problems decide: a change of its size is shown, and
    no change is shown to be within it."""

    def decided(margin: float) -> bool:
        powers = (
            power(spread, margin, [problems / SAFETY], seeds, alpha)[0]
            for power in (difference_power, equivalence_power)
        )
        return bool(min(powers) >= POWER)

    return smallest_size(decided) if problems > 1 else None


class Sizing(NamedTuple):
    """What would decide; both numbers are None where nothing affordable does."""

    problems: int | None
    seeds: int | None
    note: str = ""
    if_steady: int | None = None
    """Problems with as many seeds if these did not vary; None if no number suffices."""
    if_doubled: int | None = None
    """Likewise if seeds varied twice as much as seen."""
    decides: float | None = None
    """Where the test has too few problems for that: the margin that all of them decide."""


def would_decide(
    spread: Spread,
    margin: float,
    n: int,
    seeds: int,
    alpha: float = ALPHA,
    most: int = MOST_PROBLEMS,
) -> Sizing:
    """Say how many problems and seeds decide a true change of the size of the margin.

    Of all plans with at least the seeds at hand, the one with the fewest answers. Where the `n`
    problems at hand are enough for such a change, the change is a smaller one: then the numbers are
    those that show equivalence where there is no change. `alpha` is that of a verdict, divided by
    the number of strategies judged together, `most` the problems that the test has.
    """
    for power in (difference_power, equivalence_power):
        plans = _plans(power, spread, margin, seeds, alpha, most)
        if seeds in plans and plans[seeds] <= n:
            continue
        if not plans and most < MOST_PROBLEMS:
            return Sizing(None, None, decides=decidable(spread, most, seeds, alpha))
        if not plans:
            few = counted(seeds, "seed")
            even = f"neither more problems nor {MOST_SEEDS} seeds would decide" if seeds > 1 else ""
            return Sizing(None, None, even or f"no number of problems decides with {few}")
        note = "" if seeds in plans else _more_seeds(seeds)
        best = min(plans, key=lambda k: k * plans[k])
        steady, doubled = (
            smallest(power, replace(spread, seed_variance=v), margin, best, alpha)
            for v in (0.0, 4 * (spread.seed_variance or 0.0))
        )
        return Sizing(plans[best], best, note, steady, doubled)
    return Sizing(
        None, None, f"{n} problems would show a change of the margin: this one is smaller"
    )


def _plans(
    power: Power, spread: Spread, margin: float, seeds: int, alpha: float, most: int
) -> dict[int, int]:
    """Return the problems needed, at most `most`, for each number of seeds with which they suffice,
    as far as more seeds can still save answers."""
    last = seeds if spread.seed_variance is None else max(seeds, MOST_SEEDS)
    # More seeds never need more problems.
    fewest = smallest(power, spread, margin, last, alpha)
    found: dict[int, int] = {}
    if fewest is None or fewest > most:
        return found
    for k in range(seeds, last + 1):
        if found and k * fewest > min(j * problems for j, problems in found.items()):
            break
        problems = smallest(power, spread, margin, k, alpha)
        if problems is not None and problems <= most:
            found[k] = problems
    return found


def _more_seeds(seeds: int) -> str:
    count = counted(seeds, "seed")
    return f"more problems will not help with {count}; add seeds"
