"""A run as it is judged: graded by the current version, and with what its format did not record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from finetrap.records import Answer, Run
from finetrap.runs.folder import read_as_graded
from finetrap.runs.held import HeldAnswers, Shelf
from finetrap.text.scorers import scored_again


def read_run(folder: Path, shelf: Shelf | None = None) -> Run:
    """Read a run, its completions graded under the current version of grading.

    What is read of its answers and evidence stands on the shelf, if there is one.

    Raises StoreError if it is torn, edited, renamed or of a version from the future.
    """
    return regraded(read_as_graded(folder, shelf))


def regraded(run: Run) -> Run:
    """Grade a run's completions under the current version; dev answers keep the grades that a
    search chose by."""
    if run.grading is None or run.cell.split == "dev":
        return run
    return with_answers(run, lambda _, answers: _changed_by(answers, graded))


def graded(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """Grade completions again; the choice among likelihoods, prose, and what a user's own function
    scored have no such grade."""
    return tuple(map(_graded_again, answers))


def _graded_again(answer: Answer) -> Answer:
    if answer.correct is None or answer.rule == "likelihood":
        return answer
    found = scored_again(answer)
    return answer if found is None else replace(answer, **asdict(found))


def with_choices(runs: Iterable[Run]) -> list[Run]:
    """Fill in how many choices problems had, of runs of format 1, where the evidence of the base
    model's run, which holds the problems, is among these runs."""
    known: dict[tuple[str, str], int] = {}
    found = []
    for run in runs:
        for name, problems in run.evidence.get("problems", {}).items():
            for id, problem in problems.items():
                if "choices" in problem:
                    known[name, id] = len(problem["choices"])
        tests = {run.cell.task.name: run.answers, **run.probes}
        lacking = {name for name, answers in tests.items() if any(map(_lacks_choices, answers))}
        found.append((run, lacking))

    def counted(name: str, answers: Sequence[Answer]) -> tuple[Answer, ...]:
        return tuple(replace(a, choices=a.choices or known.get((name, a.id))) for a in answers)

    def filled(run: Run, lacking: Collection[str]) -> Run:
        return with_answers(
            run,
            lambda name, answers: (
                _changed_by(answers, partial(counted, name)) if name in lacking else answers
            ),
        )

    return [filled(run, lacking) if lacking else run for run, lacking in found]


def _lacks_choices(answer: Answer) -> bool:
    return answer.rule == "likelihood" and answer.choices is None


def with_answers(run: Run, change: Callable[[str, Sequence[Answer]], Sequence[Answer]]) -> Run:
    """Change the answers of a run; `change` is given the name of each test as well."""
    probes = {name: change(name, answers) for name, answers in run.probes.items()}
    return replace(run, answers=change(run.cell.task.name, run.answers), probes=probes)


def _changed_by(
    answers: Sequence[Answer], change: Callable[[Sequence[Answer]], tuple[Answer, ...]]
) -> Sequence[Answer]:
    """Change answers, those on a shelf whenever they are read."""
    return answers.changed(change) if isinstance(answers, HeldAnswers) else change(answers)
