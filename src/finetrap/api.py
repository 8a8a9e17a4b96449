"""finetrap from Python, in a script or a notebook: a study, its runs, and what they show.

The objects are those of the command line: `Study` and `load` return the record that every verb
works on, `run` fills the same runs folder, and a report is the same page.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Required, TypedDict, Unpack

from finetrap import miniature, records
from finetrap.errors import MissingPackage
from finetrap.findings import Effect, Findings, Trial
from finetrap.levels import CellRow
from finetrap.measure.study import reading as studies
from finetrap.runs.store import Store

if TYPE_CHECKING:
    import pandas as pd

HEIGHT = 720
"""Pixels of a report inside a notebook; it scrolls."""

Tables = Mapping[str, Mapping[str, Any]]


class Written(TypedDict, total=False):
    """What a study says: the keys of a study file, tables as mappings."""

    name: str
    models: Required[Sequence[str]]
    tasks: Required[Sequence[str]]
    strategies: Required[Sequence[str]]
    probes: Sequence[str]
    seeds: Sequence[int]
    train: Mapping[str, Any]
    limits: Mapping[str, Any]
    search: Mapping[str, Any] | None
    judge: Mapping[str, Any]
    keep: Mapping[str, Any]
    prompt: Mapping[str, Any]
    strategy: Tables
    model: Tables
    data: Mapping[str, str | os.PathLike[str]]
    task: Tables


def Study(**written: Unpack[Written]) -> records.Study:
    """Check a study as a study file is checked, and return the record that all verbs work on.

    The keywords are the keys of a study file: `models`, `tasks` and `strategies` are needed, `name`
    is "study" unless given, and a table such as `[train]` is a mapping. Paths start from the
    working directory. `source` of the result is the study as TOML, which `finetrap run` takes.
    Raises BadStudy with all errors at once.
    """
    table = {"name": "study", **_as_toml(written)}
    return studies.check(table, at="Study(…)", base=Path.cwd(), source=_study_source(table))


def load(
    path: str | os.PathLike[str], overrides: Mapping[str, object] | None = None
) -> records.Study:
    """Read a study file, or a shipped study by its name.

    `overrides` set dotted keys before the check: `load("demo", {"train.epochs": 2, "seeds": [0]})`.
    Raises BadInput, BadStudy.
    """
    # A bare name that is no file is meant as a shipped study's.
    shipped = str(path) in miniature.studies() or not (Path(path).suffix or Path(path).exists())
    file = miniature.study(str(path)) if shipped else Path(path)
    return studies.load_study(file, _as_toml(overrides or {}))


def run(
    study: records.Study,
    runs: str | os.PathLike[str] = "runs",
    *,
    workers: int | None = None,
    retry_failed: bool = False,
    allow_code: bool = False,
    quiet: bool = False,
    engine: str = "local",
    address: str | None = None,
) -> Runs:
    """Run what remains of a study into the folder `runs`, and return the runs.

    What is there already is kept, so a call that was interrupted goes on where it was. A cell that
    failed does not raise: it is a row of `cells()`. `workers` counts processes, by default as many
    as cores and memory allow. `allow_code` runs code that comes with the study or its models, where
    the study asks for it. `engine` is where cells run, as for `finetrap run`: local, ray (at an
    `address`) or slurm. Raises BadInput for a model or data that cannot be used, at the end.
    """
    from finetrap.measure.engines import engine_named, rounds
    from finetrap.terminal import Progress

    store, where = Store(Path(runs)), engine_named(engine, address)
    with Progress(as_json=False, quiet=quiet) as progress:
        rounds.run_study(
            study,
            store,
            workers=workers,
            retry_failed=retry_failed,
            emit=progress.emit,
            allow_code=allow_code,
            engine=where,
        )
    progress.check()
    return Runs(runs, study)


class Runs:
    """The runs of a study in a folder, or all that a folder holds; nothing here needs torch."""

    def __init__(
        self, folder: str | os.PathLike[str] = "runs", study: records.Study | None = None
    ) -> None:
        self.folder = Path(folder)
        self.study = study

    def __repr__(self) -> str:
        return f"Runs({str(self.folder)!r}{f', {self.study.name!r}' if self.study else ''})"

    def findings(self) -> Findings:
        """Judge what is on disk now: verdicts, outcomes, claims, diagnoses, advice.

        While cells of the study remain, no verdict is given and nothing that rests on one.
        """
        return self._judged()[0]

    def effects(self) -> pd.DataFrame:
        """Return the rows of effects.csv: each paired change with its interval and verdict."""
        return _frame(Effect, self.findings().effects)

    def cells(self) -> pd.DataFrame:
        """Return the rows of cells.csv: each measured cell, failed ones too, with its costs."""
        return _frame(CellRow, self.findings().cells)

    def trials(self) -> pd.DataFrame:
        """Return the rows of trials.csv: each learning rate that a search tried."""
        return _frame(Trial, self.findings().trials)

    def report(self, out: str | os.PathLike[str] | None = None) -> Report:
        """Write the report with its tables and figures into `out` (`report` in the runs folder)."""
        from finetrap import report as reports
        from finetrap import tasks

        folder = Path(out) if out is not None else self.folder / "report"
        findings, measured = self._judged()
        command = f"finetrap.run(study, {str(self.folder)!r})"
        if self.study is None:
            command = f"finetrap report --runs {self.folder}"
        return Report(
            reports.write_report(
                folder,
                findings,
                measured,
                study=self.study,
                command=command,
                topics=tasks.topics(),
            )
        )

    def _judged(self) -> tuple[Findings, list[records.Run]]:
        from finetrap import judge
        from finetrap.measure.study import search

        store = Store(self.folder)
        cells = search.named_cells(self.study, store)[0] if self.study else None
        command = f"finetrap run STUDY --runs {self.folder}"
        found, runs = judge.judge_study(store, self.study, cells=cells, command=command)
        return found.withheld(), runs


@dataclass(frozen=True)
class Report:
    """A written report; the last line of a notebook's cell shows it."""

    path: Path
    """Of report.html; tables and figures lie beside it."""

    def _repr_html_(self) -> str:
        """Return the page inside a frame of its own: neither it nor the notebook touches the other.

        Its scripts run, but without the notebook's origin: model outputs are hostile text.
        """
        page = self.path.read_text("utf-8")
        # Without a base of its own, the frame's `#answer` is a place in the notebook.
        page = page.replace("<head>", '<head><base href="about:srcdoc">', 1)
        return (
            f'<iframe srcdoc="{escape(page, quote=True)}" title="finetrap report"'
            f' sandbox="allow-scripts" style="width: 100%; height: {HEIGHT}px; border: 0"></iframe>'
        )


def _as_toml(value: Any) -> Any:
    """Return Python's values as a TOML file would give them: lists, plain strings, nothing None."""
    if isinstance(value, Mapping):
        return {key: _as_toml(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple, range)):
        return [_as_toml(inner) for inner in value]
    if hasattr(value, "tolist"):  # an array or a number of numpy's
        return value.tolist()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _study_source(table: Mapping[str, Any]) -> str:
    """Write a study as TOML; a value that TOML does not know is a fault that the check tells."""
    import tomli_w

    try:
        return tomli_w.dumps(table)
    except (TypeError, ValueError):
        return ""


def _frame(kind: type, records: Iterable[object]) -> pd.DataFrame:
    """Return records of one kind as a table, as in their CSV file. Raises MissingPackage."""
    from finetrap.judge.tables import columns

    names = columns(kind)
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingPackage(
            "tables need pandas, which is not installed: pip install 'finetrap[notebook]'; "
            "report() writes the same tables as CSV"
        ) from error
    return pd.DataFrame(
        [[getattr(record, name) for name in names] for record in records], columns=list(names)
    )
