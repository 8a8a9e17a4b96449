"""How a completion is held against its gold where a task says so: `scoring` of user data.

    number      the gold's one number, by the rules of completions
    text        normalised exact match; a gold that is a JSON list of texts allows any of them
    expression  mathematical equality, by the package math-verify
    json        the object that a completion holds, equal to the gold's
    json-fields the share of its fields that are the gold's
    letter      the letter that a completion chooses, of those of a row's options
    python:FILE.py:FUNCTION   a function of the user's own (text/own_scorer.py)

Without it a gold is graded as what it is: a number, an option letter or a text (scoring.py).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from finetrap.records import UNENDED, Answer, Problem
from finetrap.text import expressions, own_scorer, scoring
from finetrap.text.golds import GoldAnswer, read_gold
from finetrap.text.number_answer import find_number
from finetrap.text.rows import refuse_constant
from finetrap.text.scoring import Grade
from finetrap.text.text_answer import normal
from finetrap.text.turns import graded_part, whole_numbers

CHOICE = "choice"
"""By the likelihood of a row's options: never graded from a completion."""
LETTER = "letter"
"""The options are shown, and the model writes a letter; of a problem: `letter:ABCD`."""
_OPENING = re.compile(r"[{\[]")
_NUMBER_SHOWN = re.compile('"\ue000([^"\ue000]*)\ue000"')
_MOST_IN_VAIN = 10_000_000
"""Characters that are read for JSON that is none: a text of open brackets alone, each tried to its
end, would take minutes."""


def scored(completion: str, gold: str, how: str | None = None, *, ended: bool = True) -> Grade:
    """Grade a completion in the way `how` names; one that was stopped has not `ended`.

    Raises MissingPackage, BadInput.
    """
    if not ended and how in (None, "", "number"):
        completion = whole_numbers(completion)
    if not how:
        return scoring.grade(completion, gold)
    if how.startswith(own_scorer.PREFIX):
        return _partly(completion.strip(), "python", own_scorer.opened(how).score(completion, gold))
    name, _, letters = how.partition(":")
    if name == LETTER:
        return scoring.grade(completion, gold, letters=letters)
    return _WAYS[name](completion, gold)


def _partly(found: str, rule: str, score: float, strict: bool | None = None) -> Grade:
    """Return the grade of a score from 0 to 1: right is 1 alone."""
    right = score == 1
    strict = right if strict is None else strict
    return Grade(found or None, rule, right, strict, score=score if 0 < score < 1 else None)


def scored_again(answer: Answer, completion: str | None = None) -> Grade | None:
    """Grade an answer's completion, or a part of it, anew where judging can.

    Never by a user's function, nor by a package that is not installed, nor in an unknown way.
    """
    how = answer.scoring
    if how and how.partition(":")[0] not in (*_WAYS, LETTER):
        return None
    if how == "expression" and not expressions.available():
        return None
    if completion is not None:
        return scored(completion, answer.gold, how)
    return scored(answer.completion, answer.gold, how, ended=answer.stop not in UNENDED)


def options_of(how: str | None) -> int | None:
    """Return how many options a written letter is one of; None where none is asked for."""
    name, _, letters = (how or "").partition(":")
    return len(letters) if name == LETTER else None


def without_folder(how: str) -> str:
    """Return a way of scoring as it is kept beside answers: it names no folder of a machine."""
    if not how.startswith(own_scorer.PREFIX):
        return how
    file, function = own_scorer.parts(how)
    return f"{own_scorer.PREFIX}{Path(file).name}:{function}"


def own_gold_fault(problem: Problem) -> str | None:
    """Return why a user's function or math-verify does not call a problem's own answer right.

    None if it does, and for other scorers (`gold_fault`). Raises BadInput, MissingPackage.
    """
    how, gold = problem.scoring or "", problem.answer
    if how.startswith(own_scorer.PREFIX):
        if own_scorer.opened(how).score(problem.solution, gold) != 1:
            named = f"{without_folder(how)} calls its own solution not right"
            return f"{named}: {problem.solution[:60]!r}; mend the function or the row"
        return None
    formula = how == "expression" and read_gold(gold).kind != "number"
    if formula and expressions.unequal_to_itself(gold):
        return (
            f"the right answer {gold[:60]!r} is no formula that math-verify can read; mend the "
            "row, or leave `scoring` out: formulas are then compared in one spelling of LaTeX"
        )
    return None


def aliases(gold: str) -> list[str]:
    """Return the texts that a gold allows: those of a JSON list, else itself."""
    try:
        found = json.loads(gold)
    except (ValueError, RecursionError):
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
    return _json_compared(completion, gold, lambda value, wanted: float(_same_json(value, wanted)))


def _by_fields(completion: str, gold: str) -> Grade:
    return _json_compared(completion, gold, _share_equal)


def fields_right(completion: str, gold: str) -> dict[str, bool]:
    """Return of each field of a gold whether the completion's is equal; none where the gold is no
    JSON object."""
    wanted = _json_or_none(gold)
    if not isinstance(wanted, dict):
        return {}
    value, _ = _last_json(completion, wanted) or (None, False)
    return _equal_fields(value, wanted)


def _equal_fields(value: Any, wanted: dict[str, Any]) -> dict[str, bool]:
    found = value if isinstance(value, dict) else {}
    return {
        name: name in found and _same_json(found[name], right) for name, right in wanted.items()
    }


def _same_json(value: Any, wanted: Any) -> bool:
    """Whether two JSON values are equal: numbers by value, and `true` is no 1."""
    pairs = [(value, wanted)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
            pairs += [(one[name], other[name]) for name in one]
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            pairs += zip(one, other, strict=True)
        elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
            return False
    return True


def _share_equal(value: Any, wanted: Any) -> float:
    """Return the share of all fields, those that are too many counted, that are equal."""
    if not (isinstance(value, dict) and isinstance(wanted, dict) and wanted):
        return 0.0
    return sum(_equal_fields(value, wanted).values()) / len(value.keys() | wanted.keys())


def _json_compared(completion: str, gold: str, compared: Callable[[Any, Any], float]) -> Grade:
    wanted = _json_or_none(gold)
    found = _last_json(completion, wanted)
    if found is None:
        return Grade(None, "none", False, False)
    value, alone = found
    return _partly(_as_json(value), "json", compared(value, wanted), alone)


def _as_json(value: Any) -> str:
    """Write a JSON value in one line, its numbers exact."""
    text = json.dumps(value, default="\ue000{}\ue000".format, ensure_ascii=False)
    return _NUMBER_SHOWN.sub(r"\1", text)


def _last_json(completion: str, wanted: Any) -> tuple[Any, bool] | None:
    """Return the last JSON value before another problem starts, with whether it is all there is.

    One of the gold's kind, an object or a list, where there is one. A value is never cut, whatever
    its texts say; where none stands before the cut, all that follow count.
    """
    part, whole = graded_part(completion).text, graded_part(completion, cut=False).text
    text, end = (whole, len(part)) if whole.startswith(part) else (part, len(part))
    found = _last_of_kind(text, end, wanted)
    return found if found or text is whole else _last_of_kind(whole, len(whole), wanted)


def _last_of_kind(text: str, end: int, wanted: Any) -> tuple[Any, bool] | None:
    """Return the last value that begins before `end`, of the kind that is wanted if any is."""
    found: tuple[Any, int, int] | None = None
    for value, start, stop in _json_values(text):
        if start >= end and found:
            break
        end = end if start < end else len(text)
        if found is None or type(value) is type(wanted) or type(found[0]) is not type(wanted):
            found = value, start, stop
    if found is None:
        return None
    value, start, stop = found
    return value, not text[:start].strip() and not text[stop:end].strip()


def _json_of(text: str) -> Any:
    """Return a JSON value, its numbers exact. Raises ValueError."""
    try:
        return json.loads(
            text, parse_float=_exact, parse_int=Decimal, parse_constant=refuse_constant
        )
    except RecursionError as error:
        raise ValueError("lists or objects lie too deep in each other") from error


def _json_or_none(gold: str) -> Any:
    """Return a gold's value; None, which equals no object or list, where it is no JSON."""
    try:
        return _json_of(gold)
    except ValueError:
        return None


def _exact(number: str) -> Decimal:
    try:
        return Decimal(number)
    except InvalidOperation as error:
        raise ValueError("a number's exponent is too large") from error


def _json_values(text: str) -> Iterator[tuple[Any, int, int]]:
    """Yield every outermost JSON object or list of a text, and where it begins and ends."""
    reader = json.JSONDecoder(parse_float=_exact, parse_int=Decimal)
    at, left = 0, _MOST_IN_VAIN
    while left > 0 and (found := _OPENING.search(text, at)):
        start = found.start()
        try:
            value, end = reader.raw_decode(text, start)
        except RecursionError:
            at, left = start + 1, left - 4 * sys.getrecursionlimit()
        except ValueError as error:
            stopped = error.pos if isinstance(error, json.JSONDecodeError) else len(text)
            # The error counts the lines up to it, and is itself a little work.
            at, left = start + 1, left - (stopped - start) - stopped // 64 - 250
        else:
            yield value, start, end
            at = end


def _by_expression(completion: str, gold: str) -> Grade:
    """Extract by math-verify, from what follows `####` and then from all that is graded."""
    plain = scoring.grade(completion, gold)
    if plain.correct:
        return plain
    text = graded_part(completion).text
    stated = text.rpartition("####")[2].strip().partition("\n")[0]
    texts = [f"${stated.strip('$. ')}$"] if "####" in text and stated else []
    found, correct = expressions.equals(gold, [*texts, text])
    rule = "math-verify" if found else plain.rule
    return Grade(found or plain.extracted, rule, correct, plain.strict, plain.cut)


def gold_fault(gold: str, how: str) -> str | None:
    """Return why a gold cannot be scored in this way, None if it can."""
    if how == "number" and read_gold(gold, "number").kind != "number":
        return "it must be one number"
    if how == "number" and find_number(f"#### {gold}").value is None:
        return "it must be one number"
    if how == "text" and not all(map(normal, aliases(gold))):
        return "it must be a text, or a list of texts"
    if how in JSON:
        try:
            value = _json_of(gold)
        except ValueError as error:
            return f"it must be JSON ({error})"
        if how == "json-fields" and not (isinstance(value, dict) and value):
            return "it must be a JSON object with fields"
    return None


_WAYS: dict[str, Callable[[str, str], Grade]] = {
    "number": _by_number,
    "text": _by_text,
    "expression": _by_expression,
    "json": _by_json,
    "json-fields": _by_fields,
}
JSON = ("json", "json-fields")
NAMES = (*_WAYS, CHOICE, LETTER)
"""Ways that a study can name, beside a function of its own."""
