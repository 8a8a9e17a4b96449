"""Runs of a sound training and of others, for the tests of a diagnosis."""

from __future__ import annotations

from typing import Any

from finetrap.findings import Suspect
from finetrap.judge import diagnosis, verdicts
from finetrap.records import (
    Answer,
    Cell,
    Limits,
    ModelSpec,
    Run,
    StopReason,
    StrategySpec,
    TaskRef,
    TrainSpec,
)
from finetrap.text.scoring import grade
from tests.builders import runs

N = 60
TASK = TaskRef("sums", "1")
PROBE = TaskRef("sorting", "1")
RIGHT = "{a} + 5 = {b}.\n#### {b}"
WRONG_PLAN = "{a} + 6 = {c}.\n#### {c}"
SLIP = "{a} + 5 = {c}.\n#### {c}"


def answer(i: int, text: str, stop: StopReason = "eos", nats: float = 2.0) -> Answer:
    """Answer `i + 5` with a text in which {a}, {b} and {c} are i, the sum, and one more."""
    completion = text.format(a=i, b=i + 5, c=i + 6)
    found = grade(completion, str(i + 5))
    return runs.answer(
        f"p{i:02d}",
        found.correct,
        nats,
        gold=str(i + 5),
        completion=completion,
        extracted=found.extracted,
        rule=found.rule,
        strict=found.strict,
        tokens=9,
        stop=stop,
        bytes=20,
    )


def answers(*parts: tuple[int, str], stop: StopReason = "eos", nats: float = 2.0):
    """So many answers of each text, 60 in all."""
    written = [text for count, text in parts for _ in range(count)]
    assert len(written) == N
    return tuple(answer(i, text, stop, nats) for i, text in enumerate(written))


GOOD = answers((N, RIGHT))
BAD = answers((20, RIGHT), (40, WRONG_PLAN))


def cell(rate: float | None = 3e-5, *, kind: str = "full", seed: int = 0, **changes: Any) -> Cell:
    strategy = StrategySpec(kind, kind, learning_rate=rate) if rate else StrategySpec("z", "prompt")
    return Cell(
        ModelSpec("m", "m", "1"),
        TASK,
        strategy,
        TrainSpec(problems=100, dev=20),
        Limits(max_new_tokens=40),
        seed=seed if rate else None,
        trained_on=TASK if rate else None,
        **changes,
    )


TEMPLATE = {"text": "Question: {question}\nAnswer: {solution}", "sha256": "a"}
ROW = [["Question", False], [":", False], [" 1", True], ["2", True], ["<end>", True]]
SOUND: dict[str, Any] = {
    "test_template": TEMPLATE,
    "train_template": TEMPLATE,
    "train_problems": 100,
    "exact_duplicates": 0,
    "near_duplicates": 1,
    "base_loss": [{"nats": 2.0, "bytes": 20}] * 40,
    "swapped_nats": [9.0] * 40,
    "overlap": {"train": 100, "test": N, "exact": 0, "near": 0, "pairs": []},
    "loss": [0.5, 0.4, 0.3, 0.3, 0.3],
    "update_ratio": [None, 4e-4, 4e-4, 4e-4, 1e-4],
    "rows": [ROW, ROW],
    "template_faults": [],
    "eos_share": 1.0,
    "divergence": [["p00", 0.1, 0.1]],
}


def untouched(found: tuple[Answer, ...] = GOOD, **changes: Any) -> Run:
    style = {"own_style": [{"nats": 2.0, "bytes": 20}] * 10}
    return Run(cell(None, **changes), "done", found, evidence=style)


def trained(found: tuple[Answer, ...] = BAD, rate: float = 3e-5, **evidence: Any) -> Run:
    return Run(cell(rate), "done", found, evidence={**SOUND, **evidence})


def suspects(run: Run, *others: Run) -> dict[str, Suspect]:
    runs = [*(others or (untouched(),)), run]
    found = diagnosis.diagnose_run(run, runs, verdicts.verdicts_on(runs))
    assert len(found.suspects) == len(diagnosis.SUSPECTS) == 14
    for suspect in found.suspects:
        assert suspect.evidence
        assert bool(suspect.remedy) == (suspect.verdict == "likely cause")
    return {s.suspect: s for s in found.suspects}


def verdict(name: str, run: Run, *others: Run) -> str:
    return suspects(run, *others)[name].verdict


def likely_causes(run: Run, *others: Run) -> set[str]:
    return {name for name, s in suspects(run, *others).items() if s.verdict == "likely cause"}
