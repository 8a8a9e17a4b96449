"""How a completion is held against its gold where a task says so: `scoring` of user data.

    number      the gold's one number, by the rules of completions
    text        normalised exact match; a gold that is a JSON list of texts allows any of them
    expression  mathematical equality, by the package math-verify
    json        the object that a completion holds, equal to the gold's
    python:FILE.py:FUNCTION   a function of the user's own (text/own_scorer.py)

Without it a gold is graded as what it is: a number, an option letter or a text (scoring.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from finetrap.errors import BadInput, MissingPackage
from finetrap.records import Problem
from finetrap.text import own_scorer, scoring
from finetrap.text.golds import GoldAnswer, read_gold
from finetrap.text.number_answer import find_number
from finetrap.text.rows import refuse_constant
from finetrap.text.scoring import Grade
from finetrap.text.text_answer import normal
from finetrap.text.turns import graded_part

CHOICE = "choice"
"""By the likelihood of a row's options: never graded from a completion."""


def scored(completion: str, gold: str, how: str | None = None) -> Grade:
    """Grade a completion in the way `how` names. Raises MissingPackage, BadInput."""
    if not how:
        return scoring.grade(completion, gold)
    if how.startswith(own_scorer.PREFIX):
        correct = own_scorer.opened(how).correct(completion, gold)
        return Grade(completion.strip() or None, "python", correct, correct)
    return _WAYS[how](completion, gold)


def without_folder(how: str) -> str:
    """Return a way of scoring as it is kept beside answers: it names no folder of a machine."""
    if not how.startswith(own_scorer.PREFIX):
        return how
    file, function = own_scorer.parts(how)
    return f"{own_scorer.PREFIX}{Path(file).name}:{function}"


def check_own_golds(problems: Iterable[Problem]) -> None:
    """Raise BadInput for a solution that the user's own function calls wrong."""
    for problem in problems:
        how = problem.scoring or ""
        own = own_scorer.opened(how) if how.startswith(own_scorer.PREFIX) else None
        if own is not None and not own.correct(problem.solution, problem.answer):
            raise BadInput(
                f"{problem.named}: {without_folder(how)} calls its own solution wrong: "
                f"{problem.solution[:60]!r}; mend the function or the row"
            )


def aliases(gold: str) -> list[str]:
    """Return the texts that a gold allows: those of a JSON list, else itself."""
    try:
        found = json.loads(gold)
    except ValueError:
        return [gold]
    several = isinstance(found, list) and found and all(isinstance(one, str) for one in found)
    return found if several else [gold]


def _by_number(completion: str, gold: str) -> Grade:
    return scoring.graded_as(completion, read_gold(gold, "number"))


def _by_text(completion: str, gold: str) -> Grade:
    grades = [
        scoring.graded_as(completion, GoldAnswer("text", one.rpartition("####")[2].strip()))
        for one in aliases(gold)
    ]
    return next((grade for grade in grades if grade.correct), grades[0])


def _by_json(completion: str, gold: str) -> Grade:
    """Take the last whole JSON object or list of the graded part."""
    part = graded_part(completion, cut=False)
    found = list(_json_values(part.text))
    if not found:
        return Grade(None, "none", False, False)
    value, alone = found[-1]
    correct = value == _json_of(gold)
    return Grade(json.dumps(value, default=str, ensure_ascii=False), "json", correct, alone)


def _json_of(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=refuse_constant)


def _json_values(text: str) -> Iterator[tuple[Any, bool]]:
    """Yield every outermost JSON object or list of a text, with whether it is all of it."""
    reader = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal)
    at = 0
    while True:
        starts = [place for mark in "{[" if (place := text.find(mark, at)) >= 0]
        if not starts:
            return
        try:
            value, end = reader.raw_decode(text, min(starts))
        except (ValueError, RecursionError):
            at = min(starts) + 1
            continue
        yield value, not text[: min(starts)].strip() and not text[end:].strip()
        at = end


def _by_expression(completion: str, gold: str) -> Grade:
    """Extract by math-verify, within the part of the completion that is graded."""
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise MissingPackage(
            "scoring = \"expression\" needs math-verify: pip install 'finetrap[math]'; or leave "
            "`scoring` out: formulas are then compared in one spelling of LaTeX"
        ) from error
    plain = scoring.grade(completion, gold)
    if plain.correct:
        return plain
    text = graded_part(completion).text
    # Its own time limit is by signals, which work in the main thread alone: it is switched off.
    wanted = parse(f"${gold}$", parsing_timeout=None)
    found = parse(text, parsing_timeout=None)
    correct = bool(wanted) and verify(wanted, found, timeout_seconds=None)
    shown = str(found[-1]) if found else plain.extracted
    return Grade(shown, "math-verify" if found else plain.rule, correct, plain.strict, plain.cut)


def gold_fault(gold: str, how: str) -> str | None:
    """Return why a gold cannot be scored in this way, None if it can."""
    if how == "number" and read_gold(gold, "number").kind != "number":
        return "it must be one number"
    if how == "number" and find_number(f"#### {gold}").value is None:
        return "it must be one number"
    if how == "text" and not all(map(normal, aliases(gold))):
        return "it must be a text, or a list of texts"
    if how == "json":
        try:
            _json_of(gold)
        except ValueError as error:
            return f"it must be JSON ({error})"
    return None


_WAYS: dict[str, Callable[[str, str], Grade]] = {
    "number": _by_number,
    "text": _by_text,
    "expression": _by_expression,
    "json": _by_json,
}
NAMES = (*_WAYS, CHOICE)
"""Ways that a study can name, beside a function of its own."""
