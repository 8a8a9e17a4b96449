"""Runs with a known truth: what each strategy changes on its task and on probes is planted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from finetrap.findings import Effect, Findings
from finetrap.records import (
    Answer,
    Cell,
    Costs,
    Failure,
    Limits,
    ModelSpec,
    Run,
    Status,
    StrategySpec,
    TaskRef,
    TrainSpec,
)
from finetrap.references import PromptSpec
from tests.builders.simulated import study

MINI = ModelSpec("mini", "mini", "r1", prompt=PromptSpec("plain"), parameters=1_000_000)
ZERO = StrategySpec("zero-shot", "prompt")
SHOTS = StrategySpec("few-shot-5", "prompt", shots=5)
FULL = StrategySpec("full", "full", learning_rate=3e-4)
LORA = StrategySpec("lora", "peft", learning_rate=3e-4, peft={"peft_type": "LORA", "r": 8})
DORA = replace(LORA, name="dora", peft={"peft_type": "LORA", "r": 8, "use_dora": True})
REWIND = replace(FULL, name="full+rewind", rewind=(0.0, 0.5, 1.0))

Changes = tuple[StrategySpec, float]
Probes = Mapping[str, tuple[Answer, ...]]
COSTS = {
    "prompt": Costs(train_s=0, eval_s=2, peak_bytes=10**8, ship_bytes=0),
    "full": Costs(train_s=20, eval_s=2, peak_bytes=5 * 10**8, ship_bytes=4_000_000),
    "peft": Costs(train_s=30, eval_s=2, peak_bytes=2 * 10**8, ship_bytes=40_000),
    "given": Costs(eval_s=2, peak_bytes=2 * 10**8, ship_bytes=4_000_000),
}
BYTES = 10
"""Of a gold solution."""


def answer(
    id: str = "p0", right: object = True, nats: float | None = None, **fields: Any
) -> Answer:
    """One answer, with whatever else is said of it."""
    known: dict[str, Any] = {
        "id": id,
        "gold": "18",
        "completion": "#### 18",
        "extracted": "18",
        "rule": "hash",
        "correct": bool(right),
        "strict": bool(right),
        "tokens": 4,
        "stop": "eos",
        "nats": nats,
        "bytes": None if nats is None else BYTES,
    }
    return Answer(**{**known, **fields})


def answers(
    right: ArrayLike,
    nats: ArrayLike | None = None,
    *,
    name: str = "p",
    families: Sequence[str] | None = None,
) -> tuple[Answer, ...]:
    """Answers that are right as the flags say, with the nats of their gold solutions."""
    flags = np.asarray(right, dtype=bool)
    losses = np.full(flags.shape, np.nan) if nats is None else np.broadcast_to(nats, flags.shape)
    return tuple(
        answer(
            f"{name}{i}",
            flag,
            None if np.isnan(loss) else float(loss),
            family=families[i] if families else "",
        )
        for i, (flag, loss) in enumerate(zip(flags, losses, strict=True))
    )


def prose(bits_per_byte: Sequence[float], size: int = 100) -> tuple[Answer, ...]:
    """Pieces of a text, of so many bytes each."""
    return tuple(
        Answer(f"t{i}", "", "", None, "none", None, None, 0, "none", b * size * math.log(2), size)
        for i, b in enumerate(bits_per_byte)
    )


def run(
    strategy: StrategySpec,
    right: ArrayLike | tuple[Answer, ...],
    seed: int | None = None,
    *,
    nats: ArrayLike | None = None,
    model: ModelSpec = MINI,
    task: str = "market",
    trained_on: str | None = None,
    probes: Probes | None = None,
    limits: Limits | None = None,
    status: Status = "done",
    **changes: Any,
) -> Run:
    """A run with these answers, given whole or as flags; `changes` are further fields of it."""
    own = trained_on or task
    cell = Cell(
        model=model,
        task=TaskRef(task, "1"),
        strategy=strategy,
        train=TrainSpec(),
        limits=limits or Limits(),
        seed=seed,
        trained_on=None if strategy == ZERO else TaskRef(own, "1"),
        probes=tuple(TaskRef(name, "1") for name in probes or {}),
    )
    made = isinstance(right, tuple) and all(isinstance(each, Answer) for each in right)
    changes.setdefault("costs", COSTS[strategy.kind])
    return Run(cell, status, right if made else answers(right, nats), probes or {}, **changes)


def failed(
    strategy: StrategySpec,
    seed: int,
    status: Status = "diverged",
    message: str = "loss nan at step 7",
    **changes: Any,
) -> Run:
    failure = Failure(status, message, 7)
    return run(strategy, (), seed, status=status, failure=failure, **changes)


def trial(
    strategy: StrategySpec,
    rate: float,
    right: int | tuple[Answer, ...] = 50,
    bits: float = 1.0,
    **others: Any,
) -> Run:
    """A trial of a search: 100 dev problems of which `right` are right, at these bits per byte."""
    nats = BYTES * bits * math.log(2)
    found = right if isinstance(right, tuple) else answers([1] * right + [0] * (100 - right), nats)
    return on_dev(run(replace(strategy, learning_rate=rate), found, 90210, **others))


def on_dev(found: Run, **changes: Any) -> Run:
    """The same run on the dev split, with further changes of its cell."""
    return replace(found, cell=replace(found.cell, split="dev", **changes))


def runs(
    *changes: Changes,
    n: int = 600,
    seeds: int = 3,
    base: float = 0.5,
    sd: float = 0.0,
    seed: int = 0,
    likelihoods: bool = True,
    bits: Mapping[str, float] | None = None,
    probes: Mapping[str, Mapping[str, float]] | None = None,
    **others: Any,
) -> list[Run]:
    """Return runs of the base model and of strategies with planted changes of accuracy.

    `bits` plants rises of the nats of every gold solution (10 bytes), and `probes` changes of
    accuracy on probes, both by the strategy's name.
    """
    rng = np.random.default_rng(seed)
    strategies = [strategy for strategy, _ in changes]
    losses = 10 + rng.normal(0, 1, n) if likelihoods else None
    own = _study(rng, n, seeds, base, sd, [change for _, change in changes])
    asked = {
        probe: _study(rng, n, seeds, base, sd, [planted.get(s.name, 0.0) for s in strategies])
        for probe, planted in (probes or {}).items()
    }
    before = {name: answers(flags, 10.0, name=name) for name, (flags, _) in asked.items()}
    found = [run(ZERO, own[0], nats=losses, probes=before, **others)]
    for place, strategy in enumerate(strategies):
        for s in range(seeds):
            after = None
            if losses is not None:
                after = losses + (bits or {}).get(strategy.name, 0.0) + rng.normal(0, 0.05, n)
            kept = {
                name: answers(tables[place][:, s], 10.0, name=name)
                for name, (_, tables) in asked.items()
            }
            right = own[1][place][:, s]
            found.append(run(strategy, right, s, nats=after, probes=kept, **others))
    return found


simulated = partial(runs, n=1200, base=0.6, likelihoods=False)
"""The same with more problems, and accuracy alone."""


def by_strategy(
    findings: Findings,
    against: str = "zero-shot",
    kind: str = "task",
    measure: str = "accuracy",
) -> dict[str, Effect]:
    """Return the effects of one kind by the strategy's name."""
    wanted = (against, kind, measure)
    return {e.strategy: e for e in findings.effects if (e.against, e.kind, e.measure) == wanted}


def _study(
    rng: np.random.Generator, n: int, seeds: int, base: float, sd: float, changes: Sequence[float]
) -> tuple[Any, list[Any]]:
    return study(rng, n=n, seeds=seeds, base=base, changes=tuple(changes), sd=sd, agreement=0.95)
