"""What judging needs later, without torch, to say why a run became worse: evidence.json."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from random import Random
from typing import Any

from finetrap import tasks
from finetrap.backends import Interpolating, Model, Row, interpolating
from finetrap.events import Told
from finetrap.measure.strategies import (
    Questions,
    Solver,
    Trained,
    each,
    naming,
    scored_pairs,
    solve,
    training_rows,
)
from finetrap.measure.telling import Teller
from finetrap.records import UNENDED, Answer, Cell, Limits, Problem, content_hash
from finetrap.text import overlap, prompts

MOST_SCORED = 1000
"""Training solutions that the base model scores."""
MOST_SWAPPED = 200
"""Of them, those scored after another's question too."""
MOST_DIVERGED = 100
"""Test problems whose gold solutions tell how far a model has moved."""
ASKED_AGAIN = 1 / 10
"""Share of the test problems that the base model is asked again, to see whether it varies."""
LEAST_AGAIN = 20
MOST_HASHED = 50_000
"""Training rows of which each has a hash."""
MOST_TEXT = 2000
"""Characters of a problem that are kept to be read beside its answers."""
_SOLUTION = "{solution}"


def before_training(
    model: Model, train: Sequence[Problem], batch: int, told: Told | None = None
) -> dict[str, Any]:
    """Score training solutions with the base model: after their own question and another's.

    A model that knows the task finds solutions likelier after the questions they belong to; where
    it does not, the data's answers are not those of its questions.
    """
    chosen = tasks.sample(train, MOST_SCORED, purpose="evidence/before", seed=0)
    rows = training_rows(chosen, model)
    first = rows[:MOST_SWAPPED]
    others = [*first[1:], *first[:1]]
    swapped = [(other.prompt, row.target) for row, other in zip(first, others, strict=True)]
    pairs = [(row.prompt, row.target) for row in rows]
    with naming([*chosen, *chosen]):
        nats = model.score(pairs + swapped, batch=batch, scored=each(told, "solutions"))
    return {
        "base_loss": _nats_and_bytes(nats[: len(rows)], [row.target for row in rows]),
        "swapped_nats": [round(value, 6) for value in nats[len(rows) :]],
    }


def asked_again(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems that the base model is asked again: a tenth, and 20 if there are."""
    count = max(LEAST_AGAIN, math.ceil(ASKED_AGAIN * len(problems)))
    return list(tasks.sample(problems, count, purpose="evidence/again", seed=0))


def variation(
    solver: Solver, cell: Cell, asked: Questions, answers: Sequence[Answer], tell: Teller
) -> dict[str, Any]:
    """Say how much the base model differs from itself; of other cells, and of trials, nothing.

    Some problems are asked again, and all of them if a single text differs.
    """
    if not cell.strategy.is_base or cell.split == "dev" or asked.kind != "math":
        return {}
    problems = asked_again(asked.problems)
    found = _self_flips(solver, problems, cell, answers, tell)
    if found["changed_texts"] and len(problems) < len(answers):
        found = _self_flips(solver, list(asked.problems), cell, answers, tell)
    return {"self_flips": found}


def after_training(
    solver: Solver, cell: Cell, asked: Questions, answers: Sequence[Answer]
) -> dict[str, Any]:
    """Gather what only the model as it was asked can tell; nothing for a trial.

    Of a trained model how far it has moved from the base model; of the base model what
    everyone was asked, and how likely it finds its own answers.
    """
    if cell.split == "dev":
        return {}
    if cell.strategy.trains:
        same = not _other_tokens(solver)
        moved = asked.kind == "math" and isinstance(solver.model, Interpolating) and same
        return {"divergence": _divergence(solver, asked.problems, cell.limits)} if moved else {}
    if cell.strategy.shots:
        return {}
    problems = {name: _problem_texts(probe) for name, probe in asked.probes.items()}
    problems[cell.task.name] = problems.get(cell.task.name, {}) | _problem_texts(asked)
    tests = {**asked.probes, cell.task.name: asked}
    found = {
        "problems": problems,
        "available": {name: test.available for name, test in tests.items()},
    }
    if asked.kind != "math":
        return found
    return {
        **found,
        "own_style": _own_style(solver, asked.problems, answers, cell.limits),
    }


def _tuned_loss(solver: Solver, train: Sequence[Problem]) -> list[dict[str, float]]:
    """Score the first of the solutions that `before_training` scores, in the prompt that is asked.

    Weights that were trained elsewhere know them, unless they were trained in another prompt.
    """
    chosen = tasks.sample(train, MOST_SCORED, purpose="evidence/before", seed=0)[:MOST_SWAPPED]
    rows = training_rows(chosen, solver.model)
    with naming(chosen):
        nats = solver.model.score([(row.prompt, row.target) for row in rows], batch=len(rows))
    return _nats_and_bytes(nats, [row.target for row in rows])


def _other_tokens(solver: Solver) -> bool:
    """Whether a given model has tensors or tokens that its base has not."""
    differs = solver.training.evidence.get("differs", {}) if solver.training else {}
    return not differs.keys() <= {"template"}


def collect(solver: Solver, train: Trained, asked: Questions) -> dict[str, Any]:
    """Gather what the training problems and the training itself tell."""
    form = solver.model.form
    evidence: dict[str, Any] = {
        "test_template": _template(form, asked.problems[0]),
        "exemplars": [content_hash([s.question, s.solution]) for s in solver.shots],
    }
    if solver.training is None:
        return evidence
    if not train.problems:
        return {**evidence, **solver.training.evidence}
    rows = training_rows(train.all, solver.model)
    learns = solver.training.steps > 0  # else nobody here knows how the rows were written
    leaked = overlap.find(_questions(train.problems), _questions(asked.problems))
    return {
        **evidence,
        **(
            {"train_template": _as_trained(form, train.problems[0], rows[0])}
            if learns
            else {"tuned_loss": _tuned_loss(solver, train.problems)}
        ),
        "train_problems": len(train.problems),
        "replayed_problems": len(train.replayed),
        **duplicates(p.question + "\n" + p.solution for p in train.problems),
        "train_rows": _row_hashes(rows),
        "overlap": asdict(leaked),
        "steps": solver.training.steps,
        **solver.training.evidence,
    }


def _problem_texts(asked: Questions) -> dict[str, dict[str, Any]]:
    """Return the text of each problem, and its choices, by id: to be read, not to be asked."""
    return {
        p.id: {
            "question": (p.question or p.solution)[:MOST_TEXT],
            **({"choices": [choice[:MOST_TEXT] for choice in p.choices]} if p.choices else {}),
        }
        for p in asked.problems
    }


def _divergence(
    solver: Solver, problems: Sequence[Problem], limits: Limits
) -> list[tuple[str, float, float]]:
    """Return KL(tuned‖base) and KL(base‖tuned) on gold solutions, nats per token."""
    chosen = tasks.sample(problems, MOST_DIVERGED, purpose="evidence/divergence", seed=0)
    pairs = scored_pairs(solver.model.form, solver.shots, "math", chosen)
    found = interpolating(solver.model).divergence(pairs, batch=limits.batch)
    return [
        (p.id, round(tuned, 6), round(base, 6))
        for p, (tuned, base) in zip(chosen, found, strict=True)
    ]


def _self_flips(
    solver: Solver, problems: list[Problem], cell: Cell, answers: Sequence[Answer], tell: Teller
) -> dict[str, int]:
    """Ask problems again, in another order and in smaller batches, and count what changed."""
    tell.phase("again", task=cell.task.name, problems=len(problems))
    told = tell.rows("again", cell.task.name, len(problems))
    Random("evidence/self-flips").shuffle(problems)
    smaller = replace(cell.limits, batch=max(1, cell.limits.batch // 2))
    first = {answer.id: answer for answer in answers}
    pairs = [
        (first[problem.id], completion.text, (grade.correct, grade.score))
        for problem, (completion, grade) in zip(
            problems, solve(solver, problems, smaller, told), strict=True
        )
    ]
    return {
        "n": len(pairs),
        "flips": sum((before.correct, before.score) != again for before, _, again in pairs),
        "changed_texts": sum(before.completion != text for before, text, _ in pairs),
    }


def _own_style(
    solver: Solver, problems: Sequence[Problem], answers: Sequence[Answer], limits: Limits
) -> list[dict[str, float]]:
    """Score the model's own completions, those that ended by themselves."""
    asked = {p.id: p.question for p in problems}
    ended = [a for a in answers if a.completion.strip() and a.stop not in UNENDED]
    chosen = ended[:MOST_DIVERGED]
    pairs = [(solver.prompt(asked[a.id]), a.completion) for a in chosen]
    nats = solver.model.score(pairs, batch=limits.batch)
    return _nats_and_bytes(nats, [a.completion for a in chosen])


def _nats_and_bytes(nats: Sequence[float], texts: Sequence[str]) -> list[dict[str, float]]:
    return [
        {"nats": round(value, 6), "bytes": len(text.encode())}
        for value, text in zip(nats, texts, strict=True)
    ]


def _questions(problems: Sequence[Problem]) -> Iterator[tuple[str, str]]:
    return ((p.id, p.question) for p in problems)


def _row_hashes(rows: Sequence[Row]) -> list[str]:
    """Return a hash of each row; of very many one of all."""
    each = (content_hash([row.prompt, row.target])[:16] for row in rows)
    return list(each) if len(rows) <= MOST_HASHED else [content_hash([*each])[:16]]


def duplicates(texts: Iterable[str]) -> dict[str, int]:
    """Count rows that repeat an earlier row: exactly, and in other case, spacing or punctuation."""
    rows, exact, near = 0, set(), set()
    for text in texts:
        rows += 1
        exact.add(_short_hash(text))
        near.add(_short_hash(normalised(text)))
    return {"exact_duplicates": rows - len(exact), "near_duplicates": len(exact) - len(near)}


def _short_hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def normalised(text: str) -> str:
    """Return the text in lower case, its words and numbers joined by single spaces."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _template(form: prompts.Form, problem: Problem) -> Mapping[str, str]:
    """Render a placeholder problem, for a person to read, with its hash."""
    asked = form.prompt(prompts.QUESTION, (), problem.choices)
    shown = asked.replace(prompts.lettered(problem.choices) or "\0", prompts.OPTIONS)
    return _text_and_hash(shown + form.target(_SOLUTION, problem.choices))


def _as_trained(form: prompts.Form, problem: Problem, row: Row) -> Mapping[str, str]:
    """Return a row that was trained on with placeholders for what is the problem's own."""
    asked = row.prompt.replace(prompts.lettered(problem.choices) or "\0", prompts.OPTIONS)
    answer = form.answer(problem.solution, problem.choices)
    shown = asked.replace(problem.question, prompts.QUESTION)
    return _text_and_hash(shown + row.target.replace(answer, _SOLUTION))


def _text_and_hash(text: str) -> Mapping[str, str]:
    return {"text": text, "sha256": content_hash(text)}
