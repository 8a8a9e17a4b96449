"""Other inputs from one: damaged as JSON or TOML where that is what they are, else as bytes."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from typing import Any

import tomli_w

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SET = b"\0SET "
"""Parts a study file from a setting on the command line, as `--set` takes it."""
ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 0.5, -0.0, 1e308, 10**400, 2**40, -(2**63)),
    *(float("nan"), float("inf"), "NaN", "1e999999999999999999999", "9" * 5000, "18", "C", "done"),
    *("", "x", "x" * 300, "../x", "a\nb", "a\0b", "\ud800", "\u202e", "[" * 1200, '{"a": 1}'),
    *("[['1']]", "{'a':1}", "attachment://a", "#### 18", "\\frac{1}{2}", "F32", "{{ 1 // 0 }}"),
    *({}, [], [[]], [None], {"": None}, [1, 2], [8, 8], {"a": {"b": 1}}),
)
"""What may stand where something else is meant."""
PIECES = ("\0", "9", "\n", "é", "\ud800", "1e9", " ", "-", "/", "%", "{", "[", "#### 18", ", ")
"""What may stand inside a text."""
NAMES = ("x", "", "a.b", "id", "correct")
MOST = 4000
"""Places of a value that are looked at."""
UNWRITABLE = (RecursionError, ValueError, TypeError, OverflowError, AttributeError, KeyError)
"""What is raised of values that cannot be read or written as JSON or TOML."""
Plain = Callable[[bytes], bytes]
"""Damages bytes that mean nothing to it."""


def mutated(data: bytes, shape: str, head: int, draw: random.Random, plain: Plain) -> bytes:
    """Return another input; its first bytes, the `head`, choose how the others are read."""
    first, body = data[:head], data[head:]
    if head and draw.random() < 0.1:
        first = draw.randbytes(head)
    if draw.random() < 0.75:
        damage = {"json": damaged_json, "toml": damaged_toml}.get(shape)
        try:
            if damage is not None and (found := damage(body, draw)) is not None:
                return first + found
        except UNWRITABLE:
            pass
    return plain(data)


def damaged_bytes(data: bytes, draw: random.Random) -> bytes:
    """Change, cut, repeat or add a few bytes: what a fuzzer does where none is at hand."""
    at, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    odd = draw.choice(PIECES).encode("utf-8", "surrogatepass")
    middle = draw.choice((b"", odd, data[at:end] * 2, draw.randbytes(end - at)[:40]))
    return data[:at] + middle + data[draw.choice((at, end)) :]


def damaged_json(body: bytes, draw: random.Random) -> bytes | None:
    """Damage a JSON value, or rows of JSON; None where it is neither."""
    text = body.decode().strip()
    try:
        value, rows = json.loads(text), False
    except ValueError:
        value, rows = [json.loads(line) for line in text.split("\n") if line.strip()], True
    if draw.random() < 0.06:
        rows = not rows
    value = damaged(value, draw)
    plain = draw.random() < 0.8
    if rows and isinstance(value, list):
        written = "".join(json.dumps(row, ensure_ascii=plain) + "\n" for row in value)
    else:
        indent = draw.choice((None, None, 1))
        written = json.dumps(value, ensure_ascii=plain, indent=indent)
    return written.encode("utf-8", "replace")


def damaged_toml(body: bytes, draw: random.Random) -> bytes | None:
    """Damage the table of a study file, or the setting beside it."""
    file, mark, setting = body.partition(SET)
    table = tomllib.loads(file.decode())
    if table and draw.random() < 0.2:
        dotted = ".".join(str(part) for part in draw.choice(spots(table)))
        value = json.dumps(draw.choice(ODD), default=str)
        return b"%s%s%s=%s" % (file, SET, dotted.encode("utf-8", "replace"), value.encode())
    written = tomli_w.dumps(_without_nulls(damaged(table, draw)))
    return written.encode("utf-8", "replace") + mark + setting


def damaged(value: Any, draw: random.Random) -> Any:
    """Return a value with one to three of its places changed."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        known = spots(value)
        if not known:
            return draw.choice(ODD)
        if draw.random() < 0.3:
            known = sorted(known, key=len)[:50]  # few places lie high up, and they matter
        _damage(value, draw.choice(known), draw.choice(known), draw)
    return value


def spots(value: Any) -> list[tuple[Any, ...]]:
    """Return where the values inside a value stand."""
    found: list[tuple[Any, ...]] = []
    left: list[tuple[Any, tuple[Any, ...]]] = [(value, ())]
    while left and len(found) < MOST:
        outer, way = left.pop()
        keys = outer if isinstance(outer, dict) else range(len(outer))
        for key in keys:
            found.append((*way, key))
            if isinstance(outer[key], (dict, list)):
                left.append((outer[key], (*way, key)))
    return found


def _damage(value: Any, spot: tuple[Any, ...], other: tuple[Any, ...], draw: random.Random) -> None:
    """Put something else at one place of a value; `other` is a place to take it from."""
    *way, last = spot
    inside = _at(value, tuple(way))
    match draw.randrange(8):
        case 0 | 1 | 2:
            inside[last] = _copied(draw.choice(ODD))
        case 3:
            del inside[last]
        case 4:
            inside[last] = [inside[last]]
        case 5:
            inside[last] = _copied(_at(value, other))
        case 6 if isinstance(inside, list):
            inside.insert(last, _copied(inside[last]))
        case 6:
            inside[draw.choice((*NAMES, last + "x"))] = _copied(inside[last])
        case _:
            inside[last] = _nearly(inside[last], draw)


def _nearly(value: Any, draw: random.Random) -> Any:
    """Return what is almost a value: a text with something in it, a number of another kind."""
    if isinstance(value, str):
        at = draw.randrange(len(value) + 1)
        return value[:at] + draw.choice(PIECES) + value[at:]
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return draw.choice((str(value), -value, value + 1, value * 1000, value / 3))
    return str(value)[:2000]


def _at(value: Any, way: tuple[Any, ...]) -> Any:
    for step in way:
        value = value[step]
    return value


def _copied(value: Any) -> Any:
    """Return a value that shares no lists and tables with the one given."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _without_nulls(value: Any) -> Any:
    """Leave out what TOML cannot say."""
    if isinstance(value, dict):
        return {str(k): _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value if inner is not None]
    return value
