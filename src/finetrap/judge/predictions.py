"""Any tool's predictions, paired and judged: two files in (judge/logs), one change out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finetrap.errors import BadData
from finetrap.findings import Effect
from finetrap.judge.logs import Scored, no_score, read_logged, refuse_scores
from finetrap.levels import written_change
from finetrap.records import checked_margin
from finetrap.stats.changes import accuracy_components, estimate, judge_family
from finetrap.stats.disagreement import flips
from finetrap.text.numbers import counted
from finetrap.text.visible import one_line


def compare_files(
    a: str | Path,
    b: str | Path,
    *,
    margin: float = 2.0,
    filter: str | None = None,
    metric: str | None = None,
    common: bool = False,
) -> dict[str, Any]:
    """Judge the change from predictions `a` (before) to `b` (after), paired by id.

    Returns metric, usual_metric (whether that is the usual one of its task, chosen among several),
    n, a, b, delta, low, high, lost, gained, p and verdict; accuracies, `delta` = b − a,
    interval and `margin` are in points, `lost` counts what is right in `a` and wrong in `b`. With
    `common`, ids found in one file only are left out. Raises BadInput and BadData.
    """
    checked_margin(margin)
    logs = read_scored(a, filter, metric), read_scored(b, filter, metric)
    before, after = map(predictions_of, logs)
    ids = paired_ids(str(a), before, str(b), after, common)
    found = judged_pair([before[i] for i in ids], [after[i] for i in ids], margin)
    names = ("delta", "low", "high", "lost", "gained", "p", "verdict")
    levels = {
        "metric": " against ".join(dict.fromkeys(log.metric for log in logs)),
        "usual_metric": any(log.usual for log in logs),
        "n": found.n,
        "a": found.before,
        "b": found.after,
    }
    return {**levels, **{name: getattr(found, name) for name in names}}


def judged_pair(was: Sequence[bool], now: Sequence[bool], margin: float) -> Effect:
    """Judge the change from right answers before to those after, problem by problem.

    `margin` is in points. Nothing is known of other seeds.
    """
    before, after = np.array(was, dtype=float), np.array(now, dtype=float)[:, None]
    found = estimate(accuracy_components(before, after))
    levels = 100 * float(before.mean()), 100 * float(after.mean())
    floor = max(levels) <= margin
    judged = judge_family([found], margin / 100, floors=[floor])[0]
    lost, gained = (int(count[0]) for count in flips(before, after))
    return Effect(
        model="",
        task="",
        kind="task",
        strategy="",
        learning_rate=None,
        setting="fixed",
        against="zero-shot",
        seeds=1,
        n=len(before),
        before=levels[0],
        after=levels[1],
        delta=100 * found.delta,
        low=100 * found.low,
        high=100 * found.high,
        lost=lost,
        gained=gained,
        p=found.p,
        p_adjusted=judged.p_adjusted,
        margin=margin,
        verdict=judged.verdict,
        needed_n=None,
        needed_seeds=None,
        small=judged.small,
        floor=floor,
    )


def change_text(result: Mapping[str, Any]) -> str:
    """Say what `compare_files` found, for a person."""
    p = result["p"]
    delta, low, high = (written_change(result[name]) for name in ("delta", "low", "high"))
    usual = " (the usual metric of ARC and HellaSwag; --metric chooses another)"
    return (
        f"{result['verdict']}: {result['a']:.1f}% -> {result['b']:.1f}%, "
        f"{delta} points [{low}, {high}], "
        f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}; "
        f"{result['lost']} lost, {result['gained']} gained of {counted(result['n'], 'problem')}"
        f", by {one_line(result['metric'])}{usual if result['usual_metric'] else ''}\n"
        "95% interval of these two sets of predictions; other seeds of a training may differ more"
    )


def read_scored(path: str | Path, filter: str | None = None, metric: str | None = None) -> Scored:
    """Read a file in which each row is right or wrong. Raises BadData naming one that is not."""
    found = read_logged(path, filter, metric)
    rows = list(found.rows.values())
    if not found.metric:
        raise no_score(rows, path)
    refuse_scores(rows)
    return found


def predictions_of(log: Scored) -> dict[str, bool]:
    """Return whether each id was answered rightly."""
    return {name: bool(row.correct) for name, row in log.rows.items()}


def paired_ids(
    a: str, before: Mapping[str, object], b: str, after: Mapping[str, object], common: bool
) -> list[str]:
    """Return the ids that both files answer. Raises BadData if one file lacks some, or all."""
    shared = [i for i in before if i in after]
    only_a = [i for i in before if i not in after]
    only_b = [i for i in after if i not in before]
    if not shared:
        raise BadData(
            f"{a} ({counted(len(before), 'id')}, such as {next(iter(before))!r}) and {b} "
            f"({counted(len(after), 'id')}, such as {next(iter(after))!r}) have none in common"
        )
    if (only_a or only_b) and not common:
        faults = [
            f"{counted(len(ids), 'id')} of {there} not in {other}, such as {ids[0]!r}"
            for ids, there, other in ((only_a, a, b), (only_b, b, a))
            if ids
        ]
        raise BadData("; ".join(faults) + f"; --common compares the {len(shared)} that both have")
    return shared
