"""The tables of a study file: what may stand where, and faults as sentences.

Every field's description says what is allowed there, so that one form of sentence serves all
faults: place, what was found, what is allowed. A field that is an axis of the grid takes one value
or a list of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import deepcopy
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

from finetrap.errors import nearest
from finetrap.records import (
    Judge,
    Keep,
    Limits,
    Precision,
    Search,
    Study,
    TrainSpec,
    Weights,
)

Location = tuple[int | str, ...]
T = TypeVar("T", bound="Table")


def _distinct(values: list[Any]) -> list[Any]:
    if any(value in values[:i] for i, value in enumerate(values)):
        raise ValueError("repeated")
    return values


def _listed_values(value: object) -> object:
    return value if isinstance(value, list) else [value]


Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
CountOrAll = Count | Literal["all"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
Counts = Annotated[
    list[Count], Field(min_length=1), BeforeValidator(_listed_values), AfterValidator(_distinct)
]
Positives = Annotated[
    list[Positive], Field(min_length=1), BeforeValidator(_listed_values), AfterValidator(_distinct)
]
Shots = Annotated[
    list[Natural],
    Field(min_length=1),
    BeforeValidator(_listed_values),
    AfterValidator(_distinct),
]
Shares = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2), AfterValidator(_distinct)
]
Seeds = Annotated[list[Natural], Field(min_length=1), AfterValidator(_distinct)]

_COUNT = "a whole number from 1"
_NATURAL = "a whole number from 0"
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
    problems: CountOrAll | None = Field(default=TrainSpec.problems, description=_COUNT_OR_ALL)
    """A seeded random subset of the training problems, the same for all."""
    epochs: Positive = Field(default=TrainSpec.epochs, description=_POSITIVE_ALONE)
    """Passes over the training problems."""
    batch: Count = Field(default=TrainSpec.batch, description=_COUNT_ALONE)
    learning_rate: Positive | None = Field(
        default=TrainSpec.learning_rate, description=_POSITIVE_ALONE
    )
    """One rate for every trained strategy; else each has its catalog's."""
    warmup: Annotated[float, Field(ge=0, le=1)] = Field(
        default=TrainSpec.warmup, description="a number from 0 to 1"
    )
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=TrainSpec.weight_decay, description="a number from 0"
    )
    """Of AdamW."""
    clip: Positive = Field(default=TrainSpec.clip, description=_POSITIVE)
    max_length: Count = Field(default=TrainSpec.max_length, description=f"{_COUNT}, in tokens")
    dev: Annotated[int, Field(ge=0)] = Field(
        default=TrainSpec.dev, description="a whole number from 0"
    )
    with_dev: bool = Field(default=TrainSpec.with_dev, description="true or false")
    dtype: Precision = Field(default=TrainSpec.dtype or "fp32", description=_PRECISION)
    replay_task: str = Field(default="", min_length=1, description="the name of a task")

    def spec(self) -> TrainSpec:
        """Return the record."""
        tasks = ("task", "replay_task")
        return TrainSpec(**{k: v for k, v in _values(self).items() if k not in tasks})


class SearchTable(Table):
    """`[search]`: how learning rates are searched for."""

    trials: Annotated[int, Field(ge=2, le=15)] = Field(
        default=Search.trials, description="a whole number from 2 to 15"
    )
    factor: Annotated[float, Field(gt=1, le=100)] = Field(
        default=Search.factor, description="a number above 1, at most 100"
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        default=Search.seed, description="a whole number from 0"
    )

    def spec(self) -> Search:
        """Return the record."""
        return Search(**_values(self))


class LimitsTable(Table):
    """`[limits]`: what bounds an evaluation."""

    test_problems: CountOrAll | None = Field(
        default=Limits.test_problems, description=_COUNT_OR_ALL
    )
    """A seeded random subset of the test problems, the same for all."""
    probe_problems: CountOrAll | None = Field(
        default=Limits.probe_problems, description=_COUNT_OR_ALL
    )
    max_new_tokens: Count = Field(default=Limits.max_new_tokens, description=_COUNT)
    """Longest completion; one that is cut there counts as truncated."""
    dtype: Precision = Field(default=Limits.dtype, description=_PRECISION)
    batch: Count = Field(default=Limits.batch, description=_COUNT)

    def spec(self) -> Limits:
        """Return the record."""
        return Limits(**_values(self))


class JudgeTable(Table):
    """`[judge]`: how verdicts are drawn."""

    margin: Annotated[float, Field(gt=0, le=100)] = Field(
        default=Judge.margin, description="a number of points above 0, at most 100"
    )
    bits_margin: Positive = Field(
        default=Judge.bits_margin, description=f"{_POSITIVE}, in bits per byte"
    )

    def spec(self) -> Judge:
        """Return the record."""
        return Judge(**_values(self))


class KeepTable(Table):
    """`[keep]`: what stays on disk beside answers."""

    weights: Weights = Field(default=Keep.weights, description='"adapters", "all" or "none"')
    """Adapters alone, whole models too, or none, in the runs folder."""
    checkpoints: Annotated[str, Field(pattern=r"^(never|[1-9]\d{0,5} ?(s|min|h))$")] = Field(
        default="5 min", description='a time such as "5 min", "30 s" or "1 h", or "never"'
    )
    """Training time after which it is kept, to go on there if it is stopped."""

    def spec(self) -> Keep:
        """Return the record."""
        found = re.fullmatch(r"(\d+) ?(s|min|h)", self.checkpoints)
        seconds = float(found[1]) * {"s": 1, "min": 60, "h": 3600}[found[2]] if found else None
        return Keep(self.weights, seconds)


class StrategyTable(Table):
    """A strategy file, or `[strategy.NAME]`; every number is an axis of the grid."""

    about: str = Field(default="", description="a sentence")
    """What it is, for `finetrap list`."""
    kind: Literal["prompt", "full", "peft"] | None = Field(
        default=None, description='"prompt", "full" or "peft"'
    )
    """A prompt, full fine-tuning, or a PEFT adapter."""
    shots: Shots = Field(default=[0], description=f"a whole number from 0, {_AXIS}")
    learning_rate: Positives | None = Field(default=None, description=f"{_POSITIVE}, {_AXIS}")
    """Its own rate, before `train.learning_rate` and the catalog's."""
    epochs: Positives | None = Field(default=None, description=f"{_POSITIVE}, {_AXIS}")
    """In place of `train.epochs`."""
    batch: Counts | None = Field(default=None, description=f"{_COUNT}, {_AXIS}")
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
    source: str = Field(default="", min_length=1, description="a hub id, a folder or a .gguf file")
    revision: str = Field(default="", min_length=1, description="a commit on the hub")
    base: str = Field(
        default="", min_length=1, description="the model that an adapter belongs to, as in `models`"
    )
    prompt: Literal["auto", "plain", "chat"] = Field(
        default="auto", description='"auto", "plain" or "chat"'
    )
    parameters: Count | None = Field(default=None, description=f"{_COUNT}, without separators")
    data: dict[str, str] = Field(default={}, description="sources of tasks that suit the model")
    """Used where a study says nothing in `[data]`."""


class StudyTable(Table):
    """A whole study file."""

    name: str = Field(default="", min_length=1, description="a name")
    """Names the study in its report."""
    models: Names = Field(default=[], description=f"{_NAMES}, hub ids, folders or .gguf files")
    """Catalog names, hub ids (`id@revision`), checkpoint or adapter folders, .gguf files, or model
    files; the base model is measured too."""
    tasks: Names = Field(default=[], description=_NAMES)
    """Trained on, then tested on."""
    strategies: Names = Field(default=[], description=_NAMES)
    """Catalog names, strategy files, or names that `[strategy.NAME]` defines."""
    probes: list[str] = Field(default=[], description=_NAMES)
    """Never trained on: what else the model could do."""
    seeds: Seeds = Field(
        default=list(Study.seeds), description="a list of different whole numbers from 0"
    )
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


def _values(table: Table) -> dict[str, Any]:
    """Return the values of a table; `all` is None in the records."""
    return {key: None if value == "all" else value for key, value in table.model_dump().items()}


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
    return isinstance(annotation, type) and issubclass(annotation, Table)


def shown(value: object) -> str:
    """Write a value as it stands in a file, short enough for a line."""
    if isinstance(value, dict):
        return "a table"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
