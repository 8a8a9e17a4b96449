"""Studies for the browser tests: like the demo, of forty cells, and of very many answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from finetrap.records import Answer, Run, TaskRef
from tests.builders.reported import HOSTILE, STRATEGIES, answer, run, searched

LONG = "x" * 100_000
"""One line."""
OUTRIGHT = '"><img src=x onerror=alert(1)><svg onload=alert(2)></textarea><!-- ${1} ]]>'


def chosen(index: int, right: bool) -> Answer:
    """A multiple-choice answer of three choices."""
    label = index % 3
    picked = label if right else (label + 1) % 3
    return replace(
        answer(index, right),
        gold=str(label),
        completion=f"choice {picked} of {index}",
        extracted=str(picked),
        rule="likelihood",
        strict=None,
        tokens=0,
        stop="none",
    )


def problems() -> dict[str, dict[str, dict[str, object]]]:
    """What the untouched model's run records of every task."""
    numbered = {
        f"p{i:05d}": {"question": f"Ann has {i} pens and buys none. How many?"} for i in range(400)
    }
    numbered["p00002"] = {"question": HOSTILE + OUTRIGHT}
    choices = {
        f"p{i:05d}": {
            "question": f"Which of the choices of {i} is right?",
            "choices": [f"choice {c} of {i}" for c in range(3)],
        }
        for i in range(60)
    }
    prose = {f"t{i}": {"question": f"Piece {i} of a long text about rivers."} for i in range(20)}
    return {"school": numbered, "sums": numbered, "arc": choices, "prose": prose}


def demo() -> list[Run]:
    """The searched study with problems, a probe of multiple choice, and answers meant to harm."""
    runs = []
    for found in searched():
        if found.cell.split == "dev":
            runs.append(found)
            continue
        draw = Random(f"arc/{found.cell.strategy.name}/{found.cell.seed}")
        arc = tuple(chosen(i, draw.random() < 0.7) for i in range(60))
        answers = list(found.answers)
        if found.cell.strategy.kind == "full":
            answers[0] = replace(answers[0], completion=HOSTILE, extracted=HOSTILE)
            answers[1] = replace(answers[1], completion=LONG)
            answers[2] = replace(answers[2], completion=OUTRIGHT, rule=OUTRIGHT, family=HOSTILE)
            answers[3] = replace(
                answers[3], extracted=None, rule="none", correct=False, stop="cap", tokens=256
            )
        untouched = found.cell.strategy.name == "zero-shot"
        runs.append(
            replace(
                found,
                cell=replace(found.cell, probes=(*found.cell.probes, TaskRef("arc", "1"))),
                answers=tuple(answers),
                probes={**found.probes, "arc": arc},
                evidence={**found.evidence, **({"problems": problems()} if untouched else {})},
            )
        )
    return runs


def wide(models: Sequence[str] = ("mini-0.1m", "mini-0.3m", "mini-1m", "mini-3m")) -> list[Run]:
    """Forty cells: four models, the untouched one and three strategies on three seeds each."""
    strategies = [s for s in STRATEGIES if s.name != "few-shot-5"]
    return [
        run(model, "school", strategy, seed, 100)
        for model in models
        for strategy in strategies
        for seed in ((None,) if strategy.name == "zero-shot" else (0, 1, 2))
    ]


def many(count: int) -> list[Run]:
    """Two runs of `count` problems each, with answers of some two hundred characters."""
    runs = []
    for strategy, seed in ((STRATEGIES[0], None), (STRATEGIES[2], 0)):
        small = run("mini-1m", "school", strategy, seed, 20)
        draw = Random(f"many/{strategy.name}")
        answers = tuple(
            answer(i, draw.random() < 0.5, f"{_words(draw)} #### {draw.randrange(1000)}")
            for i in range(count)
        )
        runs.append(replace(small, answers=answers, probes={}, cell=replace(small.cell, probes=())))
    return runs


_VOCABULARY = """so then she buys sells has gives takes apples pens 12 36 4 = + - * each left
first in all total therefore twice half as many remaining after before the market costs"""


def _words(draw: Random) -> str:
    words = _VOCABULARY.split()
    return " ".join(draw.choice(words) for _ in range(40))
