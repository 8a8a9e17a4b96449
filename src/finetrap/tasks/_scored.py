"""Problems whose task says how they are scored: their golds as the scorer reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from string import ascii_uppercase
from typing import Any

from finetrap.errors import BadData, BadInput, nearest
from finetrap.records import Problem
from finetrap.tasks._columns import (
    PAIRS,
    family,
    question_and_answer,
    reached,
    text,
    with_question,
)
from finetrap.text import expressions, own_scorer, scorers
from finetrap.text.prompts import lettered
from finetrap.text.rows import Row, refuse_halves

CHOICES = ("choices", "options")
"""Columns of a row's options, where none is named."""
CHOSEN = (scorers.CHOICE, scorers.LETTER)
"""Ways in which one of several options is right."""


def checked_scoring(name: str, options: Mapping[str, Any]) -> str | None:
    """Return how a task is scored, None where it does not say. Raises BadInput, and
    MissingPackage for one that needs what is not installed."""
    how = options.get("scoring")
    if "choices" in options and how not in CHOSEN:
        raise BadInput(
            f"{name}: choices is {options['choices']!r} and nothing reads it; add "
            'scoring = "choice" (the likeliest is taken) or "letter" (its letter is written)'
        )
    if how is None:
        return None
    if str(how).startswith(own_scorer.PREFIX):
        own_scorer.parts(str(how))
    elif how not in scorers.NAMES:
        allowed = ", ".join([*scorers.NAMES, "python:FILE.py:FUNCTION"])
        raise BadInput(
            f"{name}: scoring is {how!r}; allowed: {allowed}{nearest(str(how), scorers.NAMES)}"
        )
    if how == "expression":
        expressions.need()
    return str(how)


def scored_problem(row: Row, options: Mapping[str, Any], how: str) -> Problem:
    """Return the problem of a row. Raises BadData for a gold that cannot be scored in this way."""
    question, stated = question_and_answer(_as_text(row, options), options)
    named = with_question(row, question)
    gold = stated.rpartition("####")[2].strip() if how not in scorers.JSON else stated
    if how.startswith(own_scorer.PREFIX):
        shown, gold = stated, json.dumps(row[1], default=str, ensure_ascii=False)
    elif how in scorers.JSON:
        shown = stated
    elif how == scorers.CHOICE:
        shown = gold
    else:
        answer = scorers.aliases(gold)[0] if how == "text" else gold
        shown = stated if "####" in stated else f"#### {answer}"
    if "solution" in options:
        worked = text(named, options["solution"], "solution")
        shown = worked if "####" in worked else f"{worked}\n{shown}"
    if fault := scorers.gold_fault(gold, how):
        raise BadData(f"{named[0]}: the answer {gold[:60]!r} cannot be scored as {how}: {fault}")
    if how in ("number", "text", *scorers.JSON) and not scorers.scored(shown, gold, how).correct:
        raise BadData(
            f"{named[0]}: the solution {shown[-60:]!r} is wrong by its own answer {gold[:60]!r}"
        )
    return Problem(
        id=text(named, options["id"], "id") if "id" in options else "",
        question=question,
        solution=shown,
        answer=gold,
        family=family(named, options),
        choices=_own_choices(named, options) if how in CHOSEN else (),
        scoring=how,
        place=row[0],
    )


def labelled(parts: list[list[Problem]]) -> list[list[Problem]]:
    """Give each problem the label of its answer, and its options where its row has none: the
    different answers of the file."""
    answers = sorted({p.answer for problems in parts for p in problems})
    return [[_labelled(p, p.choices or tuple(answers)) for p in problems] for problems in parts]


def _labelled(problem: Problem, choices: tuple[str, ...]) -> Problem:
    """Find the answer among the choices, as their text or as the letter of one."""
    gold = problem.answer
    letters = dict(zip(ascii_uppercase, choices, strict=False))
    right = gold if gold in choices else letters.get(gold)
    if right is None or not 1 < len(choices) <= len(ascii_uppercase):
        shown = ", ".join(f"{choice!r:.40}" for choice in choices[:5])
        raise BadData(
            f"{problem.named}: the answer {gold!r:.60} is none of {len(choices)} choices "
            f"({shown}); give 2 to 26 of them, and the answer as the text of one or as its letter"
        )
    label = choices.index(right)
    if problem.scoring == scorers.LETTER:
        letter = ascii_uppercase[label]
        return replace(
            problem,
            question=f"{problem.question}\n{lettered(choices)}",
            choices=(),
            answer=letter,
            solution=_ending_in(problem.solution, gold, letter),
            scoring=f"{scorers.LETTER}:{ascii_uppercase[: len(choices)]}",
        )
    return replace(problem, choices=choices, label=label, answer=right, solution=right)


def _ending_in(solution: str, gold: str, letter: str) -> str:
    """Return a solution that ends in the letter of its answer."""
    worked = solution.rpartition("####")[0] if "####" in solution else ""
    return f"{worked}#### {letter}"


def _own_choices(row: Row, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a row's options: a list, or an object with the list in `text`, as ARC has it."""
    named = options.get("choices")
    name = named or next((name for name in CHOICES if name in row[1]), None)
    if name is None:
        return ()
    found = reached(row, name, "choices")
    found = found.get("text") if isinstance(found, dict) else found
    if isinstance(found, str):
        found = [part.strip() for part in found.split("|")]
    if not isinstance(found, list) or not all(isinstance(choice, str) for choice in found):
        raise BadData(
            f"{row[0]}: `{name}` holds {found!r:.60}; it must be a list of texts (in CSV: "
            "texts with | between them)"
        )
    refuse_halves(row[0], name, "".join(found))
    return tuple(found)


def _as_text(row: Row, options: Mapping[str, Any]) -> Row:
    """Return a row whose answer is JSON text where it is an object or a list of texts."""
    names = [options.get("answer"), *(answer for _, answer in PAIRS)]
    values = {
        name: json.dumps(value, ensure_ascii=False, default=str) if _structured(value) else value
        for name, value in row[1].items()
        if name in names
    }
    return row[0], {**row[1], **values}


def _structured(value: object) -> bool:
    """Whether a value is an object or a list, and no chat."""
    chat = (
        isinstance(value, list) and value and isinstance(value[0], dict) and "content" in value[0]
    )
    return isinstance(value, (dict, list)) and not chat
