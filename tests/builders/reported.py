"""Made-up studies with planted effects, and a reader of the page that is made of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

from finetrap import judge, report
from finetrap.findings import Effect, Findings
from finetrap.judge import summary, verdicts
from finetrap.levels import Summary
from finetrap.records import (
    Answer,
    Costs,
    ModelSpec,
    Run,
    StrategySpec,
    Study,
    TaskRef,
    TrainSpec,
)
from tests.builders import runs

HOSTILE = (
    "<script>alert(1)</script></style></pre><b onclick=x>bold</b>{{ 7*7 }} \u202eleftwards\u202c "
    "\x1b[31mred\x00 \ud800 " + "a\u0301\u0301\u0301\u0301\u0301\u0301"
)
STRATEGIES = (
    StrategySpec("zero-shot", "prompt"),
    StrategySpec("few-shot-5", "prompt", shots=5),
    StrategySpec("full", "full", learning_rate=3e-4),
    StrategySpec("full", "full", learning_rate=3e-5),
    StrategySpec("lora", "peft", learning_rate=3e-4, peft={"peft_type": "LORA"}),
)
FULL, LORA = STRATEGIES[2], STRATEGIES[4]
REWOUND = replace(FULL, name="full+rewind", rewind=(0.0, 0.5, 1.0))
SIZE = 919_552
PARAMETERS = {"mini-0.3m": 341_352, "mini-1m": SIZE}
# Share of the problems right before, that become wrong, and that become right, on task and probes.
PLANTED = {
    ("few-shot-5", None): ((0.02, 0.02), (0.00, 0.0)),
    ("full", 3e-4): ((0.45, 0.01), (0.25, 0.0)),
    ("full", 3e-5): ((0.01, 0.01), (0.01, 0.01)),
    ("lora", 3e-4): ((0.01, 0.30), (0.05, 0.0)),
    ("full", 1e-5): ((0.00, 0.01), (0.01, 0.01)),
    ("full+rewind", 3e-4): ((0.01, 0.05), (0.08, 0.0)),
}


def answer(index: int, right: bool, text: str = "") -> Answer:
    return runs.answer(
        f"p{index:05d}",
        right,
        5.0,
        gold=str(index),
        completion=text or f"#### {index if right else 0}",
        extracted=str(index) if right else "0",
        rule="marker",
        tokens=12,
        bytes=20,
    )


def prose(seed: object, nats: float, n: int = 20) -> tuple[Answer, ...]:
    draw = Random(f"prose/{seed}")
    return runs.prose([(nats + draw.random()) / (100 * math.log(2)) for _ in range(n)])


def answers(purpose: str, n: int, base: float, lost: float, gained: float) -> tuple[Answer, ...]:
    kept = Random(f"base/{n}")
    untouched = [kept.random() < base for _ in range(n)]
    draw = Random(purpose)
    flips = [draw.random() < (lost if right else gained) for right in untouched]
    return tuple(
        answer(i, right != flip)
        for i, (right, flip) in enumerate(zip(untouched, flips, strict=True))
    )


def model(name: str) -> ModelSpec:
    return ModelSpec(name, f"built-in/{name}", "sha256:" + "0123" * 16, parameters=SIZE)


def run(
    name: str,
    task: str,
    strategy: StrategySpec,
    seed: int | None,
    n: int = 400,
    size: int = SIZE,
) -> Run:
    """A run of what is planted for its strategy, on its task and on three probes."""
    origin = f"{name}/{task}/{strategy.name}/{strategy.learning_rate}/{seed}"
    on_task, on_probe = PLANTED.get((strategy.name, strategy.learning_rate), ((0, 0), (0, 0)))
    steps = [3.0 / (1 + 0.02 * i) for i in range(120)] if strategy.trains else None
    return runs.run(
        strategy,
        answers(origin, n, 0.6, *on_task),
        seed,
        model=model(name),
        task=task,
        probes={
            "sums": answers(origin + "/sums", 200, 0.9, *on_probe),
            "sorting": answers(origin + "/sorting", 200, 0.8, on_probe[0] / 3, on_probe[1]),
            "prose": prose(origin if strategy.trains else 0, 70 + 40 * on_probe[0]),
        },
        costs=Costs(
            load_s=0.4,
            train_s=9.5 if strategy.trains else None,
            eval_s=21.0,
            peak_bytes=612_000_000,
            train_tokens=91_000 if strategy.trains else 0,
            trainable={"full": SIZE, "peft": 32_768, "prompt": 0}[strategy.kind],
            ship_bytes={"full": 1_800_000, "peft": 140_000, "prompt": 0}[strategy.kind],
            parameters=size,
        ),
        evidence={"loss": steps} if steps else {},
        environment={"python": "3.11.2", "cores": 2, "packages": {"torch": "2.13.0"}},
    )


def diverged(name: str, task: str, seed: int, message: str = "loss nan at step 7") -> Run:
    strategy = replace(FULL, learning_rate=3e-2)
    return runs.failed(strategy, seed, message=message, model=model(name), task=task)


def grid(
    models: Sequence[str] = ("mini-1m",), tasks: Sequence[str] = ("school",), n: int = 400
) -> list[Run]:
    """A study of every strategy with three seeds, and a strategy that diverged on all of them."""
    found = []
    for name, task in itertools.product(models, tasks):
        found.append(run(name, task, STRATEGIES[0], None, n))
        for strategy, seed in itertools.product(STRATEGIES[1:], (0, 1, 2)):
            found.append(run(name, task, strategy, seed, n))
        found += [diverged(name, task, seed) for seed in (0, 1, 2)]
    return found


def study() -> Study:
    return Study(
        name="first",
        models=(ModelSpec("mini-1m", "built-in", "sha256:0123"),),
        tasks=(TaskRef("school", "1"),),
        strategies=STRATEGIES,
        source='name = "first"\nmodels = ["mini-1m"]\n',
    )


SEARCHED = {
    "mini-0.3m": {
        "full": ((3e-6, 1e-5, 3e-5, 9e-5, 3e-4), 3e-5),
        "lora": ((1e-4, 3e-4, 9e-4), 3e-4),
    },
    "mini-1m": {"full": ((1e-5, 3e-5, 9e-5), 1e-5), "lora": ((1e-4, 3e-4, 9e-4), 3e-4)},
}
"""The rates that each model's search tried, and the one to be chosen."""


def way(base: float, loss: float) -> dict[str, object]:
    """A path back whose middle keeps everything."""
    path = [
        {
            "share": share,
            "n": 200,
            "accuracy": base - loss * (share > 0.5),
            "bits": 1.0,
            "probes": {
                "sums": {"accuracy": 90.0 - 40 * share**2, "bits": 0.5},
                "sorting": {"accuracy": 80.0 - 20 * share**2, "bits": 0.5},
                "prose": {"accuracy": None, "bits": 1.2},
            },
        }
        for share in (0.0, 0.5, 1.0)
    ]
    return {"chosen": 0.5, "path": path}


def trial(name: str, strategy: StrategySpec, rate: float, chosen: float, share: float) -> Run:
    """A trial: best at the chosen rate, worse above it, diverged far above."""
    here = {
        "train": TrainSpec(share=share),
        "extends": share == 1.0 and strategy is FULL and rate == chosen == 1e-5,
    }
    common: dict[str, Any] = {"model": model(name), "task": "school"}
    if rate > 8 * chosen:
        failed = runs.failed(replace(strategy, learning_rate=rate), 90210, **common)
        return runs.on_dev(failed, **here)
    right = 0.8 if rate == chosen else 0.6 if rate < chosen else 0.3
    kept = min(1.0, 0.9 * (chosen / rate) ** 0.3)
    found = tuple(replace(answer(i, i < 200 * right), nats=4.0 / right) for i in range(200))
    probes = {"sums": tuple(answer(i, i < 200 * kept) for i in range(200)), "prose": prose(0, 70)}
    return runs.on_dev(runs.trial(strategy, rate, found, probes=probes, **common), **here)


def searched(models: Sequence[str] = ("mini-0.3m", "mini-1m")) -> list[Run]:
    """A study with a search: full fine-tuning harms at 3e-4, not at its tuned rate or rewound."""
    found = []
    for name in models:
        untouched = tuple(answer(i, i < 120) for i in range(200))
        sums = {"sums": tuple(answer(i, i < 198) for i in range(200)), "prose": prose(0, 70)}
        asked = runs.run(STRATEGIES[0], untouched, model=model(name), task="school", probes=sums)
        found.append(runs.on_dev(asked))
        size = PARAMETERS[name]
        base = run(name, "school", STRATEGIES[0], None, size=size)
        flips = {"n": 400, "flips": 2, "changed_texts": 3}
        found.append(replace(base, evidence={"self_flips": flips}))
        for strategy in (FULL, LORA):
            rates, chosen = SEARCHED[name][strategy.name]
            halved = len(rates) > 3
            for rate in rates:
                share = 0.5 if halved and rate != chosen else 1.0
                found.append(trial(name, strategy, rate, chosen, share))
        tuned = replace(FULL, learning_rate=SEARCHED[name]["full"][1])
        for strategy, seed in itertools.product((FULL, tuned, LORA, REWOUND), (0, 1, 2)):
            done = run(name, "school", strategy, seed, size=size)
            rows = [["p00000", 0.5, 0.25], ["p00001", 1.5, 0.75]]
            back = {"rewind": way(60.0, 40.0)} if strategy.rewind else {}
            found.append(replace(done, evidence={**done.evidence, "divergence": rows, **back}))
    return found


def judged(runs: Sequence[Run]) -> Findings:
    """Everything that is judged but the diagnoses, which a test makes as it needs them."""
    return judge.concluded(verdicts.verdicts_on(list(runs)), runs, command="finetrap run s.toml")


def made_up(*effects: Effect, **others: object) -> Findings:
    """What was judged of these effects, made up without runs."""
    arms = dict.fromkeys(
        (e.model, e.task, e.trained_on or e.task, e.strategy, e.learning_rate, e.setting)
        for e in effects
        if e.kind != "probe"
    )
    lines = [summary.with_verdicts(Summary(*arm, name=arm[3]), effects) for arm in arms]
    return Findings(effects, (), summary=tuple(lines), **others)  # type: ignore[arg-type]


def written(tmp_path: Path, runs: Sequence[Run], findings: Findings | None = None) -> Path:
    page = report.write_report(
        tmp_path / "report",
        judged(runs) if findings is None else findings,
        runs,
        study=study(),
        command="finetrap run studies/first.toml",
    )
    assert page == tmp_path / "report" / "report.html"
    return page


def effect(**fields: object) -> Effect:
    known: dict[str, object] = {
        "model": "m",
        "task": "prose",
        "kind": "probe",
        "strategy": "lora",
        "learning_rate": 3e-4,
        "setting": "fixed",
        "against": "zero-shot",
        "seeds": 3,
        "n": 50,
        "before": 1.0,
        "after": 1.2,
        "delta": 0.2,
        "low": 0.1,
        "high": 0.3,
        "lost": None,
        "gained": None,
        "p": 0.001,
        "p_adjusted": 0.002,
        "margin": 0.05,
        "verdict": "harmed",
        "needed_n": None,
        "needed_seeds": None,
        "trained_on": "t",
        "measure": "bits_per_byte",
    }
    return Effect(**{**known, **fields})  # type: ignore[arg-type]


class Reader(HTMLParser):
    """Reads a page, checking that every element is closed where it was opened."""

    void = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.numbers: dict[int, dict[str, str]] = {}
        self._row: int | None = None
        self._column: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag not in self.void:
            self.open.append(tag)
        if "data-effect" in given:
            self._row = int(given["data-effect"] or "")
        self._column = given.get("data-column")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        self._column = None

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))
        if self._column and self._row is not None:
            self.numbers.setdefault(self._row, {})[self._column] = data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader
