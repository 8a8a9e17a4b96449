"""One line of effects.csv: an estimate and its verdict, with what a reader must know about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from finetrap.findings import Effect, SeedChange
from finetrap.judge.arms import Arm, Comparison
from finetrap.judge.pairing import LeftOut, Pairs
from finetrap.stats.changes import ALPHA, Components, Estimate, Judged, mcnemar_mid_p
from finetrap.stats.disagreement import churn, flips, noise_floor
from finetrap.stats.power import (
    MOST_PROBLEMS,
    Sizing,
    Spread,
    accuracy_spread,
    observed_spread,
    would_decide,
)
from finetrap.stats.retention import retained
from finetrap.text.numbers import counted

Against = Literal["zero-shot", "best-icl"]


@dataclass(frozen=True)
class Measured:
    """One arm: its pairs with the baseline and what was found in them."""

    arm: Arm
    pairs: Pairs
    components: Components
    faults: tuple[LeftOut, ...]


@dataclass(frozen=True)
class Family:
    """Every arm of one model, test, baseline and measure: they are judged together."""

    comparison: Comparison
    against: Against
    rows: tuple[Measured, ...]
    margin: float
    """A share of the answers, or bits per byte."""
    self_flips: float | None
    """Share of the base model's answers that changed when it was asked again."""

    @property
    def bits(self) -> bool:
        """Whether bits per byte are compared: there a rise is harm."""
        return self.rows[0].pairs.measure == "bits_per_byte"

    @property
    def noise(self) -> float:
        """The change that asking again may make by itself; none where that was not measured."""
        return 0.0 if self.bits else self.self_flips or 0.0


def effect_lines(
    family: Family, found: Sequence[Estimate], judged: Sequence[Judged]
) -> list[Effect]:
    """Write every arm's line, once for each setting that its learning rate serves."""
    return [
        replace(line, setting=setting)
        for row, estimate, verdict in zip(family.rows, found, judged, strict=True)
        for line in [_effect_line(family, row, estimate, verdict)]
        for setting in row.arm.settings
    ]


def _effect_line(family: Family, row: Measured, found: Estimate, judged: Judged) -> Effect:
    """Write one line; shares become points."""
    arm, pairs, margin = row.arm, row.pairs, family.margin
    unit = 1.0 if family.bits else 100.0
    floor = row.pairs.floor(margin)
    plan, spread = None, _noise_and_churn(row, found, margin)
    if judged.verdict == "inconclusive" and not (floor or _within_noise(family, found, judged)):
        alpha = ALPHA / len(family.rows)
        n, seeds, most = len(pairs.sizes), len(pairs.seeds), family.comparison.available
        plan = would_decide(spread, margin, n, seeds, alpha, most or MOST_PROBLEMS)
    notes = [
        *_caveats(family, row, found, unit),
        *_floor_note(floor, 0.0 if family.bits else pairs.chance),
        *_noise_note(family, found, judged),
        *(_plan_note(plan, spread, family) if plan else ()),
    ]
    effect = Effect(
        model=family.comparison.model,
        task=family.comparison.test,
        kind=_kind(family.comparison, arm),
        strategy=arm.label,
        learning_rate=arm.learning_rate,
        setting=arm.settings[0],
        against=family.against,
        seeds=len(pairs.seeds),
        n=len(pairs.sizes),
        before=unit * pairs.level(pairs.before),
        after=unit * pairs.level(pairs.after),
        delta=unit * found.delta,
        low=unit * found.low,
        high=unit * found.high,
        **_flip_fields(family, pairs),
        p=found.p,
        p_adjusted=judged.p_adjusted,
        margin=unit * margin,
        verdict=judged.verdict,
        needed_n=plan.problems if plan else None,
        needed_seeds=plan.seeds if plan else None,
        decides=None if plan is None or plan.decides is None else unit * plan.decides,
        trained_on=arm.trained_on,
        measure=pairs.measure,
        small=judged.small,
        note="; ".join(notes),
        floor=floor,
        comparisons=len(family.rows),
        too_few=_too_few(found, family.bits),
        **_retention_fields(family, row, found),
    )
    return _with_remark(effect)


def _kind(comparison: Comparison, arm: Arm) -> Literal["task", "transfer", "probe"]:
    if comparison.probe:
        return "probe"
    return "task" if arm.trained_on in ("", comparison.test) else "transfer"


def _flip_fields(family: Family, pairs: Pairs) -> dict[str, Any]:
    """Return what flipped, in problems (mean over seeds and each seed's own), and what of it is
    noise, in points."""
    if family.bits:
        return {"lost": None, "gained": None}
    lost, gained = flips(pairs.before, pairs.after)
    changes = (pairs.after - pairs.before).mean(axis=0)
    floor = beyond = None
    if not pairs.fractional:
        floor, beyond = noise_floor(pairs.after), churn(pairs.before, pairs.after)
    return {
        "lost": round(float(lost.mean())),
        "gained": round(float(gained.mean())),
        "per_seed": tuple(
            SeedChange(
                seed,
                int(b),
                int(c),
                None if pairs.fractional else mcnemar_mid_p(int(b), int(c)),
                100 * float(change),
            )
            for seed, b, c, change in zip(pairs.seeds, lost, gained, changes, strict=True)
        ),
        "noise_floor": None if floor is None else 100 * floor,
        "churn": None if beyond is None else 100 * beyond[0],
        "churn_error": None if beyond is None else 100 * beyond[1],
        "self_flips": None if family.self_flips is None else 100 * family.self_flips,
    }


def _retention_fields(family: Family, row: Measured, found: Estimate) -> dict[str, Any]:
    """Return how much of a probe's ability training left; an example in the prompt takes none."""
    forgetting = family.comparison.probe and row.arm.spec.trains and not family.bits
    if not forgetting:
        return {}
    pairs, guessed = row.pairs, row.pairs.chance
    if guessed is None:
        return {}
    left = retained(pairs.before, pairs.after, row.components, found, guessed, families=pairs.rows)
    names = ("retention", "retention_low", "retention_high")
    return {} if left is None else dict(zip(names, (100 * x for x in left), strict=True))


def _noise_and_churn(row: Measured, found: Estimate, margin: float) -> Spread:
    if row.pairs.measure != "accuracy" or row.pairs.fractional:
        return observed_spread(row.components, found)
    noise = noise_floor(row.pairs.after)
    return accuracy_spread(row.components, found, row.pairs.flipped, noise, margin)


def _caveats(family: Family, row: Measured, found: Estimate, unit: float) -> list[str]:
    """Say what limits this effect whatever its verdict."""
    arm, pairs = row.arm, row.pairs
    notes = []
    if family.comparison.probe and not arm.spec.trains:
        notes.append("transfer: the examples change the prompt, the weights are unchanged")
    if len(pairs.seeds) == 1 and pairs.seeds[0] is not None:
        reach = unit * found.break_even_seed_sd()
        notes.append(
            "this checkpoint: one seed says nothing of others"
            + (f"; the sign holds if seeds vary by less than {reach:.2g} (SD)" if reach else "")
        )
    if pairs.fractional:
        notes.append("scores between 0 and 1: their mean is compared; no noise floor is available")
    if arm.failed:
        causes = ", ".join(sorted(set(arm.failed.values())))
        planned = len(arm.failed) + len(arm.answers)
        notes.append(f"{len(arm.failed)} of {planned} seeds ended without answers ({causes})")
    notes += map(str, row.faults)
    if pairs.rows is not None:
        notes.append(f"{pairs.families} problem families are the rows")
    elif pairs.families > 1:
        notes.append(f"about these {pairs.families} problem families: too few to stand for others")
    return notes


def _floor_note(floor: bool, chance: float | None) -> list[str]:
    if chance is None:
        return [
            "these runs do not say how many choices their problems have, so what guessing gives is "
            "not known: neither a floor nor the share that is left is told"
        ]
    if not floor:
        return []
    level = f"guessing ({100 * chance:.0f}%)" if chance else "zero"
    return [
        f"floor: both accuracies are within the margin of {level}, where accuracy cannot show harm;"
        " see bits per byte"
    ]


def _within_noise(family: Family, found: Estimate, judged: Judged) -> bool:
    """Say whether the verdict is withheld because asking again changes as much."""
    return judged.p_adjusted <= ALPHA and abs(found.delta) <= family.noise


def _noise_note(family: Family, found: Estimate, judged: Judged) -> list[str]:
    if not _within_noise(family, found, judged):
        return []
    return [
        "no larger than noise: asked again in another batch order, the base model alone "
        f"changes {100 * family.noise:.2g} points of its answers"
    ]


TOO_WIDE = 0.25
"""Half the width of an interval of accuracy from which there is too little of something."""


def _too_few(found: Estimate, bits: bool) -> Literal["", "problems", "seeds"]:
    """Name what most of the variance of a wide interval comes from."""
    if bits or found.half_width <= TOO_WIDE:
        return ""
    return "seeds" if found.seeds_share > 0.5 else "problems"


def _with_remark(effect: Effect) -> Effect:
    """Let the note, which every table has, say what the verdict's word does not."""
    return replace(effect, note="; ".join(filter(None, (effect.remark, effect.note))))


def opposed(effects: Sequence[Effect]) -> list[Effect]:
    """Mark the pairs of which accuracy says one thing and bits per byte the opposite."""
    said: dict[tuple[object, ...], dict[str, str]] = {}

    def place(e: Effect) -> tuple[object, ...]:
        solver = (e.model, e.trained_on, e.strategy, e.learning_rate, e.setting)
        return (*solver, e.task, e.kind, e.against)

    for e in effects:
        said.setdefault(place(e), {})[e.measure] = e.verdict
    found = []
    for e in effects:
        words = said[place(e)]
        if sorted(words.values()) == ["harmed", "improved"]:
            e = replace(e, opposed=True)
            e = replace(e, note="; ".join(filter(None, (e.note, e.opposition))))
        found.append(e)
    return found


def _plan_note(plan: Sizing, spread: Spread, family: Family) -> list[str]:
    """Say what would decide, and how much that hangs on the seeds' spread."""
    if plan.decides is not None:
        margin = f"{plan.decides:.3f} bits per byte"
        if not family.bits:
            margin = f"{100 * plan.decides:.1f} points"
        there = counted(family.comparison.available or 0, "problem")
        return [f"the test's {there} are too few for this margin; they suffice for one of {margin}"]
    if plan.problems is None or plan.seeds is None:
        return [plan.note]
    text = f"needs {plan.problems:,} problems with {counted(plan.seeds, 'seed')}"
    if spread.seed_variance:
        cases = [(plan.if_steady, "did not vary"), (plan.if_doubled, "varied twice as much")]
        told = [f"{number:,} if seeds {how}" for number, how in cases if number is not None]
        text += f" ({', '.join(told)})" * bool(told)
    return [plan.note, text] if plan.note else [text]
