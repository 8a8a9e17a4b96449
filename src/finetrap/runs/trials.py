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

from finetrap.findings import Trial
from finetrap.records import Answer, Cell, Run, Search, content_hash
from finetrap.stats.changes import wilson

FIRST_RUNG = 0.5
"""Part of the training problems that the first rung of a search with halving trains on."""
NO_HALVING = 3
"""Most trials that are all tried on every training problem."""


class Tried(NamedTuple):
    """What one trial came to; a failed one has no numbers."""

    bits: float | None
    """Bits per byte of the dev solutions."""
    right: int
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


class Plan(NamedTuple):
    """Where a search stands."""

    points: tuple[Point, ...]
    """Everything to be tried as far as is known by now, in order."""
    chosen: float | None
    """The tuned rate; None while trials are owed, and where every trial failed."""
    extended: float | None
    """The rate beyond the range that was added."""
    settled: bool
    """Whether nothing is left to be tried."""


def rates(centre: float, search: Search) -> tuple[float, ...]:
    """Return the rates around a strategy's own, low to high, two digits each."""
    below = search.trials // 2
    return tuple(
        _round(centre * search.factor**step) for step in range(-below, search.trials - below)
    )


def plan(centre: float, search: Search, tried: Mapping[Point, Tried]) -> Plan:
    """Say what is to be tried next, or which rate is chosen."""
    start = rates(centre, search)
    points: list[Point] = []
    left: Sequence[float] = start
    if search.trials > NO_HALVING:
        points = [(FIRST_RUNG, rate) for rate in start]
        if any(point not in tried for point in points):
            return Plan(tuple(points), None, None, False)
        by_loss = sorted(start, key=lambda rate: tried[FIRST_RUNG, rate].loss)
        left = sorted(by_loss[: math.ceil(search.trials / 2)])
    points += [(1.0, rate) for rate in left]
    if any(point not in tried for point in points):
        return Plan(tuple(points), None, None, False)
    chosen = best({rate: tried[1.0, rate] for rate in left})
    beyond = _beyond(chosen, start, search.factor)
    if beyond is None:
        return Plan(tuple(points), chosen, None, True)
    points.append((1.0, beyond))
    if points[-1] not in tried:
        return Plan(tuple(points), None, beyond, False)
    chosen = best({rate: tried[1.0, rate] for rate in (*left, beyond)})
    return Plan(tuple(points), chosen, beyond, True)


def best(tried: Mapping[float, Tried]) -> float | None:
    """Return the rate to use of those tried on all training problems; None if all failed."""
    finished = {rate: t for rate, t in tried.items() if t.n and t.bits is not None}
    if not finished:
        return None
    top = max(finished.values(), key=lambda t: t.accuracy)
    error = math.sqrt(top.accuracy * (1 - top.accuracy) / top.n)
    as_good = [rate for rate, t in finished.items() if t.accuracy >= top.accuracy - error]
    least = min(finished[rate].loss for rate in as_good)
    # Equals are ordered by rate, not by when they were tried; the middle one is no edge.
    tied = sorted(rate for rate in as_good if finished[rate].loss == least)
    return tied[(len(tied) - 1) // 2]


def summary(run: Run) -> Tried:
    """Sum up the dev answers of a trial."""
    scored = [(a.nats, a.bytes) for a in run.answers if a.nats is not None and a.bytes]
    if run.status != "done" or len(scored) < len(run.answers) or not scored:
        return Tried(None, 0, 0)
    bits = sum(nats for nats, _ in scored) / sum(size for _, size in scored) / math.log(2)
    return Tried(bits, sum(bool(a.correct) for a in run.answers), len(run.answers))


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


def searches(runs: Iterable[Run]) -> dict[str, Searched]:
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
    found = searches(runs)
    return {name: s.chosen for name, s in found.items() if s.chosen is not None}


def trials(runs: Sequence[Run]) -> tuple[Trial, ...]:
    """Return every rate of every search, at the largest training set it was tried on."""
    untouched = {_asked(run.cell): run for run in runs if _is_untouched(run.cell)}
    return tuple(
        _trial(search, point, untouched)
        for search in searches(runs).values()
        for point in sorted(search.tried, key=lambda p: p[1])
        if point[0] == max(share for share, rate in search.tried if rate == point[1])
    )


def _searched(runs: Mapping[Point, Run]) -> Searched:
    tried = {point: summary(run) for point, run in runs.items()}
    return Searched(
        runs, tried, best({rate: t for (share, rate), t in tried.items() if share == 1})
    )


def _trial(search: Searched, point: Point, untouched: Mapping[str, Run]) -> Trial:
    run, tried = search.runs[point], search.tried[point]
    cell, rate = run.cell, point[1]
    base = untouched.get(_asked(cell))
    low, high = wilson(tried.right, tried.n) if tried.n else (None, None)
    return Trial(
        model=cell.model.name,
        task=cell.task.name,
        strategy=cell.strategy.name,
        learning_rate=rate,
        share=point[0],
        status=run.status,
        accuracy=100 * tried.accuracy if tried.n else None,
        low=None if low is None else 100 * low,
        high=None if high is None else 100 * high,
        bits=tried.bits,
        retention=_retention(run, base),
        extended=cell.extends,
        chosen=rate == search.chosen and point[0] == 1.0,
        base_accuracy=_accuracy(base.answers) if base else None,
    )


def _is_untouched(cell: Cell) -> bool:
    return cell.split == "dev" and not cell.strategy.trains and cell.strategy.shots == 0


def _asked(cell: Cell) -> str:
    """Name what a dev cell asks of which model."""
    identity = cell.identity()
    return content_hash([identity[p] for p in ("model", "task", "limits", "probes")])


def _retention(run: Run, untouched: Run | None) -> float | None:
    """Return the mean percent of the untouched model's right answers that are left on probes."""
    if untouched is None or run.status != "done":
        return None
    kept = []
    for name, before in untouched.probes.items():
        was, now = _share_above_chance(before), _share_above_chance(run.probes.get(name, ()))
        if was is not None and now is not None and was > 0.1:
            kept.append(100 * now / was)
    return sum(kept) / len(kept) if kept else None


def _accuracy(answers: Sequence[Answer]) -> float | None:
    scored = [a.correct for a in answers if a.correct is not None]
    return 100 * sum(scored) / len(scored) if scored else None


def _share_above_chance(answers: Sequence[Answer]) -> float | None:
    """Return the share of right answers, less what guessing among the choices gives."""
    if not answers or any(a.correct is None for a in answers):
        return None
    labels = [int(a.gold) for a in answers if a.rule == "likelihood"]
    chance = 1 / (max(labels) + 1) if labels else 0.0
    return sum(bool(a.correct) for a in answers) / len(answers) - chance


def _beyond(chosen: float | None, start: Sequence[float], factor: float) -> float | None:
    """Return the next rate where the chosen one is at the edge; below all if every one failed."""
    if chosen is None or chosen == start[0]:
        return _round(start[0] / factor)
    return _round(chosen * factor) if chosen == start[-1] else None


def _round(rate: float) -> float:
    """Keep two digits, so that a rate reads well and always has the same key."""
    return float(f"{rate:.2g}")
