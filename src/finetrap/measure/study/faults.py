"""A study file's tables are checked, and what is wrong becomes sentences: place, found, allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError

from finetrap.errors import nearest
from finetrap.measure.study.file import REQUIRED, ModelTable, StrategyTable, StudyTable, Table

Location = tuple[int | str, ...]
T = TypeVar("T", bound="Table")


def checked(table: Mapping[str, Any]) -> tuple[StudyTable, list[str]]:
    """Return the table of a study and its faults; what is at fault is left out of the table."""
    allowed = {key: StudyTable.model_fields[key].description for key in REQUIRED}
    missing = [f"{key}: missing; give {allowed[key]}" for key in REQUIRED if key not in table]
    study, faults = _validated(StudyTable, table)
    return study, missing + faults


def checked_strategy(table: Mapping[str, Any], file: str) -> tuple[StrategyTable, list[str]]:
    """Likewise for a strategy file, whose name stands before each place."""
    strategy, faults = _validated(StrategyTable, table)
    return strategy, [f"{file}: {fault}" for fault in faults]


def checked_model(table: Mapping[str, Any], file: str) -> tuple[ModelTable, list[str]]:
    """Likewise for a model file."""
    model, faults = _validated(ModelTable, table)
    return model, [f"{file}: {fault}" for fault in faults]


def place(*location: int | str) -> str:
    """Write where something stands in a file: `[strategy.full] learning_rate[1]`."""
    names = [part for part in location if isinstance(part, str)]
    named_table = len(names) == 2 and names[0] in ("strategy", "model", "task")
    header, key = (names, "") if named_table else (names[:-1], names[-1])
    quoted = [n if n.replace("-", "_").isidentifier() else json.dumps(n) for n in header]
    index = "".join(f"[{part}]" for part in location if isinstance(part, int))
    return " ".join(filter(None, [f"[{'.'.join(quoted)}]" if header else "", key])) + index


def _validated(kind: type[T], table: Mapping[str, Any]) -> tuple[T, list[str]]:
    """Validate, and leave out what is at fault until the rest is valid."""
    sound: dict[str, Any] = deepcopy(dict(table))
    faults: list[str] = []
    while True:
        try:
            return kind.model_validate(sound), faults
        except ValidationError as error:
            found = {_existing(e["loc"], sound): e["type"] for e in error.errors()}
        # Whatever later rounds find is only a consequence of what was left out.
        faults = faults or [_say_fault(kind, sound, loc, type_) for loc, type_ in found.items()]
        for location in sorted(found, key=_from_front, reverse=True):
            _remove(sound, location)


def _existing(location: Location, table: Any) -> Location:
    """Return the part of pydantic's location that leads to something in the file."""
    for depth, part in enumerate(location):
        inside = isinstance(table, dict) and part in table
        inside = inside or (isinstance(table, list) and part in range(len(table)))
        if not inside:
            return location[:depth]
        table = table[part]
    return location


def _from_front(location: Location) -> list[tuple[str, int]]:
    """Return what orders locations so that the entries of a list, however many, are in theirs."""
    return [("", part) if isinstance(part, int) else (part, -1) for part in location]


def _remove(table: Any, location: Location) -> None:
    *parents, last = location
    for part in parents:
        table = table[part]
    del table[last]


def _say_fault(kind: type[Table], table: Any, location: Location, type_: str) -> str:
    owner, name = _field(kind, location)
    if type_ == "extra_forbidden":
        known = tuple(owner.model_fields)
        listed = ", ".join(known)
        return f"{place(*location)}: unknown setting; allowed: {listed}{nearest(name, known)}"
    for part in location:
        table = table[part]
    allowed = owner.model_fields[name].description or ""
    hint = nearest(table, re.findall(r'"(\w+)"', allowed)) if isinstance(table, str) else ""
    return f"{place(*location)}: found {shown(table)}; allowed: {allowed}{hint}"


def _field(kind: type[Table], location: Location) -> tuple[type[Table], str]:
    """Return the table class and the field that a location is about."""
    parts, name = list(location), ""
    while parts:
        name = str(parts.pop(0))
        field = kind.model_fields.get(name)
        annotation = field.annotation if field else None
        inner = [a for a in (annotation, *get_args(annotation)) if _is_table(a)]
        if get_origin(annotation) is dict:
            parts = parts[1:]
        if not inner or not parts:
            break
        kind = inner[0]
    return kind, name


def _is_table(annotation: object) -> bool:
    plain = get_origin(annotation) is None  # Python 3.10 calls list[str] a type
    return plain and isinstance(annotation, type) and issubclass(annotation, Table)


def shown(value: object) -> str:
    """Write a value as it stands in a file, short enough for a line."""
    if isinstance(value, dict):
        return "a table"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
