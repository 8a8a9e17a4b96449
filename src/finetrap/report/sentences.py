"""The answer in words: one sentence per model and task, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from finetrap.findings import Effect
from finetrap.report import wording
from finetrap.report.panels import Arm, Panel

VERDICTS = ("harmed", "improved", "equivalent", "undecided")
MOST_CLAUSES = 8


class Clause(NamedTuple):
    """A part of a sentence about one strategy."""

    verdict: str
    """One of `VERDICTS`, or `failed`."""
    text: str


class Answer(NamedTuple):
    """The sentence about one panel, its most important clause first."""

    title: str
    clauses: tuple[Clause, ...]
    more: int
    """Strategies that are left to the tables."""
    rests_on: str


def answer(panel: Panel) -> Answer:
    """Word what every strategy did to one model on one task: the worst harm first."""
    judged = sorted((a for a in panel.arms if a.effect), key=_prominence)
    failed = [a for a in panel.arms if a.effect is None and a.failed]
    clauses = [
        _clause(arm, arm.effect, panel.title, i == 0) for i, arm in enumerate(judged) if arm.effect
    ]
    clauses += [_failure(arm) for arm in failed]
    shown = clauses[:MOST_CLAUSES]
    if shown:
        shown[0] = shown[0]._replace(text=wording.capital(shown[0].text))
    return Answer(panel.title, tuple(shown), len(clauses) - len(shown), _rests_on(panel))


def tally(panels: Sequence[Panel]) -> list[tuple[str, int]]:
    """Count the verdicts on tasks against the untouched model."""
    found = [effect.verdict for panel in panels for effect in panel.effects]
    return [(verdict, found.count(verdict)) for verdict in VERDICTS if verdict in found]


def describe(effect: Effect) -> str:
    """Write an effect in one line, for charts read aloud."""
    return f"{signed_unit(effect)} {wording.interval(effect)}, {effect.verdict}"


def signed_unit(effect: Effect) -> str:
    """Write a change with its unit."""
    return f"{wording.signed(effect.delta, effect.measure)} {wording.unit(effect.measure)}"


def _prominence(arm: Arm) -> tuple[float, float]:
    """Shown harm first, then harm that is only seen, then what else is shown."""
    effect = arm.effect
    if effect is None:
        return len(VERDICTS) + 1, 0.0
    seen = effect.verdict == "undecided" and (effect.low > 0 or effect.high < 0)
    place = 0.5 if seen and wording.harm(effect) > 1 else VERDICTS.index(effect.verdict)
    return place, -abs(wording.harm(effect))


def _clause(arm: Arm, effect: Effect, title: str, first: bool) -> Clause:
    """Word one verdict; the first clause names the model and the task."""
    who = wording.arm(*arm.key, joint=" at ")
    whom, place = (title, f" for {title}") if first else ("it", "")
    change = wording.change(effect)
    if effect.verdict in ("harmed", "improved"):
        by = wording.plain(abs(effect.delta), effect.measure)
        text = f"{who} {effect.verdict} {whom} by {by} {wording.unit(effect.measure)}"
        text += f" {wording.interval(effect)}"
        return Clause(effect.verdict, text + (", within the margin" if effect.small else ""))
    if effect.verdict == "equivalent":
        return Clause("equivalent", f"{who} left {whom} equivalent ({change})")
    needs = wording.needed(effect)
    return Clause(
        "undecided", f"{who} is undecided{place} ({change}{'; ' + needs if needs else ''})"
    )


def _failure(arm: Arm) -> Clause:
    who = wording.arm(*arm.key, joint=" at ")
    causes = " and ".join(dict.fromkeys(str(c["status"]) for c in arm.failed))
    said = {"diverged": "diverged", "oom": "ran out of memory"}.get(causes, "failed")
    return Clause("failed", f"{who} {said} ({len(arm.failed)} of {len(arm.cells)} runs)")


def _rests_on(panel: Panel) -> str:
    """Say how many problems and seeds, which margin, and where the untouched model stands."""
    effects = panel.effects
    if not effects:
        return ""
    first = effects[0]
    level = wording.plain(first.before, first.measure)
    level += "%" if first.measure == "accuracy" else " bits per byte"
    trained = {e.seeds for e in effects if e.learning_rate is not None} or {
        e.seeds for e in effects
    }
    parts = [_span([e.n for e in effects], "problem"), _span(sorted(trained), "seed")]
    margins = " and ".join(dict.fromkeys(wording.margin(e) for e in effects))
    return f"{parts[0]}, {parts[1]}, margin {margins}; untouched: {level}."


def _span(numbers: Sequence[int], noun: str) -> str:
    low, high = min(numbers), max(numbers)
    return wording.plural(low, noun) if low == high else f"{low:,} to {high:,} {noun}s"
