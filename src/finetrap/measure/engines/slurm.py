"""Runs remaining cells as jobs of Slurm, through submitit: an array for each size of job.

The driver runs on a login node; the runs folder lies where all nodes see it. Each group is a job,
which Slurm starts again after its time limit, a lost node or a preemption.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from finetrap.backends.hf.device import device_wanted
from finetrap.errors import BadInput, MissingPackage
from finetrap.events import CrewBegins, Emit
from finetrap.measure.engines.local import shifts
from finetrap.measure.engines.machine import Crew, bytes_needed, crew, variables_set
from finetrap.measure.engines.sending import Assigned, Receiver, held_by, only_driver
from finetrap.measure.engines.slurm_job import STOP, GroupJob, Mail, group_of, put_group
from finetrap.measure.engines.workers import RunGroup, Stopping
from finetrap.records import Cell, Keep, ModelSpec
from finetrap.runs.store import Store

AT_ONCE = 16
"""Jobs that run at once, unless `--workers` says otherwise."""
MINUTES = 240
"""Time limit of a job, unless `--slurm time=` says otherwise; at its end it is requeued."""
TIMEOUTS = 1000
"""Times that a job is requeued at its time limit: it goes on where it was."""
_ID = "job"
_LOGS = "logs"
_PATIENCE = 3
"""Times that an ended job's folder is read: a network may be late to show its last words."""


@dataclass(kw_only=True)
class _Job(Assigned):
    """A job as its driver sees it."""

    folder: Path
    mail: Mail
    handle: Any
    ended_for: int = 0
    """Times that it was found to have ended."""


@contextmanager
def on_slurm(
    store: Store,
    *,
    keep: Keep,
    workers: int | None = None,
    run_group: RunGroup | None = None,
    stopping: Stopping | None = None,
    settings: Mapping[str, Any] = {},
    executor: Any = None,
    every: float = 2.0,
) -> Iterator[Callable[[Iterable[Cell], Emit], None]]:
    """Lend what runs remaining cells, to be called for one round after another.

    `workers` counts jobs that run at once; `settings` are sbatch's, by submitit's names. Raises
    MissingPackage, BadInput where there is no Slurm or no such setting, and StoreError where
    another driver works on this folder.
    """
    home = (store.root / ".slurm").resolve()
    executor = executor or _executor(home / _LOGS, settings)
    with only_driver(store, "slurm"):
        array = Array(store, keep, workers or AT_ONCE, run_group, stopping, executor, home)
        array.every, array.settings = every, settings
        yield array.run


class Array(Receiver):
    """The jobs of one runs folder."""

    every = 2.0
    """Seconds between two readings."""
    settings: Mapping[str, Any] = {}

    def __init__(
        self,
        store: Store,
        keep: Keep,
        workers: int,
        run_group: RunGroup | None,
        stopping: Stopping | None,
        executor: Any,
        home: Path,
    ) -> None:
        super().__init__(store)
        self.keep, self.workers, self.run_group = keep, workers, run_group
        self.stopping, self.executor, self.home = stopping, executor, home
        self.jobs: list[_Job] = []
        self._found = False

    def run(self, cells: Iterable[Cell], emit: Emit) -> None:
        """Run the cells that remain. Raises FinetrapError, KeyboardInterrupt."""
        self.emit = emit
        self.store.sweep()
        if not self._found:
            self._find()
        held = held_by(self.jobs)
        remaining = [cell for cell in self.store.remaining(cells) if cell.key not in held]
        crews = {model: self._team(model) for model in {cell.model for cell in remaining}}
        self.waiting.extend(
            (members[0].model, members)
            for _, groups in shifts(remaining, crews)
            for members in groups
        )
        while self.waiting or self.jobs:
            if not self.stopped and self.stopping is not None and self.stopping():
                self.stop()
            self._submit()
            time.sleep(self.every)
            for job in list(self.jobs):
                self._hear(job)
        self.end_round()
        shutil.rmtree(self.home, ignore_errors=True)

    def stop(self) -> None:
        """Give out no more groups; jobs that wait are cancelled, the others leave theirs."""
        super().stop()
        for job in self.jobs:
            (job.folder / STOP).touch()
            if not job.mail.files:
                with suppress(OSError, RuntimeError):
                    job.handle.cancel(check=False)

    def _find(self) -> None:
        """Take over the jobs of a driver that is gone, and what they have to tell."""
        self._found = True
        for place in sorted(self.home.glob(f"*/{_ID}")):
            members, folder = group_of(place.parent), place.parent
            handle = self.executor.job_class(self.home / _LOGS, place.read_text())
            self.jobs.append(_Job(members, folder=folder, mail=Mail(folder), handle=handle))
            self._hear(self.jobs[-1])

    def _submit(self) -> None:
        """Submit all groups that wait: those of one size as one array."""
        waiting, self.waiting = list(self.waiting), type(self.waiting)()
        for (team, memory), groups in groupby(waiting, key=lambda one: self._size(one[0])):
            jobs = []
            for _, members in groups:
                folder = self.home / secrets.token_hex(6)
                put_group(folder, members)
                jobs.append(GroupJob(folder, self.keep, self.run_group))
            self.emit(CrewBegins(team.workers, team.threads))
            self.executor.update_parameters(**self._asked_of(team, memory))
            with variables_set(OMP_NUM_THREADS=str(team.threads)):
                handles = self.executor.submit_array(jobs)
            for job, handle in zip(jobs, handles, strict=True):
                (job.folder / _ID).write_text(handle.job_id)
                found = _Job(
                    group_of(job.folder), folder=job.folder, mail=Mail(job.folder), handle=handle
                )
                self.jobs.append(found)

    def _hear(self, job: _Job) -> None:
        """Take what a job told; put back what one that ended has left."""
        over = job.handle.done()
        for kind, content in job.mail.read():
            self.take(job, kind, content)
        job.ended_for += over
        cancelled = self.stopped and not job.mail.files
        if not cancelled and (not over or (job.members and job.ended_for < _PATIENCE)):
            return
        self.jobs.remove(job)
        if job.rest and not cancelled:
            self.put_back(job, f"job {job.handle.job_id} ended without its runs")
        shutil.rmtree(job.folder, ignore_errors=True)

    def _team(self, model: ModelSpec) -> Crew:
        """Return a model's crew: threads as the local engine has them."""
        return Crew(self.workers, crew(model).threads)

    def _size(self, model: ModelSpec) -> tuple[Crew, int]:
        return self._team(model), bytes_needed(model)

    def _asked_of(self, team: Crew, memory: int) -> dict[str, Any]:
        """Return what a job asks of Slurm, by submitit's names."""
        asked: dict[str, Any] = {
            "job_name": "finetrap",
            "time": MINUTES,
            "cpus_per_task": team.threads,
            "mem": f"{-(-memory // 2**20)}M",
            "array_parallelism": self.workers,
            "additional_parameters": {"requeue": True},
        }
        if device_wanted() not in ("auto", "cpu"):
            asked["gpus_per_node"] = 1
        return {**asked, **self.settings}


def _executor(folder: Path, settings: Mapping[str, Any]) -> Any:
    """Return submitit's executor for Slurm. Raises MissingPackage, BadInput."""
    try:
        import submitit
    except ImportError as missing:
        raise MissingPackage(
            f'--engine slurm: {missing}; install it with pip install "finetrap[slurm]"'
        ) from None
    if not (shutil.which("sbatch") and shutil.which("srun")):
        raise BadInput(
            "--engine slurm: there is no sbatch here; run it on a login node of a Slurm cluster, "
            "or leave --engine out to use this machine alone"
        )
    executor = submitit.SlurmExecutor(folder, max_num_timeout=TIMEOUTS)
    try:
        executor.update_parameters(**settings)
    except ValueError as fault:
        said = " ".join(str(fault).split())
        raise BadInput(f"--slurm: {said}") from None
    return executor


def with_settings(settings: Iterable[str]) -> Callable[..., Any]:
    """Return the engine with settings of sbatch, each as KEY=VALUE. Raises BadInput."""
    read: dict[str, Any] = {}
    for entry in settings:
        key, equals, value = entry.partition("=")
        if not key or not equals or not value:
            raise BadInput(f"--slurm {entry}: expected KEY=VALUE, for example partition=gpu")
        read[key.strip().replace("-", "_")] = int(value) if value.isdecimal() else value
    return partial(on_slurm, settings=read)
