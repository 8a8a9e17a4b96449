"""Findings arranged as a reader looks at them: one panel per model × task, one arm per strategy.

A strategy that diverged on every seed has its arm too. Sentences, tables and charts all read these
records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from finetrap.findings import Effect, Findings
from finetrap.judge.summary import first_measure, second_measure
from finetrap.levels import CellRow, Summary
from finetrap.records import Study
from finetrap.report import wording
from finetrap.text.visible import one_line

Notes = Mapping[str, Sequence[tuple[str, Effect]]]
"""Each note with the comparisons that it is about, by name."""
BASELINE = "zero-shot"


class ArmKey(NamedTuple):
    """What tells the arms of a panel apart."""

    strategy: str
    learning_rate: float | None
    setting: str
    """`fixed`, `tuned`, or `fixed+tuned` where one rate is both: one arm, shown once."""

    @property
    def label(self) -> str:
        """Name for tables and charts."""
        return wording.arm(*self)


class PanelKey(NamedTuple):
    """What tells panels apart; `trained_on` is the task itself unless a study transfers."""

    model: str
    task: str
    trained_on: str


@dataclass(frozen=True)
class PanelArm:
    """One strategy at one setting in one panel, or the base model itself."""

    key: ArmKey
    cells: tuple[CellRow, ...]
    """One per seed, failed ones too."""
    summary: Summary
    effect: Effect | None = None
    """Against the base model; None if nothing could be compared."""
    against_best: Effect | None = None
    """Against the best prompt of the same model."""
    second: tuple[Effect, ...] = ()
    """The same comparisons by bits per byte of the gold solutions, where accuracy comes first."""

    @property
    def label(self) -> str:
        """Name for tables and charts."""
        return "base model" if self.summary.base else self.key.label

    @property
    def trains(self) -> bool:
        """Whether weights change: only such strategies have a learning rate."""
        return self.key.learning_rate is not None

    @property
    def failed(self) -> tuple[CellRow, ...]:
        """Cells without answers."""
        return tuple(c for c in self.cells if c.status != "done")

    @property
    def ended(self) -> str:
        """How the cells without answers ended, each way once."""
        return ", ".join(dict.fromkeys(c.status for c in self.failed))


@dataclass(frozen=True)
class Panel:
    """Everything measured about one model on one task."""

    key: PanelKey
    arms: tuple[PanelArm, ...]
    base: PanelArm | None
    """The base model; None where it was not measured."""

    @property
    def title(self) -> str:
        """Name the model and the task, and the training task where it is another."""
        model, task, trained_on = (one_line(part, 40) for part in self.key)
        return f"{model} on {task}" + (f" (trained on {trained_on})" if self.transfer else "")

    @property
    def transfer(self) -> bool:
        """Whether training was on another task."""
        return self.key.trained_on != self.key.task

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Effects against the base model."""
        return tuple(a.effect for a in self.arms if a.effect is not None)

    @property
    def self_flips(self) -> float | None:
        """Points of its answers that the base model changes when it is asked again."""
        return next((e.self_flips for e in self.effects if e.self_flips is not None), None)

    @property
    def notes(self) -> Notes:
        """What to know about the comparisons."""
        effects = [(a.label, e) for a in self.arms for e in (a.effect, a.against_best) if e]
        effects += [(f"{a.label}, bits per byte", e) for a in self.arms for e in a.second]
        best = " against the best prompt"
        return _notes((name if e.against == BASELINE else name + best, e) for name, e in effects)

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies, in order: each has one colour in every chart."""
        return tuple(dict.fromkeys(a.key.strategy for a in self.arms))

    @property
    def with_base(self) -> tuple[PanelArm, ...]:
        """The base model, where it was measured, then every arm."""
        return (*((self.base,) if self.base else ()), *self.arms)


@dataclass(frozen=True)
class ProbeGroup:
    """What the solvers trained on one task did to every probe."""

    model: str
    trained_on: str
    arms: tuple[tuple[ArmKey, Mapping[str, Effect]], ...]
    """Each arm with its effects by probe name."""
    second: tuple[tuple[ArmKey, Mapping[str, Effect]], ...] = ()
    """The same by bits per byte, for the probes of which accuracy comes first."""

    @property
    def title(self) -> str:
        """Name the model and the training task."""
        model, trained_on = (one_line(n, 40) for n in (self.model, self.trained_on))
        return f"{model} trained on {trained_on}"

    @property
    def retained(self) -> bool:
        """Whether any retention is known."""
        return any(e.retention is not None for _, own in self.arms for e in own.values())

    @property
    def probes(self) -> tuple[str, ...]:
        """Names of the probes, in the order of first appearance."""
        return tuple(dict.fromkeys(name for _, effects in self.arms for name in effects))

    @property
    def notes(self) -> Notes:
        """What to know about the changes on the probes."""
        return _notes(
            (f"{key.label} on {one_line(probe, 40)}{by}", effect)
            for arms, by in ((self.arms, ""), (self.second, ", bits per byte"))
            for key, effects in arms
            for probe, effect in effects.items()
        )


def arrange(findings: Findings, study: Study | None = None) -> list[Panel]:
    """Arrange every strategy on every task, in the study's order where there is one."""
    cells = {row.key: row for row in findings.cells}
    effects: dict[tuple[str, str, str, str, float | None], list[Effect]] = {}
    for e in findings.effects:
        if e.kind != "probe":
            arm = (e.model, e.task, e.trained_on or e.task, e.strategy, e.learning_rate)
            effects.setdefault(arm, []).append(e)
    places: dict[PanelKey, list[PanelArm]] = {}
    for line in _in_order(findings, study):
        place = PanelKey(line.model, line.task, line.trained_on)
        own = () if line.base else effects.get((*place, line.strategy, line.learning_rate), ())
        arm_cells = tuple(cells[key] for key in line.cells)
        places.setdefault(place, []).append(_panel_arm(line, arm_cells, own))
    return [
        Panel(
            place,
            tuple(arm for arm in arms if not arm.summary.base),
            next((arm for arm in arms if arm.summary.base), None),
        )
        for place, arms in places.items()
    ]


def _panel_arm(line: Summary, cells: tuple[CellRow, ...], effects: Sequence[Effect]) -> PanelArm:
    """Put a strategy's changes beside its summary; one at a fixed and tuned rate is shown once."""
    first = {e.against: e for e in first_measure(effects)}
    second = tuple({e.against: e for e in second_measure(effects)}.values())
    return PanelArm(
        _key_of(line), cells, line, first.get("zero-shot"), first.get("best-icl"), second
    )


def probe_groups(findings: Findings, study: Study | None = None) -> list[ProbeGroup]:
    """Arrange the probe effects against the base model."""
    probes = [e for e in findings.effects if e.kind == "probe" and e.against == BASELINE]
    order = _in_order(findings, study)
    groups = dict.fromkeys((line.model, line.trained_on) for line in order)
    sides = [_by_probe(side, order) for side in (first_measure(probes), second_measure(probes))]
    found = [ProbeGroup(*group, *(side.get(group, ()) for side in sides)) for group in groups]
    return [group for group in found if group.arms]


_ByProbe = tuple[tuple[ArmKey, Mapping[str, Effect]], ...]


def _by_probe(
    effects: Sequence[Effect], order: Sequence[Summary]
) -> dict[tuple[str, str], _ByProbe]:
    """Return the arms of each model and training task, with their effects by probe."""
    own: dict[tuple[str, str, str, float | None], dict[str, Effect]] = {}
    for e in effects:
        own.setdefault((e.model, e.trained_on, e.strategy, e.learning_rate), {})[e.task] = e
    groups: dict[tuple[str, str], dict[ArmKey, Mapping[str, Effect]]] = {}
    for line in order:
        solver = (line.model, line.trained_on, line.strategy, line.learning_rate)
        if solver in own:
            groups.setdefault(solver[:2], {})[_key_of(line)] = own[solver]
    return {group: tuple(arms.items()) for group, arms in groups.items()}


def _key_of(line: Summary) -> ArmKey:
    return ArmKey(line.strategy, line.learning_rate, line.setting)


def cell_key(row: CellRow) -> ArmKey:
    """Return the arm that a cell belongs to."""
    return ArmKey(row.strategy, row.learning_rate, row.setting)


def _notes(effects: Iterable[tuple[str, Effect]]) -> Notes:
    found: dict[str, list[tuple[str, Effect]]] = {}
    for name, effect in effects:
        if effect.note:
            found.setdefault(effect.note, []).append((name, effect))
    return found


def _in_order(findings: Findings, study: Study | None) -> list[Summary]:
    """Sort the summaries as the study, else the findings, mention their names."""
    names: list[str] = []
    if study is not None:
        names += [model.name for model in study.models]
        names += [task.name for task in study.tasks]
        names += [strategy.name for strategy in study.strategies]
    own = {line.strategy: line.name for line in findings.summary}
    mentions = [(e.model, e.task, e.strategy) for e in findings.effects]
    mentions += [(line.model, line.task, line.strategy) for line in findings.summary]
    for model, task, strategy in mentions:
        names += [model, task, own.get(strategy, strategy)]
    rank = {name: place for place, name in enumerate(dict.fromkeys(names))}

    def place(line: Summary) -> tuple[list[int], str, float]:
        named = (line.model, line.task, line.trained_on, line.name)
        ranks = [rank.get(name, len(rank)) for name in named]
        return ranks, line.strategy, line.learning_rate or 0.0

    return sorted(findings.summary, key=place)
