"""Findings arranged as a reader looks at them: one panel per model × task, one arm per strategy.

An arm exists as soon as a cell of it was tried, so a strategy that diverged on every seed still has
its row. Sentences, tables, charts and the terminal all read these records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from finetrap.findings import Effect, Findings
from finetrap.records import Run, Study
from finetrap.report import wording
from finetrap.text.visible import one_line

Row = Mapping[str, Any]
"""One row of cells.csv."""
Notes = Mapping[str, Sequence[tuple[str, Effect]]]
"""Each note with the comparisons that it is about, by name."""
BASELINE = "zero-shot"


class ArmKey(NamedTuple):
    """What tells the arms of a panel apart."""

    strategy: str
    learning_rate: float | None
    setting: str
    """`fixed`, `tuned`, or `fixed+tuned` where one rate is both: one arm, shown once."""


class PanelKey(NamedTuple):
    """What tells panels apart; `trained_on` is the task itself unless a study transfers."""

    model: str
    task: str
    trained_on: str


@dataclass(frozen=True)
class Arm:
    """One strategy at one setting in one panel."""

    key: ArmKey
    cells: tuple[Row, ...]
    """One per seed, failed ones too."""
    effect: Effect | None
    """Against the untouched model; None if nothing could be compared."""
    against_best: Effect | None
    """Against the best prompt of the same model."""
    second: tuple[Effect, ...] = ()
    """The same comparisons by bits per byte of the gold solutions, where accuracy comes first."""

    @property
    def label(self) -> str:
        """Name for tables and charts."""
        return wording.arm(*self.key)

    @property
    def trains(self) -> bool:
        """Whether weights change: only such strategies have a learning rate."""
        return self.key.learning_rate is not None

    @property
    def failed(self) -> tuple[Row, ...]:
        """Cells without answers."""
        return tuple(c for c in self.cells if c.get("status") not in (None, "done"))

    def mean(self, column: str) -> float | None:
        """Return the mean over seeds of a column of cells.csv, None where nothing was measured."""
        return mean(self.cells, column)


@dataclass(frozen=True)
class Panel:
    """Everything measured about one model on one task."""

    key: PanelKey
    arms: tuple[Arm, ...]
    baseline: tuple[Row, ...]
    """Cells of the untouched model."""

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
        """Effects against the untouched model."""
        return tuple(a.effect for a in self.arms if a.effect is not None)

    @property
    def second(self) -> tuple[Effect, ...]:
        """The comparisons by bits per byte, where accuracy comes first."""
        return tuple(e for a in self.arms for e in a.second)

    @property
    def self_flips(self) -> float | None:
        """Points of its answers that the untouched model changes when it is asked again."""
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
    def every_cell(self) -> tuple[Row, ...]:
        """Cells of the untouched model, then of every arm."""
        return (*self.baseline, *(c for a in self.arms for c in a.cells))

    @property
    def costed(self) -> tuple[tuple[str, tuple[Row, ...]], ...]:
        """Every arm's name and cells, the untouched model first."""
        untouched = [("untouched", self.baseline)] if self.baseline else []
        return (*untouched, *((a.label, a.cells) for a in self.arms))


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
            (f"{wording.arm(*key)} on {one_line(probe, 40)}{by}", effect)
            for arms, by in ((self.arms, ""), (self.second, ", bits per byte"))
            for key, effects in arms
            for probe, effect in effects.items()
        )


def panels(findings: Findings, study: Study | None = None, runs: Sequence[Run] = ()) -> list[Panel]:
    """Arrange task and transfer effects and every cell, in the study's order where there is one."""
    baseline, tried = _split(findings.cells, runs)
    effects = [e for e in findings.effects if e.kind != "probe"]
    rank = _ranks(findings, study)
    keys = dict.fromkeys(
        [_panel_of_effect(e) for e in effects] + [_panel_of_cell(c) for c in tried]
    )
    covered = {key[:2] for key in keys}
    # A model and task of which only the untouched model was measured so far.
    alone = [_panel_of_cell(c) for c in baseline if (c["model"], c["task"]) not in covered]
    keys.update(dict.fromkeys(alone))
    return [
        _panel(key, effects, baseline, tried, rank)
        for key in sorted(keys, key=lambda key: _places(key, rank))
    ]


def probe_groups(findings: Findings, study: Study | None = None) -> list[ProbeGroup]:
    """Arrange the probe effects against the untouched model."""
    rank = _ranks(findings, study)
    probes = [e for e in findings.effects if e.kind == "probe" and e.against == BASELINE]
    first = _by_probe(first_measure(probes), rank)
    second = _by_probe(second_measure(probes), rank)
    return [
        ProbeGroup(*key, first[key], second.get(key, ()))
        for key in sorted(first, key=lambda key: _places(key, rank))
    ]


_ByProbe = tuple[tuple[ArmKey, Mapping[str, Effect]], ...]


def _by_probe(
    effects: Sequence[Effect], rank: Mapping[str, int]
) -> dict[tuple[str, str], _ByProbe]:
    """Return the arms of each model and training task, with their effects by probe."""
    groups: dict[tuple[str, str], dict[ArmKey, dict[str, Effect]]] = {}
    keys = _arm_keys(effects)
    for effect in effects:
        arms = groups.setdefault((effect.model, effect.trained_on), {})
        arms.setdefault(keys[id(effect)], {})[effect.task] = effect
    return {
        group: tuple(sorted(arms.items(), key=lambda arm: _order(arm[0], rank)))
        for group, arms in groups.items()
    }


def first_measure(effects: Sequence[Effect]) -> list[Effect]:
    """Keep one effect of each comparison: of accuracy, or of bits per byte where that is all."""
    scored = {_comparison(e) for e in effects if e.measure == "accuracy"}
    return [e for e in effects if e.measure == "accuracy" or _comparison(e) not in scored]


def second_measure(effects: Sequence[Effect]) -> list[Effect]:
    """Return the effects that `first_measure` leaves out: of bits per byte beside accuracy."""
    first = {id(e) for e in first_measure(effects)}
    return [e for e in effects if id(e) not in first]


def is_baseline(run: Run) -> bool:
    """Tell whether a run asked the untouched model without examples."""
    return run.cell.strategy.kind == "prompt" and run.cell.strategy.shots == 0


def cell_key(row: Row) -> ArmKey:
    """Return the arm that a cell belongs to."""
    return ArmKey(row["strategy"], number(row, "learning_rate"), row.get("setting") or "fixed")


def number(row: Row, column: str) -> float | None:
    """Return a number of cells.csv, None where it is missing."""
    value = row.get(column)
    return None if value is None or value == "" else float(value)


def mean(rows: Iterable[Row], column: str) -> float | None:
    """Return the mean of a column over the rows that have it."""
    values = [v for v in (number(row, column) for row in rows) if v is not None]
    return sum(values) / len(values) if values else None


def most(rows: Iterable[Row], column: str) -> float | None:
    """Return the largest value of a column, None where nothing was measured."""
    values = [v for v in (number(row, column) for row in rows) if v is not None]
    return max(values, default=None)


def _notes(effects: Iterable[tuple[str, Effect]]) -> Notes:
    found: dict[str, list[tuple[str, Effect]]] = {}
    for name, effect in effects:
        if effect.note:
            found.setdefault(effect.note, []).append((name, effect))
    return found


def _panel(
    key: PanelKey,
    effects: Sequence[Effect],
    baseline: Sequence[Row],
    tried: Sequence[Row],
    rank: Mapping[str, int],
) -> Panel:
    here = [e for e in effects if _panel_of_effect(e) == key]
    untouched = tuple(c for c in baseline if (c["model"], c["task"]) == key[:2])
    keys = _arm_keys(here)
    first = {(keys[id(e)], e.against): e for e in first_measure(here)}
    second = {(keys[id(e)], e.against): e for e in second_measure(here)}
    rows: dict[ArmKey, list[Row]] = {keys[id(e)]: [] for e in here if e.against == BASELINE}
    for cell in tried:
        if _panel_of_cell(cell) == key:
            rows.setdefault(cell_key(cell), []).append(cell)
    arms = [
        Arm(
            arm,
            tuple(rows[arm]),
            first.get((arm, "zero-shot")),
            first.get((arm, "best-icl")),
            tuple(e for (other, _), e in second.items() if other == arm),
        )
        for arm in sorted(rows, key=lambda a: _order(a, rank))
    ]
    return Panel(key, tuple(arms), untouched)


def _split(cells: Sequence[Row], runs: Sequence[Run]) -> tuple[list[Row], list[Row]]:
    """Return the cells of untouched models, then all others."""
    keys = {run.cell.key for run in runs if is_baseline(run)}
    sides: tuple[list[Row], list[Row]] = ([], [])
    for cell in cells:
        if cell.get("split") == "dev":
            continue
        untouched = cell["key"] in keys or cell["strategy"] == BASELINE
        sides[0 if untouched else 1].append(cell)
    return sides


def _ranks(findings: Findings, study: Study | None) -> dict[str, int]:
    """Number every name in the order in which the study, else the findings, mention it."""
    names: list[str] = []
    if study is not None:
        names += [model.name for model in study.models]
        names += [task.name for task in study.tasks]
        names += [strategy.name for strategy in study.strategies]
    for effect in findings.effects:
        names += [effect.model, effect.task, effect.strategy.partition("[")[0]]
    for row in findings.cells:
        names += [row["model"], row["task"], row["strategy"].partition("[")[0]]
    return {name: index for index, name in enumerate(dict.fromkeys(names))}


def _places(names: Iterable[str], rank: Mapping[str, int]) -> list[int]:
    return [rank.get(name, len(rank)) for name in names]


def _order(arm: ArmKey, rank: Mapping[str, int]) -> tuple[int, str, float]:
    # Namesakes with different settings are called `lora[r=4]`, `lora[r=8]`.
    name = arm.strategy.partition("[")[0]
    return rank.get(name, len(rank)), arm.strategy, arm.learning_rate or 0.0


def _arm_keys(effects: Sequence[Effect]) -> dict[int, ArmKey]:
    """Return the arm of each effect, by identity; a rate that is fixed and tuned is one arm."""
    settings: dict[tuple[str, str, str, float | None], set[str]] = {}
    for effect in effects:
        settings.setdefault(_training(effect), set()).add(effect.setting)
    return {
        id(e): ArmKey(e.strategy, e.learning_rate, "+".join(sorted(settings[_training(e)])))
        for e in effects
    }


def _training(effect: Effect) -> tuple[str, str, str, float | None]:
    return effect.model, effect.trained_on, effect.strategy, effect.learning_rate


def _comparison(effect: Effect) -> tuple[object, ...]:
    return *_training(effect), effect.setting, effect.task, effect.against


def _panel_of_effect(effect: Effect) -> PanelKey:
    return PanelKey(effect.model, effect.task, effect.trained_on or effect.task)


def _panel_of_cell(row: Row) -> PanelKey:
    return PanelKey(row["model"], row["task"], row.get("trained_on") or row["task"])
