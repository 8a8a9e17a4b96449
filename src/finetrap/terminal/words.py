"""What is said of a running study: a line for each phase and for the end of each cell; in ASCII."""

from __future__ import annotations

from typing import Any

from finetrap.events import (
    CellAgain,
    CellBegins,
    CellEnds,
    CellHeld,
    CellLeft,
    CellRefused,
    CrewBegins,
    Event,
    PhaseBegins,
    Resumed,
    RowsDone,
    StepDone,
    WorkerSilent,
)
from finetrap.text.numbers import counted
from finetrap.text.visible import ascii_line

NAME = 80
"""Characters of a cell's name: as many as a run folder's has."""
MESSAGE = 300
"""Characters of what a failure says."""
ACCURACY = {
    "accuracy": "percent right of those that are done",
    "low": "lower end of its 95% interval (Wilson)",
    "high": "upper end",
}
"""What the JSON form of an event that counts right answers has beside them."""


def event_json(event: Event) -> dict[str, Any]:
    """Return an event's JSON form, with the accuracy so far in percent where answers are graded."""
    found = event.as_json()
    if isinstance(event, (RowsDone, CellEnds)):
        found |= dict(zip(ACCURACY, accuracy(event) or (None, None, None), strict=True))
    return found


def accuracy(event: RowsDone | CellEnds) -> tuple[float, float, float] | None:
    """Return the accuracy so far and its Wilson interval, in percent; None where nothing is graded.

    Never a verdict: to look again and again until one turns up would break its error rate.
    """
    from finetrap.stats.changes import wilson  # half a second of scipy, before the first answer

    n = event.done if isinstance(event, RowsDone) else event.n
    if event.right is None or not n:
        return None
    low, high = wilson(event.right, n)
    return round(100 * event.right / n, 2), round(100 * low, 2), round(100 * high, 2)


def name(
    event: CellBegins | CellEnds | CellRefused | CellLeft | CellAgain | CellHeld | WorkerSilent,
) -> str:
    """Name a cell."""
    return ascii_line(event.slug, NAME)


def name_parts(event: CellBegins) -> tuple[str, str, str]:
    """Return a cell's model and task, its strategy, and its seed."""
    subject = f"{event.model} on {event.task}" if event.model else ""
    seed = "" if event.seed is None else f"seed {event.seed}"
    return ascii_line(subject, NAME), ascii_line(event.strategy or event.slug, NAME), seed


def phase(event: PhaseBegins) -> str:
    """Say what begins."""
    if event.phase == "load":
        return f"opening {ascii_line(event.model or '')}"
    if event.phase == "before":
        return "scoring the training solutions with the base model"
    if event.phase == "train":
        return f"training on {event.problems:,} problems"
    if event.phase == "rewind":
        return f"rewind: testing {event.steps} interpolations"
    if event.phase == "answer":
        return f"answering {event.problems:,} problems of {ascii_line(event.task or '')}"
    if event.phase == "again":
        task = ascii_line(event.task or "")
        return f"asking {event.problems:,} problems of {task} again, to see whether answers vary"
    return "measuring how far it has moved, or how likely its own answers are"


def resumed(event: Resumed) -> str:
    """Say where a cell goes on."""
    if event.phase == "train":
        return f"training resumed after step {event.done:,} of {event.of:,}"
    what = {"before": "scoring", "rewind": "rewind", "after": "measuring"}.get(
        event.phase, "answers"
    )
    where = f" of {ascii_line(event.task)}" if event.task else ""
    return f"{what}{where} resumed after {event.done:,} of {event.of:,}"


def step(event: StepDone) -> str:
    """Say how far training is."""
    text = f"step {event.step}/{event.steps}  loss {event.loss:.3f}"
    return text if event.tokens_per_s is None else f"{text}  {event.tokens_per_s:,} tokens/s"


def rows(event: RowsDone) -> str:
    """Say how many rows are done, and what share of the answers so far is right."""
    known = "" if event.of is None else f"/{event.of:,}"
    part = event.part.removesuffix("s") if (event.done, known) == (1, "") else event.part
    text, found = f"{event.done:,}{known} {part}", accuracy(event)
    return text if found is None else f"{text}  {_minutes_interval(found)} so far"


def again(event: CellAgain) -> str:
    """Say that a cell is tried once more."""
    return (
        f"{name(event)}: {ascii_line(event.message, MESSAGE)}; tried once more, alone, at the end"
    )


def held(event: CellHeld) -> str:
    """Say which process has a cell."""
    who = "another process" if event.pid is None else f"process {event.pid}"
    where = f" on {ascii_line(event.host)}" if event.host else ""
    since = f", since {event.since}" if event.since else ""
    return f"{name(event)}: {who}{where}{since}"


def nothing_heard(event: WorkerSilent) -> str:
    """Say that a cell is silent, and what can be done."""
    expected = event.expected_s
    whole = "" if expected is None else f", and all of it should take {duration(expected)}"
    said = f"{name(event)}: nothing heard for {duration(event.silent_s)}{whole}"
    if event.pid is None:
        return f"{said}; its worker may hang"
    where = f" on {ascii_line(event.host)}" if event.host else ""
    return (
        f"{said}; process {event.pid}{where} may hang: see what it waits for, or end it (kill "
        f"{event.pid}); what it has done of the cell is kept"
    )


def ending(event: CellEnds | CellRefused | CellLeft) -> str:
    """Say how a cell ended."""
    if isinstance(event, CellLeft):
        return f"{name(event)}: remains (see below)"
    if isinstance(event, CellRefused):
        return f"{name(event)}: skipped: bad input (see below)"
    if event.status != "done":
        return f"{name(event)}: {event.status}: {ascii_line(event.message or '', MESSAGE)}"
    found = accuracy(event)
    told = f"{event.n:,} pieces" if found is None else f"{_minutes_interval(found)} of {event.n:,}"
    trained = f", trained {event.train_s:.1f} s" if event.train_s else ""
    return f"{name(event)}: {told}{trained}, evaluated {event.eval_s or 0.0:.1f} s"


def crew_size(event: CrewBegins) -> str:
    """Say how many processes work."""
    return f"{counted(event.workers, 'worker')} of {counted(event.threads, 'thread')}"


def searches_running(number: int) -> str:
    """Say how many searches go on."""
    return "1 search running" if number == 1 else f"{number} searches running"


def duration(seconds: float) -> str:
    """Write a duration: seconds, then minutes, then hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _minutes_interval(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.1f}% [{found[1]:.1f}, {found[2]:.1f}]"
