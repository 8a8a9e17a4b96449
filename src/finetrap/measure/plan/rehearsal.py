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

from finetrap.backends import Completion, Model, Progress, Row, Scored, Training, Written
from finetrap.measure import evidence, strategies
from finetrap.measure.runner import Desk
from finetrap.measure.strategies import Questions, Solver
from finetrap.records import Answer, Cell, Limits, StrategySpec, TrainSpec, content_hash

Kind = Literal["decode", "score", "train", "divergence", "rewind"]
Counted = Literal["decode", "score", "prose", "divergence"]


@dataclass(frozen=True)
class Call:
    """One call of a model, by what its time depends on."""

    kind: Kind
    test: str
    """Task or probe that it is about."""
    shots: bool = False
    """Whether exemplars stand before every row."""
    rows: int = 0
    """Rows that are read: prompts, contexts with all that is scored after them, training rows."""
    batch: int = 1
    """Rows at once, at most."""
    tokens: int = 0
    """Tokens that have to be read: what all rows start with, and a context that several endings
    are scored after, count once."""
    read: int = 0
    """Tokens as a run's costs count them: all of every row."""
    scored: int = 0
    """Tokens whose likelihood is asked for."""
    cap: int = 0
    """Most new tokens of a row."""

    @property
    def batches(self) -> int:
        """Batches that the rows are cut into."""
        return math.ceil(self.rows / self.batch)


class Asked(NamedTuple):
    """A sort of calls whose rows are alike."""

    test: str
    kind: Counted
    shots: bool


@dataclass
class Ledger:
    """Implements `finetrap.backends.Model`: notes every call, with real token counts."""

    model: Model
    """Only its tokenizer is used."""
    test: str = ""
    """What the calls to come are about."""
    calls: list[Call] = field(default_factory=list)
    asked: dict[Asked, Sequence[tuple[str, str]]] = field(default_factory=dict)
    """The rows of the first call of each sort, to be timed."""
    seconds: float = 0.0
    """Spent on counting tokens, which a run does as a part of each call."""
    known: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """Tokens of each pair that was counted."""

    def __post_init__(self) -> None:
        self.parameters = self.model.parameters
        self.chat = self.model.chat
        self.shots = False

    def take(self) -> tuple[Call, ...]:
        """Return the calls since the last time, and forget them."""
        taken, self.calls = tuple(self.calls), []
        return taken

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
        self.note("decode", [(p, "") for p in prompts], batch, cap=max_new_tokens)
        completions = [Completion("#### 0", 0, "eos")] * len(prompts)
        if written is not None:
            for number, completion in enumerate(completions):
                written(number, completion)
        if golds:
            self._note_golds(list(zip(prompts, golds, strict=True)), batch)
            for number in range(len(golds)):
                if scored is not None:
                    scored(number, 1.0)
        return completions

    def score(
        self, pairs: Sequence[tuple[str, str]], *, batch: int, scored: Scored | None = None
    ) -> list[float]:
        """Note a scoring; every text has one nat."""
        self.note("score", pairs, batch)
        return [1.0] * len(pairs)

    def score_prose(
        self, texts: Sequence[str], *, prefix: str, batch: int, scored: Scored | None = None
    ) -> list[float]:
        """Note a scoring of whole texts, each as one window."""
        self.note("prose", [(prefix, text) for text in texts], batch)
        return [1.0] * len(texts)

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
        seen = max(1, round((strategy.epochs or train.epochs) * len(rows)))
        call = Call("train", self.test, False, seen, strategy.batch or train.batch, tokens)
        self.calls.append(call)
        return Training(call.batches, tokens, trainable=0)

    def divergence(
        self, pairs: Sequence[tuple[str, str]], *, batch: int
    ) -> list[tuple[float, float]]:
        """Note a comparison with the untouched weights."""
        self.note("divergence", pairs, batch)
        return [(0.0, 0.0)] * len(pairs)

    def rewind(self, share: float) -> None:
        """Note a step on the way back."""
        self.calls.append(Call("rewind", self.test))

    def save(self, folder: Path, *, whole: bool) -> None:
        """Write nothing."""

    def ship_bytes(self) -> int:
        """Return nothing to ship."""
        return 0

    def reset(self) -> None:
        """Stay untouched."""

    def token_count(self) -> int:
        """Return the tokens that the noted calls read, completions left out."""
        return sum(call.read for call in self.calls)

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

    def note(
        self,
        kind: Counted,
        pairs: Sequence[tuple[str, str]],
        batch: int,
        cap: int = 0,
    ) -> None:
        """Note a call of these (context, what follows) with its token counts."""
        start = time.perf_counter()
        lengths = self.lengths(pairs)
        read, scored = (sum(column) for column in zip(*lengths, strict=True))
        contexts = list(dict.fromkeys(context for context, _ in pairs))
        known = {pair[0]: length[0] for pair, length in zip(pairs, lengths, strict=True)}
        start_of_all = _start(contexts)
        shared = self.lengths([(start_of_all, "")])[0][0] if start_of_all else 0
        once = shared + sum(max(0, known[context] - shared) for context in contexts)
        rows = len(pairs) if kind == "prose" else len(contexts)
        self.calls.append(
            Call(
                "score" if kind == "prose" else kind,
                self.test,
                self.shots,
                rows=rows,
                batch=batch,
                tokens=once + scored,
                read=read + scored,
                scored=scored,
                cap=cap,
            )
        )
        self.asked.setdefault(Asked(self.test, kind, self.shots), pairs)
        self.seconds += time.perf_counter() - start

    def _note_golds(self, pairs: Sequence[tuple[str, str]], batch: int) -> None:
        """Note what follows prompts that are read already."""
        scored = sum(follow for _, follow in self.lengths(pairs))
        self.calls.append(
            Call(
                "score",
                self.test,
                self.shots,
                rows=len(pairs),
                batch=batch,
                tokens=scored,
                read=scored,
                scored=scored,
            )
        )
        self.asked.setdefault(Asked(self.test, "score", self.shots), pairs)


@dataclass(frozen=True)
class Work:
    """The calls of one cell, phase by phase, in the order of `runner.run_cell`."""

    before: tuple[Call, ...] = ()
    """Training solutions scored by the untouched model: shared by cells of one group."""
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


def rehearse(cell: Cell, desk: Desk, ledger: Ledger) -> Work:
    """Go through a cell as `runner.run_cell` does, and return what it asks of the model.

    `desk` keeps the loaded tasks from cell to cell. Raises BadInput as the run would.
    """
    asked, train = desk.questions(cell), desk.training_problems(cell)
    start, counting = time.perf_counter(), ledger.seconds
    ledger.test, ledger.shots = cell.task.name, False
    if cell.strategy.trains and cell.split == "test":
        evidence.before(ledger, train.problems, cell.limits.batch)
    before = ledger.take()
    solver = strategies.adapt(
        ledger, train.problems, cell.strategy, cell.train, cell.seed, None, train.replayed
    )
    trained = ledger.take()
    ledger.shots = bool(solver.shots)
    unmoved, way_back = _way_back(cell, desk, solver, ledger)
    answers = _ask(solver, cell.task.name, asked, cell.limits, ledger)
    evaluate = ledger.take()
    ledger.test = cell.task.name
    evidence.after(solver, cell, asked, answers)
    evidence.collect(solver, train, asked)
    spent = time.perf_counter() - start - (ledger.seconds - counting)
    return Work(
        before=before,
        train=trained,
        unmoved=unmoved,
        way_back=way_back,
        evaluate=evaluate,
        after=ledger.take(),
        python_s=max(0.0, spent),
        solution_tokens=_solution_tokens(cell, solver, train, ledger),
    )


def _way_back(
    cell: Cell, desk: Desk, solver: Solver, ledger: Ledger
) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
    """Ask the held-out problems at λ = 0 and at the others, as `rewind.settle` does."""
    if not cell.strategy.rewind:
        return (), ()
    task = cell.trained_on or cell.task
    dev = desk.questions(replace(cell, split="dev", task=task))
    steps: dict[bool, list[Call]] = {True: [], False: []}
    for share in cell.strategy.rewind:
        ledger.rewind(share)
        _ask(solver, task.name, dev, cell.limits, ledger)
        steps[share == 0.0] += ledger.take()
    ledger.rewind(1.0)  # to the λ that is chosen
    return tuple(steps[True]), (*steps[False], *ledger.take())


def _ask(
    solver: Solver, name: str, asked: Questions, limits: Limits, ledger: Ledger
) -> tuple[Answer, ...]:
    """Ask a task and its probes, each under its own name; return the task's answers."""
    ledger.test = name
    answers = strategies.ask(solver, asked.kind, asked.problems, limits)
    for probe, questions in asked.probes.items():
        ledger.test = probe
        strategies.ask(solver, questions.kind, questions.problems, limits)
    return answers


def _solution_tokens(
    cell: Cell, solver: Solver, train: strategies.Trained, ledger: Ledger
) -> float:
    if not cell.strategy.trains:
        return 0.0
    lengths = ledger.lengths([("", solver.target(p.solution)) for p in train.problems])
    return 1 + sum(target for _, target in lengths) / len(lengths)


def _start(texts: Sequence[str]) -> str:
    """Return what all texts start with."""
    low, high = min(texts), max(texts)
    same = (i for i, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1])
    return low[: next(same, len(low))]
