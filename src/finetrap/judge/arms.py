"""What each strategy answered on one test, gathered from runs; pairing.py sets them in pairs."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from finetrap.levels import Setting
from finetrap.records import Answer, Cell, Run, Status, StrategySpec, content_hash
from finetrap.runs.held import noted
from finetrap.runs.trials import searched, tuned_rates
from finetrap.stats.changes import family_rows
from finetrap.stats.retention import chance

Measure = Literal["accuracy", "bits_per_byte"]
_KINDS = ("prompt", "full", "peft", "given")
_Found = TypeVar("_Found")


class Gathered(list[Run]):
    """Runs that are judged together, told apart by their prompts: what is gathered from all of
    them is gathered once."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        super().__init__(runs)
        self.kept: dict[str, Any] = {}
        """What was found in these runs, by the function that did."""


def _once(gather: Callable[[Sequence[Run]], _Found]) -> Callable[[Sequence[Run]], _Found]:
    """Let a function of runs look through `Gathered` ones a single time."""

    @wraps(gather)
    def found(runs: Sequence[Run]) -> _Found:
        if not isinstance(runs, Gathered):
            return gather(runs)
        if gather.__name__ not in runs.kept:
            runs.kept[gather.__name__] = gather(runs)
        known: _Found = runs.kept[gather.__name__]
        return known

    return found


class Scores(NamedTuple):
    """One seed's answers, problem by problem, in their own order."""

    ids: tuple[str, ...]
    golds: tuple[str, ...]
    scores: NDArray[np.float64]
    """0 to 1; nan where there is none."""
    nats: NDArray[np.float64]
    """Likewise."""
    sizes: NDArray[np.float64]
    """Bytes of the gold text; 0 where they are not known."""


def scores_of(answers: Sequence[Answer]) -> Scores:
    """Return answers as arrays."""
    return Scores(
        tuple(a.id for a in answers),
        tuple(a.gold for a in answers),
        np.array([a.value for a in answers], dtype=float),
        np.array([a.nats for a in answers], dtype=float),
        np.array([a.bytes or 0 for a in answers], dtype=float),
    )


def right_of(answers: Sequence[Answer]) -> int:
    """Count the right answers."""
    return sum(bool(answer.correct) for answer in answers)


class Clusters(NamedTuple):
    """The families of an arm's problems, and what guessing gives there."""

    rows: NDArray[np.int64] | None
    """Row of each problem where families are the rows."""
    families: int
    """Number of named families."""
    chance: float | None
    """Share of right answers that guessing gives; None where it is not known."""


def _clusters(answers: Sequence[Answer]) -> Clusters:
    families = [answer.family for answer in answers]
    named = len({name for name in families if name})
    return Clusters(family_rows(families), named, noted(answers, chance))


@dataclass
class Arm:
    """One strategy with one value of every setting, on one test."""

    spec: StrategySpec
    variant: str
    """The settings that tell it from others of its name: `r=8`; empty where none does."""
    learning_rate: float | None
    trained_on: str
    precision: str
    """Of training: fp32, bf16 or unknown; empty for a prompt."""
    answers: dict[int | None, Sequence[Answer]] = field(default_factory=dict)
    """By seed, in order."""
    failed: dict[int | None, Status] = field(default_factory=dict)
    """Seeds that ended without answers, and how."""
    settings: tuple[Setting, ...] = ("fixed",)
    """Both where the search chose the rate that all strategies share."""
    self_flips: float | None = None
    """Share of these problems whose outcome changed when the same model was asked again in another
    batch order; None where it was asked once."""

    @property
    def label(self) -> str:
        """The strategy's name, with the settings that tell it from others of that name."""
        return _label(self.spec.name, self.variant)

    @property
    def is_base(self) -> bool:
        """Whether this is the base model as it came, asked without examples."""
        return self.spec.is_base

    @cached_property
    def columns(self) -> dict[int | None, Scores]:
        """The answers as arrays, by seed."""
        return {seed: noted(answers, scores_of) for seed, answers in self.answers.items()}

    @cached_property
    def clusters(self) -> Clusters:
        """Of the problems that its first seed was asked."""
        return noted(next(iter(self.answers.values()), ()), _clusters)


@dataclass(frozen=True)
class Comparison:
    """Every arm of one model on one task or probe."""

    model: str
    test: str
    probe: bool
    arms: tuple[Arm, ...]
    """Prompts, then full fine-tuning, then adapters; by name and learning rate."""
    available: int | None = None
    """Problems that the test has, asked or not; None where that is not known."""


@_once
def comparisons(runs: Sequence[Run]) -> list[Comparison]:
    """Gather runs into comparisons: tasks first, then probes, models by size.

    Runs are comparable if they asked the same weights the same problems within the same limits,
    by the same protocol.
    Trials of a search asked other problems: they are in no comparison.
    """
    settings = rate_settings(runs)
    runs = [run for run in runs if run.cell.key in settings]
    variants = _variants(runs)
    tests: dict[tuple[str, bool, str, str], dict[str, Arm]] = defaultdict(dict)
    available: dict[tuple[str, bool, str, str], int] = {}
    for run in sorted(runs, key=lambda run: _run_order(run, variants[run.cell.key])):
        for test, probe, answers in _tests(run):
            identity = run.cell.identity()
            same = content_hash([identity[k] for k in ("protocol", "model", "limits")] + [test])
            key = (run.cell.model.shown, probe, test["name"], same)
            arm = tests[key].setdefault(
                _setting(run.cell),
                _new_arm(run.cell, variants[run.cell.key], settings[run.cell.key]),
            )
            if there := _available(run, test["name"], probe, len(answers)):
                available.setdefault(key, there)
            if not probe and arm.self_flips is None:
                arm.self_flips = self_flips(run)
            # Cells that differ only in other tests repeat a training: its probes count once.
            if run.status == "done" and answers:
                arm.answers.setdefault(run.cell.seed, answers)
                arm.failed.pop(run.cell.seed, None)
            elif run.status != "done" and run.cell.seed not in arm.answers:
                arm.failed.setdefault(run.cell.seed, run.status)
    models = list(dict.fromkeys(model for model, *_ in tests))
    return [
        Comparison(key[0], key[2], key[1], tuple(tests[key].values()), available.get(key))
        for key in sorted(tests, key=lambda key: (models.index(key[0]), key[1]))
    ]


def _available(run: Run, test: str, probe: bool, asked: int) -> int | None:
    """Return how many problems a test has: as recorded, else all of them where fewer were asked
    than might have been."""
    limit = run.cell.limits.probe_problems if probe else run.cell.limits.test_problems
    known: int | None = run.evidence.get("available", {}).get(test)
    return known or (asked if limit is None or asked < limit else None)


def _tests(run: Run) -> Iterable[tuple[dict[str, Any], bool, Sequence[Answer]]]:
    """Yield each test of a run: its task and its probes, as in the cell's identity."""
    identity = run.cell.identity()
    yield identity["task"], False, run.answers
    for probe in identity["probes"]:
        yield probe, True, run.probes.get(probe["name"], ())


def _run_order(run: Run, variant: str) -> tuple[object, ...]:
    """Small models first; prompts, full fine-tuning, adapters; then by name, rate and seed."""
    cell = run.cell
    rate, label = learning_rate(cell), _label(cell.strategy.name, variant)
    return (
        cell.model.parameters or run.costs.parameters or 0,
        cell.model.shown,
        cell.task.name,
        _KINDS.index(cell.strategy.kind),
        cell.strategy.shots,
        [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", label)],
        -1.0 if rate is None else rate,
        _setting(cell),
        -1 if cell.seed is None else cell.seed,
        -cell.protocol,
    )


def tuned_for(cell: Cell) -> str:
    """Return the task that a strategy was tuned for; empty for a prompt without examples.

    Weights from elsewhere are judged by the task that they are asked: the rows that they were
    trained on, where these are known, only add to the diagnosis.
    """
    if cell.strategy.given:
        return cell.task.name
    return cell.trained_on.name if cell.trained_on else ""


def _new_arm(cell: Cell, variant: str, settings: tuple[Setting, ...]) -> Arm:
    return Arm(
        cell.strategy,
        variant,
        learning_rate(cell),
        tuned_for(cell),
        cell.precision,
        settings=settings,
    )


@_once
def rate_settings(runs: Sequence[Run]) -> dict[str, tuple[Setting, ...]]:
    """Return, by cell key, the settings that each final cell serves; trials of a search serve none.

    A rate that a search chose is the tuned one. It is the fixed one as well where the strategy was
    tested at no other: then the search chose the rate that all strategies share.
    """
    tuned = tuned_rates(runs)
    final = [run.cell for run in runs if run.cell.split == "test"]
    tested: dict[tuple[str, str], set[float | None]] = defaultdict(set)
    for cell in final:
        tested[searched(cell), cell.strategy.name].add(learning_rate(cell))
    found: dict[str, tuple[Setting, ...]] = {}
    for cell in final:
        rate, search = learning_rate(cell), searched(cell)
        found[cell.key] = ("fixed",)
        if rate is not None and tuned.get(search) == rate:
            alone = len(tested[search, cell.strategy.name]) == 1
            found[cell.key] = ("fixed", "tuned") if alone else ("tuned",)
    return found


def self_flips(run: Run) -> float | None:
    """Return the share of problems whose outcome changed when they were asked a second time."""
    again = run.evidence.get("self_flips")
    return again["flips"] / again["n"] if again and again["n"] else None


def learning_rate(cell: Cell) -> float | None:
    """Return the rate this cell trains at; None for a prompt."""
    if not cell.strategy.trains:
        return None
    own = cell.strategy.learning_rate  # as in `TrainSpec.of`, which makes a whole budget
    return cell.train.learning_rate if own is None else own


def _setting(cell: Cell) -> str:
    """Name what the seeds of one arm share."""
    identity = cell.identity()
    parts = [identity[k] for k in ("trained_on", "replayed", "strategy")]
    own = [tuned_for(cell)] if cell.strategy.given else []
    return content_hash([*parts, _training_budget(cell), *own])


def _training_budget(cell: Cell) -> dict[str, Any]:
    """Return what a cell was trained with; runs of format 1 have no precision in their key."""
    return {**(cell.identity()["train"] or {}), "dtype": cell.precision or None}


@_once
def strategy_labels(runs: Sequence[Run]) -> dict[str, str]:
    """Return, by cell key, the strategy's name plus the axes on which its namesakes differ.

    `lora` with ranks 4 and 8 becomes `lora[r=4]` and `lora[r=8]`; the learning rate and the task
    trained on have columns of their own and are never in the name. A trial of a search is called
    like the strategy it is a trial of.
    """
    cells = {run.cell.key: run.cell for run in runs}
    return {key: _label(cells[key].strategy.name, own) for key, own in _variants(runs).items()}


def _label(name: str, variant: str) -> str:
    return f"{name}[{variant}]" if variant else name


def _variants(runs: Iterable[Run]) -> dict[str, str]:
    """Return, by cell key, the settings on which a strategy differs from its namesakes."""
    cells = {run.cell.key: run.cell for run in runs}
    namesakes: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    settings = {key: _flat_settings(cell) for key, cell in cells.items()}
    trials_alone = all(cell.split == "dev" for cell in cells.values())
    for key, cell in cells.items():
        if cell.split == "test" or trials_alone:
            namesakes[cell.model.shown, cell.strategy.name].append(settings[key])
    axes = {name: _axes(others) for name, others in namesakes.items()}
    found = {}
    for key, cell in cells.items():
        differ = axes.get((cell.model.shown, cell.strategy.name), [])
        own = (f"{n.rpartition('.')[2]}={settings[key].get(n, 'none')}" for n in differ)
        found[key] = ",".join(own)
    return found


def _axes(namesakes: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the settings on which some of these differ."""
    names = sorted({name for one in namesakes for name in one})
    return [n for n in names if len({one.get(n, "none") for one in namesakes}) > 1]


def _flat_settings(cell: Cell) -> dict[str, str]:
    """Return every setting that may be an axis, nested names joined by dots."""
    identity = cell.identity()
    flat: dict[str, str] = {}
    todo = [("strategy", identity["strategy"]), ("train", _training_budget(cell))]
    for prefix, values in todo:
        for name, value in values.items():
            if isinstance(value, Mapping):
                todo.append((f"{prefix}.{name}", value))
            elif name not in ("learning_rate", "share") and value is not None:
                flat[f"{prefix}.{name}"] = value if isinstance(value, str) else json.dumps(value)
    return flat
