"""One model, one data set: the study that `finetrap try` makes, cut to fit a time.

The largest of four plans whose cost fits is taken. The cost is not guessed: the untouched model and
one trial, which every plan has, are run first, and their seconds stand for all other cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from finetrap import catalog, tasks
from finetrap.events import Emit
from finetrap.measure.engines import local, rounds
from finetrap.measure.engines.machine import crew, faster_in_bf16
from finetrap.measure.engines.workers import Stopping
from finetrap.measure.study import models, search
from finetrap.measure.study import reading as studies
from finetrap.records import Answer, Cell, Run, Study, TaskRef
from finetrap.runs.store import Store

TEST_PROBLEMS = 500
PROBE_PROBLEMS = 100
TRAIN_PROBLEMS = 2000
MOST_TOKENS = 512
WAY = 5
"""Steps of a way back."""
FILE = "study.toml"
STRATEGIES = ("few-shot-5", "full", "lora", "lora+rewind", "full+rewind")


class Size(NamedTuple):
    """How much a try measures."""

    trials: int
    strategies: tuple[str, ...]
    seeds: int


SIZES = (
    Size(5, STRATEGIES, 3),
    Size(3, STRATEGIES, 3),
    Size(3, ("few-shot-5", "full", "lora"), 3),
    Size(3, ("few-shot-5", "lora"), 2),
)
"""From the largest to the smallest."""


@dataclass(frozen=True)
class Wanted:
    """What a person wants tried."""

    model: str
    train: Path
    test: Path | None = None
    columns: Mapping[str, str] | None = None
    """Names of the columns, for example `question` = "prompt"."""
    probes: tuple[str, ...] = ()


def reference(wanted: Wanted) -> TaskRef:
    """Return the data as a task. Raises BadInput, BadData."""
    options = {**(wanted.columns or {}), **_test_file(wanted)}
    return tasks.reference(tasks.USER_DATA, wanted.train.resolve(), options)


def written(wanted: Wanted, size: Size) -> str:
    """Write the study as a file that `finetrap run` takes. Raises BadInput, BadData."""
    data = tasks.load(reference(wanted))
    # No token is shorter than a byte, so no solution is cut that the training data could have.
    longest = max(len(p.solution.encode()) for p in (*data.train, *data.test))
    entry = _from_anywhere(wanted.model)
    model = models.resolve(entry, Path(), {})
    name = f"{tasks.USER_DATA}:{wanted.train.resolve()}"
    options = dict(sorted({**(wanted.columns or {}), **_test_file(wanted)}.items()))
    table: dict[str, Any] = {
        "name": f"try {wanted.train.stem}",
        "models": [entry],
        "tasks": [name],
        "probes": list(wanted.probes),
        "strategies": ["zero-shot", *size.strategies],
        "seeds": list(range(size.seeds)),
        "train": {
            "problems": TRAIN_PROBLEMS,
            "dtype": "bf16" if faster_in_bf16(model) else "fp32",
        },
        "search": {"trials": size.trials},
        "limits": {
            "test_problems": TEST_PROBLEMS,
            "probe_problems": PROBE_PROBLEMS,
            "max_new_tokens": min(MOST_TOKENS, max(16, longest)),
        },
        **({"task": {name: options}} if options else {}),
    }
    return tomli_w.dumps(table)


def _test_file(wanted: Wanted) -> dict[str, str]:
    return {} if wanted.test is None else {"test": str(wanted.test.resolve())}


def _from_anywhere(model: str) -> str:
    """Return a model's name, or where its folder or file lies: the study file lies elsewhere."""
    place = Path(model).expanduser()
    return model if model in catalog.models() or not place.exists() else str(place.resolve())


class Plan(NamedTuple):
    """A study, and what it is expected to take."""

    study: Study
    file: Path
    runs: int
    """Trials and final runs, as far as they can be counted before the searches have ended."""
    seconds: float
    """What they are expected to take, what is already measured left out."""
    fits: bool


def plan(
    wanted: Wanted,
    folder: Path,
    store: Store,
    *,
    minutes: float,
    workers: int | None,
    emit: Emit,
    stopping: Stopping | None = None,
) -> Plan:
    """Write the largest study that fits the time to `folder`/study.toml, the smallest if none does.

    Measures the untouched model and one trial for it. Raises BadInput where the data or the model
    cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    smallest = _study(wanted, SIZES[-1], folder)
    first = _first(search.named_cells(smallest, store)[0])
    owed = store.owed(first)
    rounds.begin(first, owed, 0, emit)
    local.run(owed, store, keep=smallest.keep, workers=workers, emit=emit, stopping=stopping)
    measured = store.runs({cell.key for cell in first})
    spent = sum(map(_seconds, measured))
    at_once = crew(first[0].model, workers).workers
    for size in SIZES:
        runs, seconds = _expected(size, measured)
        fits = (spent + seconds) / at_once <= 60 * minutes
        if fits or size == SIZES[-1]:
            study = _study(wanted, size, folder)
            return Plan(study, folder / FILE, runs, seconds / at_once, fits)
    raise RuntimeError("the smallest study is always taken")


def _study(wanted: Wanted, size: Size, folder: Path) -> Study:
    (folder / FILE).write_text(written(wanted, size), encoding="utf-8")
    return studies.load(folder / FILE)


def _first(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Return the untouched model and one trial, which the studies of all sizes have."""
    untouched = next(c for c in cells if c.split == "test" and c.seed is None)
    trials = [c for c in cells if c.split == "dev" and c.strategy.trains and c.train.share == 1.0]
    return untouched, trials[len(trials) // 2]


def _expected(size: Size, measured: Sequence[Run]) -> tuple[int, float]:
    """Count the runs of a size and their seconds, each as long as those that were measured.

    A tuned rate is assumed to differ from the shared one; a way back asks the dev problems at every
    step of it.
    """
    asking = max((r.costs.eval_s or 0.0 for r in measured if r.cell.split == "test"), default=0.0)
    trial = max((_seconds(r) for r in measured if r.cell.split == "dev"), default=0.0)
    dev = max((r.costs.eval_s or 0.0 for r in measured if r.cell.split == "dev"), default=0.0)
    trained = [name for name in size.strategies if name != "few-shot-5"]
    searched = [name for name in trained if not name.endswith("+rewind")]
    finals = 2 * len(trained) * size.seeds
    back = 2 * (len(trained) - len(searched)) * size.seeds
    rungs = size.trials + (size.trials + 1) // 2 if size.trials > 3 else size.trials
    trials = rungs * len(searched)
    seconds = trials * trial + finals * (trial - dev + asking) + back * WAY * dev
    return trials + finals + size.seeds, seconds + size.seeds * 3 * asking


def _seconds(run: Run) -> float:
    return (run.costs.train_s or 0.0) + (run.costs.eval_s or 0.0)


def lost(before: Run, after: Run, most: int = 3) -> list[tuple[Answer, Answer]]:
    """Return the worst lost answers: right before and wrong after, by how much less likely the
    gold solution became."""
    untouched = {answer.id: answer for answer in before.answers}
    pairs = [
        (untouched[a.id], a)
        for a in after.answers
        if a.id in untouched and untouched[a.id].correct and a.correct is False
    ]
    return sorted(pairs, key=lambda pair: -_rise(*pair))[:most]


def _rise(before: Answer, after: Answer) -> float:
    """Return the rise of the gold solution's nats; a wrecked model's is beyond all others."""
    if before.nats is None or after.nats is None:
        return math.inf
    return after.nats - before.nats
