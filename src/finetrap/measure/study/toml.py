"""TOML as people write it: a file, or a value and a dotted key on the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from finetrap.errors import BadInput, BadStudy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """Read a TOML file: its table and its text. Raises BadInput, BadStudy."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadStudy(
            str(path), [f"not UTF-8 text: byte {error.start} is no character"]
        ) from error
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; give the path of a TOML file") from error
    try:
        table = tomllib.loads(text)
        deepcopy(table)  # as checking it will; a dotted name can lie deeper than can be walked
        return table, text
    except tomllib.TOMLDecodeError as error:
        end = f"at line {text.count(chr(10)) + 1}, the end"
        told = str(error).replace("at end of document", end)
        raise BadStudy(str(path), [f"not TOML: {told}"]) from error
    except _TOO_MUCH as error:
        raise BadStudy(str(path), [f"cannot be read: {_limit(error)}"]) from error


_TOO_MUCH = (RecursionError, ValueError)
"""What Python's reader raises for lists in lists without end and for numbers of 5,000 digits."""


def _limit(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "lists or tables lie too deep in each other; a study needs four levels"
    return "a number has more than 4,300 digits"


def parse_value(text: str) -> object:
    """Read a value given on the command line: as TOML, `0,1` as a list of numbers, else as text."""
    for candidate in (text, f"[{text}]"):
        try:
            return tomllib.loads(f"value = {candidate}")["value"]
        except tomllib.TOMLDecodeError:
            continue
        except _TOO_MUCH as error:
            raise BadInput(f"--set …={text[:20]}…: {_limit(error)}") from error
    return text


def overridden(table: Mapping[str, Any], overrides: Mapping[str, object]) -> dict[str, Any]:
    """Return the table with dotted keys set, such as `train.epochs`. Raises BadInput."""
    result = deepcopy(dict(table))
    for dotted, value in overrides.items():
        *parents, last = _key_parts(dotted)
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise BadInput(f"--set {dotted}: '{parent}' is a value, not a table")
        place[last] = value
    return result


def _key_parts(dotted: str) -> list[str]:
    """Split a dotted key as TOML does, quoted parts included."""
    parts: list[str] = []
    with suppress(tomllib.TOMLDecodeError, *_TOO_MUCH):
        table: Any = tomllib.loads(f"{dotted} = 0")
        while isinstance(table, dict) and len(table) == 1:
            ((part, table),) = table.items()
            parts.append(part)
        if parts and table == 0:  # a text with a comment or a line end is more, or less, than a key
            return parts
    raise BadInput(f"--set {dotted}: not a key; write for example train.epochs=2")
