"""Tasks: what a solver is trained on, tested on or probed with. The folder is the registry.

A task file defines

    NAMES: dict[str, TaskKind]                        the tasks it holds and their kinds
    revision(name, source, options) -> str            cheap: a pinned commit, a version or a hash
    load(ref: TaskRef) -> Task
    OPTIONS: tuple[str, ...]                          the options it knows; may be left out

and needs no other change; every task also has the option `test_problems`, the most of it that any
test or probe asks. Files whose name starts with an underscore are not tasks.
"""

from __future__ import annotations

import pkgutil
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from importlib import import_module
from itertools import chain
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

from finetrap.errors import BadData, BadInput, nearest
from finetrap.records import Cell, Problem, Split, TaskKind, TaskRef, TrainSpec
from finetrap.runs.prepared import Lazy
from finetrap.tasks._odd import odd_answers
from finetrap.tasks._splits import draw, wording
from finetrap.tasks._stored import FROM, Kept, Stored, recall, recalled
from finetrap.text.golds import GoldCount, count_golds, described_golds
from finetrap.text.overlap import Overlap, overlap_sentence
from finetrap.text.overlap import find as find_overlap

DEV_PROBES = 100
"""Problems of each probe that settings are chosen on."""
MOST = "test_problems"
"""The option that bounds how much of a task is asked."""
DATA_FILES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".ndjson")
HUB_DATA = "hf"
"""The task that names its data set itself: `hf:ORG/NAME`."""
USER_DATA = "jsonl"
"""The task that names its file itself: `jsonl:PATH`."""
_PINNED = re.compile("sha256:[0-9a-f]{64}|[0-9a-f]{40}")
"""A revision that names the data's content."""


@dataclass(frozen=True)
class Task:
    """The problems of a task. No training problem is asked again in the test."""

    name: str
    kind: TaskKind
    train: Sequence[Problem]
    """Empty for a task that is only ever a probe."""
    test: Sequence[Problem]
    left_out: int = 0
    """Rows without exactly one usable answer, or whose question is asked again in the test."""
    read_as: str = ""
    """Which shape rows of a person's own data were taken for, where they name no columns."""
    grouped: bool = False
    """Whether problems of one family stay on one side."""
    most: int | None = None
    """Problems that a test asks at most; None: as many as the study's limits say."""
    kept: Path | None = field(default=None, compare=False)
    """The folder of problems that lie on disk."""

    def tested(self, count: int | None) -> tuple[Problem, ...]:
        """Return the seeded subset that a test of at most so many problems asks."""
        asked = [limit for limit in (count, self.most) if limit is not None]
        most = min(asked, default=None)
        return sample(self.test, most, purpose=f"{self.name}/test", seed=0)


def counts(task: Task) -> dict[str, int]:
    """Count a task's rows, the questions that differ, and the problems of each side."""
    worded = (wording(p.question or p.solution) for p in chain(task.train, task.test))
    return {
        "rows": len(task.train) + len(task.test) + task.left_out,
        "distinct questions": len({sha256(words.encode()).digest() for words in worded}),
        "to train on": len(task.train),
        "in the test": len(task.test),
        "left out": task.left_out,
    }


def right_answers(task: Task) -> GoldCount | None:
    """Count the right answers of a task by kind; None where they are not written out."""
    written = task.kind == "math"
    return count_golds(p.answer for p in chain(task.train, task.test)) if written else None


def held_data(read: Mapping[str, Task]) -> list[str]:
    """Say what the data of tasks holds: their rows, and what their right answers are.

    What was said of large data lies beside its problems.
    """
    lines = []
    for name, task in read.items():
        said = recalled(task.kept, name)
        if said is None:
            said = list(_said_of(name, task))
            recall(task.kept, name, said)
        lines += said
    return lines


def _said_of(name: str, task: Task) -> Iterator[str]:
    if task.read_as:
        yield f"{name}: read as {task.read_as}"
    yield f"{name}: " + ", ".join(f"{n} {what}" for what, n in counts(task).items())
    if own_data(name) and (near := near_duplicates(task)).near:
        yield f"{name}: {overlap_sentence(near)}"
    golds = right_answers(task)
    if golds is not None:
        yield f"{name}: the right answers are {described_golds(golds)}"
        if own_data(name):
            yield from odd_answers((task.train, task.test), golds)


def own_data(name: str) -> bool:
    """Whether a task is a person's own data: what it holds is known to nobody else."""
    return as_named(name).partition(":")[0] in (USER_DATA, HUB_DATA)


def near_duplicates(task: Task) -> Overlap:
    """Return which test questions stand in the training questions, or nearly do."""
    train, test = (((p.id, p.question) for p in side) for side in (task.train, task.test))
    return find_overlap(train, test)


def local_data(cells: Iterable[Cell]) -> tuple[dict[str, Task], list[str]]:
    """Read every task of these cells that lies on this machine; return them and their faults.

    A fault of a file can be told so before anything runs.
    """
    refs = {}
    for cell in cells:
        for ref in (cell.task, cell.trained_on, cell.replayed, *cell.probes):
            if ref is not None and ref.source is not None and Path(ref.source).exists():
                refs[ref.name, ref.revision] = ref
    read: dict[str, Task] = {}
    faults: list[str] = []
    for ref in refs.values():
        try:
            read[ref.name] = load(ref)
        except BadData as fault:
            faults.append(str(fault))
    return read, faults


def names() -> dict[str, TaskKind]:
    """Return every task by name, with its kind."""
    return {name: module.NAMES[name] for name, module in sorted(_modules().items())}


def sentences() -> dict[str, str]:
    """Return every task by name, with one sentence on what it asks."""
    return {
        name: getattr(module, "ABOUT", {}).get(name) or str(module.__doc__).partition("\n")[0]
        for name, module in sorted(_modules().items())
    }


def topics() -> dict[str, str]:
    """Return what the problems of every task are about, in a few words; none of a person's own."""
    return {
        name: about[name]
        for name, module in sorted(_modules().items())
        if name in (about := getattr(module, "TOPICS", None) or getattr(module, "ABOUT", {}))
    }


def reference(
    name: str, source: str | Path | None = None, options: Mapping[str, Any] | None = None
) -> TaskRef:
    """Return the reference of a task: its name and the revision of its data.

    `source` is a local file or folder, None for the hub or a generator; `jsonl:PATH` holds its own.
    A path never becomes part of the name. Raises BadInput for an unknown name or option, BadData
    if the source cannot be read.
    """
    name = as_named(name)
    task, _, path = name.partition(":")
    module = _module(task)
    if path and task not in (USER_DATA, HUB_DATA):
        raise BadInput(
            f"'{name}': only {USER_DATA} and {HUB_DATA} take one; write '{task}', and its place as "
            f'[data] {task} = "{path}"'
        )
    place = str(source) if source is not None else path or None
    options = dict(options or {})
    _refuse_unknown(task, options, (*getattr(module, "OPTIONS", ()), MOST))
    most = options.get(MOST)
    if MOST in options and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise BadInput(f"{name}: {MOST} is {most!r}; it must be a whole number from 1")
    if task == HUB_DATA and not path:
        raise BadInput(f"task '{name}' names no data set; write {HUB_DATA}:ORG/NAME")
    if task == USER_DATA:
        if place is None:
            raise BadInput(f"task '{name}' names no file; write {USER_DATA}:PATH")
        file = Path(place).resolve().name
        name = file if as_named(file) != file else f"{USER_DATA}:{file}"
    revision = module.revision(task, place, options)
    return TaskRef(name=name, revision=revision, source=place, options=options)


def as_named(entry: str) -> str:
    """Return the task that an entry means: a file of rows, known by its ending, is `jsonl:PATH`."""
    endings = Path(entry).suffixes[-2:]
    is_file = entry not in names() and ":" not in entry and any(e in DATA_FILES for e in endings)
    return f"{USER_DATA}:{entry}" if is_file else entry


def load(ref: TaskRef) -> Task:
    """Read the problems of a task. Raises BadData if they are not those of the reference."""
    task = as_named(ref.name).partition(":")[0]
    module = _module(task)
    found = module.revision(task, ref.source, ref.options)
    if found != ref.revision:
        raise BadData(
            f"{ref.name}: the data is at {found}, the study asks for {ref.revision}; restore the "
            "data, or read the study again to measure on what is there now"
        )
    loaded: Task = _loaded(ref, module) if own_data(ref.name) else module.load(ref)
    return replace(loaded, most=ref.options.get(MOST))


def _loaded(ref: TaskRef, module: ModuleType) -> Task:
    """Read a person's own data, which may be large: once checked, its problems lie on disk."""
    kept = Kept(ref) if _PINNED.fullmatch(ref.revision) else None
    if kept is None or (found := kept.read()) is None:
        task: Task = module.load(ref)
        if kept is None or len(task.train) + len(task.test) < FROM:
            return task
        note: dict[str, Any] = {"name": task.name, "kind": task.kind, "left_out": task.left_out}
        note |= {"read_as": task.read_as, "grouped": task.grouped}
        kept.write(task.train, task.test, note)
        if (found := kept.read()) is None:
            return task
    train, test, noted = found
    return Task(train=train, test=test, kept=kept.folder, **noted)


def sample(
    problems: Sequence[Problem], count: int | None, *, purpose: str, seed: int
) -> tuple[Problem, ...]:
    """Return a seeded random subset in its original order; None takes all.

    A larger sample holds the smaller ones of the same purpose and seed, so a study that is enlarged
    keeps what it has asked.
    """
    return tuple(problems[i] for i in _drawn_places(len(problems), count, purpose, seed))


def _drawn_places(there: int, count: int | None, purpose: str, seed: int) -> list[int]:
    order = list(range(there))
    Random(f"{purpose}/{seed}").shuffle(order)
    return sorted(order[:count])


def held_out(task: Task, count: int) -> tuple[Sequence[Problem], tuple[Problem, ...]]:
    """Split a task's training problems: those to train on, and those to choose settings on.

    The second are `count`, at most a fifth of them all; of groups as many as that holds.
    """
    problems, purpose = task.train, f"{task.name}/dev"
    count = min(count, len(problems) // 5)
    if isinstance(problems, Stored) and not task.grouped:
        places = _drawn_places(len(problems), count, purpose, 0)
        return problems.beside(set(places)), tuple(problems[i] for i in places)
    dev = (
        _whole_families(problems, count, purpose)
        if task.grouped
        else sample(problems, count, purpose=purpose, seed=0)
    )
    kept = {problem.id for problem in dev}
    if isinstance(problems, Stored):
        return problems.beside({i for i, p in enumerate(problems) if p.id in kept}), dev
    return tuple(p for p in problems if p.id not in kept), dev


def _whole_families(problems: Sequence[Problem], count: int, purpose: str) -> tuple[Problem, ...]:
    """Return whole families, at most so many problems, in an order of their own."""
    order = sorted({p.family for p in problems}, key=lambda name: draw(purpose, name))
    sizes = Counter(p.family for p in problems)
    chosen: set[str] = set()
    for name in order:
        if sizes[name] <= count:
            chosen.add(name)
            count -= sizes[name]
    return tuple(p for p in problems if p.family in chosen)


def joined(first: Sequence[Problem], second: Sequence[Problem]) -> Sequence[Problem]:
    """Return problems one after the other; many are not held."""
    if not second or len(first) + len(second) < FROM:
        return (*first, *second) if second else first
    return Lazy(
        len(first) + len(second),
        lambda i: first[i] if i < len(first) else second[i - len(first)],
    )


def training(task: Task, budget: TrainSpec) -> Sequence[Problem]:
    """Return the seeded subset of a task to train on; a smaller share is part of a larger one.

    Many that lie on disk stay there.
    """
    problems, dev = held_out(task, budget.dev)
    count = len(problems) if budget.problems is None else min(budget.problems, len(problems))
    count = max(1, round(count * budget.share))
    places = _drawn_places(len(problems), count, f"{task.name}/train", 0)
    if isinstance(problems, Stored) and count >= FROM:
        chosen: Sequence[Problem] = problems.at(places)
    else:
        chosen = tuple(problems[i] for i in places)
    return joined(chosen, dev) if budget.with_dev else chosen


def asked(task: Task, count: int | None, split: Split, dev: int) -> tuple[Problem, ...]:
    """Return the problems that a cell asks: of the test, or those held out of training.

    Raises BadInput if a task is too small to hold any out.
    """
    if split == "test":
        return task.tested(count)
    problems = held_out(task, dev)[1]
    if not problems:
        raise BadInput(
            f"task '{task.name}' has {len(task.train)} training problems "
            f"({counts(task)['distinct questions']} distinct questions), too few to hold some "
            "out to choose settings on; give more, or a study without [search] and rewind"
        )
    return problems


def probed(task: Task, count: int | None, split: Split) -> tuple[Problem, ...]:
    """Return the problems that a probe asks.

    Settings are chosen on up to 100 that no test of this size asks: of the test problems beyond
    the sample, else of the training problems; none where there are neither.
    """
    chosen = task.tested(count)
    if split == "test":
        return chosen
    tested = {problem.id for problem in chosen}
    rest = [p for p in task.test if p.id not in tested] or list(task.train)
    return sample(rest, DEV_PROBES, purpose=f"{task.name}/dev", seed=0)


def _module(task: str) -> ModuleType:
    """Return the file that holds a task. Raises BadInput for an unknown name."""
    found = _modules().get(task)
    if found is None:
        known = [n for n in names() if n not in (USER_DATA, HUB_DATA)]
        known += [f"{USER_DATA}:PATH", f"{HUB_DATA}:ORG/NAME"]
        raise BadInput(
            f"no task is called '{task}'{nearest(task, known)}; `finetrap list` shows all"
        )
    return found


def _refuse_unknown(task: str, options: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for option in options:
        if option not in allowed:
            known = f"it knows {', '.join(allowed)}"
            raise BadInput(
                f"task '{task}' has no option '{option}'{nearest(option, allowed)}; {known}"
            )


@cache
def _modules() -> dict[str, ModuleType]:
    """Import every task file and return the one behind each task."""
    found: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith("_"):
            continue
        module = import_module(f"{__name__}.{info.name}")
        for name in module.NAMES:
            if name in found:
                raise BadInput(
                    f"task '{name}' is defined twice: {found[name].__name__}, {module.__name__}"
                )
            found[name] = module
    return found
