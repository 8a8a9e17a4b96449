"""From tokens and timings to seconds: each cell's own, and those of the crew that shares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

from finetrap.measure.engines.local import crews_of, shifts
from finetrap.measure.engines.machine import Crew
from finetrap.measure.engines.workers import Group
from finetrap.measure.meter import flops
from finetrap.measure.plan.counting import Asked, Work, signature
from finetrap.measure.plan.timing import (
    TimedTraining,
    Timings,
    extrapolated,
    fitted,
    method,
    steps_of,
)
from finetrap.measure.problems import learned_from
from finetrap.records import Cell

FORWARD = 1 / 3
"""Of a training's operations on a token, those that score it (Kaplan et al. 2020, section 2.1)."""


@dataclass(frozen=True)
class Parts:
    """Seconds of one worker, by what they go to; prompts and grading go with the answers."""

    loading: float = 0.0
    """Opening models."""
    training: float = 0.0
    decoding: float = 0.0
    scoring: float = 0.0

    @property
    def total(self) -> float:
        """Seconds in all."""
        return self.loading + self.training + self.decoding + self.scoring


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
    parameters: int = 0
    """Of its model."""
    trainable: int = 0
    """Those that it trains."""


class Calibrated:
    """What one model takes here, and the work of its cells by `signature`."""

    def __init__(self, timings: Sequence[Timings], works: Mapping[str, Work]) -> None:
        """Fit what several calibrators timed at the same time."""
        one, count = timings[0], len(timings)
        self.works, self.parameters, self.written = works, one.parameters, one.written
        self.row_bytes = one.row_bytes
        self.samples = {sort: [s for t in timings for s in t.asked[sort]] for sort in one.asked}
        self.trainings = {
            name: replace(timed, steps=[s for t in timings for s in t.trainings[name].steps])
            for name, timed in one.trainings.items()
        }
        self._rates = {sort: fitted(samples) for sort, samples in self.samples.items()}
        self.open_s = sum(t.open_s for t in timings) / count
        self.first_s = sum(t.first_s for t in timings) / count

    def asked(self, asked: Asked, solution_tokens: float = 0.0) -> tuple[Parts, float]:
        """Return the seconds of a test, and the tokens that are written.

        Completions are as long as the base model's, or all as long as `solution_tokens` says.
        """
        unit_s, token_s = self._rates[asked.sort]
        if not asked.cap:
            return Parts(scoring=asked.batches * unit_s + asked.tokens * token_s), 0.0
        known = (solution_tokens,) if solution_tokens else self.written[asked.sort]
        lengths = [min(n, asked.cap) for n in known]
        mean = sum(lengths) / len(lengths)
        written = asked.rows * mean
        steps = steps_of(asked, mean, max(lengths))
        return Parts(decoding=steps * unit_s + (asked.tokens + written) * token_s), written

    def training_s(self, work: Work, timed: TimedTraining) -> float:
        """Return the seconds of a training."""
        step_s, token_s = fitted(timed.steps)
        return timed.rest_s + work.steps * step_s + work.train_tokens * token_s

    def bytes(self, work: Work, timed: TimedTraining | None) -> int | None:
        """Return the most memory that a cell will hold; None where it is unknown."""
        found = []
        if timed:
            found.append(extrapolated(timed.steps, work.train_tokens / max(1, work.steps)))
        samples = [s.bytes for sort in self.samples.values() for s in sort]
        held = max((size for size in samples if size is not None), default=None)
        # What is scored at once is bounded, whatever the batch; what is written at once is not.
        rows = [self.row_bytes.get(a.sort, 0) * min(a.rows, a.batch) for a in work.answers]
        found.append(None if held is None else held + max(rows, default=0))
        return max((size for size in found if size is not None), default=None)


@dataclass
class _Bench:
    """What a worker has at hand between cells: `session.LoadedModel` without a model."""

    opened: str = ""
    """The model that is open, as `Cell.opened_as` names it."""
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

    known: Mapping[str, Calibrated]
    """By `Cell.opened_as`."""
    like_solutions: bool = False

    def group(self, cells: Group, bench: _Bench) -> list[CellForecast]:
        """Forecast cells that share an opened model, in order, for a worker with this at hand."""
        opened = cells[0].opened_as
        opening = Parts()
        if bench.opened != opened:
            opening = Parts(loading=self.known[opened].open_s)
            bench.opened, bench.held = opened, ""
            bench.seen.clear()
        found = [self._cell(cell, bench) for cell in cells]
        found[0] = replace(found[0], parts=added([found[0].parts, opening]))
        return found

    def _cell(self, cell: Cell, bench: _Bench) -> CellForecast:
        known = self.known[cell.opened_as]
        work = known.works[signature(cell)]
        timed = known.trainings[method(cell.strategy)] if cell.strategy.learns else None
        trains = timed is not None and bench.held != cell.training_key()
        bench.held = cell.training_key()
        parts = self._trained(cell, work, known, timed, bench) if timed and trains else []
        solution, drag = 0.0, 1.0
        if timed:
            drag, solution = timed.drag, work.solution_tokens if self.like_solutions else 0.0
        counted = [*work.rewind * _interpolations(cell, work, bench), *work.answers]
        read = 0.0
        for asked in (*counted, *work.again):
            part, written = known.asked(asked, solution)
            parts += [Parts(decoding=drag * part.decoding, scoring=drag * part.scoring)]
            read += asked.read + written
        read -= sum(asked.read + known.asked(asked)[1] for asked in work.again)
        return CellForecast(
            cell=cell,
            parts=added(parts),
            trains=trains,
            train_tokens=work.train_tokens,
            eval_tokens=round(read),
            flops=flops(
                cell.strategy.kind,
                known.parameters,
                timed.trainable if timed else 0,
                work.train_tokens if trains else 0,
                round(read),
            ),
            bytes=known.bytes(work, timed),
            parameters=known.parameters,
            trainable=timed.trainable if timed else 0,
        )

    def _trained(
        self, cell: Cell, work: Work, known: Calibrated, timed: TimedTraining, bench: _Bench
    ) -> list[Parts]:
        """Return what a training takes, with the scoring before it and the comparison after it."""
        seconds = known.training_s(work, timed)
        scored = 2 * work.moved_tokens  # by the trained model and by the base model
        if bench.first("before", learned_from(cell)):
            scored += work.before_tokens
        forward_s = FORWARD * seconds / max(1, work.train_tokens)
        return [Parts(training=seconds, scoring=scored * forward_s)]


def _interpolations(cell: Cell, work: Work, bench: _Bench) -> int:
    """Return how many λ are measured: the base model, at λ = 0, is the same for every training."""
    known = 0.0 in work.shares and not bench.first("0", cell.train.dev, cell.trained_on)
    return len(work.shares) - known


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
    for remaining in rounds:
        seconds = starting = 0.0
        cells: list[CellForecast] = []
        at_once = 1
        for team, groups in shifts(remaining, crews_of(remaining, workers)):
            if team != last and workers != 1:
                staff = []
            last = team
            new = max(0, min(team.workers, len(groups)) - len(staff))
            start = teller.known[groups[0][0].opened_as].first_s
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
