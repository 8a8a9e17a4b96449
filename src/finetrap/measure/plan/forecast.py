"""From calls and timings to seconds: each cell's own, and those of the crew that shares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

from finetrap.measure.engines.local import opened_as, shifts
from finetrap.measure.engines.machine import Crew
from finetrap.measure.engines.workers import Group
from finetrap.measure.meter import flops
from finetrap.measure.plan.ledger import Call, Sort, Work, signature
from finetrap.measure.plan.timing import (
    TimedTraining,
    Timings,
    extrapolated,
    fitted,
    method,
    steps_of,
)
from finetrap.records import Cell


@dataclass(frozen=True)
class Parts:
    """Seconds of one worker, by what they go to."""

    loading: float = 0.0
    """Opening models and returning to their base weights."""
    training: float = 0.0
    decoding: float = 0.0
    scoring: float = 0.0
    python: float = 0.0
    """Prompts, grading and evidence, outside the model."""

    @property
    def total(self) -> float:
        """Seconds in all."""
        return self.loading + self.training + self.decoding + self.scoring + self.python


def added(parts: Iterable[Parts]) -> Parts:
    """Return the sum of parts."""
    found = [asdict(part) for part in parts]
    return Parts(**{name: sum(part[name] for part in found) for name in asdict(Parts())})


@dataclass(frozen=True)
class CellForecast:
    """What one remaining cell is expected to take."""

    cell: Cell
    parts: Parts
    trains: bool
    """Whether it trains itself, and does not use the training of the cell before it."""
    train_tokens: int
    """Of the training behind it, as its costs will say."""
    eval_tokens: int
    flops: float
    """What is computed for it; a training that it shares counts with the cell that trains."""
    bytes: int | None
    """Most memory that its worker holds."""


class Calibrated:
    """What one model takes here, and the work of its cells by `signature`."""

    def __init__(self, timings: Sequence[Timings], works: Mapping[str, Work]) -> None:
        """Fit what several calibrators timed at the same time."""
        one, count = timings[0], len(timings)
        self.works, self.parameters, self.written = works, one.parameters, one.written
        self.calls = {sort: [s for t in timings for s in t.calls[sort]] for sort in one.calls}
        self.trainings = {
            name: replace(timed, steps=[s for t in timings for s in t.trainings[name].steps])
            for name, timed in one.trainings.items()
        }
        self._rates = {sort: fitted(samples) for sort, samples in self.calls.items()}
        self.open_s = sum(t.open_s for t in timings) / count
        self.first_s = sum(t.first_s for t in timings) / count
        self.rewind_s, self.reset_s = one.rewind_s, one.reset_s

    def seconds(self, call: Call, lengths: Sequence[float]) -> float:
        """Return the seconds of a call that is no training; `lengths` are those it will write."""
        if call.sort.kind == "rewind":
            return self.rewind_s
        unit_s, token_s = self._rates[_nearest(self._rates, call.sort)]
        units, tokens = steps_of(call, lengths) if lengths else (call.batches, call.tokens)
        return units * unit_s + tokens * token_s

    def lengths(self, call: Call, solution_tokens: float | None) -> Sequence[float]:
        """Return a sample of the lengths that a decoding will write; empty for any other call.

        The base model's on that test, or with `solution_tokens` that length for every row.
        """
        if call.sort.kind != "decode":
            return ()
        if solution_tokens:
            return (min(solution_tokens, call.cap),)
        known = self.written[_nearest(self.written, call.sort)]
        return [min(n, call.cap) for n in known]

    def training_s(self, call: Call, timed: TimedTraining) -> float:
        """Return the seconds of a training."""
        step_s, token_s = fitted(timed.steps)
        return timed.rest_s + call.batches * step_s + call.tokens * token_s

    def bytes(self, work: Work, timed: TimedTraining | None) -> int | None:
        """Return the most memory that a cell will hold; None where it is unknown."""
        found = []
        if timed and work.train:
            call = work.train[0]
            found.append(extrapolated(timed.steps, call.tokens / max(1, call.batches)))
        samples = [s for sort in self.calls.values() for s in sort]
        for call in work.evaluate:
            at_once = min(call.rows, call.batch) * (call.read / max(1, call.rows) + call.cap)
            found.append(extrapolated(samples, at_once))
        return max((size for size in found if size is not None), default=None)


def _nearest(known: Iterable[Sort], sort: Sort) -> Sort:
    """Return the timed sort that is like this one."""
    alike = [s for s in known if (s.kind == "decode") == (sort.kind == "decode")]
    return max(alike, key=lambda s: (s == sort, s.kind == sort.kind, s.shots == sort.shots))


@dataclass
class _Bench:
    """What a worker has at hand between cells: `session.LoadedModel` without a model."""

    opened: object = None
    """The model that is open, as `opened_as` names it."""
    held: str = ""
    """Training whose solver the model is."""
    seen: set[str] = field(default_factory=set)
    """What was measured of the base model."""

    def first(self, *parts: object) -> bool:
        """Say whether this is measured for the first time, and keep it."""
        known = repr(parts) in self.seen
        self.seen.add(repr(parts))
        return not known


@dataclass(frozen=True)
class Forecaster:
    """Tells the seconds of cells from what was calibrated of their models.

    With `like_solutions` trained models write as much as the solutions that they are trained on;
    without it as much as the base model.
    """

    known: Mapping[object, Calibrated]
    """By `opened_as`."""
    like_solutions: bool = False

    def group(self, cells: Group, bench: _Bench) -> list[CellForecast]:
        """Forecast cells that share an opened model, in order, for a worker with this at hand."""
        opened = opened_as(cells[0])
        opening = Parts()
        if bench.opened != opened:
            opening = Parts(loading=self.known[opened].open_s)
            bench.opened, bench.held = opened, ""
            bench.seen.clear()
        found = [self._cell(cell, bench) for cell in cells]
        found[0] = replace(found[0], parts=added([found[0].parts, opening]))
        return found

    def _cell(self, cell: Cell, bench: _Bench) -> CellForecast:
        known = self.known[opened_as(cell)]
        work = known.works[signature(cell)]
        timed = known.trainings[method(cell.strategy)] if cell.strategy.trains else None
        trains = timed is not None and bench.held != cell.training_key()
        bench.held = cell.training_key()
        parts, written = [Parts(python=work.python_s)], 0.0
        if timed and trains:
            if bench.first("before", cell.trained_on, cell.train):
                parts += [self._asked(call, known, None, 0.0)[0] for call in work.before]
            parts.append(Parts(loading=known.reset_s))
            parts += [Parts(training=known.training_s(call, timed)) for call in work.train]
        start = ("unmoved", cell.train.dev, cell.trained_on, cell.probes)
        unmoved = work.unmoved if work.unmoved and bench.first(*start) else ()
        counted = (*work.way_back, *work.evaluate)
        solution = work.solution_tokens if timed and self.like_solutions else 0.0
        for call in unmoved:
            part, tokens = self._asked(call, known, None, 0.0)
            parts, written = [*parts, part], written + tokens
        for number, call in enumerate((*counted, *work.after)):
            part, tokens = self._asked(call, known, timed, solution)
            parts.append(part)
            written += tokens if number < len(counted) else 0.0
        read = sum(call.read for call in (*unmoved, *counted)) + round(written)
        return CellForecast(
            cell=cell,
            parts=added(parts),
            trains=trains,
            train_tokens=work.train_tokens,
            eval_tokens=read,
            flops=flops(
                cell.strategy.kind,
                known.parameters,
                timed.trainable if timed else 0,
                work.train_tokens if trains else 0,
                read,
            ),
            bytes=known.bytes(work, timed),
        )

    def _asked(
        self, call: Call, known: Calibrated, timed: TimedTraining | None, solution: float
    ) -> tuple[Parts, float]:
        """Return the seconds of a call, and the tokens that it writes."""
        lengths = known.lengths(call, solution)
        seconds = known.seconds(call, lengths) * (timed.drag if timed else 1.0)
        written = call.rows * sum(lengths) / len(lengths) if lengths else 0.0
        if call.sort.kind == "rewind":
            return Parts(loading=seconds), 0.0
        if call.sort.kind == "decode":
            return Parts(decoding=seconds), written
        return Parts(scoring=seconds), 0.0


class Round(NamedTuple):
    """Cells that are run before a search names the next."""

    seconds: float
    """From its start to the end of its last worker."""
    cells: tuple[CellForecast, ...]
    starting: float
    """Seconds of all workers together until their first model is open."""
    at_once: int
    """Most workers at once."""


@dataclass
class _Seat:
    """A worker on its way through a round."""

    free: float
    """Seconds after the start of the crew's work until it is free."""
    bench: _Bench = field(default_factory=_Bench)


def timetable(
    rounds: Sequence[Sequence[Cell]], workers: int | None, teller: Forecaster
) -> list[Round]:
    """Forecast each round as the local engine runs it: crew after crew, group by group.

    Each group goes to the worker that is free first. Workers stay, with what they have at hand,
    until a crew of another size is needed; a single one is the process itself, and always stays.
    """
    found = []
    staff: list[_Seat] = []
    last: Crew | None = None
    for owed in rounds:
        seconds = starting = 0.0
        cells: list[CellForecast] = []
        at_once = 1
        for team, groups in shifts(owed, workers):
            if team != last and workers != 1:
                staff = []
            last = team
            new = max(0, min(team.workers, len(groups)) - len(staff))
            start = teller.known[opened_as(groups[0][0])].first_s
            staff = [_Seat(0.0, worker.bench) for worker in staff]
            staff += [_Seat(start) for _ in range(new)]
            starting += new * start
            at_once = max(at_once, min(len(staff), len(groups)))
            for members in groups:
                worker = min(staff, key=lambda worker: worker.free)
                told = teller.group(members, worker.bench)
                worker.free += sum(cell.parts.total for cell in told)
                cells += told
            seconds += max(worker.free for worker in staff)
        found.append(Round(seconds, tuple(cells), starting, at_once))
    return found
