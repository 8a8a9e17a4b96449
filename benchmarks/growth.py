"""How cost grows: time and memory of each step against problems, length, batch, vocabulary, size.

    PYTHONPATH=src python -m benchmarks.growth [--layers 4] [--only problems]

One quantity is varied at a time, around 32 problems of 128 tokens, in batches of 16, on a model of
SmolLM2-135M's width and vocabulary with few layers. Every value runs in a process of its own, and
its work is repeated. An exponent is the slope of log seconds (or log peak bytes) over the log of
the quantity, with its 95% interval: 1 is linear, 0 is constant. `compare` judges prediction files.

Exits with 1 if a step is worse than linear in problems: an exponent above 1.1 whose interval leaves
out 1.
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Side, Work, Worker, parser
from benchmarks.measured import Done, append, machine
from benchmarks.shape import Shape, checkpoint, prose, spec
from finetrap.errors import BadInput
from finetrap.records import Limits, StrategySpec, TrainSpec

WORST = 1.1
"""Exponent above which growth with problems is looked at."""
NEW_TOKENS = 16
CHARACTERS = 4
"""Of a token, about."""
ENDING = " and then it went on to the end of the line, where it stood still for a while."


@dataclass(frozen=True)
class Setting:
    """One piece of work."""

    step: str
    shape: Shape
    problems: int = 32
    length: int = 128
    """Tokens of a prompt, about."""
    batch: int = 16
    """Rows at once; in training, rows of an optimizer step."""

    def varied(self, axis: str, value: int) -> Setting:
        """Return the setting at another value of one quantity."""
        if axis in ("problems", "length", "batch"):
            return replace(self, **{axis: value})
        return replace(self, shape=replace(self.shape, **{axis: value}))

    def measure(self, axis: str, value: int) -> float:
        """Return the quantity that an exponent is about: a model's size is in weights."""
        return float(self.varied(axis, value).shape.weights if axis == "layers" else value)


STEPS = ("decoding", "scoring", "training")
AXES: dict[str, tuple[int, ...]] = {
    "problems": (16, 32, 64, 128),
    "length": (64, 128, 256, 512),
    "batch": (1, 4, 16, 32),
    "vocabulary": (16_384, 49_152, 151_936),
    "layers": (2, 4, 8, 16),
}
FILES = (1_000, 4_000, 16_000, 64_000)
"""Problems of the prediction files that `compare` judges."""


def open_step(setting: Setting, folder: Path, texts: Sequence[str]) -> Work:
    """Open a model for one step on so many texts."""
    from finetrap.backends import Row, open_model

    model = open_model(spec(folder), Limits())
    full = StrategySpec("full", "full", learning_rate=1e-5)
    budget = TrainSpec(epochs=1, batch=setting.batch)

    def decode(prompts: Sequence[str]) -> None:
        model.generate(prompts, max_new_tokens=NEW_TOKENS, stops=(), batch=setting.batch)

    def score(prompts: Sequence[str]) -> None:
        model.score([(prompt, ENDING) for prompt in prompts], batch=setting.batch)

    def train(prompts: Sequence[str]) -> None:
        model.train([Row(prompt, ENDING) for prompt in prompts], full, budget, 0)

    step = {"decoding": decode, "scoring": score, "training": train}[setting.step]

    def work(**_: Any) -> Done:
        step(texts)
        return Done(len(texts))

    step(texts[:2])
    return work


def open_compare(problems: int) -> Work:
    """Write two prediction files of so many problems, to be judged."""
    from finetrap.judge.predictions import compare_files

    folder = Path(tempfile.mkdtemp())
    rng, files = random.Random(0), [folder / "before.jsonl", folder / "after.jsonl"]
    for file in files:
        rows = (json.dumps({"id": i, "correct": rng.random() < 0.5}) for i in range(problems))
        file.write_text("\n".join(rows), encoding="utf-8")

    def work(**_: Any) -> Done:
        compare_files(*files)
        return Done(problems)

    work()
    return work


@dataclass(frozen=True)
class Fit:
    """A power law's exponent with its 95% interval."""

    exponent: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.exponent:.2f} [{self.low:.2f}, {self.high:.2f}]"


def fitted(sizes: Sequence[float], values: Sequence[float]) -> Fit:
    """Fit log values over log sizes by least squares. Raises BadInput for fewer than three."""
    from scipy.special import stdtrit

    if len(sizes) < 3 or len(set(sizes)) < 2:
        raise BadInput(f"{len(sizes)} measurements at {len(set(sizes))} sizes fit no exponent")
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    rest = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    degrees = len(x) - 2
    half = float(stdtrit(degrees, 0.975)) * math.sqrt(rest / degrees / spread)
    return Fit(slope, slope - half, slope + half)


@dataclass(frozen=True)
class Grown:
    """A step's cost against one quantity."""

    step: str
    axis: str
    sizes: tuple[float, ...]
    seconds: tuple[tuple[float, ...], ...]
    """Of each repetition, by size."""
    peaks: tuple[int, ...]

    @property
    def time(self) -> Fit:
        pairs = [(s, r) for s, rounds in zip(self.sizes, self.seconds, strict=True) for r in rounds]
        return fitted([size for size, _ in pairs], [seconds for _, seconds in pairs])

    @property
    def memory(self) -> Fit:
        return fitted(self.sizes, self.peaks)

    @property
    def worse(self) -> bool:
        """Whether it is worse than linear in problems."""
        return self.axis == "problems" and self.time.exponent > WORST and self.time.low > 1

    def row(self) -> str:
        """Return a line of the table."""
        sizes = ", ".join(f"{size:.3g}" for size in self.sizes)
        best = ", ".join(f"{min(rounds):.3g}" for rounds in self.seconds)
        peaks = ", ".join(f"{peak / 2**30:.2f}" for peak in self.peaks)
        axis = "weights" if self.axis == "layers" else self.axis
        return (
            f"| {self.step} | {axis} | {sizes} | {best} | {self.time} | {peaks} | {self.memory} |"
        )


def grown(step: str, axis: str, values: Sequence[int], base: Shape, options: Any) -> Grown:
    """Measure a step at each value of one quantity."""
    start = Setting(step, base)
    seconds, peaks = [], []
    for value in values:
        if step == "compare":
            side = Side(step, open_compare, {"problems": value})
        else:
            setting = start.varied(axis, value)
            folder = checkpoint(setting.shape, options.cache, options.data)
            given = {"setting": setting, "folder": folder, "texts": texts(setting, options.data)}
            side = Side(step, open_step, given)
        with Worker(side, options.threads) as worker:
            seconds.append(tuple(worker.run().seconds for _ in range(options.rounds)))
            peaks.append(worker.peak())
        told = f"{step}, {axis} {value}: {min(seconds[-1]):.3g} s"
        print(told, file=sys.stderr, flush=True)
    sizes = tuple(start.measure(axis, value) for value in values)
    return Grown(step, axis, sizes, tuple(seconds), tuple(peaks))


def texts(setting: Setting, data: str | None) -> tuple[str, ...]:
    """Return different pieces of prose of about the length that is asked for."""
    text = prose("test", data)
    size = CHARACTERS * setting.length
    step = max(1, (len(text) - size) // setting.problems)
    return tuple(text[i * step : i * step + size] for i in range(setting.problems))


def main() -> None:
    asked = parser(__doc__, rounds=3)
    asked.set_defaults(layers=4)
    asked.add_argument("--only", choices=list(AXES))
    asked.add_argument("--steps", nargs="+", choices=[*STEPS, "compare"])
    asked.add_argument("--values", nargs="+", type=int, help="instead of the axis's own")
    options = asked.parse_args()
    base = Shape(layers=options.layers)
    print("| step | against | at | seconds | exponent | peak GiB | exponent |")
    print("|---|---|---|---|---|---|---|", flush=True)
    found = []
    for axis in AXES if options.only is None else [options.only]:
        for step in options.steps or (*STEPS, "compare"):
            if step == "compare" and axis != "problems":
                continue
            values = options.values or (FILES if step == "compare" else AXES[axis])
            found.append(grown(step, axis, values, base, options))
            print(found[-1].row(), flush=True)
            record = {
                "benchmark": f"growth, {step} against {axis}",
                **asdict(found[-1]),
                "time": asdict(found[-1].time),
                "memory": asdict(found[-1].memory),
                "worse_than_linear": found[-1].worse,
                "machine": machine(),
            }
            append(record, options.out)
    if worse := [f"{g.step} ({g.time})" for g in found if g.worse]:
        sys.exit(f"worse than linear in problems: {', '.join(worse)}")


if __name__ == "__main__":
    main()
