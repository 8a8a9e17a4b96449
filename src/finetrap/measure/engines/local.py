"""Runs remaining cells on this machine, in this process or in worker processes.

Cells are grouped by model, and cells that share a training stay together, so that one training
serves several tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby

from finetrap.events import CrewBegins, Emit, Event
from finetrap.measure.engines.machine import (
    Crew,
    Machine,
    check_workers,
    computing,
    crew,
    parameters,
    this_machine,
)
from finetrap.measure.engines.workers import (
    Group,
    Pool,
    RunGroup,
    Stopping,
    default_run_group,
)
from finetrap.measure.problems import MANY, number_asked
from finetrap.records import Cell, Keep, ModelSpec
from finetrap.runs.store import Store

GROUPS_PER_WORKER = 4
"""Of the work that is not in a group yet: fewer leave workers idle, more open models more often."""


@contextmanager
def ready(
    store: Store,
    *,
    keep: Keep,
    workers: int | None = None,
    run_group: RunGroup | None = None,
    stopping: Stopping | None = None,
    on: Machine | None = None,
) -> Iterator[Callable[[Iterable[Cell], Emit], None]]:
    """Lend what runs the cells that remain, to be called for one round after another.

    It returns when each is committed, refused or held elsewhere. `workers` = 1 stays in this
    process; None takes as many as cores and memory allow. Workers stay between the rounds, with
    what they have opened, as long as the crew is the same. Each sees one of the machine's GPUs, if
    there are any. `run_group` is `runner.run_group` unless another is given. Raises BadInput for
    workers that it cannot have, FinetrapError, StoreError, and KeyboardInterrupt once `stopping`
    says so: after each worker's next event.
    """
    machine = on or this_machine()
    check_workers(workers, machine)
    pool: Pool | None = None
    here = None

    def run_remaining(cells: Iterable[Cell], emit: Emit) -> None:
        nonlocal pool, here
        store.sweep()
        try:
            remaining = store.remaining(cells)
            for team, groups in shifts(remaining, crews_of(remaining, workers, machine)):
                emit(CrewBegins(team.workers, team.threads))
                if workers == 1:
                    here = here or run_group or default_run_group()
                    with computing(team.threads):
                        for members in groups:
                            here(members, store, keep, _stoppable(emit, stopping))
                    continue
                if pool is None or pool.team != team:
                    if pool is not None:
                        pool.close()
                    pool = Pool(store, keep, team, run_group, stopping, gpus=machine.gpus)
                pool.run(groups, emit)
        finally:
            store.sweep()

    patience = 0.0
    try:
        yield run_remaining
        patience = 10.0
    finally:
        if pool is not None:
            pool.close(patience)


def crews_of(
    cells: Iterable[Cell], workers: int | None, on: Machine | None = None
) -> dict[ModelSpec, Crew]:
    """Return the crew of each model on a machine, this one unless told."""
    return {model: crew(model, workers, on) for model in {cell.model for cell in cells}}


def shifts(
    cells: Sequence[Cell], crews: Mapping[ModelSpec, Crew]
) -> list[tuple[Crew, list[Group]]]:
    """Return each crew with the groups that it works through, in order: the largest models first.

    One crew ends before the next begins.
    """
    largest_first = sorted(cells, key=lambda cell: (-parameters(cell.model), crews[cell.model]))
    return [
        (team, group(tuple(members), team.workers))
        for team, members in groupby(largest_first, key=lambda cell: crews[cell.model])
    ]


def group(cells: Sequence[Cell], workers: int) -> list[Group]:
    """Split cells into groups of one model each: base models first, then the longest.

    One worker gets one group for each model. For several, each group takes a share of what is left,
    so that groups shrink and the last ones end together (guided self-scheduling: Polychronopoulos &
    Kuck 1987).
    """
    units: dict[object, list[Cell]] = {}
    for cell in cells:
        units.setdefault((cell.opened_as, cell.training_key()), []).append(cell)
    ordered = sorted(units.values(), key=lambda unit: (not _base_cells(unit), -_work(unit)))
    left, shares = _work(cells), GROUPS_PER_WORKER * workers
    filling: dict[str, list[Cell]] = {}
    groups: list[Group] = []
    for unit in ordered:
        open_group = filling.setdefault(unit[0].opened_as, [])
        full = _work(open_group) + _work(unit) > left / shares
        if workers > 1 and open_group and full:
            groups.append(tuple(open_group))
            left -= _work(open_group)
            open_group.clear()
        open_group.extend(unit)
    groups += [tuple(rest) for rest in filling.values()]
    return sorted(groups, key=lambda members: (not _base_cells(members), -_work(members)))


def _base_cells(cells: Sequence[Cell]) -> bool:
    return any(cell.trained_on is None for cell in cells)


def _work(cells: Iterable[Cell]) -> float:
    """Estimate the work in cells."""
    return sum(map(work, cells))


def work(cell: Cell) -> float:
    """Estimate the work in a cell, in problems times parameters; a trained one counts thrice."""
    train = cell.train
    epochs = train.of(cell.strategy).epochs if cell.strategy.learns else 0
    trained = 3 * epochs * (train.problems or MANY)
    return (1 + parameters(cell.model)) * (number_asked(cell) + trained)


def _stoppable(emit: Emit, stopping: Stopping | None) -> Emit:
    """Return what passes events on, and ends the run after one if it is to stop."""

    def pass_on(event: Event) -> None:
        emit(event)
        if stopping is not None and stopping():
            raise KeyboardInterrupt

    return pass_on
