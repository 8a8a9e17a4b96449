"""What the page's tables and lists hold: findings and runs, picked and named, not yet marked up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from finetrap.findings import Findings
from finetrap.levels import CellRow, FieldChange
from finetrap.records import FORMAT, PROTOCOL, Failure, ModelSpec, Run, Study
from finetrap.report import wording
from finetrap.report.arranged.panels import Panel, PanelArm, ProbeGroup, cell_key
from finetrap.text.numbers import counted
from finetrap.text.visible import one_line

NOT_ENOUGH_DATA = "not enough data"


class Incomplete(NamedTuple):
    """What an unfinished study lacks."""

    remaining: int
    """Runs that are still to be made."""
    others: int
    """Comparisons that could not be made."""
    lines: tuple[str, ...]
    """Everything in words, what cannot be judged first."""

    @property
    def headline(self) -> str:
        """Say how much is missing, or what, where it is one thing."""
        if len(self.lines) == 1:
            return f"Not complete: {self.lines[0]}"
        parts = [f"{counted(self.remaining, 'run')} remaining"] * bool(self.remaining)
        parts += [f"{counted(self.others, 'thing')} missing"] * bool(self.others)
        return "Not complete: " + " and ".join(parts)


def incomplete(findings: Findings) -> Incomplete:
    """Word what is missing: what could not be judged before the runs that remain."""
    to_run = [one for one in findings.missing if one.remaining]
    others = [one for one in findings.missing if not one.remaining]
    lines = tuple(map(wording.missing, (*others, *to_run)))
    return Incomplete(sum(one.remaining for one in to_run), len(others), lines)


def field_tables(findings: Findings) -> dict[str, list[FieldChange]]:
    """Return the fields of JSON answers, by the title of their model and test."""
    found: dict[str, list[FieldChange]] = {}
    for line in findings.fields:
        title = f"{one_line(line.model, 40)} on {one_line(line.task, 40)}"
        found.setdefault(title, []).append(line)
    return found


def scope(panels: Sequence[Panel], groups: Sequence[ProbeGroup], findings: Findings) -> str:
    """Say in a line what was measured."""
    kept = [row for row in findings.cells if row.split != "dev"]
    seeds = {row.seed for row in kept if row.seed is not None}
    counts = [
        (len({p.key.model for p in panels}), "model"),
        (len({p.key.task for p in panels}), "task"),
        (len({probe for group in groups for probe in group.probes}), "probe"),
        (len({name for panel in panels for name in panel.strategies}), "strategy"),
        (len(seeds), "seed"),
        (len(findings.cells), "run"),
    ]
    return ", ".join(counted(count, noun) for count, noun in counts if count)


def sample_size(panels: Sequence[Panel]) -> str:
    """Say how many problems and seeds the answer about one model and task is based on."""
    effects = [e for panel in panels for e in panel.effects]
    problems, seeds = (
        max((e.n for e in effects), default=0),
        max((e.seeds for e in effects), default=0),
    )
    parts = [counted(problems, "problem"), counted(seeds, "seed")] if effects else []
    return " × ".join(parts)


def absent(findings: Findings, panels: Sequence[Panel], groups: Sequence[ProbeGroup]) -> list[str]:
    """Say what this report holds nothing about, even where the study is complete."""
    if not panels:
        return []
    probes = list(dict.fromkeys(one_line(n, 40) for group in groups for n in group.probes))
    said = (
        f"Abilities other than {', '.join(probes)}: nothing else was probed."
        if probes
        else "Forgetting: no probe was asked, so nothing is known beyond the task."
    )
    found = [said]
    trained = [e for panel in panels for e in panel.effects if e.learning_rate is not None]
    most = max((e.seeds for e in trained), default=0)
    if most == 1:
        found.append("Other seeds: one was run, so every verdict is about that checkpoint.")
    elif trained:
        found.append(f"Rare failures: {most} seeds cannot reveal them.")
    if trained and not findings.trials:
        found.append("Other learning rates: no search was made, so harm may be that of the rate.")
    if lost := sum(row.status != "done" for row in findings.cells):
        found.append(f"Answers of {counted(lost, 'run')} that failed: see What failed.")
    untested = sorted({c.id for c in findings.claims if c.verdict == "not tested"})
    if untested:
        listed = ", ".join(map(str, untested))
        found.append(f"Claims {listed} of the paper at some setting: what they need was not run.")
    blind = [
        s.suspect for d in findings.diagnoses for s in d.suspects if s.verdict == NOT_ENOUGH_DATA
    ]
    if blind:
        found.append(f"Suspects that no run could test: {', '.join(dict.fromkeys(blind))}.")
    found.append("Energy, and times on other hardware: costs are of the machine named here.")
    return found


def distances(group: ProbeGroup, panels: Sequence[Panel]) -> list[PanelArm]:
    """Return the strategies of one training task of which the divergence was measured."""
    return [
        arm
        for panel in panels
        if (panel.key.model, panel.key.trained_on) == (group.model, group.trained_on)
        for arm in panel.arms
        if arm.summary.kl_seeds
    ]


def failures(
    findings: Findings, runs: Mapping[str, Run]
) -> list[tuple[CellRow, str, Failure | None]]:
    """List the cells that ended without answers: each with its arm, and why where it is known."""
    lost = [row for row in findings.cells if row.status != "done"]
    ended = [runs.get(row.key) for row in lost]
    return [
        (row, cell_key(row).label, run.failure if run else None)
        for row, run in zip(lost, ended, strict=True)
    ]


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
        tuple(dict.fromkeys((m.name, _model_source(m), m.revision) for m in models)),
        tuple(dict.fromkeys((t.name, t.source or "", t.revision) for t in tasks)),
        PROTOCOL,
        FORMAT,
        study.source if study else "",
    )


def _model_source(model: ModelSpec) -> str:
    """Return where a model lies, and what was allowed to open it; one that is shipped lies where
    the package does."""
    _, shipped, name = model.source.partition("/finetrap/miniature/")
    parts = [f"shipped with finetrap ({name})" if shipped else model.source]
    parts += [f"an adapter on {model.base}"] * bool(model.base)
    parts += ["its own Python code was run"] * model.trust_remote_code
    parts += ["pickled weights were allowed"] * model.allow_pickle
    return ", ".join(parts)


def _flat(environment: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every fact of a nested mapping, nested names joined by a space."""
    for name, value in environment.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        elif value is not None:
            yield f"{prefix}{name}", str(value)
