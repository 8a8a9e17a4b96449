"""How many problems and seeds would decide: power of the paired tests of `compare`.

SE²(N, K) = σ²/K + [D − Δ² − (1 − 1/K)·D_ss/2] / N, with the degrees of freedom that `compare` uses
at the planned mean squares (docs/protocol.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import nctdtr, ndtr, stdtrit

from finetrap.compare import ALPHA, Components, Estimate

Floats = NDArray[np.float64]

POWER = 0.8
MOST_PROBLEMS = 1_000_000
MOST_SEEDS = 30
SAFETY = 1.1
"""The plain formula asked for 80% power and got 78% in simulation."""


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


def bits_spread(own: Components, found: Estimate) -> Spread:
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
    error, df = _precision(spread, np.asarray(problems, dtype=float), seeds)
    missed = nctdtr(df, size / error, stdtrit(df, 1 - alpha / 2))
    # The library gives up (nan) only where the effect is hundreds of standard errors.
    power: Floats = 1 - np.nan_to_num(missed, nan=0.0)
    return power


def equivalence_power(
    spread: Spread, margin: float, problems: ArrayLike, seeds: int, alpha: float = ALPHA
) -> Floats:
    """Return the power to show no change to be within ±margin where there is none."""
    error, df = _precision(spread, np.asarray(problems, dtype=float), seeds)
    # An equivalence also needs its printed interval inside the margin: never more than ALPHA / 2.
    quantile = stdtrit(df, 1 - min(alpha, ALPHA / 2))
    power: Floats = np.maximum(0.0, 2 * ndtr(margin / error - quantile) - 1)
    return power


def _precision(spread: Spread, problems: Floats, seeds: int) -> tuple[Floats, Floats]:
    """Return standard error and degrees of freedom at planned mean squares."""
    per_problem = spread.total - (1 - 1 / seeds) * spread.within
    if seeds == 1 or spread.seed_variance is None:
        return np.sqrt(spread.total / problems), problems - 1
    ms_rows = seeds * per_problem
    between = problems * spread.seed_variance
    ms_seeds = spread.within + between
    if spread.shared > 1:
        top = ms_rows + between
        bottom = ms_seeds**2 / (spread.shared * (seeds - 1)) + ms_rows**2 / (problems - 1)
    else:
        top = ms_rows + 2 * ms_seeds - spread.within
        bottom = (2 * ms_seeds) ** 2 / (seeds - 1) + ms_rows**2 / (problems - 1)
    error = np.sqrt((ms_rows + between) / (problems * seeds))
    df = np.maximum(top**2 / bottom, seeds - 1)
    return error, np.full_like(df, seeds - 1) if spread.outlying else df


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

    grid = np.unique(np.geomspace(4, MOST_PROBLEMS, 300).astype(int))
    first = np.flatnonzero(enough(grid))
    if not len(first):
        return None
    low, high = int(grid[max(first[0] - 1, 0)]), int(grid[first[0]])
    within = np.arange(low, high + 1)
    return int(np.ceil(within[enough(within)][0] * SAFETY))


class Plan(NamedTuple):
    """What would decide; both numbers are None where nothing affordable does."""

    problems: int | None
    seeds: int | None
    note: str = ""
    if_steady: int | None = None
    """Problems with as many seeds if these did not vary; None if no number suffices."""
    if_doubled: int | None = None
    """Likewise if seeds varied twice as much as seen."""


def needed(spread: Spread, margin: float, n: int, seeds: int, alpha: float = ALPHA) -> Plan:
    """Say how many problems and seeds decide a true change of the size of the margin.

    Of all plans with at least the seeds at hand, the one with the fewest answers. Where the `n`
    problems at hand are enough for such a change, the change is a smaller one: then the numbers are
    those that show equivalence where there is no change. `alpha` is that of a verdict, divided by
    the number of strategies judged together.
    """
    for power in (difference_power, equivalence_power):
        plans = _plans(power, spread, margin, seeds, alpha)
        if seeds in plans and plans[seeds] <= n:
            continue
        note = "" if seeds in plans else _more_seeds(seeds)
        if not plans:
            return Plan(None, None, note)
        best = min(plans, key=lambda k: k * plans[k])
        steady, doubled = (
            smallest(power, replace(spread, seed_variance=v), margin, best, alpha)
            for v in (0.0, 4 * (spread.seed_variance or 0.0))
        )
        return Plan(plans[best], best, note, steady, doubled)
    return Plan(None, None, f"{n} problems would show a change of the margin: this one is smaller")


def _plans(power: Power, spread: Spread, margin: float, seeds: int, alpha: float) -> dict[int, int]:
    """Return the problems needed for each number of seeds with which any number suffices."""
    most = seeds if spread.seed_variance is None else max(seeds, MOST_SEEDS)
    found = {k: smallest(power, spread, margin, k, alpha) for k in range(seeds, most + 1)}
    return {k: problems for k, problems in found.items() if problems is not None}


def _more_seeds(seeds: int) -> str:
    count = "1 seed" if seeds == 1 else f"{seeds} seeds"
    return f"more seeds: no number of problems decides with {count}"
