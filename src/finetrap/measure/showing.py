"""What every model of a study is trained on and asked, as text and tokens: nothing is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from finetrap.backends import Row, Showing, shown_by
from finetrap.measure.problems import Problems
from finetrap.measure.strategies import naming, scored_pairs, training_rows
from finetrap.measure.study.cells import cells_of
from finetrap.records import Cell, Study


@dataclass(frozen=True)
class Shown:
    """One text that a model is given, and what should follow it."""

    model: str
    task: str
    problem: str
    training: bool
    """A training row; else a test prompt."""
    prompt: str
    target: str
    """What is trained on or scored after the prompt: of choices the first."""
    tokens: tuple[tuple[str, bool], ...]
    """The text of each token, with whether it is in the loss."""
    stops: tuple[str, ...]
    """What ends an answer beside the end of the model's turn."""


def shown_texts(study: Study) -> Iterator[Shown]:
    """Yield the first training row and the first test prompt of each model on each task.

    Raises BadInput, BadModel, ContextTooLong.
    """
    problems, cells = Problems(), cells_of(study)
    for spec in study.models:
        model = shown_by(spec, study.limits)
        own = [cell for cell in cells if cell.model == spec]
        for cell in _each_task(own, trains=True):
            problem = problems.trained(cell).problems[0]
            with naming([problem]):
                (row,) = training_rows([problem], model)
                yield _as_shown(cell, problem.id, row, model, training=True)
        for cell in _each_task(own, trains=False):
            asked = problems.asked(cell)
            pair = scored_pairs(model.form, (), asked.kind, asked.problems[:1])[0]
            yield _as_shown(cell, asked.problems[0].id, Row(*pair), model, training=False)


def _each_task(cells: list[Cell], *, trains: bool) -> Iterator[Cell]:
    """Yield the first cell that trains, or is asked without examples, for each task."""
    wanted = (cell for cell in cells if cell.strategy.trains == trains and not cell.strategy.shots)
    found: dict[str, Cell] = {}
    for cell in wanted:
        named = cell.trained_on if trains and cell.trained_on else cell.task
        found.setdefault(named.name, cell)
    yield from found.values()


def _as_shown(cell: Cell, problem: str, row: Row, model: Showing, *, training: bool) -> Shown:
    task = cell.trained_on if training and cell.trained_on else cell.task
    tokens = model.shown(row)
    if not training:
        tokens = [(text, False) for text, in_loss in tokens if not in_loss]
    return Shown(
        cell.model.name,
        task.name,
        problem,
        training,
        row.prompt,
        row.target,
        tuple(tokens),
        model.form.stops,
    )
