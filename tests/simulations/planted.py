"""Toy studies whose true effects are planted, each with problems and seeds of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

from finetrap.findings import Effect, Findings
from finetrap.judge import verdicts
from finetrap.measure.runner import run_group
from finetrap.measure.study import reading
from finetrap.measure.study.cells import cells_of
from finetrap.records import Judge, Keep
from finetrap.runs.store import Store

MIXED = {"few-shot-5": 0.0, "full": -0.12, "lora": 0.12, "dora": 0.0}
"""What each strategy adds to the share of problems that are solved."""
NULL = dict.fromkeys(MIXED, 0.0)
MARGIN = 5.0
PROBLEMS = 300


def judged(folder: Path, number: int, truth: Mapping[str, float], sd: float = 0.01) -> Findings:
    """Run one study in a folder of its own, and judge it."""
    base = folder / str(number)
    (base / "sums").mkdir(parents=True)
    random = Random(f"planted/{number}")
    for part, count in (("train", 20), ("test", PROBLEMS)):
        rows = [_sum(random) for _ in range(count)]
        (base / "sums" / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    effects = ",".join(f"{name}={change}" for name, change in truth.items())
    table = {
        "name": "planted",
        "models": [f"toy:base=0.5,{effects},sd={sd},churn=0.05"],
        "tasks": ["jsonl:sums"],
        "strategies": ["zero-shot", *truth],
        "seeds": [3 * number, 3 * number + 1, 3 * number + 2],
        "train": {"problems": 20, "epochs": 1},
        "limits": {"test_problems": PROBLEMS, "max_new_tokens": 40},
    }
    plan = reading.check(table, at="planted", base=base)
    store = Store(base / "runs")
    run_group(cells_of(plan), store, Keep("none"), lambda event: None)
    return verdicts.verdicts_on(store.runs(), replace(Judge(), margin=MARGIN))


def task_effects(findings: Findings, measure: str = "accuracy") -> list[Effect]:
    """Return the effects against the untouched model."""
    return [e for e in findings.effects if e.against == "zero-shot" and e.measure == measure]


def is_wrong(effect: Effect, truth: float) -> bool:
    """Say whether the verdict is one that the planted change of accuracy makes false."""
    if effect.verdict == "equivalent":
        beyond = effect.measure == "accuracy" and abs(100 * truth) >= MARGIN
        return beyond or (effect.small and (truth == 0 or (effect.harm > 0) != (truth < 0)))
    if effect.verdict == "inconclusive":
        return False
    return truth == 0 or (effect.verdict == "harmed") != (truth < 0)


def _sum(random: Random) -> dict[str, str]:
    a, b = random.randrange(100_000), random.randrange(100_000)
    return {"question": f"What is {a} + {b}?", "answer": f"{a} + {b} = {a + b}\n#### {a + b}"}
