"""From works and paces to seconds: each cell's own, and those of the crew that shares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

from finetrap.measure.engines.local import opened_as, shifts
from finetrap.measure.engines.machine import Crew
from finetrap.measure.engines.workers import Group
from finetrap.measure.meter import flops
from finetrap.measure.plan.calibration import Calibrated
from finetrap.measure.plan.rehearsal import Call, Work, signature
from finetrap.measure.plan.timing import method
from finetrap.records import Cell


@dataclass(frozen=True)
class Parts:
    """Seconds of one worker, by what they go to."""

    loading: float = 0.0
    """Opening models and making them untouched again."""
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
    """What one owed cell is expected to take."""

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


class _Seen(set[str]):
    """What a worker has at hand already."""

    def new(self, *parts: object) -> bool:
        """Say whether this comes for the first time, and keep it."""
        known = repr(parts) in self
        self.add(repr(parts))
        return not known


@dataclass
class _Bench:
    """What a worker has at hand between cells: mirrors `session.LoadedModel`."""

    opened: object = None
    """The model that is open, as `opened_as` names it."""
    held: str = ""
    """Training whose solver the model is."""
    scored: _Seen = field(default_factory=_Seen)
    """Training sets whose solutions the untouched model has scored."""
    unmoved: _Seen = field(default_factory=_Seen)
    """Ways back whose beginning is measured."""


@dataclass(frozen=True)
class Forecaster:
    """Tells the seconds of cells from what was calibrated of their models.

    With `like_solutions` trained models write as much as the solutions that they are trained on;
    without it as much as the untouched model.
    """

    known: Mapping[object, Calibrated]
    """By `opened_as`."""
    like_solutions: bool = False

    def group(self, cells: Group, bench: _Bench) -> list[CellForecast]:
        """Forecast cells that share an opened model, in order, for a worker with this at hand."""
        opened = opened_as(cells[0])
        opening = Parts()
        if bench.opened != opened:
            opening = Parts(loading=self.known[opened].pace.open_s)
            bench.opened, bench.held = opened, ""
        found = [self._cell(cell, bench) for cell in cells]
        first = found[0]
        found[0] = replace(first, parts=added([first.parts, opening]))
        return found

    def _cell(self, cell: Cell, bench: _Bench) -> CellForecast:
        known = self.known[opened_as(cell)]
        pace, work = known.pace, known.works[signature(cell)]
        name = method(cell.strategy) if cell.strategy.trains else None
        trains = name is not None and bench.held != cell.training_key()
        parts = [Parts(python=work.python_s)]
        if trains:
            parts += self._training(cell, bench, known, work)
        bench.held = cell.training_key()
        start = (bench.opened, cell.train.dev, cell.trained_on, cell.probes)
        first = work.unmoved and bench.unmoved.new(*start)
        unmoved = work.unmoved if first else ()
        counted = (*work.way_back, *work.evaluate)
        parts += self._parts(unmoved, known, None, work)
        parts += self._parts((*counted, *work.after), known, name, work)
        read = sum(call.read for call in (*unmoved, *counted))
        read += round(sum(self._written(call, known, name, work) for call in counted))
        read += round(sum(self._written(call, known, None, work) for call in unmoved))
        return CellForecast(
            cell=cell,
            parts=added(parts),
            trains=trains,
            train_tokens=work.train_tokens,
            eval_tokens=read,
            flops=flops(
                cell.strategy.kind,
                pace.parameters,
                pace.trainings[name].trainable if name else 0,
                work.train_tokens if trains else 0,
                read,
            ),
            bytes=pace.bytes((*work.train, *work.evaluate), name),
        )

    def _training(self, cell: Cell, bench: _Bench, known: Calibrated, work: Work) -> list[Parts]:
        """Return the parts of a training, and of what is done before the first on its problems."""
        pace, name = known.pace, method(cell.strategy)
        new = work.before and bench.scored.new(bench.opened, cell.trained_on, cell.train)
        return [
            *(self._parts(work.before, known, None, work) if new else ()),
            Parts(loading=pace.reset_s),
            *(Parts(training=pace.training_s(call, name)) for call in work.train),
        ]

    def _parts(
        self, calls: Sequence[Call], known: Calibrated, name: str | None, work: Work
    ) -> list[Parts]:
        """Return the parts of calls of the untouched model, or of one trained by a method."""
        drag = known.pace.trainings[name].drag if name else 1.0
        found = []
        for call in calls:
            seconds = drag * known.pace.seconds(call, self._lengths(call, known, name, work))
            if call.kind == "rewind":
                found.append(Parts(loading=seconds))
            elif call.kind == "decode":
                found.append(Parts(decoding=seconds))
            else:
                found.append(Parts(scoring=seconds))
        return found

    def _lengths(
        self, call: Call, known: Calibrated, name: str | None, work: Work
    ) -> Sequence[float]:
        if call.kind != "decode":
            return ()
        solutions = work.solution_tokens if name and self.like_solutions else None
        return known.pace.completions(call, solutions)

    def _written(self, call: Call, known: Calibrated, name: str | None, work: Work) -> float:
        lengths = self._lengths(call, known, name, work)
        return call.rows * sum(lengths) / len(lengths) if lengths else 0.0


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
class _Worker:
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
    staff: list[_Worker] = []
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
            start = teller.known[opened_as(groups[0][0])].pace.first_s
            staff = [_Worker(0.0, worker.bench) for worker in staff]
            staff += [_Worker(start) for _ in range(new)]
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
