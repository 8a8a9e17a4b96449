"""Which problems a cell trains on and is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

from finetrap import tasks
from finetrap.errors import BadInput
from finetrap.measure.strategies import Questions, Trained
from finetrap.records import Cell, TaskRef, content_hash

MANY = 10_000
"""Problems assumed where a study takes all of them."""


class Problems:
    """Chooses the problems of cells; each task is loaded once."""

    def __init__(self, load: Callable[[TaskRef], tasks.Task] = tasks.load) -> None:
        self._load = load
        self._tasks: dict[str, tasks.Task] = {}

    def asked(self, cell: Cell) -> Questions:
        """Return what a cell asks: test problems, or what is held out to choose settings on."""
        task = self._task(cell.task)
        problems = tasks.asked(task, cell.limits.test_problems, cell.split, cell.train.dev)
        if cell.split == "test" and not task.test:
            raise BadInput(f"task '{task.name}' has no test problems; it can only be trained on")
        count = cell.limits.probe_problems
        probes = {
            ref.name: Questions(found.kind, chosen, available=len(found.test))
            for ref in cell.probes
            for found in (self._task(ref),)
            if (chosen := tasks.probed(found, count, cell.split))
        }
        return Questions(task.kind, problems, probes, len(task.test))

    def trained(self, cell: Cell) -> Trained:
        """Return the seeded subset to train on or draw exemplars from, the same for all."""
        if cell.trained_on is None:
            return Trained(())
        if cell.strategy.given and cell.train.problems == 0:
            return Trained(())  # what it was trained on is not known
        task = self._task(cell.trained_on)
        if cell.strategy.trains and not task.train:
            raise BadInput(f"task '{task.name}' has no training problems; use it as a probe")
        problems = tasks.training(task, cell.train)
        if cell.replayed is None or cell.strategy.replay is None:
            return Trained(problems)
        source = self._task(cell.replayed)
        share = cell.strategy.replay
        count = max(1, round(len(problems) * share / (1 - share)))
        if len(source.train) < count:
            raise BadInput(
                f"replay = {share:g} of {len(problems)} training problems asks for {count} of "
                f"'{source.name}', which has {len(source.train)} to train on; lower `replay`"
            )
        replayed = tasks.sample(source.train, count, purpose=f"{source.name}/replay", seed=0)
        return Trained(problems, replayed)

    def _task(self, ref: TaskRef) -> tasks.Task:
        key = content_hash(asdict(ref))
        if key not in self._tasks:
            self._tasks[key] = self._load(ref)
        return self._tasks[key]


def number_asked(cell: Cell) -> int:
    """Estimate how many problems a cell asks, before any task is read."""
    limits = cell.limits
    return (limits.test_problems or MANY) + len(cell.probes) * (limits.probe_problems or MANY)


def learned_from(cell: Cell) -> str:
    """Name what decides which problems of its task a cell trains on; its seed does not."""
    ref, train = cell.trained_on, cell.train
    known = None if ref is None else ref.identity()
    return content_hash([known, train.problems, train.dev, train.with_dev, train.share])


def dev_cell(cell: Cell) -> Cell:
    """Return what a rewind asks: the problems held out of the task that the cell trains on."""
    return replace(cell, split="dev", task=cell.trained_on or cell.task)
