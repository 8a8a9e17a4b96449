"""What is told while a study runs: one record an event, and its JSON form.

docs/events.md is written from these records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from finetrap.errors import line_of
from finetrap.records import Cell, Run, Status, written_rate

Phase = Literal["load", "before", "train", "rewind", "answer", "again", "after"]
Part = Literal["answers", "solutions", "texts"]
Told = Callable[[Part, "bool | None"], None]
"""Called once for each row of a part, as it is done: for an answer, with whether it is right, None
where it is partly."""


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    names: ClassVar[tuple[str, ...]] = ()
    """What `event` may be in its JSON form."""

    @property
    def name(self) -> str:
        """What `event` is in its JSON form."""
        return self.names[0]

    def as_json(self) -> dict[str, Any]:
        """Return the event as one flat object."""
        return {"event": self.name, **{f.name: getattr(self, f.name) for f in fields(self)}}


@dataclass(frozen=True)
class RoundBegins(Event):
    """Cells are going to be run. A study with a search has several rounds."""

    names = ("round",)
    cells: int
    """cells that the study is known to have by now"""
    remaining: int
    """those of them that are to be run"""
    searching: int
    """searches for a learning rate that go on, and will add cells"""


@dataclass(frozen=True)
class CrewBegins(Event):
    """Worker processes begin with the models that they can hold at once."""

    names = ("crew",)
    workers: int
    """processes at once"""
    threads: int
    """threads of each"""


@dataclass(frozen=True)
class CellBegins(Event):
    """A worker begins to measure a cell."""

    names = ("cell-start",)
    key: str
    """the cell's key"""
    slug: str
    """its readable name"""
    model: str = ""
    """the name's parts: its model"""
    task: str = ""
    """its task"""
    strategy: str = ""
    """its strategy, with the learning rate"""
    seed: int | None = None
    """its seed; null where nothing is drawn"""


@dataclass(frozen=True)
class PhaseBegins(Event):
    """A cell begins with a part of its work."""

    names = ("phase",)
    key: str
    """the cell's key"""
    phase: Phase
    """`load` the model; `before`: score the training solutions with the base model; `train`;
    `rewind`: interpolate towards the base weights; `answer` a test; `again`: ask the base model
    some of its problems again, to see whether it varies; `after`: measure how far it moved"""
    model: str | None = None
    """of `load`: the model"""
    problems: int | None = None
    """of `train`, `answer` and `again`: how many"""
    steps: int | None = None
    """of `rewind`: how many"""
    task: str | None = None
    """of `answer` and `again`: the task or probe"""

    def as_json(self) -> dict[str, Any]:
        """Return the event without the fields that other phases have."""
        return {key: value for key, value in super().as_json().items() if value is not None}


@dataclass(frozen=True)
class Resumed(Event):
    """A cell goes on where a process before this one was stopped."""

    names = ("resumed",)
    key: str
    """the cell's key"""
    phase: Phase
    """as in `phase`"""
    done: int
    """training steps, or rows that were asked, that are done already"""
    of: int
    """how many there are in all"""
    task: str | None = None
    """of `answer` and `again`: the task or probe"""


@dataclass(frozen=True)
class StepDone(Event):
    """A training step was taken."""

    names = ("step",)
    key: str
    """the cell's key"""
    step: int
    """counted from 1"""
    steps: int
    """how many there will be"""
    loss: float
    """nats per target token"""
    tokens_per_s: int | None
    """tokens trained on per second since the last `step` event; null in the first"""


@dataclass(frozen=True)
class RowsDone(Event):
    """Answers, or likelihoods, are done.

    The longest questions are asked first and short answers end first, so the accuracy so far is one
    of those answers, and no forecast of the cell's.
    """

    names = ("rows",)
    key: str
    """the cell's key"""
    phase: Phase
    """as in `phase`"""
    task: str
    """the task or probe"""
    part: Part
    """`answers`, `solutions` (likelihood of gold solutions) or `texts` (of prose)"""
    done: int
    """how many are done"""
    of: int | None
    """how many there will be; null where that is not known"""
    right: int | None
    """answers that are right; null where nothing is graded, or some answer only partly right"""


@dataclass(frozen=True)
class CellEnds(Event):
    """A cell's run was committed."""

    names = ("cell-done", "cell-failed")
    key: str
    """the cell's key"""
    slug: str
    """its readable name"""
    status: Status
    """`done`, `diverged`, `oom` or `failed`"""
    n: int
    """answers on its task"""
    right: int | None
    """those that are right; null where nothing is graded, or some answer only partly right"""
    train_s: float | None
    """seconds that its training took; null where none was made for it"""
    eval_s: float | None
    """seconds that its answers took"""
    message: str | None
    """what went wrong; null if nothing did"""
    left_s: float | None = None
    """seconds that the remaining cells will still take, from what those that ended took; null where
    that is not known"""

    @property
    def name(self) -> str:
        """What `event` is in its JSON form."""
        return self.names[self.status != "done"]


@dataclass(frozen=True)
class CellRefused(Event):
    """A cell was not run because its input has an error. It remains."""

    names = ("bad-input",)
    key: str
    """the cell's key"""
    slug: str
    """its readable name"""
    message: str
    """the error, and what to do about it"""


@dataclass(frozen=True)
class CellLeft(Event):
    """A cell was not measured because the machine failed it (disk, memory, network). It remains."""

    names = ("cell-left",)
    key: str
    """the cell's key"""
    slug: str
    """its readable name"""
    message: str
    """what the machine lacked or did, and what to do about it"""


@dataclass(frozen=True)
class CellAgain(Event):
    """A cell's process was killed, or had too little memory: it is tried once more, by itself."""

    names = ("cell-again",)
    key: str
    """the cell's key"""
    slug: str
    """its readable name"""
    message: str
    """what became of its process"""


@dataclass(frozen=True)
class CellHeld(Event):
    """A cell is left to another process that measures it: for this one it remains."""

    names = ("cell-held",)
    key: str
    """the cell's key"""
    slug: str
    """its readable name"""
    host: str | None
    """the machine of the other process; null where that cannot be told"""
    pid: int | None
    """its number there"""
    since: str | None
    """when it began with the cell"""
    by_file: bool
    """whether a file says so, which outlives its process: `--take-over` takes the cell from it"""


@dataclass(frozen=True)
class WorkerSilent(Event):
    """Nothing was heard of a cell for longer than all of it should take. It may still go on."""

    names = ("worker-silent",)
    key: str
    """the cell's key"""
    slug: str
    """its readable name"""
    silent_s: float
    """seconds since anything was heard"""
    expected_s: float | None
    """seconds that the whole cell should take, from what those that ended took; null where that is
    not known"""
    host: str | None
    """the machine of the process that measures it; null where that cannot be told"""
    pid: int | None
    """its number there"""


ENDINGS = (CellEnds, CellRefused, CellLeft)
"""What ends a cell."""


@dataclass(frozen=True)
class StudyEnds(Event):
    """No more cells are run."""

    names = ("study-end",)
    done: int
    """cells that ended with answers, now"""
    failed: int
    """cells that ended without"""
    remaining: int
    """cells that remain"""
    seconds: float
    """what it took"""


@dataclass(frozen=True)
class StudyInterrupted(Event):
    """Ctrl-C, or the reader of the output has gone."""

    names = ("interrupted",)
    saved: int
    """cells with a committed run in the folder"""
    remaining: int
    """cells that remain"""
    next: str
    """the command that goes on"""


@dataclass(frozen=True)
class ReportWritten(Event):
    """`report`, `demo` and `try`: what was judged."""

    names = ("report",)
    report: str
    """path of the page"""
    effects: Sequence[Mapping[str, Any]]
    """records as in effects.csv"""
    summary: Sequence[Mapping[str, Any]]
    """of each strategy over its seeds, as in summary.csv"""
    frontiers: Sequence[Mapping[str, Any]]
    """how gain and forgetting are set against each other, and each rewinding path"""
    outcomes: Sequence[Mapping[str, Any]]
    """of each trained strategy, at the fixed and the tuned rate, with the change behind each"""
    trials: Sequence[Mapping[str, Any]]
    """of the searches"""
    claims: Sequence[Mapping[str, Any]]
    """the paper's, held against the study"""
    cliffs: Sequence[Mapping[str, Any]]
    """the size below which full fine-tuning harms, at each setting"""
    detectable: Sequence[Mapping[str, Any]]
    """the smallest changes that these runs can show"""
    diagnoses: Sequence[Mapping[str, Any]]
    """of what is harmed"""
    advice: Sequence[Mapping[str, Any]]
    """what to ship, shown or provisionally"""
    headlines: Sequence[Mapping[str, Any]]
    """of each model and task, what was learned and what was lost"""
    tally: Sequence[Mapping[str, Any]]
    """the strategies with each verdict, and how many of them forget"""
    prompts: Sequence[Mapping[str, Any]]
    """how much the base model varies over a study's prompts"""
    missing: Sequence[Any]
    """what could not be judged"""
    remaining: int
    """cells that remain; while there are any, nothing is final"""


@dataclass(frozen=True)
class Shipped(Event):
    """`try`: what is to be shipped."""

    names = ("ship",)
    path: str | None
    """where it lies; null for the base model"""
    lost: Sequence[Mapping[str, str]]
    """the worst answers that it loses: `id`, `before`, `after`"""


@dataclass(frozen=True)
class ErrorMet(Event):
    """On standard error."""

    names = ("error",)
    message: str
    """what was found, what is allowed and what to do"""


Emit = Callable[[Event], None]
"""Takes one event."""


def silent(event: Event) -> None:
    """Tell nobody."""


def cell_begins(cell: Cell) -> CellBegins:
    """Return what is told of a cell that begins."""
    search = "(search)" if cell.split == "dev" else ""
    parts = (cell.strategy.name, written_rate(cell.strategy.learning_rate), search)
    strategy = " ".join(filter(None, parts))
    return CellBegins(cell.key, cell.slug, cell.model.name, cell.task.name, strategy, cell.seed)


def cell_ends(run: Run) -> CellEnds:
    """Return what is told of a committed run: right answers, never a verdict."""
    partly = any(a.score is not None for a in run.answers)
    right = [a.correct for a in run.answers if a.correct is not None and not partly]
    return CellEnds(
        key=run.cell.key,
        slug=run.cell.slug,
        status=run.status,
        n=len(run.answers),
        right=sum(right) if right else None,
        train_s=run.costs.train_s,
        eval_s=run.costs.eval_s,
        message=line_of(run.failure.message, run.failure.cause) if run.failure else None,
    )
