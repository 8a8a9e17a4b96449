"""Models × strategies × tasks: the main table, and what stands behind each of its cells.

A line is one strategy at one setting (the rate that all share, or its tuned one), so that it runs
through models and tasks even where a search chose other rates for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from finetrap.findings import Effect, Findings, Trial
from finetrap.judge.advice.noninferior import outright
from finetrap.judge.arms import Comparison, comparisons, measures
from finetrap.records import Cell, Run
from finetrap.report import wording
from finetrap.report.arranged.panels import Arm, Panel, PanelKey, Row, mean, number
from finetrap.stats.changes import ALPHA, wilson

Bests = Mapping[tuple[PanelKey, str, float | None], float]
"""Adjusted p of not being the best, by panel, strategy and rate; "" is the untouched model."""


class Line(NamedTuple):
    """One strategy at one setting, with its arm in every panel that has one."""

    strategy: str
    setting: str
    rate: float | None
    """Only where some panel has several rates of this strategy at this setting."""
    arms: Mapping[PanelKey, Arm]

    @property
    def label(self) -> str:
        """Name the strategy, and the setting where it goes not without saying."""
        name = wording.strategy(self.strategy)
        if self.rate is not None:
            name += f" {wording.rate(self.rate)}"
        return name + {"tuned": ", tuned"}.get(self.setting, "")


def lines(panels: Sequence[Panel]) -> list[Line]:
    """Arrange the arms of all panels by strategy and setting, in the order of the panels.

    An arm whose rate is fixed and tuned stands on both lines where other panels tell them apart.
    """
    settings: dict[str, set[str]] = {}
    crowded: set[tuple[str, str]] = set()
    for panel in panels:
        seen: set[tuple[str, str]] = set()
        for arm in panel.arms:
            settings.setdefault(arm.key.strategy, set()).add(arm.key.setting)
            for place in _places(arm.key.setting, settings[arm.key.strategy]):
                key = (arm.key.strategy, place)
                crowded |= {key} & seen
                seen.add(key)
    found: dict[tuple[str, str, float | None], dict[PanelKey, Arm]] = {}
    for panel in panels:
        for arm in panel.arms:
            name = arm.key.strategy
            for setting in _places(arm.key.setting, settings[name]):
                rate = arm.key.learning_rate if (name, setting) in crowded else None
                found.setdefault((name, setting, rate), {})[panel.key] = arm
    return [Line(*key, arms) for key, arms in found.items()]


def _places(setting: str, among: set[str]) -> list[str]:
    """Return the lines that an arm of a setting stands on."""
    if setting == "fixed+tuned" and among != {"fixed+tuned"}:
        return ["fixed", "tuned"]
    return [setting]


class Level(NamedTuple):
    """How good a strategy is on a task, over its seeds."""

    value: float
    """Percent of the problems, or bits per byte."""
    low: float | None
    """Wilson interval over the problems; None for bits per byte."""
    high: float | None
    measure: str
    seeds: int


def level(cells: Sequence[Row]) -> Level | None:
    """Average an arm's cells; the interval is over problems alone, at the mean of the seeds.

    Problems × seeds are never counted as independent: n stays the number of problems.
    """
    accuracy, n = mean(cells, "accuracy"), mean(cells, "n")
    if accuracy is not None and n:
        seeds = sum(number(c, "accuracy") is not None for c in cells)
        low, high = wilson(round(accuracy * round(n) / 100), round(n))
        return Level(accuracy, 100 * low, 100 * high, "accuracy", seeds)
    bits = mean(cells, "bits_per_byte")
    if bits is None:
        return None
    seeds = sum(number(c, "bits_per_byte") is not None for c in cells)
    return Level(bits, None, None, "bits_per_byte", seeds)


class Entry(NamedTuple):
    """One cell of the main table, and what it opens to."""

    level: Level | None
    """None where every seed failed."""
    effect: Effect | None
    """Change against the untouched model."""
    best: bool
    """Shown better than every other strategy of its model and task."""
    cells: tuple[Row, ...]
    """One per seed."""
    trials: tuple[Trial, ...]
    """The search that chose its learning rate."""
    settings: tuple[tuple[str, str], ...]
    """What it was trained with, by name."""
    status: str
    """How the seeds without answers ended."""


class MainRow(NamedTuple):
    """One strategy of one model on every task; None where nothing was measured."""

    model: str
    label: str
    rates: str
    """Learning rates, each with its setting."""
    entries: tuple[Entry | None, ...]
    first: bool
    """Of its model."""


class MainTable(NamedTuple):
    """Models × strategies × tasks."""

    tasks: tuple[str, ...]
    rows: tuple[MainRow, ...]

    @property
    def any_best(self) -> bool:
        """Whether some strategy is shown to be the best anywhere."""
        return any(e is not None and e.best for row in self.rows for e in row.entries)


def main_table(panels: Sequence[Panel], findings: Findings, runs: Sequence[Run]) -> MainTable:
    """Arrange every model × strategy × task, and mark what is shown to be the best."""
    columns = list(dict.fromkeys((p.key.task, p.key.trained_on) for p in panels))
    by_key = {run.cell.key: run.cell for run in runs}
    best = bests(panels, runs)
    rows: list[MainRow] = []
    for model in dict.fromkeys(p.key.model for p in panels):
        own = [p for p in panels if p.key.model == model]
        by_column = {(p.key.task, p.key.trained_on): p for p in own}
        untouched = [_untouched(by_column.get(c), best, by_key) for c in columns]
        rows.append(MainRow(model, "untouched", "", tuple(untouched), True))
        for line in lines(own):
            entries = [
                _entry(panel, line, best, findings, by_key)
                if (panel := by_column.get(column))
                else None
                for column in columns
            ]
            rows.append(MainRow(model, line.label, _rates(line), tuple(entries), False))
    titles = tuple(t if t == on else f"{t} (trained on {on})" for t, on in columns)
    return MainTable(titles, tuple(rows))


def _rates(line: Line) -> str:
    rates = dict.fromkeys(a.key.learning_rate for a in line.arms.values() if a.trains)
    text = ", ".join(wording.rate(rate) for rate in rates)
    both = any(arm.key.setting == "fixed+tuned" for arm in line.arms.values())
    return f"{text} (fixed and tuned)" if both and line.setting == "fixed+tuned" else text


def _untouched(panel: Panel | None, best: Bests, cells: Mapping[str, Cell]) -> Entry | None:
    if panel is None or not panel.baseline:
        return None
    shown = best.get((panel.key, "", None), 1.0) <= ALPHA
    own = panel.baseline
    return Entry(level(own), None, shown, own, (), tuple(_settings(own, cells)), _status(own))


def _entry(
    panel: Panel, line: Line, best: Bests, findings: Findings, cells: Mapping[str, Cell]
) -> Entry | None:
    arm = line.arms.get(panel.key)
    if arm is None:
        return None
    trials = [
        trial
        for trial in findings.trials
        if (trial.model, trial.task) == (panel.key.model, panel.key.trained_on)
        and arm.trains
        and trial.strategy == arm.key.strategy.replace("+rewind", "")
    ]
    shown = best.get((panel.key, arm.key.strategy, arm.key.learning_rate), 1.0) <= ALPHA
    return Entry(
        level(arm.cells),
        arm.effect,
        shown,
        arm.cells,
        tuple(sorted(trials, key=lambda trial: trial.learning_rate)),
        tuple(_settings(arm.cells, cells)),
        _status(arm.failed),
    )


def _status(rows: Sequence[Row]) -> str:
    lost = [str(row["status"]) for row in rows if row.get("status") not in (None, "done")]
    return ", ".join(dict.fromkeys(lost))


def _settings(rows: Sequence[Row], cells: Mapping[str, Cell]) -> Iterator[tuple[str, str]]:
    """Yield what the first of an arm's cells was trained and asked with."""
    cell = next((cells[row["key"]] for row in rows if row["key"] in cells), None)
    if cell is None:
        return
    spec, train = cell.strategy, cell.train
    if spec.shots:
        yield "examples in the prompt", str(spec.shots)
    if spec.trains:
        rate = spec.learning_rate if spec.learning_rate is not None else train.learning_rate
        yield "learning rate", wording.rate(rate)
        yield "epochs", f"{spec.epochs or train.epochs:g}"
        yield "rows per step", str(spec.batch or train.batch)
        yield "training problems", f"{train.problems:,}" if train.problems else "all"
        yield "warm-up", f"{100 * train.warmup:g}% of the steps"
    for name, value in (spec.peft or {}).items():
        yield name, ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    if spec.replay:
        yield "replayed rows", f"{100 * spec.replay:g}%"
    if spec.rewind:
        yield "λ tried", ", ".join(f"{share:g}" for share in spec.rewind)
    yield "longest answer", f"{cell.limits.max_new_tokens} tokens"
    yield "evaluated in", cell.limits.dtype


def bests(
    panels: Sequence[Panel], runs: Sequence[Run]
) -> dict[tuple[PanelKey, str, float | None], float]:
    """Test in every panel which strategy is better than every other, the untouched model too."""
    found: dict[tuple[PanelKey, str, float | None], float] = {}
    tests = [c for c in comparisons(runs) if not c.probe]
    for panel in panels:
        for comparison in tests:
            if (comparison.model, comparison.test) == panel.key[:2]:
                for (name, rate), p in _tested(comparison, panel).items():
                    found.setdefault((panel.key, name, rate), p)
    return found


def _tested(comparison: Comparison, panel: Panel) -> dict[tuple[str, float | None], float]:
    arms = [
        a for a in comparison.arms if a.answers and (a.untouched or a.trained_on == panel.key[2])
    ]
    scored = [measures(arm) for arm in arms]
    measure = scored[0][0] if scored else "accuracy"
    if len(arms) < 2 or not all(measure in each for each in scored):
        return {}
    return {
        ("" if arm.untouched else arm.label, arm.learning_rate): p
        for arm, p in zip(arms, outright(comparison, arms, measure), strict=True)
    }
