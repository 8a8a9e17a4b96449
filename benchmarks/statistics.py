"""Coverage, wrong verdicts and power of the judge over a grid of simulated studies.

    PYTHONPATH=src python -m benchmarks.statistics [--studies 2000] [PART ...]

Prints Markdown tables of every PART unless told; `coverage` takes minutes on a core, `plans` more.
The Monte-Carlo standard error of a coverage of .95 is .005 from 2,000 studies. Corners outside the
target are simulated again with ten times as many, so that what is listed is not the luck of a large
grid.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from finetrap.stats.changes import (
    ALPHA,
    Estimate,
    accuracy_components,
    estimate,
    estimates,
    judge_family,
)
from finetrap.stats.disagreement import noise_floor
from finetrap.stats.power import Spread, accuracy_spread, equivalence_power, smallest, would_decide
from finetrap.stats.retention import retained
from tests.builders.simulated import mean_squares, study
from tests.simulations.vectorised import Intervals, Squares, draw, intervals, squares

SIZES, SEEDS, BASES = (100, 300, 1319), (1, 3, 5), (0.01, 0.05, 0.3, 0.6)
SEED_SDS = (0.0, 0.005, 0.015, 0.03)
AGREEMENTS = (0.7, 0.9, 0.98)
"""Latent correlation of before and after: much, some and little discordance."""
STEP = 0.05
"""The true change where there is one: down, or up from bases that have no room."""
LOW, HIGH, FEW = 0.93, 0.98, 10
"""Least coverage, most coverage, and the expected discordant problems above which it is asked."""
SKEWED = 0.3
"""Seed SD over accuracy above which the seeds' accuracies are visibly skewed."""
MARGIN = 0.02


@dataclass(frozen=True)
class Corner:
    """One point of the grid."""

    n: int
    seeds: int
    base: float
    change: float
    sd: float
    agreement: float

    @property
    def skewed(self) -> bool:
        return self.sd > SKEWED * (self.base + self.change)


@dataclass(frozen=True)
class Coverage:
    """What the simulated studies of a corner came to."""

    corner: Corner
    held: float
    width: float
    wrong_side: float
    """Share of studies whose interval says harm or gain where there is none, or its contrary."""
    discordant: float
    """Mean number of problems that flip, per seed."""

    @property
    def many(self) -> bool:
        return self.discordant >= FEW

    @property
    def met(self) -> bool:
        return self.held >= LOW and (self.held <= HIGH or not self.many)


def grid() -> Iterator[Corner]:
    for n, k, base, sd, agreement, moved in product(
        SIZES, SEEDS, BASES, SEED_SDS, AGREEMENTS, (False, True)
    ):
        change = (-STEP if base > 2 * STEP else STEP) if moved else 0.0
        yield Corner(n, k, base, change, sd, agreement)


def cover(corner: Corner, studies: int, seed: int) -> Coverage:
    """Simulate one corner; the truth of a single seed is that of its checkpoint."""
    rng = np.random.default_rng([seed, *(int(1e4 * abs(x)) for x in vars(corner).values())])
    held = flipped = wrong = 0
    width = 0.0
    for drawn in draw(
        rng,
        studies,
        n=corner.n,
        seeds=corner.seeds,
        base=corner.base,
        changes=(corner.change,),
        sd=corner.sd,
        agreement=corner.agreement,
    ):
        one = corner.seeds == 1
        truth = drawn.ability[:, :, 0] - corner.base if one else np.full((1, 1), corner.change)
        found = intervals(squares(drawn.before, drawn.after))
        held += int(((found.low <= truth) & (truth <= found.high)).sum())
        wrong += int((((found.high < 0) & (truth >= 0)) | ((found.low > 0) & (truth <= 0))).sum())
        width += float((found.high - found.low).sum())
        flipped += int((drawn.after != drawn.before[:, None, :, None]).sum())
    return Coverage(
        corner,
        held / studies,
        100 * width / studies,
        wrong / studies,
        flipped / studies / corner.seeds,
    )


def coverage(studies: int) -> None:
    found = [cover(corner, studies, 0) for corner in grid()]
    print(
        "| seeds | discordant | seed SD / accuracy | corners | coverage min / mean / max "
        "| outside | mean width | wrong side, most |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for k, many, skewed in product(SEEDS, (True, False), (False, True)):
        own = [c for c in found if (c.corner.seeds, c.many, c.corner.skewed) == (k, many, skewed)]
        if not own:
            continue
        held = [c.held for c in own]
        print(
            f"| {k} | {'at least' if many else 'below'} {FEW} "
            f"| {'above' if skewed else 'up to'} {SKEWED:g} | {len(own)} "
            f"| {min(held):.3f} / {np.mean(held):.3f} / {max(held):.3f} "
            f"| {sum(not c.met for c in own)} | {np.mean([c.width for c in own]):.1f} "
            f"| {max(c.wrong_side for c in own):.3f} |",
            flush=True,
        )
    outside = [c.corner for c in found if not c.met]
    print(f"\n{len(outside)} of {len(found)} corners outside; again, {10 * studies} studies:\n")
    print("| n | seeds | base | change | seed SD | agreement | discordant | coverage | width |")
    print("|---|---|---|---|---|---|---|---|---|")
    for c in (cover(corner, 10 * studies, 1) for corner in outside):
        if not c.met:
            at = c.corner
            print(
                f"| {at.n} | {at.seeds} | {at.base:.0%} | {100 * at.change:+g} | {100 * at.sd:g} "
                f"| {at.agreement:g} | {c.discordant:.1f} | {c.held:.3f} | {c.width:.1f} |",
                flush=True,
            )


def families(found: Squares, judged: Intervals) -> Iterator[list[Estimate]]:
    """Yield the estimates of each study as the judge takes them."""
    for i in range(len(found.centre)):
        columns = (found.delta[i], found.centre[i], judged.variance[i], judged.df[i])
        yield [Estimate(*map(float, row)) for row in zip(*columns, strict=True)]


def faults(family: Sequence[Estimate], changes: Sequence[float]) -> tuple[bool, int]:
    """Return whether some verdict is wrong, and how many are right and decided."""
    wrong = decided = 0
    judged = judge_family(family, MARGIN)
    for (verdict, _, _), truth in zip(judged, changes, strict=True):
        fault = (
            (verdict == "harmed" and truth >= 0)
            or (verdict == "improved" and truth <= 0)
            or (verdict == "equivalent" and abs(truth) >= MARGIN)
        )
        wrong += fault
        decided += verdict != "inconclusive" and not fault
    return wrong > 0, decided


def wrong_verdicts(studies: int) -> None:
    print("\n| true changes | base | n | seeds | seed SD | some wrong verdict | right, decided |")
    print("|---|---|---|---|---|---|---|")
    rng = np.random.default_rng(1)
    mixtures = ((0.0,) * 4, (0.0, -0.02, 0.05, -0.1), (0.02,) * 4, (-0.01, 0.0, 0.01, -0.05))
    for changes, (base, n), k, sd in product(mixtures, ((0.6, 1319), (0.3, 300)), SEEDS, SEED_SDS):
        if k == 1 and sd:
            continue  # A single checkpoint is judged for itself: nothing varies.
        wrong = decided = 0
        for drawn in draw(rng, studies, n=n, seeds=k, base=base, changes=changes, sd=sd):
            found = squares(drawn.before, drawn.after)
            for family in families(found, intervals(found)):
                fault, right = faults(family, changes)
                wrong, decided = wrong + fault, decided + right
        truths = ", ".join(f"{100 * change:+g}" for change in changes)
        print(
            f"| {truths} | {base:.0%} | {n} | {k} | {100 * sd:g} | {wrong / studies:.3f} "
            f"| {decided / studies / len(changes):.2f} |",
            flush=True,
        )


def sharing(studies: int) -> None:
    print(
        "\n| n | seeds | seed SDs | coverage: steady, last | width: steady | some wrong verdict |"
    )
    print("|---|---|---|---|---|---|")
    rng = np.random.default_rng(3)
    alike = tuple((sd,) * 4 for sd in SEED_SDS)
    outlying = tuple((0.005,) * 3 + (sd,) for sd in (0.1, 0.15, 0.2))
    for n, k, sds in product(SIZES[1:], SEEDS[1:], alike + outlying):
        drawn = mean_squares(rng, studies, n=n, seeds=k, changes=(0.0,) * 4, sds=sds)
        found = [estimates(family) for family in drawn]
        held = np.mean([[e.low <= 0 <= e.high for e in family] for family in found], axis=0)
        width = 100 * np.mean([e.high - e.low for family in found for e in family[:3]])
        wrong = np.mean(
            [any(j.p_adjusted <= ALPHA for j in judge_family(f, MARGIN)) for f in found]
        )
        shown = ", ".join(f"{100 * sd:g}" for sd in sds)
        print(
            f"| {n} | {k} | {shown} | {held[:3].mean():.3f}, {held[3]:.3f} | {width:.1f} "
            f"| {wrong:.3f} |",
            flush=True,
        )


def true_spread(base: float, size: float, k: int, sd: float, sisters: int) -> Spread:
    """Return the spread that a plan should start from, from very many problems."""
    rng = np.random.default_rng(4)
    before, (after,) = study(rng, n=400_000, seeds=k, base=base, changes=(-size,))
    flips = float((after != before[:, None]).mean())
    own = accuracy_components(before, after)
    seen = accuracy_spread(own, estimate(own), flips, noise_floor(after), size)
    return Spread(seen.total, seen.within, None if k == 1 else sd**2, sisters)


def plans(studies: int) -> None:
    """Power at the problems and seeds that an inconclusive verdict asks for."""
    print("\n| to show | strategies | base | seed SD | seeds | change | planned | power |")
    print("|---|---|---|---|---|---|---|---|")
    rng = np.random.default_rng(2)
    for sisters, base, sd, k, size in product(
        (1, 4), (0.3, 0.6), (0.0, 0.005, 0.01, 0.02), SEEDS, (0.02, 0.03, 0.05)
    ):
        if k == 1 and sd:
            continue
        spread, alpha = true_spread(base, size, k, sd, sisters), ALPHA / sisters
        plan = would_decide(spread, size, n=10, seeds=k, alpha=alpha)
        wanted = [("harm", size, plan.problems, plan.seeds)]
        if size >= 0.03:
            still = true_spread(base, 0.0, k, sd, sisters)
            enough = smallest(equivalence_power, still, size, k, alpha)
            wanted.append(("equivalence", size, enough, k))
        for what, margin, n, seeds in wanted:
            row = f"| {what} | {sisters} | {base:.0%} | {100 * sd:g} | {k} | {100 * margin:g} "
            if n is None or seeds is None or n * seeds * sisters > 100_000:
                print(f"{row}| {'more seeds' if n is None else f'{n:,} × {seeds}'} | |")
                continue
            truth = -margin if what == "harm" else 0.0
            # One changed strategy among unchanged sisters: Holm's hardest case for it.
            changes = (truth, *(0.0,) * (sisters - 1))
            shown = 0
            for drawn in draw(rng, studies, n=n, seeds=seeds, base=base, changes=changes, sd=sd):
                found = squares(drawn.before, drawn.after)
                for family in families(found, intervals(found)):
                    verdict = judge_family(family, margin)[0].verdict
                    shown += verdict == ("harmed" if what == "harm" else "equivalent")
            print(f"{row}| {n:,} × {seeds} | {shown / studies:.3f} |", flush=True)


def left(studies: int) -> None:
    """Coverage of the chance-corrected retention, and how often it is left blank."""
    print("\n| n | seeds | before | chance | left | seed SD | coverage | width | blank |")
    print("|---|---|---|---|---|---|---|---|---|")
    rng = np.random.default_rng(5)
    corners = ((0.6, 0.25), (0.35, 0.25), (0.4, 0.0), (0.8, 0.5))
    for n, k, (base, chance), sd, kept in product(
        (200, 1000), SEEDS, corners, (0.0, 0.015), (1.0, 0.7, 0.1)
    ):
        held, blank, widths = 0, 0, 0.0
        change = (kept - 1) * (base - chance)
        for drawn in draw(rng, studies, n=n, seeds=k, base=base, changes=(change,), sd=sd):
            for before, (after,), (ability,) in zip(*drawn, strict=True):
                own = accuracy_components(before, after)
                found = retained(before, after, own, estimate(own), chance)
                truth = (ability[0] - chance) / (base - chance) if k == 1 else kept
                if found is None:
                    blank += 1
                else:
                    held += found.low <= truth <= found.high
                    widths += 100 * (found.high - found.low)
        known = max(studies - blank, 1)
        print(
            f"| {n} | {k} | {base:.0%} | {chance:.0%} | {kept:.0%} | {100 * sd:g} "
            f"| {held / known:.3f} | {widths / known:.0f} | {blank / studies:.2f} |",
            flush=True,
        )


PARTS = {
    "coverage": coverage,
    "verdicts": wrong_verdicts,
    "sharing": sharing,
    "plans": plans,
    "retention": left,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies per row")
    asked = parser.parse_args()
    error = math.sqrt(0.0475 / asked.studies)
    print(f"{asked.studies} studies per row; standard error at .95: {error:.4f}\n")
    for name in asked.parts or PARTS:
        PARTS[name](asked.studies)


if __name__ == "__main__":
    main()
