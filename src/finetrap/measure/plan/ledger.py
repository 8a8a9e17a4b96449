"""What a cell will ask of a model, found by rehearsing it: everything is counted, nothing computed.

The rehearsal goes through the same problems, prompts and evidence as a run, with a `Ledger` in the
model's place. So it counts what a run will count, and what Python itself takes is timed with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from finetrap.backends import Completion, Counting, Progress, Row, Scored, Training, Written
from finetrap.events import Event, PhaseBegins
from finetrap.measure.meter import Meter
from finetrap.measure.problems import Problems
from finetrap.measure.runner import run_cell
from finetrap.measure.session import Session
from finetrap.records import Cell, Problem, StrategySpec, TrainSpec, content_hash
from finetrap.text import prompts

Kind = Literal["decode", "score", "prose", "divergence", "train", "rewind"]


class Sort(NamedTuple):
    """What calls share that take equally long for the same tokens."""

    kind: Kind
    test: str
    """Task or probe that they are about."""
    shots: bool
    """Whether exemplars stand before every row."""


@dataclass(frozen=True)
class Call:
    """One call of a model, by what its time depends on."""

    sort: Sort
    rows: int = 0
    """Rows that are read: prompts, contexts with all that is scored after them, training rows."""
    batch: int = 1
    """Rows at once, at most."""
    tokens: int = 0
    """Tokens that have to be read: what all rows start with, and a context that several endings
    are scored after, count once."""
    read: int = 0
    """Tokens as a run's costs count them: all of every row."""
    cap: int = 0
    """Most new tokens of a row."""
    share: float = 1.0
    """Of a rewind: how far from the base weights it goes."""

    @property
    def batches(self) -> int:
        """Batches that the rows are cut into."""
        return math.ceil(self.rows / self.batch)


@dataclass
class Ledger:
    """Implements `finetrap.backends.Model`: notes every call, with real token counts."""

    model: Counting
    """Only its tokenizer is used."""
    test: str = ""
    """What the calls to come are about."""
    phase: str = ""
    """Of the cell, to which they belong."""
    calls: dict[str, list[Call]] = field(default_factory=dict)
    """By phase."""
    asked: dict[Sort, Sequence[tuple[str, str]]] = field(default_factory=dict)
    """The rows of the first call of each sort, to be timed."""
    seconds: float = 0.0
    """Spent on counting tokens, which a run does as a part of each call."""
    known: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """Tokens of each pair that was counted."""

    def __post_init__(self) -> None:
        self.parameters = self.model.parameters
        self.chat = self.model.chat
        self.shots = False
        self.ship_bytes = 0

    def begin(self, cell: Cell) -> None:
        """Expect the calls of a cell."""
        self.calls, self.test, self.shots = {}, cell.task.name, cell.strategy.shots > 0

    def hear(self, event: Event) -> None:
        """Note which phase the cell is in, and what it is about."""
        if isinstance(event, PhaseBegins):
            self.phase, self.test = event.phase, event.task or self.test

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        stops: Sequence[str],
        batch: int,
        written: Written | None = None,
        golds: Sequence[str] = (),
        scored: Scored | None = None,
    ) -> list[Completion]:
        """Note a decoding; every completion is short and ends by itself.

        Golds are noted without their prompts, which are read for the decoding anyway.
        """
        self._asked("decode", [(p, "") for p in prompts], batch, cap=max_new_tokens)
        completions = [Completion("#### 0", 0, "eos")] * len(prompts)
        if written is not None:
            for number, completion in enumerate(completions):
                written(number, completion)
        if golds:
            pairs = list(zip(prompts, golds, strict=True))
            size = sum(follow for _, follow in self.lengths(pairs))
            sort = Sort("score", self.test, self.shots)
            self._note(Call(sort, len(pairs), batch, tokens=size, read=size), pairs)
            for number in range(len(golds)):
                if scored is not None:
                    scored(number, 1.0)
        return completions

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        batch: int,
        windows: bool = False,
        scored: Scored | None = None,
    ) -> list[float]:
        """Note a scoring, of prose as one window; every text has one nat."""
        self._asked("prose" if windows else "score", pairs, batch)
        return [1.0] * len(pairs)

    def train(
        self,
        rows: Sequence[Row],
        strategy: StrategySpec,
        train: TrainSpec,
        seed: int,
        progress: Progress | None = None,
    ) -> Training:
        """Note a training. Raises ContextTooLong, and BadInput for settings that cannot be used."""
        tokens = self.model.training_tokens(rows, strategy, train, seed)
        budget = train.of(strategy)
        seen = max(1, round(budget.epochs * len(rows)))
        call = Call(Sort("train", self.test, False), seen, budget.batch, tokens)
        self._note(call)
        return Training(call.batches, tokens, trainable=0)

    def divergence(
        self, pairs: Sequence[tuple[str, str]], *, batch: int
    ) -> list[tuple[float, float]]:
        """Note a comparison with the base weights."""
        self._asked("divergence", pairs, batch)
        return [(0.0, 0.0)] * len(pairs)

    def rewind(self, share: float) -> None:
        """Note a step on the way back."""
        self._note(Call(Sort("rewind", self.test, False), share=share))

    def save(self, folder: Path, *, whole: bool) -> None:
        """Write nothing."""

    def reset(self) -> None:
        """Have nothing to undo."""

    @property
    def tokens_read(self) -> int:
        """Tokens that the noted calls read, completions left out."""
        return sum(call.read for calls in self.calls.values() for call in calls)

    def lengths(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
        """Return the tokens of each context and its continuation, counted once for each pair."""
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self.known))
        self.known.update(zip(new, self.model.lengths(new), strict=True))
        return [self.known[pair] for pair in pairs]

    def training_tokens(
        self, rows: Sequence[Row], strategy: StrategySpec, train: TrainSpec, seed: int
    ) -> int:
        """Return the tokens that `train` would see."""
        return self.model.training_tokens(rows, strategy, train, seed)

    def count(self, kind: Kind, pairs: Sequence[tuple[str, str]], batch: int, cap: int = 0) -> Call:
        """Return a call of these (context, what follows) with its token counts."""
        lengths = self.lengths(pairs)
        read = sum(context + follow for context, follow in lengths)
        contexts = {pair[0]: length[0] for pair, length in zip(pairs, lengths, strict=True)}
        start = _start(list(contexts))
        shared = self.lengths([(start, "")])[0][0] if start else 0
        once = shared + sum(max(0, length - shared) for length in contexts.values())
        return Call(
            Sort(kind, self.test, self.shots),
            rows=len(pairs) if kind == "prose" else len(contexts),
            batch=batch,
            tokens=once + sum(follow for _, follow in lengths),
            read=read,
            cap=cap,
        )

    def _note(self, call: Call, pairs: Sequence[tuple[str, str]] = ()) -> None:
        self.calls.setdefault(self.phase, []).append(call)
        if pairs:
            self.asked.setdefault(call.sort, pairs)

    def _asked(
        self, kind: Kind, pairs: Sequence[tuple[str, str]], batch: int, cap: int = 0
    ) -> None:
        start = time.perf_counter()
        self._note(self.count(kind, pairs, batch, cap), pairs)
        self.seconds += time.perf_counter() - start


@dataclass(frozen=True)
class Work:
    """The calls of one cell, phase by phase, in the order of `runner.run_cell`."""

    before: tuple[Call, ...] = ()
    """Training solutions scored by the base model: shared by cells of one group."""
    train: tuple[Call, ...] = ()
    unmoved: tuple[Call, ...] = ()
    """The way back at λ = 0: shared by cells of one group."""
    way_back: tuple[Call, ...] = ()
    evaluate: tuple[Call, ...] = ()
    after: tuple[Call, ...] = ()
    python_s: float = 0.0
    """Seconds outside the model: prompts, grading, evidence."""
    solution_tokens: float = 0.0
    """Mean tokens of a training solution with its end; zero without training."""

    @property
    def train_tokens(self) -> int:
        """Tokens of all training rows seen, as a run's costs count them."""
        return sum(call.tokens for call in self.train)


def signature(cell: Cell) -> str:
    """Name the work of a cell: cells that differ in their rate, or in the order of whole epochs,
    have the same."""
    strategy = replace(cell.strategy, learning_rate=None)
    drawn = cell.strategy.shots > 0 or not float(cell.train.epochs).is_integer()
    found = replace(cell, strategy=strategy, seed=cell.seed if drawn else None).identity()
    return content_hash(found)


def rehearse(cell: Cell, problems: Problems, ledger: Ledger) -> Work:
    """Run a cell with the ledger as its model, and return what it asks of one.

    `problems` keeps the loaded tasks from cell to cell. Raises BadInput as the run would.
    """
    start, counting = time.perf_counter(), ledger.seconds
    session = Session(lambda spec, limits: ledger, problems)
    ledger.begin(cell)
    run_cell(cell, session, Meter(), ledger.hear)
    spent = time.perf_counter() - start - (ledger.seconds - counting)
    calls, ledger.calls = ledger.calls, {}
    unmoved, way_back = _at_zero(calls.get("rewind", []))
    return Work(
        before=tuple(calls.get("before", ())),
        train=tuple(calls.get("train", ())),
        unmoved=tuple(unmoved),
        way_back=tuple(way_back),
        evaluate=tuple(calls.get("answer", ())),
        after=tuple(calls.get("after", ())),
        python_s=max(0.0, spent),
        solution_tokens=_solution_tokens(cell, problems.trained(cell).problems, ledger),
    )


def _at_zero(calls: Sequence[Call]) -> tuple[list[Call], list[Call]]:
    """Return the calls of a rewind at λ = 0, and the others."""
    share, parts = 1.0, ([], [])  # type: tuple[float, tuple[list[Call], list[Call]]]
    for number, call in enumerate(calls):
        share = call.share if call.sort.kind == "rewind" else share
        last = number == len(calls) - 1  # to the λ that is chosen
        parts[share != 0.0 or last].append(call)
    return parts


def _solution_tokens(cell: Cell, train: Sequence[Problem], ledger: Ledger) -> float:
    if not cell.strategy.trains:
        return 0.0
    lengths = ledger.lengths([("", prompts.target(p.solution, ledger.chat)) for p in train])
    return 1 + sum(target for _, target in lengths) / len(lengths)


def _start(texts: Sequence[str]) -> str:
    """Return what all texts start with."""
    low, high = min(texts), max(texts)
    same = (i for i, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1])
    return low[: next(same, len(low))]
