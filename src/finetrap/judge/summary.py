"""One strategy on one task over its seeds: level, costs, what it kept, and whether it is the best.

    cells → a group per model, task, training task, strategy, rate and setting → one line each

Means are over seeds; an interval is over problems alone, at the mean of the seeds: problems × seeds
are never counted as independent, so n stays the number of problems.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from finetrap.findings import Effect
from finetrap.judge.advice.noninferior import outright
from finetrap.judge.arms import Comparison, Measure, comparisons
from finetrap.judge.forgetting import forgetting_of, gravest, telling
from finetrap.judge.pairing import measures
from finetrap.levels import VERDICTS, CellRow, Summary, Tally
from finetrap.records import Run
from finetrap.stats.changes import ALPHA
from finetrap.stats.retention import wilson_percent

MEANS = (
    *("strict_rate", "strict_accuracy", "no_answer_rate", "truncated_rate", "cut_rate"),
    *("load_s", "train_s", "eval_s", "train_tokens", "trainable", "ship_bytes"),
    *("kl_forward", "kl_reverse"),
)
"""Columns of cells.csv of which a summary holds the mean over seeds."""

Place = tuple[str, str, str]
"""Model, task, and the task trained on."""
ArmName = tuple[str, float | None]
"""A strategy and its learning rate."""
Groups = dict[Place, dict[tuple[str, float | None, str], list[CellRow]]]
"""By place, the cells of each strategy, rate and setting."""


def summaries(
    cells: Sequence[CellRow], runs: Sequence[Run], effects: Sequence[Effect]
) -> tuple[Summary, ...]:
    """Return a line for every strategy on every task, that of the base model before the others.

    `cells` are the rows of cells.csv for `runs`, one each.
    """
    base: dict[tuple[str, str], list[CellRow]] = {}
    groups: Groups = {}
    names: dict[str, str] = {}
    for row, run in zip(cells, runs, strict=True):
        names[row.strategy] = run.cell.strategy.name
        if run.cell.split == "dev":
            continue
        if run.cell.strategy.is_base:
            base.setdefault((row.model, row.task), []).append(row)
            continue
        place = (row.model, row.task, row.trained_on or row.task)
        arm = (row.strategy, row.learning_rate, row.setting)
        groups.setdefault(place, {}).setdefault(arm, []).append(row)
    known = {place[:2] for place in groups}
    alone: Groups = {(model, task, task): {} for model, task in base if (model, task) not in known}
    best = _bests([*groups, *alone], runs)
    found = []
    for place, arms in {**groups, **alone}.items():
        if own := base.get(place[:2]):
            blank = Summary(*place, own[0].strategy, None, "fixed", base=True)
            found.append(_filled(blank, own, best.get((place, ("", None)))))
        for (name, rate, setting), own in arms.items():
            line = _filled(
                Summary(*place, name, rate, setting), own, best.get((place, (name, rate)))
            )
            found.append(with_verdicts(line, effects))
    return tuple(replace(line, name=names[line.strategy]) for line in found)


def tally(found: Sequence[Summary]) -> tuple[Tally, ...]:
    """Count the verdicts against the base model, in the order of `VERDICTS`."""
    counts = []
    for word in VERDICTS:
        own = [one for one in found if one.verdict == word]
        if own:
            lost = sum(bool(one.forgetting and one.forgetting.lost) for one in own)
            counts.append(Tally(word, len(own), lost))
    return tuple(counts)


def first_measure(effects: Sequence[Effect]) -> list[Effect]:
    """Keep one effect of each comparison: of accuracy, or of bits per byte where that is all."""
    scored = {_comparison(e) for e in effects if e.measure == "accuracy"}
    return [e for e in effects if e.measure == "accuracy" or _comparison(e) not in scored]


def second_measure(effects: Sequence[Effect]) -> list[Effect]:
    """Return the effects that `first_measure` leaves out: of bits per byte beside accuracy."""
    first = {id(e) for e in first_measure(effects)}
    return [e for e in effects if id(e) not in first]


def _comparison(e: Effect) -> tuple[object, ...]:
    return e.model, e.trained_on, e.strategy, e.learning_rate, e.setting, e.task, e.against


def _filled(blank: Summary, rows: Sequence[CellRow], p_best: float | None) -> Summary:
    """Average an arm's cells, one of each seed."""
    measure: Measure = "accuracy"
    level, low, high = mean(rows, measure), None, None
    # A seed that failed answered no problems: it says nothing of how many there are.
    problems = mean([row for row in rows if row.accuracy is not None], "n")
    if level is not None and problems:
        n = round(problems)
        if all(row.low is not None for row in rows if row.accuracy is not None):
            low, high = wilson_percent(round(level * n / 100), n)
    else:
        measure = "bits_per_byte"
        level = mean(rows, measure)
    means: dict[str, Any] = {column: mean(rows, column) for column in MEANS}
    held = [row.peak_bytes for row in rows if row.peak_bytes is not None]
    return replace(
        blank,
        cells=tuple(row.key for row in rows),
        seeds=sum(getattr(row, measure) is not None for row in rows),
        measure=measure,
        level=level,
        low=low,
        high=high,
        peak_bytes=max(held, default=None),
        kl_seeds=sum(row.kl_forward is not None for row in rows),
        p_best=p_best,
        best=p_best is not None and p_best <= ALPHA,
        **means,
    )


def mean(rows: Iterable[CellRow], column: str) -> float | None:
    """Return the mean of a column over the rows that have it."""
    values = [v for row in rows if (v := getattr(row, column)) is not None]
    return sum(values) / len(values) if values else None


def with_verdicts(line: Summary, effects: Sequence[Effect]) -> Summary:
    """Add the verdict on the task, and what became of everything else."""
    every = [
        e
        for e in effects
        if e.against == "zero-shot"
        and (e.model, e.strategy, e.learning_rate)
        == (line.model, line.strategy, line.learning_rate)
        and (e.trained_on or e.task) == line.trained_on
        and e.setting in line.setting.split("+")
    ]
    own = first_measure(every)
    on_task = (e.verdict for e in own if e.kind != "probe" and e.task == line.task)
    probes = telling(e for e in every if e.kind == "probe")
    return replace(
        line,
        verdict=next(on_task, None),
        worst_probe=gravest(probes).task if probes else "",
        forgetting=None if line.learning_rate is None else forgetting_of(every, line.task),
    )


def _bests(places: Iterable[Place], runs: Sequence[Run]) -> dict[tuple[Place, ArmName], float]:
    """Test in every place which strategy is better than every other, the base model too.

    Returns the adjusted p of not being the best; the base model's name is empty.
    """
    tests = [c for c in comparisons(runs) if not c.probe]
    found: dict[tuple[Place, ArmName], float] = {}
    for place in places:
        for comparison in tests:
            if (comparison.model, comparison.test) == place[:2]:
                for arm, p in _tested(comparison, place[2]).items():
                    found.setdefault((place, arm), p)
    return found


def _tested(comparison: Comparison, trained_on: str) -> dict[ArmName, float]:
    arms = [a for a in comparison.arms if a.answers and (a.is_base or a.trained_on == trained_on)]
    scored = [measures(arm) for arm in arms]
    measure = scored[0][0] if scored else "accuracy"
    if len(arms) < 2 or not all(measure in each for each in scored):
        return {}
    return {
        ("" if arm.is_base else arm.label, arm.learning_rate): p
        for arm, p in zip(arms, outright(comparison, arms, measure), strict=True)
    }
