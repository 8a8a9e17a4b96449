"""What the page's tables and lists hold: findings and runs, picked and named, not yet marked up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from finetrap.compare import wilson
from finetrap.findings import Effect, Findings
from finetrap.records import FORMAT, PROTOCOL, Run, Study
from finetrap.report import wording
from finetrap.report.panels import ArmKey, Panel, ProbeGroup, Row, cell_key, mean, number
from finetrap.report.untrusted import clip


class Level(NamedTuple):
    """How good a strategy is on a task, over its seeds."""

    value: float
    """Percent of the problems, or bits per byte."""
    low: float | None
    """Wilson interval over the problems; None for bits per byte."""
    high: float | None
    measure: str
    seeds: int
    effect: Effect | None
    """Change against the untouched model."""


class OverviewRow(NamedTuple):
    """One strategy of one model on every task; None where nothing was measured."""

    label: str
    levels: tuple[Level | None, ...]


class Overview(NamedTuple):
    """The main table: for each model its strategies × tasks."""

    tasks: tuple[str, ...]
    models: tuple[tuple[str, tuple[OverviewRow, ...]], ...]


def overview(panels: Sequence[Panel]) -> Overview:
    """Arrange the accuracy of every model × strategy × task."""
    columns = list(dict.fromkeys((p.key.task, p.key.trained_on) for p in panels))
    models = []
    for model in dict.fromkeys(p.key.model for p in panels):
        own = {(p.key.task, p.key.trained_on): p for p in panels if p.key.model == model}
        arms = dict.fromkeys(a.key for p in own.values() for a in p.arms)
        rows = [OverviewRow("untouched", _levels(own, columns, None))]
        rows += [OverviewRow(wording.arm(*key), _levels(own, columns, key)) for key in arms]
        models.append((model, tuple(rows)))
    titles = tuple(t if t == on else f"{t} (trained on {on})" for t, on in columns)
    return Overview(titles, tuple(models))


def _levels(
    own: Mapping[tuple[str, str], Panel], columns: Sequence[tuple[str, str]], key: ArmKey | None
) -> tuple[Level | None, ...]:
    found: list[Level | None] = []
    for column in columns:
        panel = own.get(column)
        arm = next((a for a in panel.arms if a.key == key), None) if panel and key else None
        cells = arm.cells if arm else panel.baseline if panel and key is None else ()
        found.append(level(cells, arm.effect if arm else None))
    return tuple(found)


def level(cells: Sequence[Row], effect: Effect | None = None) -> Level | None:
    """Average an arm's cells; the interval is over problems alone, at the mean of the seeds.

    Problems × seeds are never counted as independent: n stays the number of problems.
    """
    accuracy, n = mean(cells, "accuracy"), mean(cells, "n")
    if accuracy is not None and n:
        seeds = sum(number(c, "accuracy") is not None for c in cells)
        low, high = wilson(round(accuracy * round(n) / 100), round(n))
        return Level(accuracy, 100 * low, 100 * high, "accuracy", seeds, effect)
    bits = mean(cells, "bits_per_byte")
    if bits is None:
        return None
    seeds = sum(number(c, "bits_per_byte") is not None for c in cells)
    return Level(bits, None, None, "bits_per_byte", seeds, effect)


class Distance(NamedTuple):
    """How far a strategy moved the distribution of the gold solutions' tokens: means over seeds."""

    label: str
    task: str
    forward: float | None
    """KL(untouched ‖ tuned), nats per token."""
    reverse: float | None
    """KL(tuned ‖ untouched), nats per token."""
    seeds: int


def distances(group: ProbeGroup, panels: Sequence[Panel]) -> list[Distance]:
    """Return the divergences that were measured of the strategies of one training task."""
    return [
        Distance(
            arm.label,
            panel.key.task,
            arm.mean("kl_forward"),
            arm.mean("kl_reverse"),
            sum(number(cell, "kl_forward") is not None for cell in arm.cells),
        )
        for panel in panels
        if (panel.key.model, panel.key.trained_on) == (group.model, group.trained_on)
        for arm in panel.arms
        if arm.mean("kl_forward") is not None
    ]


class FailedCell(NamedTuple):
    """A cell without answers, and why."""

    row: Row
    label: str
    cause: str
    step: int | None
    message: str


def failures(findings: Findings, runs: Mapping[str, Run]) -> list[FailedCell]:
    """List the cells that ended without answers."""
    listed = []
    for row in findings.cells:
        if row["status"] == "done":
            continue
        run = runs.get(row["key"])
        failure = run.failure if run else None
        cause, step, message = (
            (failure.cause, failure.step, failure.message)
            if failure
            else ("not recorded", None, "")
        )
        label = wording.arm(*cell_key(row))
        listed.append(FailedCell(row, label, cause, step, clip(message, 4000)))
    return listed


class Provenance(NamedTuple):
    """Where the numbers come from."""

    facts: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    """Hardware and versions: (name, each value with the number of runs that have it)."""
    models: tuple[tuple[str, str, str], ...]
    """(name, source, revision)."""
    tasks: tuple[tuple[str, str, str], ...]
    protocol: int
    format: int
    source: str
    """The study file's text."""


def provenance(runs: Sequence[Run], study: Study | None) -> Provenance:
    """Collect versions, hardware, revisions and the study's text."""
    values: dict[str, Counter[str]] = {}
    for run in runs:
        for name, value in _flat(run.environment):
            values.setdefault(name, Counter())[value] += 1
    models = [run.cell.model for run in runs] + list(study.models if study else ())
    cells = [run.cell for run in runs]
    tasks = [ref for c in cells for ref in (c.task, c.trained_on, *c.probes) if ref]
    tasks += [*study.tasks, *study.probes] if study else []
    return Provenance(
        tuple((name, tuple(counts.most_common())) for name, counts in sorted(values.items())),
        tuple(dict.fromkeys((m.name, _source(m.source), m.revision) for m in models)),
        tuple(dict.fromkeys((t.name, t.source or "", t.revision) for t in tasks)),
        PROTOCOL,
        FORMAT,
        study.source if study else "",
    )


def _source(source: str) -> str:
    """Return where a model lies; one that is shipped lies where the package does."""
    _, shipped, name = source.partition("/finetrap/miniature/")
    return f"shipped with finetrap ({name})" if shipped else source


def _flat(environment: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every fact of a nested mapping, nested names joined by a space."""
    for name, value in environment.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        elif value is not None:
            yield f"{prefix}{name}", str(value)
