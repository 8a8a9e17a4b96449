"""What a search for learning rates tried, which rate it chose, and what it still has to try.

Pure functions of trials on disk: planning and judging read the same rule, so that the rate that was
trained is the rate that the report calls tuned. The rule, the same for every strategy:

1. With more than three trials, every rate is tried on half of the training problems, each with
   its complete schedule, and the better half (rounded up) by bits per byte on dev goes on.
2. The rates that are left are tried on all training problems.
3. Of those whose dev accuracy is within one standard error of the best (Breiman et al. 1984,
   section 3.4.3), the one with the fewest bits per byte is chosen.
4. If it is the lowest or the highest rate of the range, the next one is tried too, once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from finetrap.records import Cell, Run, Search, content_hash
from finetrap.stats.likelihood import all_scored, gold_bits

FIRST_RUNG = 0.5
"""Part of the training problems that the first rung of a search with halving trains on."""
NO_HALVING = 3
"""Most trials that are all tried on every training problem."""


class Tried(NamedTuple):
    """What one trial came to; a failed one has no numbers."""

    bits: float | None
    """Bits per byte of the dev solutions."""
    right: float
    """Answers, or the sum of their scores."""
    n: int

    @property
    def accuracy(self) -> float:
        """Share of dev problems answered rightly; below every other where the trial failed."""
        return self.right / self.n if self.n else -1.0

    @property
    def loss(self) -> float:
        """Bits per byte, above every other where there is no number."""
        return math.inf if self.bits is None else self.bits


Point = tuple[float, float]
"""(share of the training problems, learning rate)."""


class SearchState(NamedTuple):
    """Where a search stands."""

    points: tuple[Point, ...]
    """Everything to be tried as far as is known by now, in order."""
    chosen: float | None
    """The tuned rate; None while trials remain, and where every trial failed."""
    extended: float | None
    """The rate beyond the range that was added."""
    settled: bool
    """Whether nothing is left to be tried."""


def rates_around(centre: float, search: Search) -> tuple[float, ...]:
    """Return the rates around a strategy's own, low to high, two digits each."""
    below = search.trials // 2
    return tuple(
        _round(centre * search.factor**step) for step in range(-below, search.trials - below)
    )


def next_trials(centre: float, search: Search, tried: Mapping[Point, Tried]) -> SearchState:
    """Say what is to be tried next, or which rate is chosen."""
    start = rates_around(centre, search)
    points: list[Point] = []
    left: Sequence[float] = start
    if search.trials > NO_HALVING:
        points = [(FIRST_RUNG, rate) for rate in start]
        if any(point not in tried for point in points):
            return SearchState(tuple(points), None, None, False)
        by_loss = sorted(start, key=lambda rate: tried[FIRST_RUNG, rate].loss)
        left = sorted(by_loss[: math.ceil(search.trials / 2)])
    points += [(1.0, rate) for rate in left]
    if any(point not in tried for point in points):
        return SearchState(tuple(points), None, None, False)
    chosen = best({rate: tried[1.0, rate] for rate in left}).rate
    beyond = _next_rate(chosen, start, search.factor)
    if beyond is None:
        return SearchState(tuple(points), chosen, None, True)
    points.append((1.0, beyond))
    if points[-1] not in tried:
        return SearchState(tuple(points), None, beyond, False)
    chosen = best({rate: tried[1.0, rate] for rate in (*left, beyond)}).rate
    return SearchState(tuple(points), chosen, beyond, True)


class Won(NamedTuple):
    """The rate that a search chose, and why."""

    rate: float | None
    """None if every trial failed."""
    why: str


def best(tried: Mapping[float, Tried]) -> Won:
    """Return the rate to use of those tried on all training problems."""
    finished = {rate: t for rate, t in tried.items() if t.n and t.bits is not None}
    if not finished:
        return Won(None, "every trial failed")
    top = max(finished.values(), key=lambda t: t.accuracy)
    error = math.sqrt(top.accuracy * (1 - top.accuracy) / top.n)
    as_good = [rate for rate, t in finished.items() if t.accuracy >= top.accuracy - error]
    least = min(finished[rate].loss for rate in as_good)
    # Equals are ordered by rate, not by when they were tried; the middle one is no edge.
    tied = sorted(rate for rate in as_good if finished[rate].loss == least)
    why = "tie broken by bits per byte"
    if len(finished) == 1:
        why = "the only trial that finished"
    elif len(as_good) == 1:
        why = "most accurate, by more than one standard error"
    elif len(tied) > 1:
        why = "equal in accuracy and bits per byte: the middle rate"
    return Won(tied[(len(tied) - 1) // 2], why)


def summed_up(run: Run) -> Tried:
    """Sum up the dev answers of a trial."""
    if run.status != "done" or not all_scored(run.answers):
        return Tried(None, 0, 0)
    return Tried(gold_bits(run.answers), sum(a.value or 0.0 for a in run.answers), len(run.answers))


def searched(cell: Cell) -> str:
    """Name the search that a cell belongs to, as a trial or as a final run: all but the rate."""
    found = cell.identity()
    name = cell.strategy.trained_as.name
    found["strategy"] = {**found["strategy"], "name": name, "rewind": [], "learning_rate": None}
    found["train"] = {**(found["train"] or {}), "share": 1.0, "with_dev": False}
    parts = ("protocol", "model", "trained_on", "replayed", "strategy", "train")
    return content_hash([found[part] for part in parts])


@dataclass(frozen=True)
class Searched:
    """One search as the runs tell it."""

    runs: Mapping[Point, Run]
    tried: Mapping[Point, Tried]
    chosen: float | None
    why: str
    """Why that rate was chosen."""


def searches_of(runs: Iterable[Run]) -> dict[str, Searched]:
    """Gather the trials among these runs, by the name of their search."""
    found: dict[str, dict[Point, Run]] = defaultdict(dict)
    for run in runs:
        cell = run.cell
        if cell.split == "dev" and cell.strategy.learning_rate is not None:
            point = (cell.train.share, cell.strategy.learning_rate)
            found[searched(cell)][point] = run
    return {name: _searched(points) for name, points in found.items()}


def tuned_rates(runs: Iterable[Run]) -> dict[str, float]:
    """Return the chosen rate of every search among these runs that chose one."""
    found = searches_of(runs)
    return {name: s.chosen for name, s in found.items() if s.chosen is not None}


def _searched(runs: Mapping[Point, Run]) -> Searched:
    tried = {point: summed_up(run) for point, run in runs.items()}
    won = best({rate: t for (share, rate), t in tried.items() if share == 1})
    return Searched(runs, tried, won.rate, won.why)


def _next_rate(chosen: float | None, start: Sequence[float], factor: float) -> float | None:
    """Return the next rate where the chosen one is at the edge; below all if every one failed."""
    if chosen is None or chosen == start[0]:
        return _round(start[0] / factor)
    return _round(chosen * factor) if chosen == start[-1] else None


def _round(rate: float) -> float:
    """Keep two digits, so that a rate reads well and always has the same key."""
    return float(f"{rate:.2g}")
