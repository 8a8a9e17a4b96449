"""Which cells a study needs, those of its search for learning rates included, as far as is known.

Trials are cells like others: resumable, shared between studies. They are asked training
problems that are held out from training, never the test. What is tried next, and which rate is
chosen, follows from the trials on disk (trials.py), so a study is worked through in rounds: run
what can be named, and ask again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

from finetrap.errors import BadInput
from finetrap.measure.study.axes import BASE_MODEL
from finetrap.measure.study.cells import at_rate, cell, cells_of
from finetrap.records import Cell, ModelSpec, Search, StrategySpec, Study, TaskRef, content_hash
from finetrap.runs import trials
from finetrap.runs.store import Store


def named_cells(study: Study, store: Store) -> tuple[tuple[Cell, ...], int]:
    """Return every cell of a study that can be named by now, and how many searches go on.

    Once that number is zero, these are all the cells there will be. Raises StoreError.
    """
    found = list(cells_of(study))
    searches = list(_searches(study))
    if searches:
        done = frozenset(store.statuses())
        found += [_base_on_dev(study, model, task) for model, task in _trained(study)]
        plans = [(search, search.plan(store, done)) for search in searches]
        found += [trial for search, plan in plans for trial in search.trial_cells(plan)]
        found += [final for search, plan in plans for final in search.final_cells(plan.chosen)]
        going_on = sum(not plan.settled for _, plan in plans)
    else:
        going_on = 0
    return tuple({c.key: c for c in found}.values()), going_on


@dataclass(frozen=True)
class _Search:
    """The search for one training's rate: of one strategy, for one model and training task."""

    study: Study
    search: Search
    model: ModelSpec
    task: TaskRef
    training: StrategySpec
    """At the rate around which it starts."""

    @property
    def centre(self) -> float:
        """The rate around which it starts."""
        if self.training.learning_rate is None:
            raise BadInput(f"strategy '{self.training.name}' trains and has no learning rate")
        return self.training.learning_rate

    def plan(self, store: Store, done: frozenset[str]) -> trials.SearchState:
        """Replay the search over the trials that are committed."""
        tried: dict[trials.Point, trials.Tried] = {}
        while True:
            plan = trials.next_trials(self.centre, self.search, tried)
            committed = {
                key: point
                for point in plan.points
                if point not in tried and (key := self.trial(point).key) in done
            }
            if not committed:
                return plan
            for run in store.runs(committed):
                tried[committed[run.cell.key]] = trials.summed_up(run)

    def trial_cells(self, plan: trials.SearchState) -> list[Cell]:
        """Return the trials of a plan as cells; the one beyond the range is marked."""
        return [
            replace(self.trial(point), extends=point[1] == plan.extended) for point in plan.points
        ]

    def trial(self, point: trials.Point) -> Cell:
        """Return one trial: a part of the training problems at one rate, asked the dev problems."""
        share, rate = point
        final = cell(
            self.study, self.model, self.task, at_rate(self.training, rate), self.search.seed
        )
        budget = replace(final.train, share=share, with_dev=False)
        return replace(final, trained_on=self.task, train=budget, split="dev")

    def final_cells(self, chosen: float | None) -> list[Cell]:
        """Return the runs at the tuned rate: of this training, and of what goes back on it."""
        if chosen is None:
            return []
        own = [s for s in self.study.strategies if s.trains and _same(s.trained_as, self.training)]
        return [
            cell(self.study, self.model, task, at_rate(strategy, chosen), seed)
            for task in self.study.tasks
            if self.study.train_task or task == self.task
            for strategy in own
            for seed in self.study.seeds
        ]


def _searches(study: Study) -> Iterator[_Search]:
    if study.search is not None:
        for model, task in _trained(study):
            for training in _trainings(study.strategies):
                yield _Search(study, study.search, model, task, training)


def _trained(study: Study) -> list[tuple[ModelSpec, TaskRef]]:
    """Return each model with each task that it is trained on."""
    tasks = (study.train_task,) if study.train_task else study.tasks
    return [(model, task) for model in study.models for task in tasks]


def _trainings(strategies: Iterable[StrategySpec]) -> list[StrategySpec]:
    """Return the trainings to search for: a rewound strategy has the rate of its training."""
    trained = (s.trained_as for s in strategies if s.learns)
    return list({content_hash(asdict(s)): s for s in trained}.values())


def _same(one: StrategySpec, other: StrategySpec) -> bool:
    return content_hash(asdict(one)) == content_hash(asdict(other))


def _base_on_dev(study: Study, model: ModelSpec, task: TaskRef) -> Cell:
    """Return the base model on the dev problems, by which the trials' retention is told."""
    asked = cell(study, model, task, BASE_MODEL, None)
    budget = replace(asked.train, dev=study.train.dev)
    return replace(asked, split="dev", trained_on=task, train=budget)
