"""What each strategy gained on its task against what it kept on the probes, measured alike for all.

Rewinding paths are measured on dev and on held-out probe problems, the strategies on the test and
on the probes: both are changes against the base model on the same problems.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from finetrap.findings import Effect
from finetrap.levels import Frontier, RewindPath, RewindStep, Summary
from finetrap.records import Run
from finetrap.runs.held import noted
from finetrap.stats.retention import chance


def traded(
    summary: Sequence[Summary], effects: Sequence[Effect], runs: Sequence[Run]
) -> tuple[tuple[Summary, ...], tuple[Frontier, ...]]:
    """Add to each line what it kept; return how that is measured, for every model and tasks.

    Prompts have none: they change no weights, so they cannot forget.
    """
    by_key = {run.cell.key: run for run in runs}
    lines, frontiers = list(summary), []
    for place in dict.fromkeys((s.model, s.task, s.trained_on) for s in summary):
        trained = [
            index
            for index, line in enumerate(lines)
            if (line.model, line.task, line.trained_on) == place and line.learning_rate is not None
        ]
        own = {
            index: probes
            for index in trained
            if lines[index].verdict and (probes := _probes(lines[index], effects))
        }
        shared = _common_probes(list(own.values()))
        if shared is None:
            continue
        names, retention = shared
        for index, probes in own.items():
            lines[index] = replace(lines[index], kept=_kept(probes, names, retention))
        on_accuracy = lines[next(iter(own))].measure == "accuracy"
        paths = [_path(lines[i], names, retention, by_key) for i in trained] if on_accuracy else []
        found = tuple(path for path in paths if path)
        frontiers.append(Frontier(*place, names, retention, found))
    return tuple(lines), tuple(frontiers)


def _probes(line: Summary, effects: Iterable[Effect]) -> dict[str, Effect]:
    """Return a strategy's changes of accuracy by probe."""
    return {
        e.task: e
        for e in effects
        if (e.kind, e.against, e.measure) == ("probe", "zero-shot", "accuracy")
        and (e.model, e.strategy, e.learning_rate)
        == (line.model, line.strategy, line.learning_rate)
        and e.trained_on == line.trained_on
    }


def _common_probes(own: Sequence[Mapping[str, Effect]]) -> tuple[tuple[str, ...], bool] | None:
    """Return the probes that all were asked, and whether retention is known there.

    Those of which retention is known for all go before the others; without any the change counts.
    """
    common = [p for p in own[0] if all(p in probes for probes in own)] if own else []
    left = [p for p in common if all(probes[p].retention is not None for probes in own)]
    return (tuple(left or common), bool(left)) if common else None


def _kept(probes: Mapping[str, Effect], names: Sequence[str], retention: bool) -> float:
    if retention:
        return _mean_value(probes[name].retention or 0.0 for name in names)
    return _mean_value(probes[name].delta for name in names)


def _path(
    line: Summary, names: Sequence[str], retention: bool, runs: Mapping[str, Run]
) -> RewindPath | None:
    """Return the rewinding path of a strategy that has one, averaged over its seeds."""
    own = [runs[key] for key in line.cells]
    walked = [(run, way) for run in own if (way := run.evidence.get("rewind"))]
    each = [s for run, way in walked if (s := steps(run, way.get("path", ()), names, retention))]
    shares = sorted(set.intersection(*(set(found) for found in each))) if each else []
    if len(shares) < 2:
        return None
    means = (
        RewindStep(
            share,
            _mean_value(found[share].kept for found in each),
            _mean_value(found[share].gain for found in each),
        )
        for share in shares
    )
    chosen = sorted({way["chosen"] for _, way in walked} & set(shares))
    return RewindPath(line.strategy, line.learning_rate, line.setting, tuple(means), tuple(chosen))


def steps(
    run: Run, path: Sequence[Mapping[str, Any]], names: Sequence[str], retention: bool
) -> dict[float, RewindStep]:
    """Set every share of one run's path against its share 0, the base weights."""
    start = next((step for step in path if step["share"] == 0), None)
    if start is None or start["accuracy"] is None:
        return {}
    base = {name: start["probes"].get(name, {}).get("accuracy") for name in names}
    chances = {name: noted(run.probes.get(name, ()), chance) for name in names}
    guessed = {name: 100 * known for name, known in chances.items() if known is not None}
    usable = [n for n in guessed if (level := base[n]) is not None and level > guessed[n]]
    found = {}
    for step in path:
        now = {name: step["probes"].get(name, {}).get("accuracy") for name in usable}
        if not usable or None in now.values() or step["accuracy"] is None:
            continue
        if retention:
            left = _mean_value(100 * (now[n] - guessed[n]) / (base[n] - guessed[n]) for n in usable)
        else:
            left = _mean_value(now[n] - base[n] for n in usable)
        gain = step["accuracy"] - start["accuracy"]
        found[step["share"]] = RewindStep(step["share"], left, gain)
    return found


def _mean_value(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known)
