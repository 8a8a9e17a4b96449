"""What a cell asks of a model, counted in tokens; nothing is computed."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from finetrap import tasks
from finetrap.backends import Counting, Interpolating
from finetrap.measure import evidence, strategies
from finetrap.measure.problems import Problems, dev_cell
from finetrap.measure.strategies import Questions, Solver
from finetrap.records import Cell, Limits, Problem, content_hash

SOME = 10_000
"""Training problems by which the length of all is told."""


def some_of(problems: Sequence[Problem]) -> Sequence[Problem]:
    """Return a sample of very many training problems, of fewer all."""
    return tasks.sample(problems, SOME, purpose="plan/rows", seed=0)


class Sort(NamedTuple):
    """What takes equally long for the same tokens."""

    test: str
    """Task or probe."""
    shots: bool
    """Whether exemplars stand before every question."""


class Asked(NamedTuple):
    """A test that is asked once, by what its time depends on."""

    sort: Sort
    rows: int
    """Prompts, or contexts with all that is scored after them."""
    batch: int
    tokens: int
    """To be read: what all rows start with, and a context of several choices, counts once."""
    read: int
    """As a run's costs count them: all of every row."""
    cap: int
    """Most new tokens of a row; 0 where nothing is written."""

    @property
    def batches(self) -> int:
        """Batches that the rows are cut into."""
        return math.ceil(self.rows / self.batch)


class Work(NamedTuple):
    """What one cell asks of its model."""

    answers: tuple[Asked, ...]
    rewind: tuple[Asked, ...] = ()
    """What is asked at each λ."""
    shares: tuple[float, ...] = ()
    again: tuple[Asked, ...] = ()
    """What the base model is asked a second time, to see how much it varies."""
    steps: int = 0
    """Optimizer steps of the training."""
    train_tokens: int = 0
    """Of all training rows seen, as a run's costs count them."""
    before_tokens: int = 0
    """Of training solutions that the base model scores."""
    moved_tokens: int = 0
    """Of solutions that tell how far the training has moved the model."""
    solution_tokens: float = 0.0
    """Mean of a training solution with its end; zero without training."""


class Counter:
    """Counts the tokens of cells of one model; keeps the tests to be timed."""

    def __init__(self, model: Counting, problems: Problems) -> None:
        self.model, self.problems = model, problems
        self.tests: dict[Sort, tuple[Solver, Questions]] = {}
        self._known: dict[tuple[str, str], tuple[int, int]] = {}

    def work(self, cell: Cell) -> Work:
        """Count what a cell asks. Raises BadInput, ContextTooLong as the run would."""
        asked, trains = self.problems.asked(cell), cell.strategy.learns
        learned = self.problems.trained(cell).problems
        count, prompt = 0 if trains else cell.strategy.shots, cell.model.prompt
        shots = strategies.exemplars(prompt, learned, count, cell.seed)
        solver = Solver(self.model, shots)
        work = Work(self._tests(solver, cell, asked))
        if trains:
            return self._training(cell, solver, asked, work)
        if cell.split == "dev" or shots or asked.kind != "math":
            return work
        some = asked._replace(problems=tuple(evidence.asked_again(asked.problems)))
        smaller = replace(cell.limits, batch=max(1, cell.limits.batch // 2))
        return work._replace(again=(self.asked(solver, work.answers[0].sort, some, smaller),))

    def _training(self, cell: Cell, solver: Solver, asked: Questions, work: Work) -> Work:
        learned = self.problems.trained(cell)
        problems = learned.all
        rows, budget = strategies.training_rows(problems, self.model), cell.train.of(cell.strategy)
        with strategies.naming(problems):
            tokens = self.model.training_tokens(rows, cell.strategy, cell.train, cell.seed or 0)
        seen, count = max(1, round(budget.epochs * len(rows))), len(learned.problems)
        scored = min(count, evidence.MOST_SCORED) + min(count, evidence.MOST_SWAPPED)
        some = strategies.training_rows(some_of(learned.problems), self.model)
        targets = self._lengths([("", row.target) for row in some])
        work = work._replace(
            steps=math.ceil(seen / budget.batch),
            train_tokens=tokens,
            solution_tokens=1 + sum(target for _, target in targets) / len(some),
        )
        if cell.strategy.rewind:
            held = dev_cell(cell)
            at_each = self._tests(solver, held, self.problems.asked(held))
            work = work._replace(rewind=at_each, shares=cell.strategy.rewind)
        if cell.split == "dev":
            return work
        work = work._replace(before_tokens=round(scored * tokens / seen))
        if asked.kind != "math" or not isinstance(self.model, Interpolating):
            return work
        share = min(1.0, evidence.MOST_DIVERGED / len(asked.problems))
        return work._replace(moved_tokens=round(share * work.answers[0].read))

    def _tests(self, solver: Solver, cell: Cell, asked: Questions) -> tuple[Asked, ...]:
        """Count the task and every probe."""
        return tuple(
            self.asked(solver, Sort(name, bool(solver.shots)), test, cell.limits)
            for name, test in [(cell.task.name, asked), *asked.probes.items()]
        )

    def asked(self, solver: Solver, sort: Sort, test: Questions, limits: Limits) -> Asked:
        """Count a test's tokens."""
        self.tests.setdefault(sort, (solver, test))
        pairs = strategies.scored_pairs(solver.model.form, solver.shots, test.kind, test.problems)
        lengths = self._lengths(pairs)
        contexts = {pair[0]: length[0] for pair, length in zip(pairs, lengths, strict=True)}
        start = os.path.commonprefix(list(contexts))  # noqa: RUF071 (characters are meant)
        shared = self._lengths([(start, "")])[0][0] if start else 0
        once = shared + sum(max(0, length - shared) for length in contexts.values())
        follows = sum(follow for _, follow in lengths)
        return Asked(
            sort,
            rows=len(test.problems),
            batch=limits.batch,
            tokens=once + follows,
            read=sum(context for context, _ in lengths) + follows,
            cap=limits.max_new_tokens if test.kind == "math" else 0,
        )

    def _lengths(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self._known))
        self._known.update(zip(new, self.model.lengths(new), strict=True))
        return [self._known[pair] for pair in pairs]


def signature(cell: Cell) -> str:
    """Name the work of a cell: cells that differ in their rate, or in the order of whole epochs,
    have the same."""
    strategy = replace(cell.strategy, learning_rate=None)
    drawn = cell.strategy.shots > 0 or not float(cell.train.epochs).is_integer()
    found = replace(cell, strategy=strategy, seed=cell.seed if drawn else None).identity()
    return content_hash(found)
