"""What stays open between cells: the model, and the solver that the last cell left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from finetrap.backends import Interpolating, Model, open_model
from finetrap.measure import disk, evidence, rewind, strategies
from finetrap.measure.meter import computed_by
from finetrap.measure.problems import Problems, dev_cell, learned_from
from finetrap.measure.remembered import Remembered, remembered
from finetrap.measure.strategies import Solver, Trained
from finetrap.measure.telling import Teller
from finetrap.records import Cell, Keep, Limits, ModelSpec, content_hash
from finetrap.runs.unfinished import NOWHERE, Checkpoint, Unfinished

Opener = Callable[[ModelSpec, Limits], Model]


class Session:
    """Keeps the last opened model and the loaded tasks for the next cell."""

    def __init__(
        self,
        opener: Opener = open_model,
        problems: Problems | None = None,
        before: str | None = None,
    ) -> None:
        self.problems = problems or Problems()
        self.loaded: LoadedModel | None = None
        self.tried: dict[str, str] = {"tried_before": before} if before else {}
        """What ended the process that first tried this session's cell, for its environment."""
        self._opener = opener
        self._opened_as = ""

    def open(self, cell: Cell, tell: Teller, unfinished: Unfinished = NOWHERE) -> LoadedModel:
        """Return the cell's model: the base model, or as the last cell left it for this one.

        `unfinished` holds what is done of the cell, before and from now on.
        """
        if self.loaded is None or self._opened_as != cell.opened_as:
            self.clear()
            tell.phase("load", model=cell.model.name)
            model = self._opener(cell.model, cell.limits)
            self.loaded = LoadedModel(remembered(model))
            self._opened_as = cell.opened_as
        self.loaded.keep_only(cell)
        self.loaded.begin(cell, tell, unfinished)
        return self.loaded

    def clear(self) -> None:
        """Forget the model and its solver, after a failure that may have left it torn."""
        self.loaded, self._opened_as = None, ""


class LoadedModel:
    """An opened model, its last solver, and what was measured of the base model."""

    def __init__(self, model: Remembered) -> None:
        self.model = model
        self._unfinished = NOWHERE
        self._solver: Solver | None = None
        self._training_key = ""
        """Of the cell that the solver was made for."""
        self._before: dict[object, Mapping[str, Any]] = {}
        self._unmoved: dict[str, rewind.Step] = {}
        """What the base model does on held-out problems, at the start of every rewind."""

    def begin(self, cell: Cell, tell: Teller, unfinished: Unfinished) -> None:
        """Go on with a cell where it stands. Raises DiskTooSmall."""
        if unfinished.folder is not None:
            disk.check_room(cell, unfinished.keep, self.model.parameters, unfinished.folder)
        made = content_hash([cell.key, computed_by()])
        self._unfinished = unfinished
        self.model.begin(unfinished.journal(made), tell.resumed)

    def keep_only(self, cell: Cell) -> None:
        """Return to the base model unless the solver is this cell's own."""
        if self._solver is not None and self._training_key != cell.training_key():
            self.model.reset()
            self._solver = None

    def before_training(self, cell: Cell, train: Trained, tell: Teller) -> Mapping[str, Any]:
        """Score the training solutions with the base model, once for all strategies."""
        if not cell.strategy.trains or not train.problems or cell.split == "dev":
            return {}
        known = (learned_from(cell), cell.limits.batch)
        if known not in self._before and self._solver is None:
            tell.phase("before")
            told = tell.rows("before", cell.task.name, None)
            batch = cell.limits.batch
            self._before[known] = evidence.before_training(self.model, train.problems, batch, told)
        return self._before.get(known, {})

    def adapt(self, cell: Cell, train: Trained, tell: Teller) -> Solver:
        """Return the cell's solver: trained now, or the one that the last cell left."""
        if self._solver is not None and self._training_key == cell.training_key():
            if cell.strategy.trains and isinstance(self.model, Interpolating):
                self.model.rewind(1.0)  # the last cell may have gone back
            return self._solver
        self.keep_only(cell)
        if cell.strategy.learns:
            tell.phase("train", problems=len(train.problems) + len(train.replayed))
        self._training_key = cell.training_key()
        if cell.strategy.given and cell.seed is not None:
            self._solver = strategies.adopt(self.model, cell.strategy.weights[cell.seed])
            return self._solver
        checkpoint = self._checkpoint(tell) if cell.strategy.trains else None
        self._solver = strategies.adapt(
            self.model,
            train.problems,
            cell.strategy,
            cell.train,
            cell.seed,
            tell.step,
            train.replayed,
            checkpoint,
        )
        return self._solver

    def _checkpoint(self, tell: Teller) -> Checkpoint | None:
        """Return where the training is kept; say if it goes on from there."""
        made = content_hash([self._training_key, computed_by()])
        checkpoint = self._unfinished.checkpoint(made)
        if checkpoint and checkpoint.step:
            tell.resumed(checkpoint.step, checkpoint.steps)
        return checkpoint

    def rewind(
        self, solver: Solver, cell: Cell, problems: Problems, tell: Teller
    ) -> Mapping[str, Any]:
        """Interpolate towards the base weights as far as held-out problems say."""
        if not cell.strategy.rewind:
            return {}
        asked = dev_cell(cell)
        identity = asked.identity()
        parts = ("model", "task", "probes", "limits")
        known = content_hash([cell.train.dev, *(identity[part] for part in parts)])
        tell.phase("rewind", steps=len(cell.strategy.rewind))
        told = tell.rows("rewind", asked.task.name, None)
        settled = rewind.settle(
            solver,
            cell.strategy.rewind,
            problems.asked(asked),
            cell.limits,
            self._unmoved.get(known),
            told,
        )
        first = settled["path"][0]
        if first["share"] == 0.0:
            self._unmoved[known] = first
        return {"rewind": settled}

    def weights(self, cell: Cell, keep: Keep) -> Callable[[Path], None] | None:
        """Return what writes the trained weights into a run folder, None where none are kept."""
        if keep.weights == "none" or not cell.strategy.learns:
            return None
        whole = keep.weights == "all"
        if cell.strategy.kind == "full" and not whole:
            return None
        return lambda folder: self.model.save(folder, whole=whole)
