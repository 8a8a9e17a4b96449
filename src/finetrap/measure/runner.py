"""One cell from start to finish, and the one place where a failure becomes a record.

    load the task → open the model → adapt it → ask it the task and every probe → a Run

Cells that follow each other share what they have in common: the opened model, the loaded tasks, and
the trained solver where they differ only in what they are tested on.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from finetrap.backends import Derived, Fitting, Model, Told
from finetrap.errors import (
    BadInput,
    DiskTooSmall,
    Diverged,
    MachineFault,
    MemoryTaken,
    machine_fault,
    out_of_memory,
)
from finetrap.events import CellHeld, CellLeft, CellRefused, Emit, cell_begins, cell_ends
from finetrap.measure import evidence, strategies
from finetrap.measure.meter import Meter, environment, flops, held_by_others
from finetrap.measure.session import Session
from finetrap.measure.strategies import Questions, Solver
from finetrap.measure.telling import Teller
from finetrap.records import Answer, Cell, Costs, Failure, Keep, Run, Status
from finetrap.runs.store import Store
from finetrap.runs.unfinished import NOWHERE, Unfinished


def run_group(
    cells: Sequence[Cell], store: Store, keep: Keep, emit: Emit, session: Session | None = None
) -> None:
    """Run what remains of cells that share a model, and commit each run.

    A cell that another process holds is left to it, and told. A fault of the input (BadInput),
    memory that others hold and a disk without room are told and leave their cell remaining: they
    are no measurement. Any other fault of the machine ends the study. A `session` keeps what is
    open for the next group. Raises MachineFault.
    """
    session = session or Session()
    for number, cell in enumerate(cells, start=1):
        kept = closing(store.unfinished(cell, keep))
        with store.lock(cell.key) as mine, kept as unfinished:
            if not mine:
                emit(_held(cell, store))
                continue
            if not store.remaining([cell]):
                continue
            emit(cell_begins(cell))
            try:
                run = attempt(cell, session, emit, unfinished, (store.root,))
            except BadInput as fault:
                emit(CellRefused(cell.key, cell.slug, str(fault)))
                continue
            except (MemoryTaken, DiskTooSmall) as fault:
                emit(CellLeft(cell.key, cell.slug, str(fault)))
                continue
            weights = session.loaded.weights(cell, keep) if session.loaded else None
            store.commit(run, weights=weights)
            heir = _same_training(cell, store.remaining(cells[number:]))
            if heir is not None:
                unfinished.hand_on(store.unfinished(heir, keep))
            unfinished.remove()
            emit(cell_ends(run))


def _held(cell: Cell, store: Store) -> CellHeld:
    """Return what is told of a cell that another process measures."""
    holder = store.holder(cell.key)
    if holder is None:
        return CellHeld(cell.key, cell.slug, None, None, None, False)
    since = datetime.fromtimestamp(holder.since).astimezone().isoformat(" ", "seconds")
    return CellHeld(cell.key, cell.slug, holder.host, holder.pid, since, holder.by_file)


def _same_training(cell: Cell, others: Sequence[Cell]) -> Cell | None:
    """Return the next cell, if there is one, that needs the training of this one."""
    found = (other for other in others if other.training_key() == cell.training_key())
    return next(found, None) if cell.strategy.trains else None


def attempt(
    cell: Cell,
    session: Session,
    emit: Emit,
    unfinished: Unfinished = NOWHERE,
    places: Sequence[Path] = (),
) -> Run:
    """Run a cell inside the one boundary that turns a failure into a recorded run.

    What is no failure of the cell's is raised: BadInput, and MachineFault, which says how much is
    free in `places`.
    """
    meter = Meter()
    try:
        return run_cell(cell, session, meter, emit, unfinished)
    except (BadInput, MachineFault):
        session.clear()
        raise
    except Diverged as fault:
        run = _failed(cell, "diverged", Failure("diverged", str(fault), fault.step), session, meter)
        return replace(run, evidence=dict(fault.curve))
    except Exception as fault:
        status: Status = "oom" if out_of_memory(fault) else "failed"
        others = held_by_others() if status == "oom" else None
        if machine := others or machine_fault(fault, *places, gettempdir()):
            session.clear()
            raise machine from fault
        cause, said = type(fault).__name__, str(fault).strip() or type(fault).__name__
        detail = "".join(traceback.format_exception(fault))
        return _failed(cell, status, Failure(cause, f"{said}\n{detail}".strip()), session, meter)


def run_cell(
    cell: Cell, session: Session, meter: Meter, emit: Emit, unfinished: Unfinished = NOWHERE
) -> Run:
    """Measure one cell, or what is left of it: load, adapt, ask, and tell what it cost."""
    tell = Teller(emit, cell.key)
    with meter.phase("load"):
        asked = session.problems.asked(cell)
        loaded = session.open(cell, tell, unfinished)
        train = session.problems.trained(cell)
        meter.earlier_s = loaded.model.earlier_s
    with meter.phase("evidence"):
        before = loaded.before_training(cell, train, tell)
    read_before = loaded.model.tokens_read
    _take_rows_held(loaded.model.model)  # what the last cell met

    with meter.phase("train"):
        solver = loaded.adapt(cell, train, tell)
    with meter.phase("rewind"):
        rewound = loaded.rewind(solver, cell, session.problems, tell)

    with meter.phase("eval"):
        answers = _ask(cell, solver, cell.task.name, asked, tell)
        probes = {
            name: _ask(cell, solver, name, probe, tell) for name, probe in asked.probes.items()
        }
    read = loaded.model.tokens_read - read_before

    with meter.phase("again"):
        varied = evidence.variation(solver, cell, asked, answers, tell)
    with meter.phase("evidence"):
        tell.phase("after")
        after = evidence.after_training(solver, cell, asked, answers)
    return Run(
        cell=cell,
        status="done",
        answers=answers,
        probes=probes,
        costs=_costs(cell, solver, meter, read),
        evidence={
            **evidence.collect(solver, train, asked),
            **before,
            **rewound,
            **varied,
            **after,
            **_take_rows_held(loaded.model.model),
        },
        environment={**environment(), **_about(loaded.model.model), **session.tried},
    )


def _take_rows_held(model: Model) -> Mapping[str, int]:
    """Say how many rows the memory held at once since this was last taken, if fewer than asked."""
    held = model.take_rows_held() if isinstance(model, Fitting) else None
    return {} if held is None else {"rows_at_once": held}


def _about(model: Model) -> Mapping[str, Any]:
    """Say what weights came from, where that is more than a checkpoint, and how they are read."""
    made_from = model.made_from if isinstance(model, Derived) else {}
    found: dict[str, Any] = {"model": dict(made_from)} if made_from else {}
    return {**found, "read": dict(model.how_read)} if isinstance(model, Told) else found


def _ask(
    cell: Cell, solver: Solver, test: str, asked: Questions, tell: Teller
) -> tuple[Answer, ...]:
    """Let a solver answer a test's problems."""
    tell.phase("answer", task=test, problems=len(asked.problems))
    told = tell.rows("answer", test, len(asked.problems))
    return strategies.ask(solver, asked.kind, asked.problems, cell.limits, told)


def _costs(cell: Cell, solver: Solver, meter: Meter, eval_tokens: int) -> Costs:
    training, parameters = solver.training, solver.model.parameters
    trained = training.tokens if training else 0
    trainable = training.trainable if training else 0
    return Costs(
        load_s=meter.seconds.get("load"),
        train_s=solver.train_s,
        eval_s=meter.seconds.get("eval"),
        again_s=meter.seconds["again"] if cell.strategy.is_base else None,
        peak_bytes=meter.peak_bytes(),
        train_tokens=trained,
        eval_tokens=eval_tokens,
        flops=flops(cell.strategy.kind, parameters, trainable, trained, eval_tokens),
        parameters=parameters,
        trainable=trainable,
        ship_bytes=solver.model.ship_bytes,
    )


def _failed(cell: Cell, status: Status, failure: Failure, session: Session, meter: Meter) -> Run:
    parameters = session.loaded.model.parameters if session.loaded else None
    session.clear()
    return Run(
        cell=cell,
        status=status,
        costs=Costs(
            load_s=meter.seconds.get("load"),
            train_s=meter.seconds.get("train"),
            peak_bytes=meter.peak_bytes(),
            parameters=parameters,
        ),
        environment={**environment(), **session.tried},
        failure=failure,
    )
