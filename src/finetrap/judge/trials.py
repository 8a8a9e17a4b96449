"""What the searches tried, judged: every learning rate with its accuracy and what it retained.

Which rate a search chose is decided in runs/trials.py, by the rule that measuring follows too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finetrap.findings import Trial
from finetrap.records import Answer, Cell, Run, content_hash
from finetrap.runs.trials import Point, Searched, searches_of
from finetrap.stats.retention import chance, percent_right, right_interval


def judged_trials(runs: Sequence[Run]) -> tuple[Trial, ...]:
    """Return every rate of every search, at the largest training set it was tried on."""
    base = {
        _dev_problems(run.cell): run
        for run in runs
        if run.cell.split == "dev" and run.cell.strategy.is_base
    }
    return tuple(
        _trial(search, point, base)
        for search in searches_of(runs).values()
        for point in sorted(search.tried, key=lambda p: p[1])
        if point[0] == max(share for share, rate in search.tried if rate == point[1])
    )


def _trial(search: Searched, point: Point, base: Mapping[str, Run]) -> Trial:
    run, tried = search.runs[point], search.tried[point]
    cell, rate = run.cell, point[1]
    untrained = base.get(_dev_problems(cell))
    low, high = right_interval(run.answers if tried.n else ())
    chosen = rate == search.chosen and point[0] == 1.0
    return Trial(
        model=cell.model.shown,
        task=cell.task.name,
        strategy=cell.strategy.name,
        learning_rate=rate,
        share=point[0],
        status=run.status,
        accuracy=100 * tried.accuracy if tried.n else None,
        low=low,
        high=high,
        bits=tried.bits,
        retention=_retention(run, untrained),
        extended=cell.extends,
        chosen=chosen,
        base_accuracy=percent_right(untrained.answers) if untrained else None,
        why=search.why if chosen else "",
    )


def _dev_problems(cell: Cell) -> str:
    """Name what a dev cell asks of which model."""
    identity = cell.identity()
    return content_hash([identity[p] for p in ("model", "task", "limits", "probes")])


def _retention(run: Run, base: Run | None) -> float | None:
    """Return the mean percent of the base model's right answers that are left on probes."""
    if base is None or run.status != "done":
        return None
    kept = []
    for name, before in base.probes.items():
        was, now = _share_above_chance(before), _share_above_chance(run.probes.get(name, ()))
        if was is not None and now is not None and was > 0.1:
            kept.append(100 * now / was)
    return sum(kept) / len(kept) if kept else None


def _share_above_chance(answers: Sequence[Answer]) -> float | None:
    """Return the share of right answers, less what guessing among the choices gives."""
    if not answers or any(a.correct is None for a in answers):
        return None
    guessed = chance(answers)
    if guessed is None:
        return None
    return sum(a.value or 0.0 for a in answers) / len(answers) - guessed
