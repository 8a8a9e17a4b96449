"""Calibrators: as many processes as the study's workers, timing the same calls at the same time.

Workers that share a machine slow each other down, so calls are timed beside the calls of others,
with the threads that each worker will have. The parent never imports torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from multiprocessing.connection import Connection, wait

from finetrap.backends import Counting, open_model
from finetrap.backends.hf.device import visible_gpus
from finetrap.errors import BadInput, FinetrapError, Unsupported, out_of_memory
from finetrap.measure import strategies
from finetrap.measure.engines.children import Child, start
from finetrap.measure.engines.machine import Crew
from finetrap.measure.plan.counting import Counter, Work, some_of
from finetrap.measure.plan.forecast import Calibrated
from finetrap.measure.plan.timing import PATIENCE, Stopwatch, Timings, method
from finetrap.measure.problems import Problems
from finetrap.records import Cell

Say = Callable[[str], None]
_Found = list[tuple[Timings, Mapping[str, Work]]]
"""What one calibrator found of each model."""

_NO_MEMORY = (
    "most often the machine ran out of memory: plan with fewer --workers, or a smaller [train] "
    "batch or [limits] batch"
)


def calibrate(jobs: Sequence[Mapping[str, Cell]], team: Crew, say: Say) -> list[Calibrated]:
    """Open each model once in every calibrator, count what its cells ask, and time it.

    A job holds the cells of one model by name, the base model's first. Raises BadInput as the run
    would, and FinetrapError where a calibrator died.
    """
    children: list[Child] = []
    try:
        gpus = visible_gpus() or (None,)
        for number in range(team.workers):
            told, gpu = (list(jobs), number == 0, time.time()), gpus[number % len(gpus)]
            children.append(start(_calibrator, *told, threads=team.threads, gpu=gpu))
        found = _gather([child.pipe for child in children], say)
    finally:
        for child in children:
            child.end()
    return [
        Calibrated([timings for timings, _ in same], same[0][1])
        for same in zip(*found, strict=True)
    ]


def _gather(pipes: Sequence[Connection], say: Say) -> list[_Found]:
    """Listen to all calibrators until each has told its findings.

    One that has opened a model waits there until all have: then they are timed at the same time.
    """
    found: dict[Connection, _Found] = {}
    opened: list[Connection] = []
    while len(found) < len(pipes):
        for pipe in wait([p for p in pipes if p not in found]):
            if not isinstance(pipe, Connection):
                continue
            try:
                kind, content = pipe.recv()
            except (EOFError, ConnectionResetError):
                raise FinetrapError(f"a calibrator died; {_NO_MEMORY}") from None
            if kind == "fault":
                raise BadInput(content)
            if kind == "found":
                found[pipe] = content
            elif kind == "opened":
                opened.append(pipe)
            else:
                say(content)
        if len(opened) == len(pipes):
            for pipe in opened:
                pipe.send("go")
            opened = []
    return [found[pipe] for pipe in pipes]


def _calibrator(
    pipe: Connection, jobs: Sequence[Mapping[str, Cell]], first: bool, started: float
) -> None:
    """Be a calibrator: time every job, tell what was found, and end."""

    def together() -> None:
        pipe.send(("opened", None))
        pipe.recv()

    def say(text: str) -> None:
        if first:
            pipe.send(("say", text))

    try:
        found = [
            _timed(job, together, say, 0.0 if number else started)
            for number, job in enumerate(jobs)
        ]
        pipe.send(("found", found))
    except FinetrapError as fault:
        pipe.send(("fault", str(fault)))
    except (MemoryError, RuntimeError) as fault:
        if not out_of_memory(fault):
            raise
        pipe.send(("fault", _NO_MEMORY))


def _timed(
    job: Mapping[str, Cell], together: Callable[[], object], say: Say, started: float
) -> tuple[Timings, Mapping[str, Work]]:
    """Calibrate one model, once all calibrators are at it together.

    `started` is when this process was, zero if it is warm already.
    """
    cells, problems = list(job.values()), Problems()
    name = cells[0].model.name
    say(f"{name}: open")
    model, open_s, opened_s = _open_timed(cells[0])
    for cell in cells:
        problems.asked(cell)
        problems.trained(cell)
    first_s = time.time() - started - opened_s if started else 0.0
    counter = Counter(model, problems)
    works = {key: counter.work(cell) for key, cell in job.items()}
    together()
    stopwatch = Stopwatch(counter, cells[0].limits, lambda text: say(f"{name}: {text}"))
    stopwatch.evaluation()
    for cell in {method(cell.strategy): cell for cell in cells if cell.strategy.learns}.values():
        train = problems.trained(cell)
        rows = strategies.training_rows(some_of(train.all), model)
        stopwatch.training(cell, rows)
    found = stopwatch.found
    found.open_s, found.first_s = open_s, max(0.0, first_s) + found.first_s
    return found, works


def _open_timed(cell: Cell) -> tuple[Counting, float, float]:
    """Open a model; return it, the seconds of opening it again, and of having done so here.

    The first opening also imports its architecture; a large model is opened once.
    """
    import_module(f"finetrap.backends.{cell.model.backend}")
    spent: list[float] = []
    while not spent or (len(spent) == 1 and spent[0] < 4 * PATIENCE):
        start = time.perf_counter()
        model = open_model(cell.model, cell.limits)
        spent.append(time.perf_counter() - start)
    if not isinstance(model, Counting):
        raise Unsupported(
            f"the backend {cell.model.backend} counts no tokens, so nothing is planned"
        )
    return model, spent[-1], 2 * spent[-1] if len(spent) == 2 else spent[0]
