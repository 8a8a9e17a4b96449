"""Runs with every field set, for the tests of what is kept on disk."""

from __future__ import annotations

from dataclasses import replace

from finetrap.records import (
    Answer,
    Cell,
    Costs,
    Limits,
    ModelSpec,
    Run,
    StrategySpec,
    TaskRef,
    TrainSpec,
)
from tests.builders import runs


def make_cell(seed: int | None = 0, **changes: object) -> Cell:
    task = TaskRef("market", "v1", options={"question": "q"})
    cell = Cell(
        model=ModelSpec("org/tiny", "/somewhere/tiny", "sha256:abc", parameters=12),
        task=task,
        strategy=StrategySpec(
            "lora", "peft", learning_rate=1e-3, peft={"peft_type": "LORA", "r": 8}
        ),
        train=TrainSpec(problems=None),
        limits=Limits(batch=7),
        seed=seed,
        trained_on=task,
        probes=(TaskRef("jsonl:a/b.jsonl", "sha256:1", "/data/b.jsonl"), TaskRef("prose", "v1")),
    )
    return replace(cell, **changes)


def answer(id: str = "p1", **changes: object) -> Answer:
    known = {
        "gold": "4",
        "completion": "2 + 2 = 4\n#### 4",
        "extracted": "4",
        "rule": "hashes",
        "tokens": 9,
        "nats": 0.1 + 0.2,
        "bytes": 16,
        "family": "sums",
    }
    return runs.answer(id, **{**known, **changes})


def make_run(cell: Cell | None = None, **changes: object) -> Run:
    run = Run(
        cell=cell or make_cell(),
        status="done",
        answers=(answer("p1"), answer("p2", correct=False, extracted=None, rule="none")),
        probes={"jsonl:a/b.jsonl": (answer("x"),), "prose": (answer("y", correct=None),)},
        costs=Costs(load_s=0.1, train_s=2.5, trainable=128),
        evidence={"loss": [1.5, 0.25], "rows": [[["Q", False], ["4", True]]]},
        environment={"torch": "2.13"},
    )
    return replace(run, **changes)
