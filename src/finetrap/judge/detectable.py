"""The smallest effect that a study can show, before or after it has been run.

The same tests and the same power as the verdicts' (docs/protocol.md, What would decide), turned
round: problems, seeds and strategies are given, the size of the change is sought. How much answers
flip is read from the runs at hand; without any it is assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from finetrap.findings import Effect
from finetrap.judge.arms import Arm, Comparison, comparisons
from finetrap.judge.pairing import Pairs, pair
from finetrap.levels import Detectable
from finetrap.records import Cell, Run, content_hash
from finetrap.stats.changes import ALPHA, Components, Estimate, estimates
from finetrap.stats.disagreement import noise_floor
from finetrap.stats.power import (
    POWER,
    SAFETY,
    Spread,
    accuracy_spread,
    difference_power,
    observed_spread,
    smallest_size,
)

FLIPS = 0.2
"""Share of answers that are assumed to change from right to wrong or back."""
NOISE = 0.1
"""Share on which two seeds of one strategy are assumed to disagree."""
SEED_SD = 0.01
"""Assumed standard deviation of the accuracy from seed to seed."""

SpreadOf = Callable[[float], Spread]
"""The variances that go with a change of some size (a share)."""


def smallest_effects(
    cells: Iterable[Cell], counts: Mapping[str, int], runs: Sequence[Run] = ()
) -> list[Detectable]:
    """Return the smallest change that is shown on every test of every model.

    `cells` are those of the study, `counts` the problems of each test with right answers, `runs`
    what is known already. Of several strategies the one that is hardest to tell counts.
    """
    known = {(c.model, c.test, c.probe): c for c in comparisons(runs)}
    found = []
    for (model, test, probe), arms in _arms(cells).items():
        if test not in counts or not arms:
            continue
        seeds = max(map(len, arms.values()))
        spreads = _measured_spreads(known.get((model, test, probe)))
        problems, alpha = counts[test], ALPHA / len(arms)
        sizes = [
            smallest_effect(spread, problems, seeds, alpha)
            for spread, _ in spreads or [(_assumed(len(arms)), FLIPS)]
        ]
        shown = [size for size in sizes if size is not None]
        found.append(
            Detectable(
                model=model,
                test=test,
                probe=probe,
                problems=problems,
                seeds=seeds,
                strategies=len(arms),
                points=None if None in sizes else 100 * max(shown),
                easiest=100 * min(shown) if shown else None,
                flips=100 * max((flips for _, flips in spreads), default=FLIPS),
                measured=bool(spreads),
            )
        )
    return found


def measured(effects: Iterable[Effect], runs: Sequence[Run]) -> tuple[Detectable, ...]:
    """Return the smallest change of accuracy that these runs can show, by model and test."""
    counts = {e.task: e.n for e in effects if e.measure == "accuracy"}
    return tuple(smallest_effects([run.cell for run in runs], counts, runs))


def smallest_effect(
    spread: SpreadOf, problems: int, seeds: int, alpha: float = ALPHA
) -> float | None:
    """Return the smallest change (a share, to 0.05 points) shown with `POWER`; None if none is."""

    def shown(size: float) -> bool:
        power = difference_power(spread(size), size, [problems / SAFETY], seeds, alpha)
        return bool(power[0] >= POWER)

    return smallest_size(shown) if problems > 1 else None


def warnings(found: Iterable[Detectable], margin: float) -> list[str]:
    """Say where a change of the margin (points) would not be shown."""
    return [
        f"{one.model} on {one.test}: {_least(one)} is shown with {one.problems:,} problems and "
        f"{one.seeds} seeds, and the margin is {margin:g} points; more problems or seeds, or a "
        "larger [judge] margin"
        for one in found
        if one.points is None or one.points > margin
    ]


def _least(one: Detectable) -> str:
    return "no change" if one.points is None else f"no change below {one.points:.1f} points"


def _arms(cells: Iterable[Cell]) -> dict[tuple[str, str, bool], dict[str, set[int | None]]]:
    """Return the seeds of every arm that is set against the base model, by model and test."""
    found: dict[tuple[str, str, bool], dict[str, set[int | None]]] = {}
    for cell in cells:
        if cell.split == "dev":
            continue
        tests = [(cell.task.name, False), *((probe.name, True) for probe in cell.probes)]
        for test, probe in tests:
            arms = found.setdefault((cell.model.shown, test, probe), {})
            if not cell.strategy.is_base:
                identity = cell.identity()
                arm = [identity[part] for part in ("trained_on", "replayed", "strategy", "train")]
                arms.setdefault(content_hash(arm), set()).add(cell.seed)
    return found


def _assumed(strategies: int) -> SpreadOf:
    def spread(size: float) -> Spread:
        total = max(FLIPS, size) - size * size
        return Spread(total, min(NOISE / 2, total), SEED_SD**2, strategies)

    return spread


def _measured_spreads(comparison: Comparison | None) -> list[tuple[SpreadOf, float]]:
    """Return, for each arm that was measured, its spread and the share of answers that flip."""
    if comparison is None:
        return []
    base = next((arm for arm in comparison.arms if arm.is_base and arm.answers), None)
    arms = [arm for arm in comparison.arms if not arm.is_base]
    trained = [arm for arm in arms if arm.spec.trains] or arms
    pairs = [found for arm in trained if base and (found := _pairs(arm, base))]
    components = [found.components() for found in pairs]
    return [
        _spread_of_arm(*one) for one in zip(pairs, components, estimates(components), strict=True)
    ]


def _pairs(arm: Arm, base: Arm) -> Pairs | None:
    scored = all(a.correct is not None for answers in base.answers.values() for a in answers)
    return pair(arm, base, "accuracy")[0] if scored else None


def _spread_of_arm(pairs: Pairs, own: Components, found: Estimate) -> tuple[SpreadOf, float]:
    """Return what was measured of one arm, as a function of the size of a change."""
    flips, noise = pairs.flipped, noise_floor(pairs.after)
    if pairs.fractional:
        spread = observed_spread(own, found)
        return lambda size: spread, flips
    return lambda size: accuracy_spread(own, found, flips, noise, size), flips
