"""The estimates of `finetrap.stats.changes` for many simulated studies at once, and those studies.

`test_vectorised.py` holds them equal to `changes.estimates`; `benchmarks/statistics.py` needs
them to go through a large grid in minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtri, ndtri, stdtr, stdtrit

from finetrap.stats.changes import ALPHA, GUARD, ROUNDING
from tests.builders.simulated import abilities

Floats = NDArray[np.float64]
CHUNK = 1_500_000
"""Answers of one strategy that are drawn at once."""


class Squares(NamedTuple):
    """Analysis of variance of every strategy of every study: arrays (studies × strategies)."""

    delta: Floats
    centre: Floats
    base: Floats
    """Accuracy before (studies × 1), at which intervals are cut."""
    rows: int
    seeds: int
    ms_rows: Floats
    ms_seeds: Floats
    """nan with one seed, as is `ms_error`."""
    ms_error: Floats


class Intervals(NamedTuple):
    """Estimates of every strategy of every study."""

    centre: Floats
    variance: Floats
    df: Floats
    low: Floats
    high: Floats
    p: Floats


class Drawn(NamedTuple):
    """Answers of many studies."""

    before: NDArray[np.bool_]
    """studies × problems"""
    after: NDArray[np.bool_]
    """studies × strategies × problems × seeds"""
    ability: Floats
    """True accuracy of each seed: studies × strategies × seeds."""


def draw(
    rng: np.random.Generator,
    studies: int,
    *,
    n: int,
    seeds: int,
    base: float,
    changes: tuple[float, ...],
    sd: float = 0.0,
    agreement: float = 0.85,
) -> Iterator[Drawn]:
    """Yield chunks of studies like those of `simulated.study`, of one family of problems."""
    size = max(1, CHUNK // (n * seeds * len(changes)))
    for start in range(0, studies, size):
        count = min(size, studies - start)

        def normal(*shape: int, count: int = count) -> NDArray[np.float32]:
            return rng.standard_normal((count, *shape), dtype=np.float32)

        shared, own = normal(n), np.float32(np.sqrt(1 - agreement))
        of_problem = np.float32(np.sqrt(agreement)) * shared
        before = of_problem + own * normal(n) < np.float32(ndtri(base))
        after = np.empty((count, len(changes), n, seeds), dtype=bool)
        ability = np.empty((count, len(changes), seeds))
        for j, change in enumerate(changes):
            ability[:, j] = abilities(rng, base + change, sd, count * seeds).reshape(count, seeds)
            each = normal(n, seeds) + normal(n)[:, :, None]
            latent = of_problem[:, :, None] + own * each * np.float32(np.sqrt(0.5))
            after[:, j] = latent < ndtri(ability[:, j]).astype(np.float32)[:, None, :]
        yield Drawn(before, after, ability)


def squares(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Squares:
    """Analyse `before` (studies × n) and `after` (studies × strategies × n × k).

    As `compare.accuracy_components`: with two pseudo-problems, through sums of squares.
    """
    change = after.astype(np.float32) - before[:, None, :, None]
    *_, n, k = change.shape
    rows = n + 2
    by_row = change.sum(axis=-1, dtype=np.float64)
    by_seed = change.sum(axis=-2, dtype=np.float64)
    total = by_row.sum(axis=-1)
    centre = total / (rows * k)
    correction = rows * k * centre**2
    base = before.mean(axis=1)[:, None]
    all_squares = np.square(change).sum(axis=(-1, -2), dtype=np.float64) + 2 * k
    row_squares = (np.square(by_row).sum(axis=-1) + 2 * k * k) / k - correction
    ms_rows = row_squares / (rows - 1)
    if k == 1:
        nothing = np.full_like(centre, np.nan)
        return Squares(total / n, centre, base, rows, k, ms_rows, nothing, nothing)
    seed_squares = np.square(by_seed).sum(axis=-1) / rows - correction
    rest = all_squares - correction - row_squares - seed_squares
    return Squares(
        total / (n * k),
        centre,
        base,
        rows,
        k,
        ms_rows,
        seed_squares / (k - 1),
        rest / ((rows - 1) * (k - 1)),
    )


def intervals(found: Squares) -> Intervals:
    """Estimate every strategy beside its sisters, as `compare.estimates`."""
    scale = found.rows * found.seeds
    if found.seeds == 1:
        df = np.full_like(found.centre, found.rows - 1)
        return _intervals(found, found.ms_rows / found.rows, df)
    k, mss, mse, msi = found.seeds, found.ms_seeds, found.ms_error, found.ms_rows
    variance = (msi + np.maximum(mss - mse, 0)) / scale
    top = msi + np.maximum(2 * mss - mse, 0)
    df = np.maximum(top**2 / ((2 * mss) ** 2 / (k - 1) + msi**2 / (found.rows - 1)), k - 1)

    rank, pool = _ranks(mss, mse), _pool_sizes(mss, mse, k)[:, None]
    inside = rank < pool
    df = np.where(inside, df, k - 1)
    # Everything below is about strategies in a pool of at least two.
    total, total_error = ((np.where(inside, x, 0)).sum(axis=1, keepdims=True) for x in (mss, mse))
    others = np.maximum(pool - 1, 1)
    steady = inside & (pool > 1)
    steady &= mss <= fdtri(k - 1, others * (k - 1), GUARD) * (total - mss) / others
    between = np.maximum(total / pool - total_error / pool, 0)
    shared = (msi + between) / scale
    bottom = (total / pool / scale) ** 2 / (pool * (k - 1)) + (msi / scale) ** 2 / (found.rows - 1)
    variance = np.where(steady, shared, variance)
    df = np.where(steady, np.maximum(shared**2 / bottom, k - 1), df)
    return _intervals(found, variance, df)


def _ranks(ms_seeds: Floats, ms_error: Floats) -> NDArray[np.int64]:
    return np.argsort(np.lexsort((ms_error, ms_seeds), axis=1), axis=1)


def _pool_sizes(ms_seeds: Floats, ms_error: Floats, k: int) -> NDArray[np.int64]:
    """Return, for each study, the largest number of steadiest strategies with none outlying."""
    order = np.lexsort((ms_error, ms_seeds), axis=1)
    ordered, error = (np.take_along_axis(x, order, axis=1) for x in (ms_seeds, ms_error))
    sizes = np.ones(len(ordered), dtype=np.int64)
    for p in range(2, ordered.shape[1] + 1):
        bar = fdtri(k - 1, (p - 1) * (k - 1), 1 - ALPHA / p) * ordered[:, : p - 1].mean(axis=1)
        sizes = np.where(
            ordered[:, p - 1] <= np.maximum(bar, error[:, p - 1] * (1 + ROUNDING)), p, sizes
        )
    return sizes


def _intervals(found: Squares, variance: Floats, df: Floats) -> Intervals:
    centre, error = found.centre, np.sqrt(variance)
    half = stdtrit(df, 1 - ALPHA / 2) * error
    p = 2 * stdtr(df, -np.abs(centre) / error)
    low, high = np.maximum(centre - half, -found.base), np.minimum(centre + half, 1 - found.base)
    return Intervals(centre, variance, df, low, high, p)
