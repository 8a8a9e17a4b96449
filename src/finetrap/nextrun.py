"""What to run next: the problems and seeds that would decide, as settings of the study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetrap.findings import Effect
from finetrap.pairwise import Contrast, plan
from finetrap.power import MOST_SEEDS
from finetrap.records import Judge, Run


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


def more_for(own: Contrast, margins: Judge, tests: int, runs: Sequence[Run]) -> More:
    """Return what would decide a contrast among `tests` made together, within what there is."""
    n, seeds = len(own.pairs.sizes), _seeded(own.pairs.seeds)
    decides = plan(own, margins, tests)
    allowed = [run.cell.limits.test_problems for run in runs if len(run.answers) == n]
    spent = any(limit is None or n < limit for limit in allowed)
    return _within(n, seeds, decides.problems, decides.seeds, spent, probe=False)


def more_on_probes(effects: Iterable[Effect], runs: Sequence[Run]) -> More:
    """Return what would decide undecided changes on probes; at the floor nothing does."""
    most = More()
    for effect in (e for e in effects if e.kind == "probe" and not e.floor):
        allowed = {run.cell.limits.probe_problems for run in runs}
        spent = any(limit is None or effect.n < limit for limit in allowed)
        own = _within(
            effect.n, effect.seeds, effect.needed_n, effect.needed_seeds, spent, probe=True
        )
        most = both(most, own)
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


def _within(
    n: int, seeds: int, problems: int | None, wanted: int | None, spent: bool, *, probe: bool
) -> More:
    """Ask for more problems where there are more, and else, or where none suffice, for seeds."""
    if problems is None or (problems > n and spent):
        return More(seeds=min(max(wanted or 0, 2 * seeds), MOST_SEEDS) or None)
    number = max(problems, n)
    more_seeds = wanted if wanted and wanted > seeds > 0 else None
    if number == n and more_seeds is None:
        return More(seeds=min(2 * seeds, MOST_SEEDS) or None)
    asked = number if number > n else None
    return More(None if probe else asked, asked if probe else None, more_seeds)


def _seeded(seeds: Sequence[int | None]) -> int:
    """Count the seeds; a prompt without examples has none."""
    return sum(seed is not None for seed in seeds)
