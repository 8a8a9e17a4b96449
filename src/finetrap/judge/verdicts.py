"""Verdicts on runs: what each strategy did to the task it was tuned for and to everything else.

Effects are against the base model, asked without examples, and on tasks also against the best
in-context arm: of the right answers, and of the bits per byte of the gold solutions. The strategies
of one model on one test against one baseline by one measure are one family, at whatever learning
rates: they share seed variance where that is safe, and their verdicts are corrected together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from finetrap.findings import Effect, Findings, Missing
from finetrap.judge.arms import Arm, Comparison, Measure, comparisons, right_of, scores_of
from finetrap.judge.effects import Against, Family, Measured, effect_lines, opposed
from finetrap.judge.json_fields import field_changes
from finetrap.judge.outcomes import join_outcomes
from finetrap.judge.pairing import estimate_arms, measures, pair
from finetrap.judge.prompted import spreads, told_apart
from finetrap.judge.tables import cell_rows, divergence_of, levels_of
from finetrap.judge.trials import judged_trials
from finetrap.records import Cell, Judge, Run, Study, checked_margin
from finetrap.runs.held import noted
from finetrap.runs.store import Store
from finetrap.stats.changes import judge_family
from finetrap.stats.retention import chance


def verdicts_on(runs: Sequence[Run], margins: Judge | None = None) -> Findings:
    """Judge a set of runs. `missing` holds what could not be judged, and why."""
    margins, runs = margins or Judge(), told_apart(runs)
    found: list[Effect] = []
    missing: dict[Missing, None] = {}
    gathered = comparisons(runs)
    for comparison in gathered:
        missing.update(dict.fromkeys(_precisions(comparison)))
        baselines = _baselines(comparison)
        if not baselines:
            missing[Missing("base model", comparison.model, comparison.test)] = None
        for base, against in baselines:
            for measure in measures(base):
                family = _family(comparison, base, against, measure, margins, missing)
                found += _judge_family(family) if family else []
    found = opposed(found)
    return Findings(
        tuple(found),
        cell_rows(runs),
        tuple(missing),
        trials=judged_trials(runs),
        outcomes=join_outcomes(found),
        prompts=spreads(runs),
        fields=field_changes(gathered),
    )


def study_verdicts(
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
        margins = replace(margins, margin=checked_margin(margin))
    if cells is not None:
        wanted = list(cells)
        keys: set[str] | None = {cell.key for cell in wanted}
        to_run = [_to_run(cell) for cell in store.remaining(wanted)]
        count = len(to_run)
    else:
        keys = {key for note in notes for key in note["keys"]} or None
        done = store.statuses().keys()
        left = [(note, set(note["keys"]) - done) for note in notes]
        to_run = [
            Missing("study", study=note["name"], remaining=len(some), planned=len(note["keys"]))
            for note, some in left
            if some
        ]
        count = len(set().union(*(some for _, some in left)))
    sound, damaged = store.sound_runs(keys, _note)
    runs = told_apart(sound)
    findings = verdicts_on(runs, margins)
    left_out = [Missing("damaged", reason=reason) for reason in damaged.values()]
    return replace(findings, missing=(*findings.missing, *left_out, *to_run), remaining=count), runs


def _note(run: Run) -> None:
    """Make of a run's answers what is needed of every run, while they are at hand."""
    for answers in (run.answers, *run.probes.values()):
        for make in (scores_of, right_of, chance):
            noted(answers, make)
    noted(run.answers, levels_of)
    noted(run.evidence, divergence_of)


def _to_run(cell: Cell) -> Missing:
    return Missing(
        "cell",
        cell.model.shown,
        cell.task.name,
        cell.strategy.name,
        cell.seed,
        cell=cell.slug,
        remaining=1,
        planned=1,
    )


def _precisions(comparison: Comparison) -> Iterator[Missing]:
    """Say where strategies were not trained in one precision, or in one that nobody knows."""
    found: dict[str, dict[str, None]] = {}
    for arm in comparison.arms:
        if arm.precision:
            found.setdefault(arm.precision, {})[arm.label] = None
    if len(found) > 1 or "unknown" in found:
        told = "; ".join(f"{dtype}: {', '.join(labels)}" for dtype, labels in found.items())
        yield Missing("precision", comparison.model, reason=told)


def _baselines(comparison: Comparison) -> list[tuple[Arm, Against]]:
    """Return the base model and, on a task, the best prompt with examples."""
    zero_shot = next((a for a in comparison.arms if a.is_base and a.answers), None)
    if zero_shot is None:
        return []
    baselines: list[tuple[Arm, Against]] = [(zero_shot, "zero-shot")]
    if not comparison.probe:
        shots = [a for a in comparison.arms if not a.spec.trains and a.spec.shots and a.answers]
        scored = [(pair(arm, zero_shot, "accuracy")[0], arm) for arm in shots]
        accuracy = [(float(p.after.mean()), a) for p, a in scored if p]
        if accuracy:
            baselines.append((max(accuracy, key=lambda found: found[0])[1], "best-icl"))
    return baselines


def _family(
    comparison: Comparison,
    base: Arm,
    against: Against,
    measure: Measure,
    margins: Judge,
    missing: dict[Missing, None],
) -> Family | None:
    """Pair every arm with one baseline; None if none can be."""
    rows = []
    for arm in comparison.arms:
        if arm is base or arm.is_base:
            continue
        pairs, faults = pair(arm, base, measure)
        place = (comparison.model, comparison.test)
        missing.update(
            {Missing("left out", *place, f.strategy, f.seed, f.reason): None for f in faults}
        )
        if pairs is not None:
            rows.append(Measured(arm, pairs, pairs.components(), tuple(faults)))
    if not rows:
        return None
    margin = margins.margin / 100 if measure == "accuracy" else margins.bits_margin
    flips = next((a.self_flips for a in comparison.arms if a.is_base), None)
    return Family(comparison, against, tuple(rows), margin, flips)


def _judge_family(family: Family) -> list[Effect]:
    """Judge every arm of a family, together."""
    found = estimate_arms([(row.arm, row.components) for row in family.rows])
    floors = [row.pairs.floor(family.margin) for row in family.rows]
    judged = judge_family(
        found, family.margin, rise_is_harm=family.bits, floors=floors, noise=family.noise
    )
    return effect_lines(family, found, judged)
