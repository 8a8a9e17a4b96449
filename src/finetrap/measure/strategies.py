"""A strategy turns a model and training problems into a solver.

Zero-shot and few-shot return the model with a prompt; full fine-tuning and adapters return a
changed model. After `adapt` every strategy is asked in the same way, so the comparison cannot treat
two of them differently by accident. Test problems never reach `adapt`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from finetrap import tasks
from finetrap.backends import Adopting, Completion, Model, Progress, Row, Scored, Showing, Training
from finetrap.errors import BadInput, ContextTooLong, Unsupported
from finetrap.events import Part, Told
from finetrap.records import (
    UNENDED,
    Answer,
    Limits,
    ModelSpec,
    Problem,
    StrategySpec,
    TaskKind,
    TrainSpec,
)
from finetrap.references import PromptSpec
from finetrap.runs.prepared import Lazy
from finetrap.runs.unfinished import Checkpoint
from finetrap.text import prompts, scorers, scoring


@dataclass(frozen=True)
class Solver:
    """A model and the exemplars that stand before every question."""

    model: Model
    shots: tuple[prompts.Shot, ...] = ()
    training: Training | None = None
    train_s: float | None = None
    """Seconds that the training took."""

    def prompt(self, question: str, choices: Sequence[str] = ()) -> str:
        """Write the prompt of a question, exemplars first."""
        return self.model.form.prompt(question, self.shots, choices)

    def target(self, solution: str, choices: Sequence[str] = ()) -> str:
        """Write the gold solution as it would follow the prompt."""
        return self.model.form.target(solution, choices)


class Trained(NamedTuple):
    """What a strategy may learn from."""

    problems: Sequence[Problem]
    replayed: Sequence[Problem] = ()

    @property
    def all(self) -> Sequence[Problem]:
        """The problems that are trained on, those of the task first."""
        return tasks.joined(self.problems, self.replayed)


class Questions(NamedTuple):
    """What a solver is asked."""

    kind: TaskKind
    problems: tuple[Problem, ...]
    probes: Mapping[str, Questions] = {}
    available: int = 0
    """Problems that the test has, asked or not."""


def adapt(
    model: Model,
    train: Sequence[Problem],
    strategy: StrategySpec,
    budget: TrainSpec,
    seed: int | None,
    progress: Progress | None = None,
    replayed: Sequence[Problem] = (),
    checkpoint: Checkpoint | None = None,
) -> Solver:
    """Turn the base model into the strategy's solver; a trained one changes the model.

    `replayed` are problems or prose of another task, mixed in so that it is not forgotten.
    Raises Diverged if the loss stops being finite, BadInput if there are too few training problems.
    """
    if not strategy.trains:
        return Solver(model, exemplars(model.form.spec, train, strategy.shots, seed))
    if not train or seed is None:
        raise BadInput(f"strategy '{strategy.name}' needs training problems and a seed")
    start = time.perf_counter()
    learned = tasks.joined(train, replayed)
    rows = training_rows(learned, model)
    with naming(learned):
        training = model.train(rows, strategy, budget, seed, progress, checkpoint)
    spent = time.perf_counter() - start + (checkpoint.earlier_s if checkpoint else 0.0)
    return Solver(model, training=training, train_s=round(spent, 3))


def adopt(model: Model, given: ModelSpec) -> Solver:
    """Turn the base model into what others made of it. Raises BadModel, Unsupported."""
    if not isinstance(model, Adopting):
        raise Unsupported(f"{type(model).__name__} has no weights that others could have trained")
    return Solver(model, training=model.adopt(given))


def exemplars(
    prompt: PromptSpec, train: Sequence[Problem], count: int, seed: int | None
) -> tuple[prompts.Shot, ...]:
    """Return the prompt's own exemplars, else draw them from the training problems.

    They are the same for every test problem.
    """
    if prompt.exemplars:
        if count > len(prompt.exemplars):
            raise BadInput(
                f"{count} exemplars are asked for and the prompt holds {len(prompt.exemplars)}; "
                "use fewer shots, or a prompt without exemplars"
            )
        return tuple(prompts.Shot(*shown) for shown in prompt.exemplars[:count])
    if count > len(train):
        raise BadInput(
            f"{count} exemplars are asked for and the task has {len(train)} training problems; "
            "use fewer shots or more training problems"
        )
    chosen = Random(f"exemplars/train/{seed}/{count}").sample(list(train), count)
    return tuple(prompts.Shot(p.question, p.solution, p.choices) for p in chosen)


def training_rows(train: Sequence[Problem], model: Model | Showing) -> Sequence[Row]:
    """Write training problems exactly as they are asked at test time, and prose as it stands."""
    form = model.form

    def row(place: int) -> Row:
        p = train[place]
        if not p.question:
            return Row("", p.solution)
        return Row(form.prompt(p.question, (), p.choices), form.target(p.solution, p.choices))

    return Lazy(len(train), row)


@contextmanager
def naming(problems: Sequence[Problem]) -> Iterator[None]:
    """Name the problem of a text that does not fit; `problems` are those of the texts, in order."""
    try:
        yield
    except ContextTooLong as fault:
        if fault.row is None:
            raise
        raise fault.at(problems[fault.row].named) from fault


def ask(
    solver: Solver,
    kind: TaskKind,
    problems: Sequence[Problem],
    limits: Limits,
    told: Told | None = None,
) -> tuple[Answer, ...]:
    """Let a solver answer problems of one kind. Raises ContextTooLong."""
    if kind == "math":
        return _solve(solver, problems, limits, told)
    if kind == "prose":
        return _read(solver, problems, limits, told)
    return _choose(solver, kind, problems, limits, told)


def scored_pairs(
    form: prompts.Form, shots: Sequence[prompts.Shot], kind: TaskKind, problems: Sequence[Problem]
) -> list[tuple[str, str]]:
    """Return each context and what is scored after it, as problems of a kind are asked."""
    if kind == "math":
        return [(form.prompt(p.question, shots), form.target(p.solution)) for p in problems]
    if kind == "choice":
        return [
            (form.prompt(p.question, shots, p.choices), form.target(choice, p.choices))
            for p in problems
            for choice in p.choices
        ]
    before = prompts.plain_prefix(shots)
    if kind == "prose":
        return [(before, p.solution) for p in problems]
    return [
        (before + p.question, prompts.plain_target(choice))
        for p in problems
        for choice in p.choices
    ]


def each(told: Told | None, part: Part) -> Scored | None:
    """Return what tells a part row by row, whatever its nats."""
    return None if told is None else lambda number, nats: told(part, None)


def _solve(
    solver: Solver, problems: Sequence[Problem], limits: Limits, told: Told | None
) -> tuple[Answer, ...]:
    """Generate a solution to each problem and grade it; also score the gold solution."""
    nats: dict[int, float] = {}

    def scored(number: int, value: float) -> None:
        nats[number] = value
        if told is not None:
            told("solutions", None)

    golds = [solver.target(p.solution) for p in problems]
    found = solve(solver, problems, limits, told, golds, scored)
    return tuple(
        _graded_answer(problem, *solved, nats[number])
        for number, (problem, solved) in enumerate(zip(problems, found, strict=True))
    )


def solve(
    solver: Solver,
    problems: Sequence[Problem],
    limits: Limits,
    told: Told | None = None,
    golds: Sequence[str] = (),
    scored: Scored | None = None,
) -> list[tuple[Completion, scoring.Grade]]:
    """Generate a solution to each problem and grade it. Raises ContextTooLong.

    `golds` and `scored` are those of `Model.generate`.
    """
    grades: dict[int, scoring.Grade] = {}

    def written(number: int, completion: Completion) -> None:
        problem = problems[number]
        ended = completion.stop not in UNENDED
        grades[number] = scorers.scored(
            completion.text, problem.answer, problem.scoring, ended=ended
        )
        if told is not None:
            told("answers", None if grades[number].score else grades[number].correct)

    with naming(problems):
        completions = solver.model.generate(
            [solver.prompt(p.question) for p in problems],
            max_new_tokens=limits.max_new_tokens,
            stops=solver.model.form.stops,
            batch=limits.batch,
            written=written,
            golds=golds,
            scored=scored,
        )
    return [(completion, grades[number]) for number, completion in enumerate(completions)]


def _graded_answer(
    problem: Problem, completion: Completion, grade: scoring.Grade, nats: float
) -> Answer:
    return Answer(
        id=problem.id,
        gold=problem.answer,
        completion=completion.text,
        extracted=grade.extracted,
        rule=grade.rule,
        correct=grade.correct,
        score=grade.score,
        strict=grade.strict,
        cut=grade.cut,
        scoring=problem.scoring and scorers.without_folder(problem.scoring),
        choices=scorers.options_of(problem.scoring),
        tokens=completion.tokens,
        stop=completion.stop,
        nats=_rounded(nats),
        bytes=len(problem.solution.encode()),
        family=problem.family,
    )


def _choose(
    solver: Solver,
    kind: TaskKind,
    problems: Sequence[Problem],
    limits: Limits,
    told: Told | None,
) -> tuple[Answer, ...]:
    """Pick the likeliest choice, per byte of the choice and (`correct_raw`) in total.

    A `choice` is the answer to a question; a `continuation` is how the text itself goes on.
    """
    pairs = scored_pairs(solver.model.form, solver.shots, kind, problems)
    form = solver.model.form if kind == "choice" else prompts.PLAIN
    scored = None if told is None else _choices_told(problems, form, told)
    with naming([p for p in problems for _ in p.choices]):
        nats = iter(solver.model.score(pairs, batch=limits.batch, scored=scored))
    return tuple(_chosen(p, [next(nats) for _ in p.choices], form) for p in problems)


def _choices_told(problems: Sequence[Problem], form: prompts.Form, told: Told) -> Scored:
    """Return what takes the nats of all problems' choices and tells a problem once it has its."""
    owner = [(p, i) for p, problem in enumerate(problems) for i in range(len(problem.choices))]
    known: list[dict[int, float]] = [{} for _ in problems]

    def scored(number: int, nats: float) -> None:
        place, choice = owner[number]
        problem, found = problems[place], known[place]
        found[choice] = nats
        if len(found) == len(problem.choices):
            told("answers", _chosen(problem, [found[i] for i in sorted(found)], form).correct)

    return scored


def _chosen(problem: Problem, nats: Sequence[float], form: prompts.Form) -> Answer:
    if problem.label is None:
        raise BadInput(f"{problem.named} has choices and no label")
    sizes = [max(1, len(form.answer(c, problem.choices).encode())) for c in problem.choices]
    by_byte = min(range(len(nats)), key=lambda i: nats[i] / sizes[i])
    in_total = min(range(len(nats)), key=lambda i: nats[i])
    return Answer(
        id=problem.id,
        gold=str(problem.label),
        completion=problem.choices[by_byte],
        extracted=str(by_byte),
        rule="likelihood",
        correct=by_byte == problem.label,
        strict=None,
        tokens=0,
        stop="none",
        nats=_rounded(nats[problem.label]),
        bytes=sizes[problem.label],
        family=problem.family,
        correct_raw=in_total == problem.label,
        choices=len(problem.choices),
    )


def _read(
    solver: Solver, problems: Sequence[Problem], limits: Limits, told: Told | None
) -> tuple[Answer, ...]:
    """Score held-out text: nats of every whole piece."""
    nats = solver.model.score(
        scored_pairs(solver.model.form, solver.shots, "prose", problems),
        batch=limits.batch,
        windows=True,
        scored=each(told, "texts"),
    )
    return tuple(
        Answer(
            id=p.id,
            gold="",
            completion="",
            extracted=None,
            rule="none",
            correct=None,
            strict=None,
            tokens=0,
            stop="none",
            nats=_rounded(value),
            bytes=len(p.solution.encode()),
            family=p.family,
        )
        for p, value in zip(problems, nats, strict=True)
    )


def _rounded(nats: float) -> float | None:
    """Keep six decimals, far below fp32's own error; None where a wrecked model has no number."""
    return round(nats, 6) if math.isfinite(nats) else None
