"""One cell from start to finish, and the one place where a failure becomes a record.

    load the task → open the model → adapt it → ask it the task and every probe → a Run

Cells that follow each other share what they have in common: the opened model, the loaded tasks, and
the trained solver where they differ only in what they are tested on.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from finetrap import tasks
from finetrap.backends import Model, open_model
from finetrap.errors import BadInput, Diverged, out_of_memory
from finetrap.events import Emit, Teller
from finetrap.measure import evidence, rewind, strategies
from finetrap.measure.meter import Meter, environment, flops
from finetrap.measure.strategies import Questions, Trained
from finetrap.records import (
    Answer,
    Cell,
    Costs,
    Failure,
    Limits,
    Run,
    Status,
    TaskRef,
    content_hash,
)
from finetrap.runs.store import Store

Keep = Literal["adapters", "all", "none"]


def run_group(
    cells: Sequence[Cell], store: Store, keep: Keep, emit: Emit, desk: Desk | None = None
) -> None:
    """Run what is still owed of cells that share a model, and commit each run.

    A cell that another process holds is left to it. A fault of the input (BadInput) is told and
    leaves its cell owed: it is not a measurement. A `desk` keeps what lies open for the next group.
    """
    desk = desk or Desk()
    for cell in cells:
        with store.lock(cell.key) as mine:
            if not mine or not store.owed([cell]):
                continue
            emit({"event": "cell-start", "key": cell.key, "slug": cell.slug})
            try:
                run = attempt(cell, desk, emit)
            except BadInput as fault:
                emit(
                    {
                        "event": "bad-input",
                        "key": cell.key,
                        "slug": cell.slug,
                        "message": str(fault),
                    }
                )
                continue
            store.commit(run, weights=desk.weights(cell, keep) if run.status == "done" else None)
            emit(_outcome(run))


def attempt(cell: Cell, desk: Desk, emit: Emit) -> Run:
    """Run a cell inside the one boundary that turns a failure into a recorded run."""
    meter = Meter()
    try:
        return run_cell(cell, desk, meter, emit)
    except BadInput:
        desk.clear()
        raise
    except Diverged as fault:
        run = _failed(cell, "diverged", Failure("diverged", str(fault), fault.step), desk, meter)
        return replace(run, evidence=dict(fault.curve))
    except Exception as fault:
        status: Status = "oom" if out_of_memory(fault) else "failed"
        cause = type(fault).__name__
        detail = "".join(traceback.format_exception(fault))
        return _failed(cell, status, Failure(cause, f"{fault}\n{detail}".strip()), desk, meter)


def run_cell(cell: Cell, desk: Desk, meter: Meter, emit: Emit) -> Run:
    """Measure one cell."""
    desk.teller = tell = Teller(emit, cell.key)
    with meter.phase("load"):
        asked = desk.questions(cell)
        model = desk.model(cell)
        train = desk.training_problems(cell)
    with meter.phase("evidence"):
        before = desk.before_training(cell, train)
    tokens = model.token_count()

    with meter.phase("train"):
        solver = desk.solver(cell, train)
    with meter.phase("rewind"):
        rewound = desk.rewind(solver, cell)

    with meter.phase("eval"):
        answers = desk.ask(solver, cell.task.name, asked, cell.limits)
        probes = {
            name: desk.ask(solver, name, probe, cell.limits) for name, probe in asked.probes.items()
        }
    evaluated = model.token_count() - tokens

    with meter.phase("evidence"):
        tell.phase("after")
        told = tell.rows("after", cell.task.name, len(asked.problems))
        after = evidence.after(solver, cell, asked, answers, told)
    return Run(
        cell=cell,
        status="done",
        answers=answers,
        probes=probes,
        costs=_costs(cell, solver, meter, evaluated, desk.train_s),
        evidence={**evidence.collect(solver, train, asked), **before, **rewound, **after},
        environment=environment(),
    )


def ship(cell: Cell, folder: Path, *, whole: bool) -> Path:
    """Make what a cell measured once more, and write it to be shipped; return where it lies.

    `model/` for changed weights, `adapter/` for an adapter unless `whole`, `prompt.txt` for
    examples; what lay there is replaced. Raises BadInput, Diverged.
    """
    shutil.rmtree(folder, ignore_errors=True)
    desk = Desk()
    desk.model(cell)
    solver = desk.solver(cell, desk.training_problems(cell))
    desk.rewind(solver, cell)
    folder.mkdir(parents=True, exist_ok=True)
    if not cell.strategy.trains:
        (folder / "prompt.txt").write_text(solver.prompt("{question}"), encoding="utf-8")
        return folder / "prompt.txt"
    whole = whole or cell.strategy.kind == "full"
    solver.model.save(folder, whole=whole)
    if not any(folder.iterdir()):  # an adapter on its way back that is no adapter any more
        solver.model.save(folder, whole=True)
    places = [folder / name for name in (("model", "adapter") if whole else ("adapter", "model"))]
    return next((place for place in places if place.exists()), folder)


@dataclass
class Desk:
    """What lies open between the cells of a group, and between groups."""

    opened: Model | None = None
    opened_as: object = None
    held: strategies.Solver | None = None
    held_key: str = ""
    train_s: float | None = None
    """Seconds that the held solver took to train."""
    teller: Teller = field(default_factory=Teller)
    """Tells what is done for the cell at hand."""
    _tasks: dict[str, tasks.Task] = field(default_factory=dict)
    _before: dict[object, Mapping[str, Any]] = field(default_factory=dict)
    _unmoved: dict[str, rewind.Step] = field(default_factory=dict)
    """What the untouched model does on held-out problems, at the start of every way back."""

    def clear(self) -> None:
        """Forget the model and its solver, after a failure that may have left it torn."""
        self.opened = self.opened_as = self.held = self.train_s = None
        self.held_key = ""

    def task(self, ref: TaskRef) -> tasks.Task:
        """Load a task once."""
        key = content_hash(asdict(ref))
        if key not in self._tasks:
            self._tasks[key] = tasks.load(ref)
        return self._tasks[key]

    def model(self, cell: Cell) -> Model:
        """Open the cell's model once; in the untouched state unless it holds the cell's solver."""
        wanted = (cell.model.source, cell.model.revision, cell.model.prompt, cell.limits.dtype)
        if self.opened is None or self.opened_as != wanted:
            self.clear()
            self.teller.phase("load", model=cell.model.name)
            self.opened = open_model(cell.model, cell.limits)
            self.opened_as = wanted
        elif self.held_key != cell.training_key():
            self.opened.reset()
            self.held, self.held_key, self.train_s = None, "", None
        return self.opened

    def questions(self, cell: Cell) -> Questions:
        """Return what a cell asks: test problems, or what is held out to choose settings on."""
        task = self.task(cell.task)
        problems = tasks.asked(task, cell.limits.test_problems, cell.split, cell.train.dev)
        count = cell.limits.probe_problems
        probes = {
            ref.name: Questions(found.kind, chosen)
            for ref in cell.probes
            for found in (self.task(ref),)
            if (chosen := tasks.probed(found, count, cell.split))
        }
        return Questions(task.kind, problems, probes)

    def training_problems(self, cell: Cell) -> Trained:
        """Return the seeded subset to train on or draw exemplars from, the same for all."""
        if cell.trained_on is None:
            return Trained(())
        task = self.task(cell.trained_on)
        if cell.strategy.trains and not task.train:
            raise BadInput(f"task '{task.name}' has no training problems; use it as a probe")
        problems = tasks.training(task, cell.train)
        if cell.replayed is None or cell.strategy.replay is None:
            return Trained(problems)
        source = self.task(cell.replayed)
        share = cell.strategy.replay
        count = max(1, round(len(problems) * share / (1 - share)))
        if len(source.train) < count:
            raise BadInput(
                f"replay = {share:g} of {len(problems)} training problems asks for {count} of "
                f"'{source.name}', which has {len(source.train)} to train on; lower `replay`"
            )
        replayed = tasks.sample(source.train, count, purpose=f"{source.name}/replay", seed=0)
        return Trained(problems, replayed)

    def before_training(self, cell: Cell, train: Trained) -> Mapping[str, Any]:
        """Score the training solutions with the untouched model, once for all strategies."""
        if not cell.strategy.trains or cell.split == "dev":
            return {}
        known = (self.opened_as, cell.trained_on and cell.trained_on.name, cell.train)
        if known not in self._before and self.opened is not None and self.held is None:
            self.teller.phase("before")
            told = self.teller.rows("before", cell.task.name, None)
            batch = cell.limits.batch
            self._before[known] = evidence.before(self.opened, train.problems, batch, told)
        return self._before.get(known, {})

    def ask(
        self, solver: strategies.Solver, test: str, asked: Questions, limits: Limits
    ) -> tuple[Answer, ...]:
        """Let a solver answer a test's problems."""
        self.teller.phase("answer", task=test, problems=len(asked.problems))
        told = self.teller.rows("answer", test, len(asked.problems))
        return strategies.ask(solver, asked.kind, asked.problems, limits, told)

    def solver(self, cell: Cell, train: Trained) -> strategies.Solver:
        """Adapt the model, or hand out the solver that the last cell of the group trained."""
        if self.opened is None:
            raise RuntimeError("the model is opened before it is adapted")
        if self.held is None or self.held_key != cell.training_key():
            if cell.strategy.trains:
                rows = len(train.problems) + len(train.replayed)
                self.teller.phase("train", problems=rows)
            start = time.perf_counter()
            self.held = strategies.adapt(
                self.opened,
                train.problems,
                cell.strategy,
                cell.train,
                cell.seed,
                self.teller.step,
                train.replayed,
            )
            self.held_key, self.train_s = cell.training_key(), None
            if cell.strategy.trains:
                self.train_s = round(time.perf_counter() - start, 3)
        elif cell.strategy.trains:
            self.opened.rewind(1.0)  # a cell before this one may have gone back
        return self.held

    def rewind(self, solver: strategies.Solver, cell: Cell) -> Mapping[str, Any]:
        """Go back towards the untouched weights as far as held-out problems say."""
        if not cell.strategy.rewind:
            return {}
        held_out = replace(cell, split="dev", task=cell.trained_on or cell.task)
        dev = self.questions(held_out)
        identity = held_out.identity()
        parts = ("model", "task", "probes", "limits")
        known = content_hash([cell.train.dev, *(identity[part] for part in parts)])
        self.teller.phase("rewind", steps=len(cell.strategy.rewind))
        told = self.teller.rows("rewind", held_out.task.name, None)
        settled = rewind.settle(
            solver, cell.strategy.rewind, dev, cell.limits, self._unmoved.get(known), told
        )
        first = settled["path"][0]
        if first["share"] == 0.0:
            self._unmoved[known] = first
        return {"rewind": settled}

    def weights(self, cell: Cell, keep: Keep) -> Callable[[Path], None] | None:
        """Return what writes the trained weights into a run folder, None where none are kept."""
        model = self.opened
        if model is None or keep == "none" or not cell.strategy.trains:
            return None
        whole = keep == "all"
        if cell.strategy.kind == "full" and not whole:
            return None
        return lambda folder: model.save(folder, whole=whole)


def _costs(
    cell: Cell, solver: strategies.Solver, meter: Meter, eval_tokens: int, train_s: float | None
) -> Costs:
    training, parameters = solver.training, solver.model.parameters
    trained = training.tokens if training else 0
    trainable = training.trainable if training else 0
    return Costs(
        load_s=meter.seconds.get("load"),
        train_s=train_s,
        eval_s=meter.seconds.get("eval"),
        peak_bytes=meter.peak_bytes(),
        train_tokens=trained,
        eval_tokens=eval_tokens,
        flops=flops(cell.strategy.kind, parameters, trainable, trained, eval_tokens),
        parameters=parameters,
        trainable=trainable,
        ship_bytes=solver.model.ship_bytes(),
    )


def _failed(cell: Cell, status: Status, failure: Failure, desk: Desk, meter: Meter) -> Run:
    parameters = desk.opened.parameters if desk.opened else None
    desk.clear()
    return Run(
        cell=cell,
        status=status,
        costs=Costs(
            load_s=meter.seconds.get("load"),
            train_s=meter.seconds.get("train"),
            peak_bytes=meter.peak_bytes(),
            parameters=parameters,
        ),
        environment=environment(),
        failure=failure,
    )


def _outcome(run: Run) -> dict[str, Any]:
    """Describe a committed run as an event: right answers, never a verdict."""
    right = [a.correct for a in run.answers if a.correct is not None]
    return {
        "event": "cell-done" if run.status == "done" else "cell-failed",
        "key": run.cell.key,
        "slug": run.cell.slug,
        "status": run.status,
        "n": len(run.answers),
        "right": sum(right) if right else None,
        "train_s": run.costs.train_s,
        "eval_s": run.costs.eval_s,
        "message": run.failure.message.splitlines()[0] if run.failure else None,
    }
