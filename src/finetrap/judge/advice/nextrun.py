"""What to run next: the problems and seeds that would decide, as settings of the study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from finetrap.findings import Effect
from finetrap.judge.pairwise import Contrast, contrast_spread
from finetrap.records import Judge, Run
from finetrap.stats.changes import ALPHA
from finetrap.stats.power import MOST_PROBLEMS, MOST_SEEDS, difference_power, smallest


@dataclass(frozen=True)
class More:
    """More of a study; None leaves a number as it is."""

    problems: int | None = None
    probe_problems: int | None = None
    seeds: int | None = None
    probe: str = ""
    """A probe to be measured where a study has none."""

    def counts(self) -> str:
        """Say the numbers in words; empty without any."""
        counts = (
            (self.problems, "test problems"),
            (self.probe_problems, "probe problems"),
            (self.seeds, "seeds"),
        )
        return " and ".join(f"{number:,} {noun}" for number, noun in counts if number)


def more_for(own: Contrast, margins: Judge, tests: int, available: int | None) -> More:
    """Return what would show an arm as good as its equal, among `tests` made together.

    That is to tell a difference of none from one of the margin, by a one-sided test. Of all numbers
    of seeds the one with the fewest answers is taken, with no more problems than the test has.
    Nothing is returned where nothing up to `MOST_SEEDS` would do.
    """
    n, seeds = len(own.pairs.sizes), len(own.pairs.seeds)
    variances, margin = contrast_spread(own, margins), own.margin(margins)
    most = seeds if variances.seed_variance is None else max(seeds, MOST_SEEDS)
    wanted = {
        k: smallest(difference_power, variances, margin, k, 2 * ALPHA / tests)
        for k in range(seeds, most + 1)
    }
    there = max(available or MOST_PROBLEMS, n)
    plans = {
        k: max(problems, n)
        for k, problems in wanted.items()
        if problems is not None and problems <= there
    }
    if not plans:
        return More()
    if plans.get(seeds) == n:  # Enough already, if they were equal: the difference is smaller.
        return More(seeds=min(2 * seeds, MOST_SEEDS) if most > seeds else None)
    best = min(plans, key=lambda k: k * plans[k])
    return More(
        problems=plans[best] if plans[best] > n else None, seeds=best if best > seeds else None
    )


def more_on_probes(effects: Iterable[Effect]) -> More:
    """Return what would decide inconclusive changes on probes; at the floor nothing does."""
    most = More()
    for effect in (e for e in effects if e.kind == "probe" and not e.floor):
        n, seeds = effect.needed_n, effect.needed_seeds or 0
        if n is None:
            most = both(most, More(seeds=min(max(seeds, 2 * effect.seeds), MOST_SEEDS)))
        else:
            most = both(
                most,
                More(
                    probe_problems=n if n > effect.n else None,
                    seeds=seeds if seeds > effect.seeds else None,
                ),
            )
    return most


def both(one: More, other: More) -> More:
    """Return the larger of each number."""

    def larger(a: int | None, b: int | None) -> int | None:
        return max((x for x in (a, b) if x is not None), default=None)

    return More(
        larger(one.problems, other.problems),
        larger(one.probe_problems, other.probe_problems),
        larger(one.seeds, other.seeds),
        one.probe or other.probe,
    )


def command(again: str, more: More, runs: Iterable[Run]) -> str:
    """Return the study's command with these settings; seeds go on after those that were run."""
    settings = []
    if more.problems:
        settings.append(f"--set limits.test_problems={more.problems}")
    if more.probe_problems:
        settings.append(f"--set limits.probe_problems={more.probe_problems}")
    if more.probe:
        settings.append(f"--set 'probes=[\"{more.probe}\"]'")
    if more.seeds:
        seeds = sorted(
            {
                run.cell.seed
                for run in runs
                if run.cell.split == "test" and run.cell.seed is not None
            }
        )
        start = max(seeds, default=-1) + 1
        seeds += range(start, start + more.seeds - len(seeds))
        settings.append(f"--set 'seeds=[{', '.join(map(str, seeds))}]'")
    return " ".join([again, *settings])
