"""Verdicts on runs: what each strategy did to the task it was tuned for and to everything else.

Effects are against the untouched model, asked without examples, and on tasks also against the best
in-context arm. The strategies of one model on one test against one baseline are one family: they
share seed variance where that is safe, and their verdicts are drawn together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from finetrap.arms import Arm, Comparison, Pairs, comparisons, pair
from finetrap.compare import (
    ALPHA,
    Components,
    Estimate,
    Judged,
    estimates,
    flips,
    judge_family,
    mcnemar_mid_p,
    noise_floor,
)
from finetrap.findings import Effect, Findings
from finetrap.power import Plan, Spread, accuracy_spread, bits_spread, needed
from finetrap.records import Cell, Judge, Run, Study
from finetrap.store import Store
from finetrap.tables import (
    CELL_COLUMNS,
    EFFECT_COLUMNS,
    cell_rows,
    write_cells_csv,
    write_effects_csv,
)

__all__ = [
    "CELL_COLUMNS",
    "EFFECT_COLUMNS",
    "judge",
    "judge_study",
    "write_cells_csv",
    "write_effects_csv",
]

Against = Literal["zero-shot", "best-icl"]


def judge(runs: Sequence[Run], margins: Judge | None = None) -> Findings:
    """Judge a set of runs. `missing` says in words what could not be judged, and why."""
    margins = margins or Judge()
    effects: list[Effect] = []
    missing: dict[str, None] = {}
    for comparison in comparisons(runs):
        baselines = _baselines(comparison)
        if not baselines:
            missing[
                f"{comparison.model} on {comparison.test}: no finished zero-shot run of the "
                "untouched model, so no change can be judged"
            ] = None
        for base, against in baselines:
            effects += _family_effects(comparison, base, against, margins, missing)
    return Findings(tuple(effects), cell_rows(runs), tuple(missing))


def judge_study(
    store: Store,
    study: Study | None = None,
    *,
    cells: Iterable[Cell] | None = None,
    margin: float | None = None,
) -> tuple[Findings, list[Run]]:
    """Judge what a runs folder holds of a study, and return the runs as well.

    `cells` are those of the study; without them, what the folder remembers of its last run counts,
    and without a study everything in the folder. `margin` (points) overrides the study's.
    """
    notes = [note for note in store.remembered() if study is None or note["name"] == study.name]
    margins = study.judge if study else Judge(**notes[0]["judge"]) if len(notes) == 1 else Judge()
    if margin is not None:
        margins = replace(margins, margin=margin)
    if cells is not None:
        wanted = list(cells)
        keys: set[str] | None = {cell.key for cell in wanted}
        owed = [f"{cell.slug} is owed" for cell in store.owed(wanted)]
    else:
        keys = {key for note in notes for key in note["keys"]} or None
        done = store.statuses().keys()
        owed = [
            f"{len(left)} of {len(note['keys'])} cells of study '{note['name']}' are owed"
            for note in notes
            if (left := set(note["keys"]) - done)
        ]
    runs = store.runs(keys)
    findings = judge(runs, margins)
    return replace(findings, missing=(*findings.missing, *owed)), runs


def _baselines(comparison: Comparison) -> list[tuple[Arm, Against]]:
    """Return the untouched model and, on a task, the best prompt with examples."""
    untouched = next((a for a in comparison.arms if a.untouched and a.answers), None)
    if untouched is None:
        return []
    baselines: list[tuple[Arm, Against]] = [(untouched, "zero-shot")]
    if not comparison.probe:
        shots = [a for a in comparison.arms if not a.spec.trains and a.spec.shots and a.answers]
        scored = [(pair(arm, untouched)[0], arm) for arm in shots]
        accuracy = [(float(p.after.mean()), a) for p, a in scored if p and p.measure == "accuracy"]
        if accuracy:
            baselines.append((max(accuracy, key=lambda found: found[0])[1], "best-icl"))
    return baselines


@dataclass(frozen=True)
class _Measured:
    """One arm of a family: its pairs with the baseline and what was found in them."""

    arm: Arm
    pairs: Pairs
    components: Components
    faults: tuple[str, ...]


def _family_effects(
    comparison: Comparison,
    base: Arm,
    against: Against,
    margins: Judge,
    missing: dict[str, None],
) -> list[Effect]:
    """Judge every arm against one baseline, together."""
    family = []
    for arm in comparison.arms:
        if arm is base or arm.untouched:
            continue
        pairs, faults = pair(arm, base)
        missing.update({f"{comparison.model} on {comparison.test}: {f}": None for f in faults})
        if pairs is not None:
            family.append(_Measured(arm, pairs, pairs.components(), tuple(faults)))
    if not family:
        return []
    bits = family[0].pairs.measure == "bits_per_byte"
    margin = margins.bits_margin if bits else margins.margin / 100
    found = _estimates(family)
    judged = judge_family(found, margin, rise_is_harm=bits)
    return [
        _effect(comparison, against, margin, len(family), *row)
        for row in zip(family, found, judged, strict=True)
    ]


def _estimates(family: Sequence[_Measured]) -> list[Estimate]:
    """Estimate each arm; trained arms share seed variance among themselves, prompts among theirs.

    The seeds of a prompt draw exemplars, those of training draw weights and order: another spread.
    """
    found: dict[int, Estimate] = {}
    for trains in (False, True):
        places = [i for i, row in enumerate(family) if row.arm.spec.trains == trains]
        shared = estimates([family[i].components for i in places])
        found.update(zip(places, shared, strict=True))
    return [found[i] for i in range(len(family))]


def _effect(
    comparison: Comparison,
    against: Against,
    margin: float,
    strategies: int,
    row: _Measured,
    found: Estimate,
    judged: Judged,
) -> Effect:
    """Write one line of effects.csv; shares become points."""
    arm, pairs = row.arm, row.pairs
    unit = 100.0 if pairs.measure == "accuracy" else 1.0
    before, after = pairs.level(pairs.before), pairs.level(pairs.after)
    spread = _spread(row, found, margin)
    plan = None
    if judged.verdict == "undecided":
        plan = needed(spread, margin, len(pairs.sizes), len(pairs.seeds), ALPHA / strategies)
    notes = [
        *_caveats(comparison, row, found, unit),
        *_floor(pairs, before, after, margin),
        *_unadjusted(found, judged, margin, strategies),
        *(_plan_note(plan, spread) if plan else ()),
    ]
    return Effect(
        model=comparison.model,
        task=comparison.test,
        kind=_kind(comparison, arm),
        strategy=arm.label,
        learning_rate=arm.learning_rate,
        setting="fixed",
        against=against,
        seeds=len(pairs.seeds),
        n=len(pairs.sizes),
        before=unit * before,
        after=unit * after,
        delta=unit * found.delta,
        low=unit * found.low,
        high=unit * found.high,
        **_flip_fields(pairs),
        p=found.p,
        p_adjusted=judged.p_adjusted,
        margin=unit * margin,
        verdict=judged.verdict,
        needed_n=plan.problems if plan else None,
        needed_seeds=plan.seeds if plan else None,
        trained_on=arm.trained_on,
        measure=pairs.measure,
        small=judged.small,
        note="; ".join(notes),
    )


def _kind(comparison: Comparison, arm: Arm) -> Literal["task", "transfer", "probe"]:
    if comparison.probe:
        return "probe"
    return "task" if arm.trained_on in ("", comparison.test) else "transfer"


def _flip_fields(pairs: Pairs) -> dict[str, Any]:
    """Return lost and gained problems (mean over seeds), each seed's own, and the noise floor."""
    if pairs.measure != "accuracy":
        return {"lost": None, "gained": None}
    lost, gained = flips(pairs.before, pairs.after)
    floor = noise_floor(pairs.after)
    return {
        "lost": float(lost.mean()),
        "gained": float(gained.mean()),
        "per_seed": tuple(
            (seed, int(b), int(c), mcnemar_mid_p(int(b), int(c)))
            for seed, b, c in zip(pairs.seeds, lost, gained, strict=True)
        ),
        "noise_floor": None if floor is None else 100 * floor,
    }


def _spread(row: _Measured, found: Estimate, margin: float) -> Spread:
    if row.pairs.measure != "accuracy":
        return bits_spread(row.components, found)
    discordance = float(np.abs(row.pairs.after - row.pairs.before).mean())
    return accuracy_spread(row.components, found, discordance, noise_floor(row.pairs.after), margin)


def _caveats(comparison: Comparison, row: _Measured, found: Estimate, unit: float) -> list[str]:
    """Say what limits this effect whatever its verdict."""
    arm, pairs = row.arm, row.pairs
    notes = []
    if comparison.probe and not arm.spec.trains:
        notes.append("transfer: the examples change the prompt, the weights are untouched")
    if len(pairs.seeds) == 1 and pairs.seeds[0] is not None:
        reach = unit * found.break_even_seed_sd()
        notes.append(
            "this checkpoint: one seed says nothing of others"
            + (f"; the sign holds if seeds vary by less than {reach:.2g} (SD)" if reach else "")
        )
    if arm.failed:
        causes = ", ".join(sorted(set(arm.failed.values())))
        planned = len(arm.failed) + len(arm.answers)
        notes.append(f"{len(arm.failed)} of {planned} seeds ended without answers ({causes})")
    notes += row.faults
    if pairs.rows is not None:
        notes.append(f"{pairs.families} problem families are the rows")
    elif pairs.families > 1:
        notes.append(f"about these {pairs.families} problem families: too few to stand for others")
    return notes


def _floor(pairs: Pairs, before: float, after: float, margin: float) -> list[str]:
    if pairs.measure == "accuracy" and max(before, after) <= margin:
        return ["floor: too few right answers for harm of the margin to show in accuracy"]
    return []


def _unadjusted(found: Estimate, judged: Judged, margin: float, strategies: int) -> list[str]:
    """Explain an unadjusted interval that says more than the verdict."""
    excludes_zero = found.p <= ALPHA < judged.p_adjusted
    if judged.verdict == "undecided" and (excludes_zero or found.inside(margin)):
        return [
            f"p and interval stand for this strategy alone; the verdict is drawn over {strategies}"
        ]
    return []


def _plan_note(plan: Plan, spread: Spread) -> list[str]:
    """Say what would decide, and how much that hangs on the seeds' spread."""
    if plan.problems is None or plan.seeds is None:
        return [plan.note]
    text = f"needs {plan.problems:,} problems with {_count(plan.seeds, 'seed')}"
    if spread.seed_variance:
        steady, doubled = _problems(plan.if_steady), _problems(plan.if_doubled)
        text += f" ({steady} if seeds did not vary, {doubled} if they varied twice as much)"
    return [plan.note, text] if plan.note else [text]


def _problems(number: int | None) -> str:
    return "no number" if number is None else f"{number:,}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
