"""Rows that a person hands in: the columns of a row and JSON values, with the place of each."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

from finetrap.errors import BadData
from finetrap.text.visible import json_visible

Row = tuple[str, dict[str, Any]]
"""Where a row stands (file and line), and its columns."""


def column(row: Row, name: str) -> str:
    """Return a column that must hold a number or text, stripped. Raises BadData naming the row."""
    place, values = row
    if name not in values:
        found = ", ".join(f"`{c}`" for c in values) or "no columns"
        raise BadData(f"{place}: no `{name}` (found {found})")
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise BadData(f"{place}: `{name}` is {described(value)}; it must be a number or text")
    text = value if isinstance(value, str) else _in_digits(value)
    if text is None:
        raise BadData(f"{place}: `{name}` is {value}, no finite number; leave the row out")
    if not text.strip():
        raise BadData(f"{place}: `{name}` is empty; it must be a number or text")
    refuse_halves(place, name, text)
    return text.strip()


def refuse_halves(place: str, name: str, text: str) -> None:
    """Raise BadData for half of a surrogate pair, which no file can hold as text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise BadData(f"{place}: `{name}` holds {half}, half of a character; repair it") from error


def _in_digits(number: int | float | Decimal) -> str | None:
    """Write a number in digits, 7.0 as 7: tools turn whole columns into floats. None for NaN."""
    if isinstance(number, int):  # perhaps one beyond every float
        return str(number)
    if not math.isfinite(number):
        return None
    return str(int(number)) if number == int(number) else format(Decimal(str(number)), "f")


def described(value: object) -> str:
    """Name the kind of a JSON value in a message."""
    if value is None:
        return "null"
    names = {bool: "a boolean", str: "a string", int: "a number", float: "a number"}
    names |= {dict: "an object", list: "a list"}
    return names.get(type(value), f"a {type(value).__name__}")


def json_value(place: str, text: str) -> object:
    """Return the JSON value of a line. Raises BadData; NaN and Infinity are no JSON."""
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise not_json(place, error) from error


def not_json(place: str, error: Exception) -> BadData:
    """Return the error for text that is not JSON, with the column where it stops being it."""
    if isinstance(error, json.JSONDecodeError):
        what = error.msg.removesuffix(" at")
        return BadData(f"{place}: not JSON ({what} at column {error.colno})")
    return BadData(f"{place}: not JSON ({error})")


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's reader would take."""
    raise ValueError(f"{name} is not a JSON value")


def as_object(place: str, row: object) -> dict[str, Any]:
    """Return a row that must be a JSON object. Raises BadData."""
    if not isinstance(row, dict):
        raise BadData(f"{place}: {described(row)}; it must be a JSON object")
    return row


def json_line(row: object) -> str:
    """Write a row as a line of JSON; a score that is no number is null."""
    return json_visible(json.dumps(finite_json(row), ensure_ascii=False)) + "\n"


def finite_json(value: object) -> object:
    """Return a value for JSON with null for every number that is not finite."""
    if isinstance(value, Mapping):
        return {name: finite_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return list(map(finite_json, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value


def halves_escaped(text: str) -> str:
    """Return JSON text with half a surrogate pair, which no file can hold, as its escape.

    A byte-level tokenizer can produce one.
    """
    return re.sub("[\ud800-\udfff]", lambda m: f"\\u{ord(m.group()):04x}", text)
