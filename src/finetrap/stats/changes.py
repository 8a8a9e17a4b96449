"""Paired statistics of harm: changes over problems × seeds, and the one rule that names them.

Pure functions of numpy arrays. Accuracies and changes are shares (0 to 1) here, or bits per byte;
points are made where they are shown. Every formula is in docs/protocol.md with its
source; `N`, `k`, `MSI`, `MSS` and `MSE` there are `rows`, `seeds`, `ms_rows`, `ms_seeds` and
`ms_error` here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, fdtri, ndtri, stdtr, stdtrit

from finetrap.errors import BadData
from finetrap.levels import Word
from finetrap.stats.likelihood import as_bits

Floats = NDArray[np.float64]

ALPHA = 0.05
"""Chance of some wrong verdict in a family of strategies that a study accepts."""
GUARD = 0.75
"""Quantile of F above which a strategy's seeds vary too much to share its sisters' variance."""
ROUNDING = 1e-9
"""Relative difference of mean squares that are equal but for the order of their sums."""
FEWEST_FAMILIES = 10
"""Effective number of problem families from which families, not problems, are the rows."""


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share of `right` out of `n` (Wilson 1927)."""
    if not 0 <= right <= n or n == 0:
        raise BadData(f"{right} right of {n}: the count must lie between 0 and a positive total")
    z = float(ndtri(0.5 + level / 2))
    share, shrink = right / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == n else min(1.0, centre + half)
    return low, high


def mcnemar_mid_p(lost: int, gained: int) -> float:
    """Return the two-sided mid-p of McNemar's test (Fagerland, Lydersen & Laake 2013).

    It describes one checkpoint; p-values of several seeds must not be combined.
    """
    fewer, flips = min(lost, gained), lost + gained
    if flips == 0:
        return 1.0
    # 2·P(X < fewer) + P(X = fewer), written without a difference of nearly equal numbers
    below = float(bdtr(fewer - 1, flips, 0.5)) if fewer else 0.0
    return min(1.0, below + float(bdtr(fewer, flips, 0.5)))


@dataclass(frozen=True)
class Components:
    """Two-way analysis of variance of one strategy's changes, rows × seeds."""

    delta: float
    """Mean change, as it is printed."""
    problems: int
    centre: float
    """Mean change with the two pseudo-problems: the middle of the interval."""
    rows: int
    """Problems or families of problems, and the pseudo-problems."""
    seeds: int
    ms_rows: float
    ms_seeds: float | None
    """None with one seed, as is `ms_error`: nothing is known about other seeds."""
    ms_error: float | None
    lowest: float = -math.inf
    highest: float = math.inf
    """No change is possible beyond these: all that was right lost, all that was wrong gained."""
    design_effect: float = 1.0
    """Variance with families as rows over the variance with problems as rows, at least 1."""

    @property
    def seed_variance(self) -> float | None:
        """Variance of the change between seeds, beyond the noise of single problems."""
        if self.ms_seeds is None or self.ms_error is None:
            return None
        return max(self.ms_seeds - self.ms_error, 0.0) / self.rows


def family_rows(families: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the row of each problem if families are to be the rows, None if problems are.

    Few families cannot show how families vary, so below `FEWEST_FAMILIES` (effective number,
    Kish 1965: n²/Σ sizes²) the verdict is about these families. A problem without one is its own.
    """
    names = [name or f"\0{i}" for i, name in enumerate(families)]
    codes = np.unique(np.asarray(names, dtype=str), return_inverse=True)[1].astype(np.int64)
    sizes = np.bincount(codes)
    if sizes.max() == 1 or sizes.sum() ** 2 / (sizes.astype(float) ** 2).sum() < FEWEST_FAMILIES:
        return None
    return codes


def accuracy_components(
    before: ArrayLike, after: ArrayLike, families: NDArray[np.int64] | None = None
) -> Components:
    """Analyse changes of 0/1 answers: `before` (n) or (n × k), `after` (n × k).

    Two pseudo-problems, one gained and one lost by every seed, keep the interval honest where few
    answers change (Bonett & Price 2012, which this is for one seed).
    """
    change = np.asarray(after, dtype=float) - per_seed_table(before)
    pseudo = np.repeat([[1.0], [-1.0]], change.shape[1], axis=1)
    base = float(np.mean(np.asarray(before, dtype=float)))
    found = _analyse(change, np.ones(len(change)), families, pseudo)
    return replace(found, lowest=-base, highest=1 - base)


def bits_components(
    before: ArrayLike, after: ArrayLike, sizes: ArrayLike, families: NDArray[np.int64] | None = None
) -> Components:
    """Analyse changes of bits per byte from the nats of each text: `before` (n), `after` (n × k).

    `sizes` (n) are the bytes of each text. Bits per byte is a ratio of sums, so each row enters
    through its linearised share of the change (Cochran 1977, section 6.3). Raises BadData for fewer
    than two texts.
    """
    change = as_bits(np.asarray(after, dtype=float) - per_seed_table(before))
    if len(change) < 2:
        raise BadData(f"{len(change)} text: a change of bits per byte needs at least two texts")
    none = np.empty((0, change.shape[1]))
    return _analyse(change, np.asarray(sizes, dtype=float), families, none)


def per_seed_table(before: ArrayLike) -> Floats:
    """Return a table that subtracts from one with a column per seed."""
    table = np.asarray(before, dtype=float)
    return table[:, None] if table.ndim == 1 else table


def _analyse(
    values: Floats,
    sizes: Floats,
    families: NDArray[np.int64] | None,
    pseudo: Floats,
) -> Components:
    """Analyse Σ values / Σ sizes, (n × k) over (n), with pseudo-problems of size 1."""
    delta = float(values.sum() / (values.shape[1] * sizes.sum()))
    problems, ones = len(values), np.ones(len(pseudo))
    plain = _ratio_mean_squares(np.vstack([values, pseudo]), np.append(sizes, ones))
    found, effect = plain, 1.0
    if families is not None:
        sums = np.zeros((int(families.max()) + 1, values.shape[1]))
        np.add.at(sums, families, values)
        found = _ratio_mean_squares(
            np.vstack([sums, pseudo]), np.append(np.bincount(families, weights=sizes), ones)
        )
        if plain.ms_rows > 0:
            effect = max(1.0, found.ms_rows / found.rows / (plain.ms_rows / plain.rows))
    return Components(delta, problems, **found._asdict(), design_effect=effect)


class _MeanSquares(NamedTuple):
    centre: float
    rows: int
    seeds: int
    ms_rows: float
    ms_seeds: float | None
    ms_error: float | None


def _ratio_mean_squares(sums: Floats, sizes: Floats) -> _MeanSquares:
    """Return the mean squares of Σ sums / Σ sizes, (rows × k) over (rows); all sizes 1: a mean."""
    rows, seeds = sums.shape
    centre = float(sums.sum() / (seeds * sizes.sum()))
    table = centre + (sums - centre * sizes[:, None]) / sizes.mean()
    by_row, by_seed = table.mean(axis=1), table.mean(axis=0)
    ms_rows = seeds * float(((by_row - centre) ** 2).sum()) / (rows - 1)
    if seeds == 1:
        return _MeanSquares(centre, rows, 1, ms_rows, None, None)
    ms_seeds = rows * float(((by_seed - centre) ** 2).sum()) / (seeds - 1)
    rest = table - by_row[:, None] - by_seed[None, :] + centre
    ms_error = float((rest**2).sum()) / ((rows - 1) * (seeds - 1))
    return _MeanSquares(centre, rows, seeds, ms_rows, ms_seeds, ms_error)


@dataclass(frozen=True)
class Estimate:
    """A change with its interval; `low`, `high` and `p` come from one t distribution."""

    delta: float
    centre: float
    variance: float
    """Squared standard error."""
    df: float
    seed_variance: float | None = None
    """Between seeds; shared with sister strategies where `shared` is above 1."""
    seeds: int = 1
    lowest: float = -math.inf
    highest: float = math.inf
    shared: int = 1
    """Strategies whose seeds the seed variance comes from."""
    outlying: bool = False
    """Its seeds vary too much to be those of its sisters: it has only their degrees of freedom."""

    @property
    def half_width(self) -> float:
        """Half the width of the 95% interval."""
        return float(stdtrit(self.df, 1 - ALPHA / 2)) * math.sqrt(self.variance)

    @property
    def seeds_share(self) -> float:
        """Share of the variance that comes from seeds; none of it for a single checkpoint."""
        if not self.seed_variance or not self.variance:
            return 0.0
        return min(1.0, self.seed_variance / self.seeds / self.variance)

    @property
    def low(self) -> float:
        """Lower end of the 95% interval, not adjusted for other strategies.

        Both ends are cut at what is possible on these problems. Cutting keeps the coverage of a
        change that is cut likewise.
        """
        return max(self.centre - self.half_width, self.lowest)

    @property
    def high(self) -> float:
        """Upper end of the 95% interval."""
        return min(self.centre + self.half_width, self.highest)

    @property
    def p(self) -> float:
        """Two-sided p of no change."""
        return min(1.0, 2 * self._tail(abs(self.centre)))

    def p_equivalence(self, margin: float) -> float:
        """Return the larger one-sided p of a change of `margin` or more (TOST, Schuirmann 1987)."""
        return self._tail(margin - abs(self.centre))

    def inside(self, margin: float) -> bool:
        """Say whether the printed interval lies within ±margin."""
        return -margin < self.low and self.high < margin

    def break_even_seed_sd(self) -> float:
        """Return the seed SD that would bring zero into the interval of a single checkpoint."""
        reach = self.centre / float(stdtrit(self.df, 1 - ALPHA / 2))
        return math.sqrt(max(0.0, reach * reach - self.variance))

    def _tail(self, distance: float) -> float:
        """Probability of an estimate further than `distance` to one side of its mean."""
        if self.variance == 0:
            return 0.5 if distance == 0 else float(distance < 0)
        return float(stdtr(self.df, -distance / math.sqrt(self.variance)))


def estimates(family: Sequence[Components]) -> list[Estimate]:
    """Estimate every strategy of one model and test, sharing seed variance where it is safe."""
    return [estimate(own, [*family[:i], *family[i + 1 :]]) for i, own in enumerate(family)]


def estimate(own: Components, sisters: Sequence[Components] = ()) -> Estimate:
    """Estimate a change; seeds are readers and problems cases (Obuchowski & Rockette 1995).

    One seed: the change of this checkpoint. More: own seed variance, or, where it is not above that
    of the steady sisters by the guard (Bancroft 1964), the variance of them all.
    """
    if own.ms_seeds is None or own.ms_error is None:
        return _estimate(own, own.ms_rows / own.rows, own.rows - 1, None)
    rivals = [s for s in sisters if s.ms_seeds is not None and s.rows == own.rows]
    pool = _steady([own, *rivals])
    others = [s for s in pool if s is not own]
    outlying = len(others) == len(pool)
    if others and not outlying and _varies_like(own, others, GUARD):
        return _pooled(own, [own, *others])
    variance = (own.ms_rows + max(own.ms_seeds - own.ms_error, 0.0)) / (own.rows * own.seeds)
    # Little but seeds is in the variance of an outlying strategy, so it has their degrees of
    # freedom: those below would leave it covered by .94 where three seeds scatter by 10 points.
    df = own.seeds - 1 if outlying else _own_df(own, own.ms_seeds, own.ms_error)
    return replace(_estimate(own, variance, df, own.seed_variance), outlying=outlying)


def _own_df(own: Components, ms_seeds: float, ms_error: float) -> float:
    """Return the degrees of freedom of Hillis 2007 with the seeds' mean square doubled.

    A luckily small one inflates the degrees of freedom exactly when the interval misses.
    """
    top = own.ms_rows + max(2 * ms_seeds - ms_error, 0.0)
    bottom = (2 * ms_seeds) ** 2 / (own.seeds - 1) + own.ms_rows**2 / (own.rows - 1)
    return max(top * top / bottom if bottom else own.rows - 1, own.seeds - 1)


def _steady(family: Sequence[Components]) -> list[Components]:
    """Return the largest set of the steadiest strategies in which none is outlying.

    Outlying is a mean square of seeds too large beside those of the rest (Cochran 1941 at ALPHA, as
    an F) and above the error's, without which it shows no scatter: seeds that happen to agree to
    the answer have a mean square of zero, and everything would be outlying beside them. One
    strategy whose seeds scatter must not widen the intervals of sisters whose seeds agree; a laxer
    test would trim strategies that vary alike, and the rest would look too steady.
    """
    steady = sorted(family, key=lambda s: (s.ms_seeds or 0.0, s.ms_error or 0.0))
    while len(steady) > 1 and not (
        _shows_no_scatter(steady[-1])
        or _varies_like(steady[-1], steady[:-1], 1 - ALPHA / len(steady))
    ):
        steady.pop()
    return steady


def _shows_no_scatter(own: Components) -> bool:
    return (own.ms_seeds or 0.0) <= (own.ms_error or 0.0) * (1 + ROUNDING)


def _varies_like(own: Components, others: Sequence[Components], quantile: float) -> bool:
    """Say whether the seeds' mean square is within this quantile of F times that of the others."""
    df = sum(s.seeds - 1 for s in others)
    mean = sum((s.ms_seeds or 0.0) * (s.seeds - 1) for s in others) / df
    return (own.ms_seeds or 0.0) <= float(fdtri(own.seeds - 1, df, quantile)) * mean


def _pooled(own: Components, pool: Sequence[Components]) -> Estimate:
    """Estimate with the seed variance of the whole pool, each strategy weighted by its df."""
    df = sum(s.seeds - 1 for s in pool)
    ms_seeds = sum((s.ms_seeds or 0.0) * (s.seeds - 1) for s in pool) / df
    ms_error = sum((s.ms_error or 0.0) * (s.seeds - 1) for s in pool) / df
    scale = own.rows * own.seeds
    between = max(ms_seeds - ms_error, 0.0)
    variance = (own.ms_rows + between) / scale
    bottom = (ms_seeds / scale) ** 2 / df + (own.ms_rows / scale) ** 2 / (own.rows - 1)
    found = variance**2 / bottom if bottom else own.rows - 1
    return _estimate(own, variance, max(found, own.seeds - 1), between / own.rows, len(pool))


def _estimate(
    own: Components, variance: float, df: float, seed_variance: float | None, shared: int = 1
) -> Estimate:
    spread = variance, df, seed_variance, own.seeds
    return Estimate(own.delta, own.centre, *spread, own.lowest, own.highest, shared)


def holm_shaffer(
    difference: Sequence[float], equivalence: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Adjust both p-values of m strategies together (Holm 1979, Shaffer 1986).

    No change and a change of at least the margin cannot both be true of a strategy, so at most m
    of the 2m hypotheses are, and one fewer for each strategy with both rejected. An adjusted p is
    at most alpha exactly where the step-down procedure at alpha rejects.
    """
    m = len(difference)
    p = [*difference, *equivalence]
    adjusted = [1.0] * (2 * m)
    rejected = [0] * m
    largest, open_strategies = 0.0, m
    for i in sorted(range(2 * m), key=p.__getitem__):
        largest = max(largest, min(1.0, p[i] * open_strategies))
        adjusted[i] = largest
        rejected[i % m] += 1
        open_strategies -= rejected[i % m] == 2
    return adjusted[:m], adjusted[m:]


class Judged(NamedTuple):
    """What the rule says of one change."""

    verdict: Word
    small: bool
    """Equivalent, and shown to differ from zero: a change that is there and does not matter."""
    p_adjusted: float
    """Of no change, adjusted for every strategy of the family."""


def judge_family(
    family: Sequence[Estimate],
    margin: float,
    *,
    rise_is_harm: bool = False,
    floors: Sequence[bool] = (),
    noise: float = 0.0,
) -> list[Judged]:
    """Give each strategy of a family its verdict: the only place where one is made.

    A change is `equivalent` if the joint procedure rejects a change of the margin, and the printed
    interval lies within the margin too, so that no page shows an equivalence that sticks out of it.
    Otherwise it is `harmed` or `improved` if the procedure rejects no change, and if it is above
    `noise`, the share of answers that change when the base model is asked twice. Where `floors`
    says that nothing was there to be lost, equivalence shows nothing: it is `inconclusive`.
    """
    difference, equivalence = holm_shaffer(
        [e.p for e in family], [e.p_equivalence(margin) for e in family]
    )
    judged = []
    for i, found in enumerate(family):
        differs = difference[i] <= ALPHA and abs(found.delta) > noise
        verdict: Word = "inconclusive"
        if equivalence[i] <= ALPHA and found.inside(margin):
            verdict = "inconclusive" if floors and floors[i] else "equivalent"
        elif differs:
            verdict = "harmed" if (found.centre > 0) == rise_is_harm else "improved"
        judged.append(Judged(verdict, differs and verdict == "equivalent", difference[i]))
    return judged
