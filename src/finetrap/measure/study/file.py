"""The tables of a study file: what may stand where, and faults as sentences.

Every field's description says what is allowed there, so that one form of sentence serves all
faults: place, what was found, what is allowed. A field that is an axis of the grid takes one value
or a list of them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
)

from finetrap.errors import BadInput, BadStudy, nearest
from finetrap.records import Judge, Keep, Limits, Precision, Search, TrainSpec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Location = tuple[int | str, ...]
T = TypeVar("T", bound="Table")


def _distinct(values: list[Any]) -> list[Any]:
    if any(value in values[:i] for i, value in enumerate(values)):
        raise ValueError("repeated")
    return values


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


Count = Annotated[int, Field(ge=1)]
CountOrAll = Count | Literal["all"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
Counts = Annotated[
    list[Count], Field(min_length=1), BeforeValidator(_listed), AfterValidator(_distinct)
]
Positives = Annotated[
    list[Positive], Field(min_length=1), BeforeValidator(_listed), AfterValidator(_distinct)
]
Shots = Annotated[
    list[Annotated[int, Field(ge=0)]],
    Field(min_length=1),
    BeforeValidator(_listed),
    AfterValidator(_distinct),
]
Shares = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2), AfterValidator(_distinct)
]
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_distinct)]

_COUNT = "a whole number from 1"
_COUNT_OR_ALL = f'{_COUNT}, or "all"'
_POSITIVE = "a number above 0"
_COUNT_ALONE = f"{_COUNT}; lists belong to [strategy.NAME]"
_POSITIVE_ALONE = f"{_POSITIVE}; lists belong to [strategy.NAME]"
_AXIS = "or a list of different ones"
_NAMES = "a list of different names"
_PRECISION = '"fp32" or "bf16"'


class Table(BaseModel):
    """A table without unknown settings and without conversions: `true` is not 1, "3" is not 3."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TrainTable(Table):
    """`[train]`: the budget of every trained strategy."""

    task: str = Field(default="", min_length=1, description="the name of a task")
    """Train on this one task, and test on every task; else each task is trained on."""
    problems: CountOrAll = Field(default="all", description=_COUNT_OR_ALL)
    """A seeded random subset of the training problems, the same for all."""
    epochs: Positive = Field(default=1, description=_POSITIVE_ALONE)
    """Passes over the training problems."""
    batch: Count = Field(default=1, description=_COUNT_ALONE)
    learning_rate: Positive = Field(default=1, description=_POSITIVE_ALONE)
    """One rate for every trained strategy; else each has its catalog's."""
    warmup: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0, description="a number from 0 to 1"
    )
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0, description="a number from 0"
    )
    """Of AdamW."""
    clip: Positive = Field(default=1, description=_POSITIVE)
    max_length: Count = Field(default=1, description=f"{_COUNT}, in tokens")
    dev: Annotated[int, Field(ge=0)] = Field(default=0, description="a whole number from 0")
    with_dev: bool = Field(default=False, description="true or false")
    dtype: Precision = Field(default="fp32", description=_PRECISION)
    replay_task: str = Field(default="", min_length=1, description="the name of a task")

    def spec(self) -> TrainSpec:
        """Return the record, with its own defaults where nothing was written."""
        tasks = ("task", "replay_task")
        return TrainSpec(**{k: v for k, v in _written(self).items() if k not in tasks})


class SearchTable(Table):
    """`[search]`: how learning rates are searched for."""

    trials: Annotated[int, Field(ge=2, le=15)] = Field(
        default=5, description="a whole number from 2 to 15"
    )
    factor: Annotated[float, Field(gt=1, le=100)] = Field(
        default=3, description="a number above 1, at most 100"
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="a whole number from 0")

    def spec(self) -> Search:
        """Return the record, with its own defaults where nothing was written."""
        return Search(**{"trials": 5, **_written(self)})


class LimitsTable(Table):
    """`[limits]`: what bounds an evaluation."""

    test_problems: CountOrAll = Field(default="all", description=_COUNT_OR_ALL)
    """A seeded random subset of the test problems, the same for all."""
    probe_problems: CountOrAll = Field(default="all", description=_COUNT_OR_ALL)
    max_new_tokens: Count = Field(default=1, description=_COUNT)
    """Longest completion; one that is cut there counts as truncated."""
    dtype: Precision = Field(default="fp32", description=_PRECISION)
    batch: Count = Field(default=1, description=_COUNT)

    def spec(self) -> Limits:
        """Return the record, with its own defaults where nothing was written."""
        return Limits(**_written(self))


class JudgeTable(Table):
    """`[judge]`: how verdicts are drawn."""

    margin: Annotated[float, Field(gt=0, le=100)] = Field(
        default=1, description="a number of points above 0, at most 100"
    )
    bits_margin: Positive = Field(default=1, description=f"{_POSITIVE}, in bits per byte")

    def spec(self) -> Judge:
        """Return the record, with its own defaults where nothing was written."""
        return Judge(**_written(self))


class KeepTable(Table):
    """`[keep]`: which weights stay in the runs folder."""

    weights: Keep = Field(default="adapters", description='"adapters", "all" or "none"')
    """Adapters alone, whole models too, or none."""


class StrategyTable(Table):
    """A strategy file, or `[strategy.NAME]`; every number is an axis of the grid."""

    about: str = Field(default="", description="a sentence")
    """What it is, for `finetrap list`."""
    kind: Literal["prompt", "full", "peft"] | None = Field(
        default=None, description='"prompt", "full" or "peft"'
    )
    """A prompt, full fine-tuning, or a PEFT adapter."""
    shots: Shots = Field(default=[0], description=f"a whole number from 0, {_AXIS}")
    learning_rate: Positives = Field(default=[1], description=f"{_POSITIVE}, {_AXIS}")
    """Its own rate, before `train.learning_rate` and the catalog's."""
    epochs: Positives = Field(default=[1], description=f"{_POSITIVE}, {_AXIS}")
    """In place of `train.epochs`."""
    batch: Counts = Field(default=[1], description=f"{_COUNT}, {_AXIS}")
    """In place of `train.batch`."""
    peft: dict[str, JsonValue] = Field(default={}, description="a table for PEFT's configuration")
    replay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="a number between 0 and 1"
    )
    rewind: Shares = Field(default=[], description="a list of different numbers from 0 to 1")


class ModelTable(Table):
    """A model file, or `[model.NAME]`."""

    about: str = Field(default="", description="a sentence")
    """What it is, for `finetrap list`."""
    source: str = Field(default="", min_length=1, description="a hub id or a folder")
    revision: str = Field(default="", min_length=1, description="a commit on the hub")
    prompt: Literal["auto", "plain", "chat"] = Field(
        default="auto", description='"auto", "plain" or "chat"'
    )
    parameters: Count = Field(default=1, description=f"{_COUNT}, without separators")
    data: dict[str, str] = Field(default={}, description="sources of tasks that suit the model")
    """Used where a study says nothing in `[data]`."""


class StudyTable(Table):
    """A whole study file."""

    name: str = Field(default="", min_length=1, description="a name")
    """Names the study in its report."""
    models: Names = Field(default=[], description=f"{_NAMES}, hub ids or folders")
    """Catalog names, hub ids, folders or model files; each is also measured untouched."""
    tasks: Names = Field(default=[], description=_NAMES)
    """Trained on, then tested on."""
    strategies: Names = Field(default=[], description=_NAMES)
    """Catalog names, strategy files, or names that `[strategy.NAME]` defines."""
    probes: list[str] = Field(default=[], description=_NAMES)
    """Never trained on: what else the model could do."""
    seeds: Seeds = Field(default=[0, 1, 2], description="a list of different whole numbers from 0")
    """Each trains once, and draws its own exemplars."""
    train: TrainTable = Field(default=TrainTable(), description="a table")
    """See below."""
    limits: LimitsTable = Field(default=LimitsTable(), description="a table")
    """See below."""
    search: SearchTable | None = Field(default=None, description="a table")
    """Without it every strategy is measured at the rates that it was given."""
    judge: JudgeTable = Field(default=JudgeTable(), description="a table")
    """See below."""
    keep: KeepTable = Field(default=KeepTable(), description="a table")
    """See below."""
    strategy: dict[str, StrategyTable] = Field(default={}, description="tables [strategy.NAME]")
    """See below."""
    model: dict[str, ModelTable] = Field(default={}, description="tables [model.NAME]")
    """See below."""
    data: dict[str, str] = Field(default={}, description='TASK = "path of a file or folder"')
    """Where a task's data lies, in its original layout; else it comes from the hub."""
    task: dict[str, dict[str, JsonValue]] = Field(
        default={}, description="tables [task.NAME] of options"
    )
    """Options of a task, such as the columns of user data."""


REQUIRED = ("name", "models", "tasks", "strategies")


def _written(table: Table) -> dict[str, Any]:
    """Return what was written in a table; `all` is None in the records."""
    written = table.model_dump(exclude_unset=True)
    return {key: None if value == "all" else value for key, value in written.items()}


def read(path: Path) -> tuple[dict[str, Any], str]:
    """Read a TOML file: its table and its text. Raises BadInput, BadStudy."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise BadStudy(
            str(path), [f"not UTF-8 text: byte {error.start} is no character"]
        ) from error
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; give the path of a TOML file") from error
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        end = f"at line {text.count(chr(10)) + 1}, the end"
        told = str(error).replace("at end of document", end)
        raise BadStudy(str(path), [f"not TOML: {told}"]) from error


def parse_value(text: str) -> object:
    """Read a value given on the command line: as TOML, `0,1` as a list of numbers, else as text."""
    for candidate in (text, f"[{text}]"):
        try:
            return tomllib.loads(f"value = {candidate}")["value"]
        except tomllib.TOMLDecodeError:
            continue
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
    try:
        table: Any = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"--set {dotted}: not a key; write for example train.epochs=2") from error
    parts = []
    while isinstance(table, dict):
        (part,) = table
        parts.append(part)
        table = table[part]
    return parts


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
        faults = faults or [_fault(kind, sound, loc, type_) for loc, type_ in found.items()]
        for location in sorted(found, key=repr, reverse=True):
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


def _remove(table: Any, location: Location) -> None:
    *parents, last = location
    for part in parents:
        table = table[part]
    del table[last]


def _fault(kind: type[Table], table: Any, location: Location, type_: str) -> str:
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
    return isinstance(annotation, type) and issubclass(annotation, Table)


def shown(value: object) -> str:
    """Write a value as it stands in a file, short enough for a line."""
    if isinstance(value, dict):
        return "a table"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
