"""The answer in words: one sentence per model and task, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from finetrap.findings import Effect
from finetrap.levels import VERDICTS, Detectable
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm
from finetrap.text.numbers import counted

MOST_CLAUSES = 8


class Clause(NamedTuple):
    """A part of a sentence about one strategy."""

    verdict: str
    """One of `VERDICTS`, or `failed`."""
    text: str


class Sentence(NamedTuple):
    """The sentence about one panel, its most important clause first."""

    title: str
    clauses: tuple[Clause, ...]
    more: int
    """Strategies that are left to the tables."""
    rests_on: str
    detects: str = ""
    """The smallest change that could be shown; empty where accuracy is not what is compared."""


def answer(panel: Panel, least: Sequence[Detectable] = ()) -> Sentence:
    """Word what every strategy did to one model on one task: the worst harm first.

    `least` are the smallest changes that these runs can show, of every model and test.
    """
    groups = _sharing_clauses(sorted((a for a in panel.arms if a.effect), key=_prominence))
    failed = [a for a in panel.arms if a.effect is None and a.failed]
    clauses = [
        _clause(arms, arms[0].effect, panel.title, i == 0)
        for i, arms in enumerate(groups)
        if arms[0].effect
    ]
    clauses += [_failure(arm) for arm in failed]
    shown = clauses[:MOST_CLAUSES]
    if shown:
        shown[0] = shown[0]._replace(text=wording.capital(shown[0].text))
    told = sum(map(len, groups[:MOST_CLAUSES])) + max(0, len(shown) - len(groups))
    more = sum(map(len, groups)) + len(failed) - told
    return Sentence(panel.title, tuple(shown), more, _rests_on(panel), _detects(panel, least))


def _sharing_clauses(arms: Sequence[PanelArm]) -> list[list[PanelArm]]:
    """Join the arms that are equivalent with the very same numbers: they share a clause."""
    groups: list[list[PanelArm]] = []
    for arm in arms:
        same = next((g for g in groups if _told_alike(g[0], arm)), None)
        if same is None:
            groups.append([arm])
        else:
            same.append(arm)
    return groups


def _told_alike(one: PanelArm, other: PanelArm) -> bool:
    mine, theirs = one.effect, other.effect
    if mine is None or theirs is None or (mine.verdict, theirs.verdict) != ("equivalent",) * 2:
        return False
    same = one.summary.forgetting == other.summary.forgetting
    return same and wording.change(mine) == wording.change(theirs)


def describe(effect: Effect) -> str:
    """Write an effect in one line, for charts read aloud."""
    return f"{signed_unit(effect)} {wording.interval(effect)}, {effect.verdict}"


def signed_unit(effect: Effect) -> str:
    """Write a change with its unit."""
    return f"{wording.signed(effect.delta, effect.measure)} {wording.unit(effect.measure)}"


def _prominence(arm: PanelArm) -> tuple[float, float]:
    """Shown harm first, then harm that is only seen, then what else is shown."""
    effect = arm.effect
    if effect is None:
        return len(VERDICTS) + 1, 0.0
    seen = effect.verdict == "inconclusive" and (effect.low > 0 or effect.high < 0)
    place = 0.5 if seen and effect.harm > 1 else VERDICTS.index(effect.verdict)
    return place, -abs(effect.harm)


def _clause(arms: Sequence[PanelArm], effect: Effect, title: str, first: bool) -> Clause:
    """Word one verdict of arms that share it; the first clause names the model and the task."""
    who = _and([wording.arm(*arm.key, joint=" at ") for arm in arms])
    whom, place = (title, f" on {title}") if first else ("it", "")
    change = wording.change(effect)
    if effect.verdict in ("harmed", "improved"):
        by = wording.number(abs(effect.delta), effect.measure)
        text = f"{who} {effect.verdict} {whom} by {by} {wording.unit(effect.measure)}"
        text += f" {wording.interval(effect)}"
        return Clause(effect.verdict, wording.beside(text, arms[0].summary.forgetting))
    if effect.verdict == "equivalent":
        each = "each " if len(arms) > 1 else ""
        measured = f"{each}{change} {wording.unit(effect.measure)}"
        measured += f"; {effect.remark}" if effect.remark else ""
        text = f"{who} left {whom} equivalent ({measured})"
        return Clause("equivalent", wording.beside(text, arms[0].summary.forgetting))
    told = [effect.remark, wording.needed(effect)]
    text = "; ".join(filter(None, (f"{change} {wording.unit(effect.measure)}", *told)))
    text = f"{who}: inconclusive{place} ({text})"
    return Clause("inconclusive", wording.beside(text, arms[0].summary.forgetting))


def _failure(arm: PanelArm) -> Clause:
    who = wording.arm(*arm.key, joint=" at ")
    said = {"diverged": "diverged", "oom": "ran out of memory"}.get(arm.ended, "failed")
    return Clause("failed", f"{who} {said} ({len(arm.failed)} of {len(arm.cells)} runs)")


def _rests_on(panel: Panel) -> str:
    """Say how many problems and seeds, which margin, and where the base model stands."""
    effects = panel.effects
    if not effects:
        return ""
    first = effects[0]
    level = wording.number(first.before, first.measure)
    level += "%" if first.measure == "accuracy" else " bits per byte"
    trained = {e.seeds for e in effects if e.learning_rate is not None} or {
        e.seeds for e in effects
    }
    parts = [_span([e.n for e in effects], "problem"), _span(sorted(trained), "seed")]
    margins = " and ".join(dict.fromkeys(wording.margin(e) for e in effects))
    return f"{parts[0]}, {parts[1]}, margin {margins}; base model: {level}."


def _detects(panel: Panel, least: Sequence[Detectable]) -> str:
    """Say which change would be shown; of several strategies the steadiest and the unsteadiest."""
    effects = panel.effects
    found = next((d for d in least if (d.model, d.test, d.probe) == (*panel.key[:2], False)), None)
    if not effects or effects[0].measure != "accuracy" or found is None:
        return ""
    if found.easiest is None:
        return "No change of any size would be shown with these problems and seeds."
    low = wording.number(found.easiest)
    high = None if found.points is None else wording.number(found.points)
    text = f"Smallest change that is shown with 80% power: {low} points"
    if high == low:
        return text + "."
    most = f"{high} points" if high else "no change at all"
    return f"{text} for the least variable strategy, {most} for the most variable."


def _and(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _span(numbers: Sequence[int], noun: str) -> str:
    low, high = min(numbers), max(numbers)
    return counted(low, noun) if low == high else f"{low:,} to {high:,} {noun}s"
