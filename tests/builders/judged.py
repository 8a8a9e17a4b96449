"""Runs with known answers, for the tests of whatever judges them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from finetrap.records import (
    Answer,
    Cell,
    Failure,
    Limits,
    ModelSpec,
    Run,
    StrategySpec,
    TaskRef,
    TrainSpec,
)
from tests.builders.simulated import study

MODEL = ModelSpec("mini", "mini", "r1", parameters=1000)
MARKET, SCHOOL, PROSE = (TaskRef(name, "1") for name in ("market", "school", "prose"))
ZERO = StrategySpec("zero-shot", "prompt")
SHOTS = StrategySpec("few-shot-5", "prompt", shots=5)
FULL = StrategySpec("full", "full", learning_rate=3e-4)
LORA = StrategySpec("lora", "peft", learning_rate=3e-4, peft={"peft_type": "LORA", "r": 8})


def answers(flags, families=None, nats=None):
    """Answers that are right as the flags say; `nats` of gold solutions of ten bytes."""
    return tuple(
        Answer(
            id=f"p{i}",
            gold="18",
            completion="#### 18",
            extracted="18",
            rule="hash",
            correct=bool(right),
            strict=bool(right),
            tokens=4,
            stop="eos",
            nats=None if nats is None else float(nats[i]),
            bytes=None if nats is None else 10,
            family=families[i] if families else "",
        )
        for i, right in enumerate(flags)
    )


def prose(bits_per_byte, size=100):
    return tuple(
        Answer(f"w{i}", "", "", None, "none", None, None, 0, "none", b * size * math.log(2), size)
        for i, b in enumerate(bits_per_byte)
    )


def run(strategy, right, seed=None, *, task=MARKET, trained_on=MARKET, probes=None, **changes):
    """A finished run; `nats` of its gold solutions and further fields of Run among `changes`."""
    nats = changes.pop("nats", None)
    cell = Cell(
        model=changes.pop("model", MODEL),
        task=task,
        strategy=strategy,
        train=TrainSpec(),
        limits=Limits(),
        seed=seed,
        trained_on=None if strategy == ZERO else trained_on,
        probes=tuple(TaskRef(name, "1") for name in probes or {}),
    )
    return Run(cell, "done", answers(right, nats=nats), probes or {}, **changes)


def trial(strategy, rate, right, bits):
    """A trial of a search: 100 dev problems of which `right` are right, at these bits per byte."""
    flags = [1] * right + [0] * (100 - right)
    nats = [10 * bits * math.log(2)] * 100
    done = run(replace(strategy, learning_rate=rate), flags, 90210, nats=nats)
    return replace(done, cell=replace(done.cell, split="dev"))


def failed(strategy, seed, status="diverged"):
    return replace(
        run(strategy, [], seed), status=status, failure=Failure(status, "loss nan at step 3", 3)
    )


def simulated(*changes, n=1200, seeds=3, base=0.6, sd=0.0, seed=0):
    """Runs of the untouched model and of strategies with planted changes of accuracy."""
    rng = np.random.default_rng(seed)
    before, after = study(
        rng,
        n=n,
        seeds=seeds,
        base=base,
        changes=tuple(change for _, change in changes),
        sd=sd,
        agreement=0.95,
    )
    runs = [run(ZERO, before)]
    for (strategy, _), table in zip(changes, after, strict=True):
        runs += [run(strategy, table[:, s], s) for s in range(seeds)]
    return runs


def by_strategy(findings, against="zero-shot", kind="task", measure="accuracy"):
    wanted = (against, kind, measure)
    return {e.strategy: e for e in findings.effects if (e.against, e.kind, e.measure) == wanted}
