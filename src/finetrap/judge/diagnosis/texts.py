"""What a completion shows by itself: its calculations, its loops, where its answer stands.

Every pattern is bounded, so that a model that loops does not stop the diagnosis.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from finetrap.text import numbers
from finetrap.text.numbers import NUMBER

LOOPING = 0.5
"""Share of repeated runs of four words and marks from which a text loops. The highest of GSM8K's
8,792 worked solutions is 0.47, their 99th percentile 0.33."""
SHORTEST_LOOP = 24
"""Words, marks and spaces below which nothing is called a loop."""

_TOKEN = re.compile(r"\w+|\W")
_MARKED = re.compile(r"####[ ]{0,3}[-$€£]{0,2}(\d[\d,]{0,30}(?:\.\d{1,30})?)")
_FIGURE = r"\$?(?:\d{1,3}(?:,\d{3}){1,5}|\d{1,15})(?:\.\d{1,10})?"
_EQUATION = re.compile(
    rf"(?P<left>{_FIGURE}(?: ?[-+*/×÷x] ?{_FIGURE}){{1,8}}) ?= ?(?P<right>-?{_FIGURE})(?![\d%])"
)
_OPERATION = re.compile(r"[-+*/×÷x]")
_OPEN_BEFORE = re.compile(r"(?:[-+*/×÷x(^,%)] ?|[\w.])$")
_OPEN_AFTER = re.compile(r" ?(?:[-+*/×÷^]|x ?\d)| \d")
"""What shows that a calculation has more parts than were read."""


class Equation(NamedTuple):
    """A calculation that a text states."""

    text: str
    right: bool


def equations(text: str) -> Iterator[Equation]:
    """Yield every calculation whose operands all stand there: `3 * 4 = 12`.

    Those with brackets, units or percentages between the numbers are left out, and in a chain such
    as `3 * 4 = 12 + 5 = 17` all but the last.

    A result with decimals is right if it is the true one, rounded.
    """
    body = numbers.ascii_digits(text)
    at = 0
    while match := _EQUATION.search(body, at):
        before = body[max(0, match.start() - 2) : match.start()]
        at = match.start("right")
        if not _OPEN_BEFORE.search(before) and not _OPEN_AFTER.match(body, match.end()):
            true = _value(match["left"])
            if true is not None:
                yield Equation(match[0], _states(match["right"], true))


def _value(expression: str) -> Fraction | None:
    """Calculate without brackets, multiplication first; None for a division by zero."""
    figures = [_figures_in(part) for part in _OPERATION.split(expression)]
    total, term, sign = Fraction(0), figures[0], 1
    for operation, figure in zip(_OPERATION.findall(expression), figures[1:], strict=True):
        if operation in "+-":
            total, term, sign = total + sign * term, figure, 1 if operation == "+" else -1
        elif operation in "/÷":
            if not figure:
                return None
            term /= figure
        else:
            term *= figure
    return total + sign * term


def _states(figure: str, true: Fraction) -> bool:
    decimals = len(figure.partition(".")[2])
    tolerance = Fraction(1, 2 * 10**decimals) if decimals else Fraction(0)
    return abs(_figures_in(figure) - true) <= tolerance


def _figures_in(text: str) -> Fraction:
    return Fraction(text.replace("$", "").replace(",", "").strip())


def repetition(text: str) -> float:
    """Return the share of runs of four words, marks and spaces that stood there before.

    Welleck et al. 2020, seq-rep-4; 0 for a text too short to loop.
    """
    tokens = _TOKEN.findall(text)
    runs = list(zip(*(tokens[k:] for k in range(4)), strict=False))
    return 1 - len(set(runs)) / len(runs) if len(tokens) >= SHORTEST_LOOP else 0.0


def loops(text: str) -> bool:
    """Whether a text repeats itself for the larger part."""
    return repetition(text) > LOOPING


def marks_answer(text: str) -> bool:
    """Whether an answer stands in the asked format, anywhere."""
    return _MARKED.search(text) is not None


def goes_on(text: str) -> bool:
    """Whether numbers follow the first answer in the asked format: the text did not end there."""
    first = _MARKED.search(text)
    return first is not None and re.search(r"\d", text[first.end() :]) is not None


def first_answer(text: str) -> str | None:
    """Return the first answer in the asked format."""
    first = _MARKED.search(text)
    return first[1] if first else None


def holds(text: str, gold: str) -> bool:
    """Whether a number equal to the gold answer stands in a text."""
    expected = numbers.value(gold.rpartition("####")[2])
    if expected is None:
        return False
    found = (
        numbers.value(numbers.number_text(m)) for m in NUMBER.finditer(numbers.ascii_digits(text))
    )
    return any(value is not None and numbers.equal(value, expected) for value in found)


def chunks(tokens: Sequence[str]) -> dict[int, set[tuple[int, ...]]]:
    """Return, by the number of digits of the numbers in a tokenised row, how they are cut.

    `12` as one token and as two gives {2: {(2,), (1, 1)}}. A token with digits and other
    characters, but for a space before them, ends a number and counts with its digits.
    """
    found: dict[int, set[tuple[int, ...]]] = defaultdict(set)
    run: list[int] = []
    for token in [*tokens, ""]:
        digits = token.lstrip(" \u2581\u0120")
        starts_new = token != digits
        if run and (starts_new or not digits.isdecimal()):
            found[sum(run)].add(tuple(run))
            run = []
        if digits.isdecimal():
            run.append(len(digits))
    return dict(found)
