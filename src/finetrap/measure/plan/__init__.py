"""What a study will take on this machine, before anything runs.

ahead        which cells remain, in which rounds
counting     what each of them asks of a model, in tokens
calibration  the study's models, timed for seconds on a few problems, beside each other
forecast     seconds, operations and memory of every cell, and of the crew that shares them
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finetrap.backends.hf.device import visible_gpus
from finetrap.measure import disk
from finetrap.measure.engines.machine import (
    Crew,
    check_workers,
    crew,
    faster_in_bf16,
    this_machine,
)
from finetrap.measure.permission import check_code
from finetrap.measure.plan.ahead import Ahead, look_ahead
from finetrap.measure.plan.calibration import Say, calibrate
from finetrap.measure.plan.counting import signature
from finetrap.measure.plan.forecast import (
    Calibrated,
    CellForecast,
    Forecaster,
    Parts,
    Round,
    added,
    timetable,
)
from finetrap.measure.problems import Problems
from finetrap.quota import memory_total
from finetrap.records import Cell, Keep, Status, Study
from finetrap.runs.store import Store

__all__ = ["StudyPlan", "plan_studies", "plan_study"]


@dataclass(frozen=True)
class StudyPlan:
    """What a study will take."""

    cells: tuple[Cell, ...]
    statuses: Mapping[str, Status]
    """Of the cells that are done or failed, by key."""
    rounds: tuple[Round, ...]
    """With completions as long as the base model's."""
    asked: Mapping[str, int]
    """Problems of each test that have right answers."""
    like_solutions: float
    """Seconds if trained models write as much as the solutions that they are trained on."""
    keep: Keep = field(default_factory=Keep)
    folder: Path = Path()
    """Where the runs will be."""

    @property
    def failed(self) -> int:
        """How many cells ended without answers."""
        return sum(status != "done" for status in self.statuses.values())

    @property
    def remaining(self) -> tuple[CellForecast, ...]:
        """The cells that will be run, in order."""
        return tuple(cell for found in self.rounds for cell in found.cells)

    @property
    def seconds(self) -> float:
        """From the start of the run to its end, judging left out."""
        return sum(found.seconds for found in self.rounds)

    @property
    def bytes(self) -> int | None:
        """Memory that all workers may hold at once; None where the system cannot tell."""
        held = [
            found.at_once * max(cell.bytes or 0 for cell in found.cells) for found in self.rounds
        ]
        return max(held, default=0) or None

    @property
    def disk_bytes(self) -> int:
        """Most that the remaining cells will take in the runs folder, all workers together."""
        kept, most = 0, 0
        for found in self.rounds:
            told = [
                disk.foretold(c.cell, self.keep, c.parameters, c.trainable) for c in found.cells
            ]
            beside = max((one.most - one.kept for one in told), default=0)
            kept += sum(one.kept for one in told)
            most = max(most, kept + found.at_once * max(0, beside))
        return most

    @property
    def parts(self) -> Parts:
        """Seconds of all workers together, by what they go to."""
        starting = sum(found.starting for found in self.rounds)
        return added([Parts(loading=starting), *(cell.parts for cell in self.remaining)])

    def notes(self) -> list[str]:
        """Say what the numbers suppose, and what is wrong with the machine for them."""
        found = [
            "assumes outputs as long as the base model's; "
            f"{self.like_solutions:.0f} s if trained models write as much as their solutions"
        ]
        later = sum(len(r.cells) for r in self.rounds[1:])
        if later:
            found.append(
                f"{later} cells assume that each search chooses the rate it starts from; one that "
                "chooses the edge of its range tries one more"
            )
        return [*found, *_in_bf16(self.remaining)] if self.remaining else []

    def warnings(self) -> list[str]:
        """Say what will not fit."""
        have, free, found = memory_total(), disk.free_bytes_of(self.folder), []
        if free < self.disk_bytes:
            found.append(
                f"the runs may take {self.disk_bytes / 1e9:.2f} GB and {self.folder} has "
                f"{free / 1e9:.2f} free; free space there, choose another place (--runs FOLDER), "
                'or write [keep] weights = "none" or checkpoints = "never"'
            )
        if visible_gpus() or self.bytes is None or self.bytes <= have:
            return found
        return [
            *found,
            f"the workers may hold {self.bytes / 1e9:.1f} GB at once and the machine has "
            f"{have / 1e9:.1f}; use fewer --workers, or a smaller [train] batch or [limits] batch",
        ]

    def as_json(self) -> dict[str, Any]:
        """Return totals, parts, and a row for every cell."""
        remaining = self.remaining
        return {
            "cells": len(self.cells),
            "done": len(self.statuses) - self.failed,
            "failed": self.failed,
            "remaining": len(remaining),
            "seconds": round(self.seconds, 1),
            "seconds_like_solutions": round(self.like_solutions, 1),
            "bytes": self.bytes,
            "disk_bytes": self.disk_bytes,
            "flops": sum(cell.flops for cell in remaining),
            "train_tokens": sum(cell.train_tokens for cell in remaining if cell.trains),
            "eval_tokens": sum(cell.eval_tokens for cell in remaining),
            "rounds": [
                {"cells": len(r.cells), "seconds": round(r.seconds, 1), "workers": r.at_once}
                for r in self.rounds
            ],
            "worker_seconds": {k: round(v, 1) for k, v in asdict(self.parts).items()},
            "dominates": self.dominates(),
            "notes": self.notes(),
            "warnings": self.warnings(),
            "list": [
                *(
                    _ended(cell, self.statuses[cell.key])
                    for cell in self.cells
                    if cell.key in self.statuses
                ),
                *(
                    _remaining_row(cell, number)
                    for number, r in enumerate(self.rounds)
                    for cell in r.cells
                ),
            ],
        }

    def dominates(self) -> dict[str, Any] | None:
        """Return the part and the strategy that take the most of the workers' seconds."""
        total = self.parts.total
        if not total:
            return None
        part, seconds = max(asdict(self.parts).items(), key=lambda item: item[1])
        by_strategy: dict[str, float] = defaultdict(float)
        for cell in self.remaining:
            by_strategy[cell.cell.strategy.name] += cell.parts.total
        strategy = max(by_strategy, key=lambda name: by_strategy[name])
        return {
            "part": part,
            "part_share": round(seconds / total, 3),
            "strategy": strategy,
            "strategy_share": round(by_strategy[strategy] / total, 3),
        }


def plan_study(study: Study, store: Store, *, workers: int | None = None, say: Say) -> StudyPlan:
    """Plan what remains of a study; `say` is told what is being timed.

    Raises BadInput for what the run would refuse, FinetrapError where a calibrator died.
    """
    return plan_studies([study], store, workers=workers, say=say)[0]


def plan_studies(
    studies: Sequence[Study],
    store: Store,
    *,
    workers: int | None = None,
    say: Say,
    allow_code: bool = False,
) -> list[StudyPlan]:
    """Plan studies of the same models, which are timed once for all. Raises BadInput for code of
    others unless `allow_code`."""
    for study in studies:
        check_code(study, allowed=allow_code)
    check_workers(workers, this_machine())
    found = [look_ahead(study, store) for study in studies]
    asked = [_problems_asked(one.cells) for one in found]
    known = _calibrated(found, workers, say)
    statuses = store.statuses()
    plans: list[StudyPlan] = []
    for one, problems in zip(found, asked, strict=True):
        told, other = (
            timetable(one.rounds, workers, Forecaster(known, like_solutions=flag))
            for flag in (False, True)
        )
        ended = {cell.key: statuses[cell.key] for cell in one.cells if cell.key in statuses}
        like_solutions = sum(r.seconds for r in other)
        where = (studies[len(plans)].keep, store.root)
        plans.append(StudyPlan(one.cells, ended, tuple(told), problems, like_solutions, *where))
    return plans


def _in_bf16(remaining: Sequence[CellForecast]) -> list[str]:
    """Say for which models training in bfloat16 would be faster here, if there are any."""
    exact = (told.cell for told in remaining if told.trains and told.cell.train.dtype == "fp32")
    names = sorted({cell.model.name for cell in exact if faster_in_bf16(cell.model)})
    if not names:
        return []
    return [
        f'[train] dtype = "bf16" would train {", ".join(names)} faster on this machine; it is '
        "another measurement, so all that is trained is measured anew"
    ]


def _problems_asked(cells: Sequence[Cell]) -> dict[str, int]:
    """Return the problems of each test, prose left out. Raises BadInput, BadData."""
    problems, found = Problems(), {}
    for cell in cells:
        if cell.split == "test" and not cell.trained_on:
            asked = problems.asked(cell)
            for name, test in {**asked.probes, cell.task.name: asked}.items():
                if test.kind != "prose":
                    found[name] = len(test.problems)
    return found


def _calibrated(found: Sequence[Ahead], workers: int | None, say: Say) -> dict[str, Calibrated]:
    """Calibrate every model that has remaining cells, beside as many as the run will have."""
    remaining = {cell.key for one in found for cells in one.rounds for cell in cells}
    every = [cell for one in found for cell in one.cells]
    running = {cell.opened_as for cell in every if cell.key in remaining}
    jobs: dict[Crew, dict[str, dict[str, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for cell in sorted(every, key=_base_last, reverse=True):
        if cell.opened_as in running and (cell.key in remaining or _base_last(cell)):
            team = crew(cell.model, workers)
            jobs[team][cell.opened_as].setdefault(signature(cell), cell)
    known: dict[str, Calibrated] = {}
    for team, models in jobs.items():
        known.update(zip(models, calibrate(list(models.values()), team, say), strict=True))
    return known


def _base_last(cell: Cell) -> bool:
    return cell.trained_on is None and cell.split == "test"


def _remaining_row(told: CellForecast, number: int) -> dict[str, Any]:
    """Return a remaining cell's row; `round` counts from 1."""
    return {
        **_cell_names(told.cell),
        "status": "remaining",
        "round": number + 1,
        "seconds": round(told.parts.total, 2),
        "parts": {name: round(seconds, 2) for name, seconds in asdict(told.parts).items()},
        "trains": told.trains,
        "train_tokens": told.train_tokens,
        "eval_tokens": told.eval_tokens,
        "flops": told.flops,
        "bytes": told.bytes,
    }


def _ended(cell: Cell, status: Status) -> dict[str, Any]:
    return {**_cell_names(cell), "status": status, "seconds": 0.0}


def _cell_names(cell: Cell) -> dict[str, Any]:
    return {
        "key": cell.key,
        "cell": cell.slug,
        "model": cell.model.name,
        "task": cell.task.name,
        "strategy": cell.strategy.name,
        "learning_rate": cell.strategy.learning_rate,
        "seed": cell.seed,
        "split": cell.split,
    }
