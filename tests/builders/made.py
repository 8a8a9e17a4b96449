"""Runs with a known truth: what each strategy changes on its task and on probes is planted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

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
from tests.builders.simulated import study

MINI = ModelSpec("mini", "mini", "r1", prompt="plain", parameters=1_000_000)
ZERO = StrategySpec("zero-shot", "prompt")
SHOTS = StrategySpec("few-shot-5", "prompt", shots=5)
FULL = StrategySpec("full", "full", learning_rate=3e-4)
LORA = StrategySpec("lora", "peft", learning_rate=3e-4, peft={"peft_type": "LORA", "r": 8})
DORA = replace(LORA, name="dora", peft={"peft_type": "LORA", "r": 8, "use_dora": True})
REWIND = replace(FULL, name="full+rewind", rewind=(0.0, 0.5, 1.0))

Changes = Sequence[tuple[StrategySpec, float]]
Probes = Mapping[str, tuple[Answer, ...]]
COSTS = {
    "prompt": Costs(train_s=0, eval_s=2, peak_bytes=10**8, ship_bytes=0),
    "full": Costs(train_s=20, eval_s=2, peak_bytes=5 * 10**8, ship_bytes=4_000_000),
    "peft": Costs(train_s=30, eval_s=2, peak_bytes=2 * 10**8, ship_bytes=40_000),
}


def answers(right: ArrayLike, nats: ArrayLike = 10.0, name: str = "p") -> tuple[Answer, ...]:
    flags = np.asarray(right, dtype=bool)
    losses = np.broadcast_to(np.asarray(nats, dtype=float), flags.shape)
    return tuple(
        Answer(
            id=f"{name}{i}",
            gold="18",
            completion="#### 18",
            extracted="18",
            rule="hash",
            correct=bool(flag),
            strict=bool(flag),
            tokens=4,
            stop="eos",
            nats=float(loss),
            bytes=10,
        )
        for i, (flag, loss) in enumerate(zip(flags, losses, strict=True))
    )


def run(
    strategy: StrategySpec,
    answered: tuple[Answer, ...],
    seed: int | None = None,
    *,
    model: ModelSpec = MINI,
    task: str = "market",
    trained_on: str | None = None,
    probes: Probes | None = None,
    limits: Limits | None = None,
    status: Status = "done",
    **changes: Any,
) -> Run:
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
    changes.setdefault("costs", COSTS[strategy.kind])
    return Run(cell, status, answered, probes or {}, **changes)


def failed(strategy: StrategySpec, seed: int, **changes: Any) -> Run:
    cause = changes.pop("status", "diverged")
    failure = Failure(cause, "loss nan at step 3", 3)
    return run(strategy, (), seed, status=cause, failure=failure, **changes)


def runs(
    *changes: tuple[StrategySpec, float],
    n: int = 600,
    seeds: int = 3,
    base: float = 0.5,
    sd: float = 0.0,
    seed: int = 0,
    bits: Mapping[str, float] | None = None,
    probes: Mapping[str, Mapping[str, float]] | None = None,
    **others: Any,
) -> list[Run]:
    """Return runs of the untouched model and of strategies with planted changes of accuracy.

    `bits` plants rises of the nats of every gold solution (10 bytes), and `probes` changes of
    accuracy on probes, both by the strategy's name.
    """
    rng = np.random.default_rng(seed)
    strategies = [strategy for strategy, _ in changes]
    losses = 10 + rng.normal(0, 1, n)
    own = _study(rng, n, seeds, base, sd, [change for _, change in changes])
    asked = {
        probe: _study(rng, n, seeds, base, sd, [planted.get(s.name, 0.0) for s in strategies])
        for probe, planted in (probes or {}).items()
    }
    found = [
        run(
            ZERO,
            answers(own[0], losses),
            probes={name: answers(before, name=name) for name, (before, _) in asked.items()},
            **others,
        )
    ]
    for place, strategy in enumerate(strategies):
        for s in range(seeds):
            after = losses + (bits or {}).get(strategy.name, 0.0) + rng.normal(0, 0.05, n)
            found.append(
                run(
                    strategy,
                    answers(own[1][place][:, s], after),
                    s,
                    probes={
                        name: answers(tables[place][:, s], name=name)
                        for name, (_, tables) in asked.items()
                    },
                    **others,
                )
            )
    return found


def trials(strategy: StrategySpec, rates: Mapping[float, float], **others: Any) -> list[Run]:
    """Return the trials of a finished search; `rates` gives the nats of each rate's solutions."""
    found = []
    for rate, nats in rates.items():
        made = run(replace(strategy, learning_rate=rate), answers([1, 0] * 50, nats), 7, **others)
        found.append(replace(made, cell=replace(made.cell, split="dev")))
    return found


def _study(
    rng: np.random.Generator, n: int, seeds: int, base: float, sd: float, changes: Sequence[float]
) -> tuple[Any, list[Any]]:
    return study(rng, n=n, seeds=seeds, base=base, changes=tuple(changes), sd=sd, agreement=0.95)
