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
from finetrap.report.untrusted import one_line

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
    def notes(self) -> Notes:
        """What to know about the comparisons."""
        effects = [(a.label, e) for a in self.arms for e in (a.effect, a.against_best) if e]
        best = " against the best prompt"
        return _notes((name if e.against == BASELINE else name + best, e) for name, e in effects)

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

    @property
    def title(self) -> str:
        """Name the model and the training task."""
        model, trained_on = (one_line(n, 40) for n in (self.model, self.trained_on))
        return f"{model} trained on {trained_on}"

    @property
    def probes(self) -> tuple[str, ...]:
        """Names of the probes, in the order of first appearance."""
        return tuple(dict.fromkeys(name for _, effects in self.arms for name in effects))

    @property
    def notes(self) -> Notes:
        """What to know about the changes on the probes."""
        return _notes(
            (f"{wording.arm(*key)} on {one_line(probe, 40)}", effect)
            for key, effects in self.arms
            for probe, effect in effects.items()
        )


def panels(findings: Findings, study: Study | None = None, runs: Sequence[Run] = ()) -> list[Panel]:
    """Arrange task and transfer effects and every cell, in the study's order where there is one."""
    baseline, tried = _split(findings.cells, runs)
    effects = [e for e in first_measure(findings.effects) if e.kind != "probe"]
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
    groups: dict[tuple[str, str], dict[ArmKey, dict[str, Effect]]] = {}
    for effect in first_measure(findings.effects):
        if effect.kind == "probe" and effect.against == BASELINE:
            arms = groups.setdefault((effect.model, effect.trained_on), {})
            arms.setdefault(_arm_of(effect), {})[effect.task] = effect
    return [
        ProbeGroup(model, trained_on, tuple(sorted(arms.items(), key=lambda a: _order(a[0], rank))))
        for (model, trained_on), arms in sorted(groups.items(), key=lambda g: _places(g[0], rank))
    ]


def first_measure(effects: Sequence[Effect]) -> list[Effect]:
    """Keep one effect of each comparison: of accuracy, or of bits per byte where that is all."""
    scored = {_comparison(e) for e in effects if e.measure == "accuracy"}
    return [e for e in effects if e.measure == "accuracy" or _comparison(e) not in scored]


def is_baseline(run: Run) -> bool:
    """Tell whether a run asked the untouched model without examples."""
    return run.cell.strategy.kind == "prompt" and run.cell.strategy.shots == 0


def cell_key(row: Row) -> ArmKey:
    """Return the arm that a cell belongs to."""
    return ArmKey(row["strategy"], number(row, "learning_rate"), row.get("setting") or "fixed")


def cell_keys(row: Row) -> list[ArmKey]:
    """Return the arms that a cell belongs to: two where its rate is both fixed and tuned."""
    key = cell_key(row)
    return [key._replace(setting=setting) for setting in key.setting.split("+")]


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
    found = {(_arm_of(e), e.against): e for e in here}
    rows: dict[ArmKey, list[Row]] = {_arm_of(e): [] for e in here if e.against == BASELINE}
    for cell in tried:
        if _panel_of_cell(cell) == key:
            for arm in cell_keys(cell):
                rows.setdefault(arm, []).append(cell)
    arms = [
        Arm(arm, tuple(rows[arm]), found.get((arm, "zero-shot")), found.get((arm, "best-icl")))
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


def _arm_of(effect: Effect) -> ArmKey:
    return ArmKey(effect.strategy, effect.learning_rate, effect.setting)


def _comparison(effect: Effect) -> tuple[str, str, str, str, ArmKey]:
    return effect.model, effect.task, effect.against, effect.trained_on, _arm_of(effect)


def _panel_of_effect(effect: Effect) -> PanelKey:
    return PanelKey(effect.model, effect.task, effect.trained_on or effect.task)


def _panel_of_cell(row: Row) -> PanelKey:
    return PanelKey(row["model"], row["task"], row.get("trained_on") or row["task"])
