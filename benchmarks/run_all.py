"""Every comparison in order, each in a process of its own, and the targets beside what was reached.

    PYTHONPATH=src python -m benchmarks.run_all [--quick] [--only NAME …] [--out FILE.jsonl]

A comparison that fails is reported and the others go on; the exit code is then 1. Each adds a JSON
line per table to FILE. --quick runs the same code on few layers and problems, to see that it works:
its numbers mean nothing. Minutes in the table are those of two cores (docs/performance.md).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measured import append

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """What is to be reached by one number of a record."""

    name: str
    benchmark: str
    """Name in the record, or how it starts."""
    number: Callable[[Record], float | None]
    least: float | None = None
    most: float | None = None
    as_share: bool = False

    def reached(self, value: float | None) -> bool | None:
        """Whether a value is as good as asked; None without a target or a value."""
        if value is None or (self.least is None and self.most is None):
            return None
        return value >= self.least if self.least is not None else value <= (self.most or 0.0)

    def told(self, value: float | None) -> str:
        """Return a value as it is shown."""
        if value is None:
            return "not measured"
        return f"{value:.0%}" if self.as_share else f"{value:.2f}"

    @property
    def wanted(self) -> str:
        """What is to be reached, as it is shown."""
        if self.least is not None:
            return f"≥ {self.told(self.least)}"
        return "" if self.most is None else f"≤ {self.told(self.most)}"


@dataclass(frozen=True)
class Benchmark:
    """A module to be run, whole or quick."""

    name: str
    module: str
    quick: tuple[str, ...]
    """Arguments of a quick look."""
    whole: tuple[str, ...] = ()


def _ratio(record: Record) -> float | None:
    return record["ratio"]


def _memory(record: Record) -> float | None:
    ours, theirs = record["sides"][:2]
    return ours["peak_bytes"] / theirs["peak_bytes"]


def _share(record: Record) -> float | None:
    return record["sides"][0]["share_of_limit"]


def _same_choices(record: Record) -> float | None:
    agreement = record["agreement"]
    return min(agreement["same_choice_in_total"], agreement["same_choice_per_byte"])


def _same_verdicts(record: Record) -> float | None:
    same, all_ = record["same_verdicts"]
    return same / all_


BENCHMARKS = (
    Benchmark(
        "decoding",
        "benchmarks.decoding",
        ("--layers", "2", "--rounds", "1", "--problems", "4", "--peer-batch", "2"),
    ),
    Benchmark(
        "scoring",
        "benchmarks.scoring",
        ("--layers", "2", "--rounds", "1", "--items", "4", "--peer-batch", "2"),
    ),
    Benchmark(
        "training",
        "benchmarks.training",
        ("--layers", "2", "--rounds", "1", "--rows", "2", "--settings", "1"),
    ),
    Benchmark(
        "forecast",
        "benchmarks.forecast",
        (
            *("--layers", "2", "--problems", "10"),
            *("--set", 'models=["mini-0.1m"]', "--set", "seeds=[0]"),
            *("--set", 'strategies=["zero-shot","lora"]', "--set", "search.trials=2"),
            *("--set", "limits.test_problems=20", "--set", "limits.probe_problems=10"),
        ),
    ),
    Benchmark(
        "whole study",
        "benchmarks.whole_study",
        (
            *("--models", "mini-0.1m", "--seeds", "0", "--batches", "32"),
            *("--set", 'strategies=["zero-shot","lora"]', "--set", "search.trials=2"),
            *("--set", "limits.test_problems=20", "--set", "limits.probe_problems=10"),
        ),
    ),
    Benchmark(
        "growth",
        "benchmarks.growth",
        ("--layers", "1", "--rounds", "1", "--only", "problems", "--values", "4", "8", "16"),
    ),
)

_CHOICES = ("hellaswag", "arc")
_METHODS = {"full": (3.2, 0.45), "lora": (2.7, 0.40), "dora": (3.2, 0.40)}
TARGETS = (
    Target("8-shot decoding, times lm-eval", "GSM8K, fixed 8-shot", _ratio, least=5),
    Target(
        "zero-shot decoding, one stop, times lm-eval",
        "GSM8K, zero-shot, 128 new tokens, one",
        _ratio,
        least=2,
    ),
    Target(
        "zero-shot decoding, mixed stops, times lm-eval",
        "GSM8K, zero-shot, 128 new tokens, mixed",
        _ratio,
        least=2,
    ),
    *(
        Target(f"{name}, times lm-eval", f"log-likelihood, {name}", _ratio, least=3)
        for name in _CHOICES
    ),
    *(
        Target(
            f"{name}, same choices",
            f"log-likelihood, {name}",
            _same_choices,
            least=1.0,
            as_share=True,
        )
        for name in _CHOICES
    ),
    *(
        Target(f"training {name}, times TRL", f"training, {name}", _ratio, least=times)
        for name, (times, _) in _METHODS.items()
    ),
    *(
        Target(f"training {name}, memory over TRL's", f"training, {name}", _memory, most=0.6)
        for name in _METHODS
    ),
    *(
        Target(
            f"training {name}, share of the matrix limit",
            f"training, {name}",
            _share,
            least=share,
            as_share=True,
        )
        for name, (_, share) in _METHODS.items()
    ),
    *(
        Target(
            f"plan of the {name}, error",
            f"plan, {name}",
            lambda record: record["error"],
            most=0.3,
            as_share=True,
        )
        for name in ("terse", "135M shape")
    ),
    Target("whole study, times the script's seconds", "whole study", _ratio, least=5),
    Target(
        "whole study, the script's start-up not counted",
        "whole study",
        lambda record: record["ratio_without_peers_startup"],
    ),
    Target("whole study, same verdicts", "whole study", _same_verdicts, least=1.0, as_share=True),
    *(
        Target(
            f"{step}, exponent in problems",
            f"growth, {step} against problems",
            lambda record: record["time"]["exponent"],
            most=1.1,
        )
        for step in ("decoding", "scoring", "training", "compare")
    ),
)


def run(benchmark: Benchmark, given: Sequence[str], quick: bool, out: Path) -> tuple[bool, float]:
    """Run one benchmark; return whether it went through, and its seconds."""
    own = benchmark.quick if quick else benchmark.whole
    command = [sys.executable, "-m", benchmark.module, *own, *given, "--out", str(out)]
    print(f"\n## {benchmark.name}\n", flush=True)
    started = time.perf_counter()
    done = subprocess.run(command)
    return done.returncode == 0, time.perf_counter() - started


def read(file: Path) -> list[Record]:
    """Return the records of a file, none if nothing was written."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def summary(records: Sequence[Record]) -> str:
    """Return a Markdown table: each target that was asked for and what was reached."""
    lines = ["| what | to reach | measured | reached |", "|---|---|---|---|"]
    for target in TARGETS:
        found = [r for r in records if r["benchmark"].startswith(target.benchmark)]
        value = target.number(found[-1]) if found else None
        word = {True: "yes", False: "no", None: ""}[target.reached(value)]
        lines.append(f"| {target.name} | {target.wanted} | {target.told(value)} | {word} |")
    return "\n".join(lines)


def main(
    arguments: Sequence[str] | None = None, benchmarks: Sequence[Benchmark] = BENCHMARKS
) -> None:
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [benchmark.name for benchmark in benchmarks]
    asked.add_argument("--quick", action="store_true", help="few layers and problems")
    asked.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    asked.add_argument("--out", type=Path, help="file to which JSON lines are added")
    asked.add_argument("--data", help="folder of the public data; default FINETRAP_DATA")
    asked.add_argument("--cache", help="where checkpoints are kept")
    asked.add_argument(
        "--whole-study", action="store_true", help="all of the study `terse` beside the peer"
    )
    options = asked.parse_args(arguments)
    given = [
        word
        for name in ("data", "cache")
        if getattr(options, name)
        for word in (f"--{name}", getattr(options, name))
    ]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "records.jsonl"
        ended = {}
        for benchmark in benchmarks:
            if benchmark.name in options.only:
                whole = benchmark.name == "whole study" and options.whole_study
                more = ["--whole"] if whole and not options.quick else []
                seen = len(read(out))
                ended[benchmark.name] = run(benchmark, [*given, *more], options.quick, out)
                for record in read(out)[seen:]:  # kept, whatever comes next
                    append(record, options.out)
        print("\n## Targets\n\n" + summary(read(out)) + "\n")
    for name, (well, seconds) in ended.items():
        print(f"{name}: {'done' if well else 'failed, see above'}, {seconds / 60:.1f} minutes")
    sys.exit(0 if all(well for well, _ in ended.values()) else 1)


if __name__ == "__main__":
    main()
