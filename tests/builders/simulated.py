"""Studies with a known truth: a problem is solved if its latent difficulty is below an ability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from finetrap.stats.changes import Components

Flags = NDArray[np.bool_]


def abilities(rng: np.random.Generator, mean: float, sd: float, seeds: int) -> NDArray[np.float64]:
    """Accuracy of each seed: Beta with this mean and standard deviation."""
    if sd == 0:
        return np.full(seeds, mean)
    size = mean * (1 - mean) / sd**2 - 1
    return np.clip(rng.beta(mean * size, (1 - mean) * size, seeds), 1e-9, 1 - 1e-9)


def study(
    rng: np.random.Generator,
    *,
    n: int,
    seeds: int,
    base: float,
    changes: tuple[float, ...],
    sd: float = 0.0,
    agreement: float = 0.85,
    families: NDArray[np.int64] | None = None,
    family_share: float = 0.0,
) -> tuple[Flags, list[Flags]]:
    """Answers of the untouched model (n) and of each strategy (n × seeds).

    `changes` are true changes of accuracy, `sd` that of the seeds' accuracies, `agreement` the
    latent correlation of before and after; `family_share` is the share of a strategy's own latent
    variance that the problems of one family have in common.
    """
    shared = rng.standard_normal(n)
    own = np.sqrt(1 - agreement)
    before = np.sqrt(agreement) * shared + own * rng.standard_normal(n) < ndtri(base)
    after = []
    for change in changes:
        strategy = rng.standard_normal(n)
        if families is not None:
            common = rng.standard_normal(families.max() + 1)[families]
            strategy = np.sqrt(family_share) * common + np.sqrt(1 - family_share) * strategy
        each = (strategy[:, None] + rng.standard_normal((n, seeds))) / np.sqrt(2)
        latent = np.sqrt(agreement) * shared[:, None] + own * each
        after.append(latent < ndtri(abilities(rng, base + change, sd, seeds)))
    return before, after


def scores(
    rng: np.random.Generator, *, n: int, fields: int, **kind: object
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Scores between 0 and 1: the share of each problem's fields that `study` has right.

    What a strategy does to the fields of one problem is half the same.
    """
    families = np.repeat(np.arange(n), fields)
    before, after = study(rng, n=n * fields, families=families, family_share=0.5, **kind)
    return before.reshape(n, fields).mean(1), [t.reshape(n, fields, -1).mean(1) for t in after]


def mean_squares(
    rng: np.random.Generator,
    studies: int,
    *,
    n: int,
    seeds: int,
    changes: tuple[float, ...],
    sds: tuple[float, ...],
    problems: float = 0.14,
    rest: float = 0.05,
) -> list[list[Components]]:
    """Families of strategies drawn as the mean squares that normal changes have, without answers.

    `sds` are those of each strategy's seeds; `problems` and `rest` the variance of a change between
    problems and within them (as where 19% of answers flip).
    """
    shape, rows = (studies, len(changes)), n + 2
    between = rest + seeds * problems
    by_seed = rest + rows * np.square(sds)

    def mean_square(df: int) -> NDArray[np.float64]:
        return rng.chisquare(df, shape) / df

    error = np.sqrt((between + by_seed - rest) / (rows * seeds))
    centre = changes + rng.standard_normal(shape) * error
    squares = (
        between * mean_square(rows - 1),
        by_seed * mean_square(seeds - 1),
        rest * mean_square((rows - 1) * (seeds - 1)),
    )
    return [
        [
            Components(c, n, c, rows, seeds, *each, lowest=-1.0, highest=1.0)
            for c, *each in zip(*columns, strict=True)
        ]
        for columns in zip(*(table.tolist() for table in (centre, *squares)), strict=True)
    ]
