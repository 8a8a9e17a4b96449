"""What each strategy answered on one test, gathered from runs and paired problem by problem."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetrap.levels import Setting
from finetrap.records import Answer, Cell, Run, Status, StrategySpec, content_hash
from finetrap.runs.trials import searched, tuned_rates
from finetrap.stats.changes import (
    Components,
    Estimate,
    accuracy_components,
    bits_components,
    estimates,
    family_rows,
)
from finetrap.stats.likelihood import all_scored, as_bits
from finetrap.stats.retention import chance

Measure = Literal["accuracy", "bits_per_byte"]
_KINDS = ("prompt", "full", "peft", "given")


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
    answers: dict[int | None, tuple[Answer, ...]] = field(default_factory=dict)
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


def comparisons(runs: Sequence[Run]) -> list[Comparison]:
    """Gather runs into comparisons: tasks first, then probes, models by size.

    Runs are comparable if they asked the same weights the same problems within the same limits.
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
            same = content_hash([identity["model"], identity["limits"], test])
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


def _tests(run: Run) -> Iterable[tuple[dict[str, Any], bool, tuple[Answer, ...]]]:
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


def _new_arm(cell: Cell, variant: str, settings: tuple[Setting, ...]) -> Arm:
    trained_on = cell.trained_on.name if cell.trained_on else ""
    return Arm(
        cell.strategy,
        variant,
        learning_rate(cell),
        trained_on,
        cell.precision,
        settings=settings,
    )


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
    return cell.train.of(cell.strategy).learning_rate if cell.strategy.trains else None


def _setting(cell: Cell) -> str:
    """Name what the seeds of one arm share."""
    identity = cell.identity()
    return content_hash(
        [*(identity[k] for k in ("trained_on", "replayed", "strategy")), _training_budget(cell)]
    )


def _training_budget(cell: Cell) -> dict[str, Any]:
    """Return what a cell was trained with; runs of format 1 have no precision in their key."""
    return {**(cell.identity()["train"] or {}), "dtype": cell.precision or None}


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
    found = {}
    for key, cell in cells.items():
        others = namesakes[cell.model.shown, cell.strategy.name]
        names = sorted({name for other in others for name in other})
        axes = [n for n in names if len({other.get(n, "none") for other in others}) > 1]
        own = (f"{n.rpartition('.')[2]}={settings[key].get(n, 'none')}" for n in axes)
        found[key] = ",".join(own)
    return found


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


@dataclass(frozen=True)
class Pairs:
    """One arm's answers beside its baseline's, problem by problem."""

    measure: Measure
    seeds: tuple[int | None, ...]
    before: NDArray[np.float64]
    """Scores (0 to 1) or nats: n × 1, or n × k where the baseline has seeds of its own."""
    after: NDArray[np.float64]
    """Likewise, n × k."""
    sizes: NDArray[np.float64]
    """Bytes of each text; ones for accuracy."""
    rows: NDArray[np.int64] | None
    """Row of each problem where families are the rows."""
    families: int
    """Number of named families."""
    chance: float | None
    """Share of right answers that guessing gives; None where it is not known."""

    def components(self) -> Components:
        """Analyse the variance of the change."""
        if self.measure == "accuracy":
            return accuracy_components(self.before, self.after, self.rows)
        return bits_components(self.before, self.after, self.sizes, self.rows)

    @property
    def fractional(self) -> bool:
        """Whether some answer is neither right nor wrong: what counts flips is then not known."""
        both = (self.before, self.after)
        return self.measure == "accuracy" and any(((t > 0) & (t < 1)).any() for t in both)

    @property
    def flipped(self) -> float:
        """Mean change of an answer, over all seeds: the share that flipped from right or wrong."""
        return float(np.abs(self.after - self.before).mean())

    def floor(self, margin: float) -> bool:
        """Say whether neither accuracy is above guessing by the margin (a share)."""
        if self.measure != "accuracy" or self.chance is None:
            return False
        return max(self.level(self.before), self.level(self.after)) <= self.chance + margin

    def level(self, values: NDArray[np.float64]) -> float:
        """Return the share of right answers, or the bits per byte, over all seeds."""
        mean = float(values.sum() / (values.size / len(self.sizes)) / self.sizes.sum())
        return mean if self.measure == "accuracy" else as_bits(mean)


def measures(arm: Arm) -> tuple[Measure, ...]:
    """Return what can be compared with this arm: right answers, and where a gold solution was
    scored for every problem its bits per byte; for prose, which has no right answer, only these.
    """
    reference = next(iter(arm.answers.values()), ())
    if all(a.correct is None for a in reference):
        return ("bits_per_byte",)
    scored = all_scored(reference)
    return ("accuracy", "bits_per_byte") if scored and len(reference) > 1 else ("accuracy",)


class LeftOut(NamedTuple):
    """A seed that cannot be paired with the baseline."""

    strategy: str
    seed: int | None
    reason: str

    def __str__(self) -> str:
        """Say so in a note."""
        which = self.strategy if self.seed is None else f"{self.strategy} seed {self.seed}"
        return f"{which} left out: {self.reason}"


def pair(arm: Arm, base: Arm, measure: Measure) -> tuple[Pairs | None, list[LeftOut]]:
    """Pair by problem id; also say which seeds cannot be used, and why.

    A baseline without seeds, or with one, is set against every seed. One with several is paired
    seed by seed, so that the spread of its own seeds is in the interval too.
    """
    reference = next(iter(base.answers.values()), ())
    before, faults = _usable(base, reference, measure)
    after, more = _usable(arm, reference, measure)
    faults += more
    if not before or not after:
        return None, faults
    seeds = tuple(after) if len(before) == 1 else tuple(after)[: len(before)]
    order = [answer.id for answer in reference]
    families = [answer.family for answer in reference]
    pairs = Pairs(
        measure,
        seeds,
        _problems_by_seeds(list(before.values())[: len(seeds)], order, measure),
        _problems_by_seeds([after[seed] for seed in seeds], order, measure),
        np.array([1.0 if measure == "accuracy" else a.bytes or 0 for a in reference]),
        family_rows(families),
        len({name for name in families if name}),
        chance(reference),
    )
    return pairs, faults


_Seeds = dict[int | None, tuple[Answer, ...]]


def _usable(
    arm: Arm, reference: Sequence[Answer], measure: Measure
) -> tuple[_Seeds, list[LeftOut]]:
    """Return the seeds that answered exactly the reference's problems, and what the others lack."""
    kept: _Seeds = {}
    faults = []
    for seed, answers in arm.answers.items():
        fault = _why_unpaired(reference, answers, measure)
        if fault is None:
            kept[seed] = answers
        else:
            faults.append(LeftOut(arm.label, seed, fault))
    return kept, faults


def _why_unpaired(
    reference: Sequence[Answer], answers: Sequence[Answer], measure: Measure
) -> str | None:
    """Say why these answers cannot be paired with the reference; None if they can."""
    golds = {answer.id: answer.gold for answer in reference}
    found = {answer.id: answer.gold for answer in answers}
    if len(found) < len(answers):
        return f"{len(answers) - len(found)} duplicate ids"
    if unpaired := golds.keys() ^ found.keys():
        return (
            f"{len(unpaired)} ids, such as '{min(unpaired)}', are not in both it and its baseline"
        )
    if other := sum(found[i] != gold for i, gold in golds.items()):
        return f"{other} problems have another gold answer than in its baseline"
    if measure == "accuracy":
        unscored = sum(answer.correct is None for answer in answers)
    else:
        unscored = sum(answer.nats is None or not answer.bytes for answer in answers)
        if len(answers) < 2:
            return "a change of bits per byte needs at least two texts"
    what = "score" if measure == "accuracy" else "likelihood of the gold text"
    return f"{unscored} answers have no {what}" if unscored else None


def _problems_by_seeds(
    seeds: Sequence[Sequence[Answer]], order: Sequence[str], measure: Measure
) -> NDArray[np.float64]:
    """Return scores (0 to 1) or nats as problems × seeds."""
    columns = []
    for answers in seeds:
        by_id = {a.id: a.value if measure == "accuracy" else a.nats for a in answers}
        columns.append([by_id[name] for name in order])
    table: NDArray[np.float64] = np.array(columns, dtype=float).T
    return table


def estimate_arms(arms: Sequence[tuple[Arm, Components]]) -> list[Estimate]:
    """Estimate each arm; trained arms share seed variance among themselves, prompts among theirs.

    The seeds of a prompt draw exemplars, those of training draw weights and order: another spread.
    """
    found: dict[int, Estimate] = {}
    for trains in (False, True):
        places = [i for i, (arm, _) in enumerate(arms) if arm.spec.trains == trains]
        shared = estimates([arms[i][1] for i in places])
        found.update(zip(places, shared, strict=True))
    return [found[i] for i in range(len(arms))]
