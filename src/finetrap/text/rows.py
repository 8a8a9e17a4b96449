"""Rows that a person hands in: JSON lines, JSON lists and their columns, with the place of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from finetrap.errors import BadData

Row = tuple[str, dict[str, Any]]
"""Where a row stands (file and line), and its columns."""


def json_lines(path: str | Path) -> Iterator[Row]:
    """Read JSON lines, each an object; blank lines are skipped.

    Raises BadData naming the line that is no object, and for a file without any.
    """
    empty = True
    try:
        with open(path, "rb") as lines:
            for count, line in enumerate(lines, 1):
                place = f"{path}, line {count}"
                text = _decoded(place, line)
                if text.strip():
                    empty = False
                    yield place, _object(place, _parsed(place, text))
    except OSError as error:
        raise BadData(f"{path}: {error.strerror}; give a file of JSON lines") from error
    if empty:
        raise BadData(f"{path}: no rows; each line must be one JSON object")


def json_list(path: Path) -> Iterator[Row]:
    """Read a JSON file that is one list of objects. Raises BadData."""
    rows = _parsed(str(path), read_text(path))
    if not isinstance(rows, list) or not rows:
        raise BadData(f"{path}: not a list with rows; the file must be a JSON list of objects")
    for i, row in enumerate(rows):
        place = f"{path}, row {i}"
        yield place, _object(place, row)


def read_text(path: Path) -> str:
    """Read a UTF-8 file. Raises BadData naming the byte that is not."""
    try:
        return _decoded(str(path), path.read_bytes())
    except OSError as error:
        raise BadData(f"{path}: {error.strerror}; give a file that can be read") from error


def column(row: Row, name: str) -> str:
    """Return a column that must hold a number or text, stripped. Raises BadData naming the row."""
    place, values = row
    if name not in values:
        found = ", ".join(f"`{c}`" for c in values) or "no columns"
        raise BadData(f"{place}: no `{name}` (found {found})")
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadData(f"{place}: `{name}` is {described(value)}; it must be a number or text")
    if not str(value).strip():
        raise BadData(f"{place}: `{name}` is empty; it must be a number or text")
    return str(value).strip()


def described(value: object) -> str:
    """Name the kind of a JSON value in a message."""
    if value is None:
        return "null"
    names = {bool: "a boolean", str: "a string", int: "a number", float: "a number"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a list")


def _decoded(place: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(
            f"{place}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error


def _parsed(place: str, text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadData(f"{place}: not JSON ({error})") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _object(place: str, row: object) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BadData(f"{place}: {described(row)}; it must be a JSON object")
    return row
