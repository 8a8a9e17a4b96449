"""A study becomes cells: each model, task, strategy and seed, with what decides its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from finetrap.measure.study.axes import BASE_MODEL
from finetrap.records import Cell, ModelSpec, StrategySpec, Study, TaskRef, TrainSpec


def cells_of(study: Study) -> tuple[Cell, ...]:
    """Return what has to be measured, each once: every base model first, then the grid.

    With a search these are the cells at the one rate that all share: `named_cells` has the rest.
    """
    shared = tuple(at_rate(s, study.train.learning_rate) for s in study.strategies)
    grid = [
        cell(study, model, task, strategy, seed)
        for strategies in ((BASE_MODEL,), shared if study.search else study.strategies)
        for model in study.models
        for task in study.tasks
        for strategy in strategies
        for seed in _seeds_of(study, strategy, model)
    ]
    return tuple({cell.key: cell for cell in grid}.values())


def at_rate(strategy: StrategySpec, rate: float | None) -> StrategySpec:
    """Return a strategy at another learning rate; a prompt has none."""
    return replace(strategy, learning_rate=rate) if strategy.learns else strategy


def _seeds_of(study: Study, strategy: StrategySpec, model: ModelSpec) -> Sequence[int | None]:
    """Return a strategy's seeds; given weights are one each."""
    if strategy.given:
        return range(len(strategy.weights))
    return study.seeds if _is_random(strategy, model) else (None,)


def _is_random(strategy: StrategySpec, model: ModelSpec) -> bool:
    """Whether seeds differ: a prompt with exemplars of its own has none to draw."""
    return strategy.trains or (strategy.shots > 0 and not model.prompt.exemplars)


def cell(
    study: Study, model: ModelSpec, task: TaskRef, strategy: StrategySpec, seed: int | None
) -> Cell:
    """Return one cell of a study, with what decides its numbers and no more."""
    drawn = _is_random(strategy, model)
    trained_on = (study.train_task or task) if drawn else None
    used = {task.name, trained_on.name if trained_on else task.name}
    return Cell(
        model=model,
        task=task,
        strategy=strategy,
        train=_deciding_budget(study, strategy) if drawn else TrainSpec(),
        limits=study.limits,
        seed=seed,
        trained_on=trained_on,
        probes=tuple(probe for probe in study.probes if probe.name not in used),
        replayed=study.replay_task if strategy.replay else None,
    )


def _deciding_budget(study: Study, strategy: StrategySpec) -> TrainSpec:
    """Return the part of the budget that decides this strategy's numbers, so that its key has no
    more: a prompt only draws from the training problems, and the rate is the strategy's own.

    What given weights were trained on is known where the study names one task to train on.
    """
    train = study.train
    if strategy.given:
        known = train.problems if study.train_task else 0
        return TrainSpec(problems=known, dev=train.dev if strategy.rewind else 0)
    if not strategy.trains:
        return TrainSpec(problems=train.problems, dev=train.dev)  # what exemplars are drawn from
    return replace(train.of(strategy), learning_rate=None)
