"""Whether what was read of a run has the shape that judging relies on.

A stranger's run can be valid JSON with valid hashes and still hold a list where a number belongs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from functools import lru_cache
from itertools import chain
from math import isfinite
from types import UnionType
from typing import (
    Any,
    Literal,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from finetrap.records import Answer, Cell, Costs, Failure, Run

Numbers = list[float | None]


class ScoredText(TypedDict):
    """A text and its likelihood; None where it was zero."""

    nats: float | None
    bytes: int


class Flips(TypedDict):
    """What changed when the base model was asked again."""

    n: int
    flips: int
    changed_texts: int


class ShownProblem(TypedDict, total=False):
    """A problem as it is shown beside its answers."""

    question: str
    choices: list[str]


class Shared(TypedDict):
    """How much of the test was trained on."""

    test: int
    exact: int
    near: int


class ShownTemplate(TypedDict):
    """A prompt with placeholders, and its hash."""

    text: str
    sha256: str


class Level(TypedDict, total=False):
    """What a probe came to at one share of a rewind."""

    accuracy: float | None


class Step(TypedDict):
    """One share of a rewind to the base weights."""

    share: float
    accuracy: float | None
    probes: dict[str, Level]


class Way(TypedDict):
    """A rewind to the base weights."""

    path: list[Step]
    chosen: float


class Evidence(TypedDict, total=False):
    """What judging reads of evidence.json; whatever else is there may have any shape."""

    loss: Numbers
    gradient_norm: Numbers
    update_ratio: Numbers
    learning_rate: Numbers
    swapped_nats: Numbers
    base_loss: list[ScoredText]
    untouched_loss: list[ScoredText]
    tuned_loss: list[ScoredText]
    own_style: list[ScoredText]
    divergence: list[tuple[str, float | None, float | None]]
    rows: list[list[tuple[str, bool]]]
    eos_share: float
    merged: bool | None
    template_faults: list[str]
    train_template: ShownTemplate
    test_template: ShownTemplate
    differs: dict[str, str]
    train_problems: int
    exact_duplicates: int
    near_duplicates: int
    overlap: Shared
    problems: dict[str, dict[str, ShownProblem]]
    available: dict[str, int]
    self_flips: Flips
    rewind: Way
    passes: str


def misshapen(run: Run) -> str | None:
    """Return what of a run has a shape that judging cannot read, None if nothing has."""
    parts: list[tuple[str, Any, Any]] = [
        ("evidence.json", run.evidence, Evidence),
        ("cell.json", run.cell, Cell),
        ("costs", run.costs, Costs),
        ("failure", run.failure, Failure | None),
        ("environment", run.environment, Mapping[str, Any]),
    ]
    for name, value, kind in parts:
        if not is_of_type(value, kind):
            record = type(value) if is_dataclass(value) else kind
            inside = is_dataclass(value) or (is_typeddict(kind) and isinstance(value, dict))
            return f"{name}: {_misfit([value], record)}" if inside else name
    for name, answers in {"answers": run.answers, **run.probes}.items():
        if fault := _misfit(answers, Answer):
            return f"{name}: {fault}"
    return None


@lru_cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _misfit(values: Sequence[Any], kind: Any) -> str | None:
    """Return the first field that does not fit in some of these records, None if all do."""
    known = [vars(value) if is_dataclass(kind) else value for value in values]
    for name in getattr(kind, "__required_keys__", ()):
        if not all(name in one for one in known):
            return str(name)
    for name, hint in _hints(kind).items():
        if not _all_fit([one[name] for one in known if name in one], hint):
            return name
    return None


def is_of_type(value: Any, kind: Any) -> bool:
    """Whether a value that was read from JSON is of a type as annotations write it."""
    return _all_fit([value], kind)


def _all_fit(values: Sequence[Any], kind: Any) -> bool:
    """Whether all of many values are of a type: what stands at one place in each is told at once,
    as runs hold thousands."""
    plain, origin, inner = _parts(kind)
    if plain is not None:
        return _plain_fit(values, kind, plain)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return all(any(is_of_type(value, one) for one in inner) for value in values)
    if origin in (list, tuple):
        if not all(isinstance(value, list | tuple) for value in values):
            return False
        if origin is list or inner[1:] == (...,):
            return _all_fit(list(chain.from_iterable(values)), inner[0])
        places = zip(*values, strict=False)
        return {*map(len, values)} <= {len(inner)} and all(map(_all_fit, places, inner))
    if origin is not None:  # a mapping, whose keys are names
        tables = all(isinstance(value, Mapping) for value in values)
        return tables and _all_fit([one for value in values for one in value.values()], inner[1])
    record: Any = kind if is_dataclass(kind) else dict
    return all(isinstance(value, record) for value in values) and _misfit(values, kind) is None


def _plain_fit(values: Sequence[Any], kind: Any, plain: frozenset[type]) -> bool:
    if not plain.issuperset(map(type, values)):
        return False
    if float in plain or int in plain:
        try:
            return all(map(isfinite, filter(None, values)))
        except OverflowError:  # an integer beyond any float
            return False
    stated = _named_values(kind)
    return not stated or stated.issuperset(values)


@lru_cache
def _named_values(kind: Any) -> frozenset[Any]:
    """Return the values that a type names, None with them; nothing where it names none."""
    parts = [part for part in (kind, *get_args(kind)) if get_origin(part) is Literal]
    return frozenset(value for part in parts for value in (*get_args(part), None))


@lru_cache
def _parts(kind: Any) -> tuple[frozenset[type] | None, Any, tuple[Any, ...]]:
    """Return what a type is made of: types of plain values, else what it holds and of what."""
    return _plain_types(kind), get_origin(kind), get_args(kind)


@lru_cache
def _plain_types(kind: Any) -> frozenset[type] | None:
    """Return the types of plain values that a type allows, None where it allows others."""
    if kind in (str, int, bool, type(None)):
        return frozenset({kind})
    if kind is float:
        return frozenset({int, float})
    if get_origin(kind) is Literal:
        return frozenset(map(type, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        parts = [_plain_types(one) for one in get_args(kind)]
        return None if None in parts else frozenset().union(*(part or () for part in parts))
    return None
