"""The first screen of one model and task: one sentence, the table that is the picture, one answer.

panel, probes, advice → columns × rows of changes → what broke: one answer of base and tuned
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from finetrap.findings import Advice, Effect, Findings, Headline
from finetrap.levels import Detectable
from finetrap.records import Answer, Run
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm, ProbeGroup
from finetrap.text.numbers import counted
from finetrap.text.visible import clip, one_line, visible

TYPICAL = 90
"""Characters of the answer that is shown, as near as there is one: read at a glance."""


class Column(NamedTuple):
    """A test that strategies are compared on: the task, then its probes."""

    name: str
    probe: bool
    measure: str


class ScreenRow(NamedTuple):
    """One strategy: its change on every column, None where nothing could be compared."""

    arm: PanelArm
    effects: tuple[Effect | None, ...]
    chosen: bool
    """Whether it is what is advised."""


class Word(NamedTuple):
    """A run of words, and whether the other answer has others there."""

    text: str
    differs: bool


class Broken(NamedTuple):
    """One answer that changed, side by side."""

    arm: PanelArm
    seed: int | None
    test: str
    question: str
    gold: str
    """Empty of a choice, where the right side shows it."""
    before: tuple[Word, ...]
    after: tuple[Word, ...]
    lost: bool
    """Right before and wrong after; else the other way."""
    id: str
    alike: int
    """Answers of that run that changed the same way."""


class FirstScreen(NamedTuple):
    """Everything that is seen of one model and task before anything is opened."""

    panel: Panel
    place: int
    answer: Headline | None
    """None where only the base model was measured, or nothing could be compared."""
    advice: Advice | None
    columns: tuple[Column, ...]
    rows: tuple[ScreenRow, ...]
    base: tuple[tuple[float | None, str], ...]
    """The base model's level on each column, with its measure."""
    base_chosen: bool
    broken: Broken | None
    detects: str

    @property
    def worse(self) -> Effect | None:
        """Return the gravest harm to the task, unless the answer tells of harm to it."""
        if self.answer is None or self.answer.verdict == "harmed":
            return None
        harmed = [e for row in self.rows if (e := row.arm.effect) and e.verdict == "harmed"]
        said = len(wording.headline(self.answer).split())
        worst = max(harmed, key=lambda e: e.harm, default=None)
        if worst is None or said + len(wording.made_worse(worst).split()) > wording.MOST_WORDS:
            return None
        return worst

    @property
    def searched(self) -> bool:
        """Whether some strategy has a rate of its own."""
        return any("tuned" in row.arm.key.setting for row in self.rows)

    @property
    def rewound(self) -> bool:
        """Whether some strategy goes part of the way back to the base model."""
        return any("+rewind" in row.arm.key.strategy for row in self.rows)

    @property
    def margins(self) -> tuple[Effect, ...]:
        """A change of each measure, for its margin."""
        return tuple({e.measure: e for e in self.effects}.values())

    @property
    def why(self) -> str:
        """By what rule one was chosen of those that are not shown worse than any other; or why the
        base model is kept although something is better on the task."""
        found = self.advice
        if found is None or not found.reasons or found.remaining:
            return ""
        if self.base_chosen and self.answer and self.answer.verdict == "improved":
            return found.reasons[0]
        if found.grade != "provisional" or found.above_base is None:
            return ""
        return found.reasons[1] if len(found.reasons) > 1 else ""

    @property
    def undecided(self) -> str:
        """Say why the greatest change is inconclusive whose size or interval seems to decide it."""
        shown = [
            (effect, row.arm.label, column.name)
            for row in self.rows
            for effect, column in zip(row.effects, self.columns, strict=True)
            if effect is not None and effect.measure == "accuracy" and not effect.early
        ]
        least = min((e.harm for e, _, _ in shown if e.verdict == "harmed"), default=float("inf"))
        wide = [
            one
            for one in shown
            if one[0].verdict == "inconclusive"
            and len(one[0].per_seed) > 1
            and (one[0].harm > least or one[0].low > 0 or one[0].high < 0)
        ]
        if not wide:
            return ""
        effect, label, test = max(wide, key=lambda one: abs(one[0].delta))
        deltas = sorted(one.delta for one in effect.per_seed)
        told = (
            f"{wording.capital(label)} on {test} is inconclusive at {wording.brief_change(effect)}"
        )
        low, high = (wording.signed(value) for value in (deltas[0], deltas[-1]))
        because = f"; {effect.remark}" if effect.remark else ""
        return f"{told}: its seeds range from {low} to {high}{because}."

    @property
    def best_so_far(self) -> Effect | None:
        """Return the greatest gain of a study that is not complete."""
        best = self.rows[0].arm.effect if self.rows else None
        return best if best is not None and best.early else None

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Every change in the table."""
        return tuple(e for row in self.rows for e in row.effects if e is not None)


def screens(
    panels: Sequence[Panel],
    groups: Sequence[ProbeGroup],
    findings: Findings,
    runs: Mapping[str, Run],
) -> list[FirstScreen]:
    """Arrange the first screen of every panel; `runs` by key."""
    return [_screen(p, i + 1, groups, findings, runs) for i, p in enumerate(panels)]


def _screen(
    panel: Panel,
    place: int,
    groups: Sequence[ProbeGroup],
    findings: Findings,
    runs: Mapping[str, Run],
) -> FirstScreen:
    key = panel.key
    group = next(
        (g for g in groups if (g.model, g.trained_on) == (key.model, key.trained_on)), None
    )
    probes: Mapping[object, Mapping[str, Effect]] = dict(group.arms) if group else {}
    names = [name for name in group.probes if name != key.task] if group else []
    advice = next((a for a in findings.advice if (a.model, a.task) == key[:2]), None)
    answer = next((h for h in findings.headlines if (h.model, h.task) == key[:2]), None)
    ship = answer.ship if answer and answer.badge != "no winner" else None
    rows = []
    for arm in sorted(panel.arms, key=_by_gain):
        own = probes.get(arm.key, {})
        chosen = ship is not None and tuple(arm.key[:2]) == (ship.strategy, ship.learning_rate)
        rows.append(ScreenRow(arm, (arm.effect, *(own.get(name) for name in names)), chosen))
    columns = tuple(
        Column(name, i > 0, first.measure if (first := _first(rows, i)) else "accuracy")
        for i, name in enumerate((key.task, *names))
    )
    base = tuple(
        (first.before, first.measure)
        if (first := _first(rows, i))
        else (panel.base.summary.level, panel.base.summary.measure)
        if panel.base and i == 0
        else (None, "accuracy")
        for i in range(len(columns))
    )
    kept = ship is not None and ship.strategy == "zero-shot"
    return FirstScreen(
        panel,
        place,
        answer,
        advice,
        columns,
        tuple(rows),
        base,
        kept,
        _broken(rows, columns, panel, runs, answer),
        _detects(panel, findings.detectable),
    )


def _by_gain(arm: PanelArm) -> tuple[bool, float]:
    """Sort what gained most on the task first, what has no answers last."""
    return arm.effect is None, arm.effect.harm if arm.effect else 0.0


def _first(rows: Sequence[ScreenRow], column: int) -> Effect | None:
    return next((e for row in rows if (e := row.effects[column]) is not None), None)


def _detects(panel: Panel, least: Sequence[Detectable]) -> str:
    """Say which change would be shown; of several strategies the least and the most variable."""
    effects = panel.effects
    found = next((d for d in least if (d.model, d.test, d.probe) == (*panel.key[:2], False)), None)
    if not effects or effects[0].measure != "accuracy" or found is None:
        return ""
    size = f"{counted(found.problems, 'problem')} and {counted(found.seeds, 'seed')}"
    if found.easiest is None:
        return f"With {size} no change of any size could be shown."
    low, high = (wording.points(value) for value in (found.easiest, found.points))
    missed = f"With {size}, true changes below {low} are often missed"
    if found.points is None:
        return f"{missed}, and any where a strategy's seeds vary most."
    return f"{missed}." if low == high else f"{missed}; where seeds vary most, below {high}."


# --- what it broke ----------------------------------------------------------------------------


def _broken(
    rows: Sequence[ScreenRow],
    columns: Sequence[Column],
    panel: Panel,
    runs: Mapping[str, Run],
    answer: Headline | None,
) -> Broken | None:
    """Find the answer that shows the gravest harm, or the greatest gain where nothing harmed.

    What the strategy of the headline did comes before what the others did.
    """
    told = answer.strategy if answer else None
    about = (told.strategy, told.learning_rate) if told else None
    shown = [
        (effect, row.arm, column.name)
        for row in rows
        for effect, column in zip(row.effects, columns, strict=True)
        if effect is not None and effect.measure == "accuracy"
    ]
    for lost, verdict in ((True, "harmed"), (False, "improved")):
        own = [one for one in shown if one[0].verdict == verdict]
        own.sort(key=lambda one: one[0].harm, reverse=lost)
        own.sort(key=lambda one: tuple(one[1].key[:2]) != about)
        for everywhere in (True, False):
            for effect, arm, test in own:
                found = _changed(panel, arm, effect.task, test, runs, lost, everywhere)
                if found is not None:
                    return found
    return None


def _changed(
    panel: Panel,
    arm: PanelArm,
    task: str,
    test: str,
    runs: Mapping[str, Run],
    lost: bool,
    everywhere: bool,
) -> Broken | None:
    """Find one answer that an arm lost or gained: in every seed, or in the first."""
    base = (
        next((runs[c.key] for c in panel.base.cells if c.key in runs), None) if panel.base else None
    )
    done = [runs[c.key] for c in arm.cells if c.key in runs and c.status == "done"]
    if base is None or not done:
        return None
    before = {a.id: a for a in _asked(base, task)}
    after = [{a.id: a for a in _asked(run, task)} for run in done]
    changed = [
        {i for i, a in own.items() if i in before and _turned(before[i], a) == lost}
        for own in after
    ]
    every = sorted(set.intersection(*changed) if everywhere else changed[0])
    if not every:
        return None
    chosen = min(every, key=lambda i: (_apart(before[i], after[0][i]), i))
    one, other = before[chosen], after[0][chosen]
    problem = base.evidence.get("problems", {}).get(task, {}).get(chosen, {})
    marked = compared(one.completion, other.completion)
    return Broken(
        arm,
        done[0].cell.seed,
        test,
        clip(str(problem.get("question") or ""), 400),
        "" if one.choices else one_line(one.gold, 60),
        *marked,
        lost,
        chosen,
        len(changed[0]),
    )


def _asked(run: Run, task: str) -> Sequence[Answer]:
    return run.answers if run.cell.task.name == task else run.probes.get(task, ())


def _turned(before: Answer, after: Answer) -> bool | None:
    """Tell whether an answer was lost; False where it was gained, None where neither."""
    if None in (before.correct, after.correct) or before.correct == after.correct:
        return None
    return bool(before.correct)


def _apart(before: Answer, after: Answer) -> int:
    """Return how far a pair of answers is from being read at a glance."""
    longest = max(len(before.completion), len(after.completion))
    return abs(longest - TYPICAL)


def compared(before: str, after: str) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
    """Mark the words of two texts that the other has not at that place.

    They are compared from the end, where two answers differ in what counts. Of long texts with
    little in common nothing is marked: all of it differs.
    """
    one, other = (
        re.findall(r"\s+|\S+", visible(clip(text.strip())))[::-1] for text in (before, after)
    )
    found: tuple[list[Word], list[Word]] = ([], [])
    pieces = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    common = sum(len("".join(one[a:b])) for tag, a, b, _, _ in pieces if tag == "equal")
    apart = 4 * common < max(len(before), len(after)) - 80
    for tag, a, b, c, d in pieces:
        for words, part in zip(found, (one[a:b], other[c:d]), strict=True):
            if part:
                words.append(Word("".join(part[::-1]), tag != "equal" and not apart))
    return tuple(found[0][::-1]), tuple(found[1][::-1])
