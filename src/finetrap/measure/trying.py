"""One model, one data set: the study that `finetrap try` makes, cut to fit a time.

The largest of four sizes that fits is taken, by what `finetrap plan` says of each. Where one has
begun it goes on: what is timed on a busier machine may say another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from finetrap import catalog, tasks
from finetrap.errors import BadInput
from finetrap.measure.engines.machine import faster_in_bf16
from finetrap.measure.plan import plan_studies
from finetrap.measure.study import models, search
from finetrap.measure.study import reading as studies
from finetrap.records import Answer, Run, Study, TaskRef
from finetrap.runs.store import Store
from finetrap.text.paths import place_of

TEST_PROBLEMS = 500
PROBE_PROBLEMS = 100
TRAIN_PROBLEMS = 2000
MOST_TOKENS = 512
LEAST_TOKENS = 128
"""However short the right answers are: a base model explains, and cut short it would seem worse."""
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
    data: Mapping[str, str] | None = None
    """Where the data of tasks lies, by their names."""


def as_task(wanted: Wanted) -> TaskRef:
    """Return the data as a task. Raises BadInput, BadData."""
    options = {**(wanted.columns or {}), **_test_file(wanted)}
    if own := _by_name(wanted):
        return tasks.reference(own, None, options)
    return tasks.reference(tasks.USER_DATA, place_of(str(wanted.train)).resolve(), options)


def study_text(wanted: Wanted, size: Size) -> str:
    """Write the study as a file that `finetrap run` takes. Raises BadInput, BadData."""
    data = tasks.load(as_task(wanted))
    # No token is shorter than a byte, so no solution is cut that the training data could have.
    longest = max(len(p.solution.encode()) for p in (*data.train, *data.test))
    entry = _from_anywhere(wanted.model)
    model = models.resolve(entry, Path(), {})
    name = _by_name(wanted) or f"{tasks.USER_DATA}:{place_of(str(wanted.train)).resolve()}"
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
            "max_new_tokens": min(MOST_TOKENS, max(LEAST_TOKENS, longest)),
        },
        **({"data": dict(wanted.data)} if wanted.data else {}),
        **({"task": {name: options}} if options else {}),
    }
    return tomli_w.dumps(table)


def _by_name(wanted: Wanted) -> str:
    """Return the task that is named in place of a file, empty for a file. Raises BadInput."""
    name = str(wanted.train)
    known = name in tasks.names() or name.startswith(f"{tasks.HUB_DATA}:")
    if not known or wanted.train.exists():
        return ""
    if wanted.test is not None:
        raise BadInput(f"'{name}' has test problems of its own; leave --test out")
    return name


def _test_file(wanted: Wanted) -> dict[str, str]:
    return {} if wanted.test is None else {"test": str(place_of(str(wanted.test)).resolve())}


def _from_anywhere(model: str) -> str:
    """Return a model's name, or where its folder or file lies: the study file lies elsewhere."""
    place = place_of(model)
    return model if model in catalog.models() or not place.exists() else str(place.resolve())


class Tryout(NamedTuple):
    """A study that is tried, and what it is expected to take."""

    study: Study
    file: Path
    runs: int
    """Trials and final runs that remain, as far as they are known before the searches end."""
    seconds: float | None
    """What they are expected to take; None where the study has begun: it is not planned anew."""
    fits: bool


def prepare(
    wanted: Wanted,
    folder: Path,
    store: Store,
    *,
    minutes: float,
    workers: int | None,
    say: Callable[[str], None],
    allow_code: bool = False,
) -> Tryout:
    """Write the largest study that fits the time to `folder`/study.toml, the smallest if none does.

    One that has begun there, of the same model and data, stays as it is. `say` is told what is
    being timed. Raises BadInput where the data or the model cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if study := _begun(wanted, folder, store):
        remain = store.remaining(search.named_cells(study, store)[0])
        return Tryout(study, folder / FILE, len(remain), None, fits=True)
    tried = [_study(wanted, size, folder) for size in SIZES]
    plans = plan_studies(tried, store, workers=workers, say=say, allow_code=allow_code)
    chosen = largest_within([plan.seconds for plan in plans], 60 * minutes)
    study, plan = _study(wanted, SIZES[chosen], folder), plans[chosen]
    fits = plan.seconds <= 60 * minutes
    return Tryout(study, folder / FILE, len(plan.remaining), plan.seconds, fits)


def _begun(wanted: Wanted, folder: Path, store: Store) -> Study | None:
    """Return the study that an earlier call chose, if some of it has run."""
    try:
        text = (folder / FILE).read_text("utf-8")
    except (OSError, ValueError):
        return None
    ours = any(text == study_text(wanted, size) for size in SIZES)
    if not ours or not any(note["source"] == text for note in store.remembered()):
        return None
    return studies.load_study(folder / FILE)


def largest_within(seconds: Sequence[float], most: float) -> int:
    """Return the first number that is within the most, the last if none is."""
    fitting = (number for number, taken in enumerate(seconds) if taken <= most)
    return next(fitting, len(seconds) - 1)


def _study(wanted: Wanted, size: Size, folder: Path) -> Study:
    (folder / FILE).write_text(study_text(wanted, size), encoding="utf-8")
    return studies.load_study(folder / FILE)


def lost(before: Run, after: Run, most: int = 3) -> list[tuple[Answer, Answer]]:
    """Return the worst lost answers: right before and wrong after, by how much less likely the
    gold solution became."""
    base = {answer.id: answer for answer in before.answers}
    pairs = [
        (base[a.id], a)
        for a in after.answers
        if a.id in base and base[a.id].correct and a.correct is False
    ]
    return sorted(pairs, key=lambda pair: -_rise(*pair))[:most]


def _rise(before: Answer, after: Answer) -> float:
    """Return the rise of the gold solution's nats; a wrecked model's is beyond all others."""
    if before.nats is None or after.nats is None:
        return math.inf
    return after.nats - before.nats
