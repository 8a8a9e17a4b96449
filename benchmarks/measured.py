"""What the rounds of a benchmark gave: rates, spread, memory, and how it is shown."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Done:
    """What one round did; the same units on every side."""

    units: float
    """Problems, pairs or tokens."""
    flops: float = 0.0
    """Arithmetic of the tokens that this side passed through its weights, padding not counted."""
    facts: Any = None
    """Whatever the benchmark compares afterwards, such as completions."""


@dataclass(frozen=True)
class Round:
    """One timed piece of work."""

    seconds: float
    processor_seconds: float
    """Of all threads; far from seconds × threads where other work shared the machine."""
    done: Done

    @property
    def rate(self) -> float:
        """Units per second."""
        return self.done.units / self.seconds

    @property
    def flop_rate(self) -> float:
        """FLOP per second."""
        return self.done.flops / self.seconds


@dataclass(frozen=True)
class Measured:
    """All rounds of one side."""

    name: str
    rounds: tuple[Round, ...]
    startup: float
    """Seconds from starting the process to the first round: imports, opening, warming up."""
    peak: int
    """Most bytes that the process held: on the GPU if there is one, else in main memory."""

    @property
    def rate(self) -> float:
        """Median units per second."""
        return statistics.median(r.rate for r in self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """Slowest and fastest round, in units per second."""
        rates = [r.rate for r in self.rounds]
        return min(rates), max(rates)

    @property
    def facts(self) -> list[Any]:
        """What each round returned for comparison."""
        return [r.done.facts for r in self.rounds]


@dataclass(frozen=True)
class Comparison:
    """A benchmark's outcome. The first side is finetrap's, the second the peer's."""

    name: str
    unit: str
    sides: tuple[Measured, ...]
    limit: float
    """FLOP per second of the machine's matrix product, the better of before and after."""
    threads: int

    @property
    def ratios(self) -> list[float]:
        """The first side's rate over the second's, round by round."""
        ours, theirs = self.sides[:2]
        return [a.rate / b.rate for a, b in zip(ours.rounds, theirs.rounds, strict=True)]

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def memory_ratio(self) -> float:
        """The first side's peak memory over the second's."""
        return self.sides[0].peak / self.sides[1].peak

    def record(self, **more: Any) -> dict[str, Any]:
        """Return everything but the rounds' facts as JSON would hold it, with `more` beside."""
        return {
            "benchmark": self.name,
            "unit": self.unit,
            "ratio": self.ratio if len(self.sides) > 1 else None,
            "ratios": self.ratios if len(self.sides) > 1 else [],
            "limit_flops": self.limit,
            "threads": self.threads,
            "sides": [self._side(side) for side in self.sides],
            **more,
            "machine": machine(),
        }

    def _side(self, side: Measured) -> dict[str, Any]:
        return {
            "name": side.name,
            "rate": side.rate,
            "seconds": [r.seconds for r in side.rounds],
            "processor_seconds": [r.processor_seconds for r in side.rounds],
            "units": [r.done.units for r in side.rounds],
            "share_of_limit": share_of_limit(side, self.limit),
            "startup_seconds": side.startup,
            "peak_bytes": side.peak,
        }


def report(comparison: Comparison, out: Path | None = None, **more: Any) -> None:
    """Print the table and add the record, with `more` facts, to the file."""
    print(f"\n### {comparison.name}\n\n" + table(comparison))
    for name, value in more.items():
        print(f"{name.replace('_', ' ')}: {value}")
    sys.stdout.flush()
    append(comparison.record(**more), out)


def share_of_limit(side: Measured, limit: float) -> float | None:
    """Return the median arithmetic over the machine's limit; None where none was counted."""
    rate = statistics.median(r.flop_rate for r in side.rounds)
    return rate / limit if rate else None


def append(record: Mapping[str, Any], out: Path | None) -> None:
    """Add one JSON line to a file, if one is asked for."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def table(comparison: Comparison) -> str:
    """Return a Markdown table: medians, slowest and fastest round, and the ratio."""
    lines = [
        f"| side | {comparison.unit}/s | min to max | s per round | start-up s | peak GiB "
        "| share of limit |",
        "|---|---|---|---|---|---|---|",
    ]
    for side in comparison.sides:
        share = share_of_limit(side, comparison.limit)
        low, high = side.spread
        seconds = statistics.median(r.seconds for r in side.rounds)
        lines.append(
            f"| {side.name} | {side.rate:.3g} | {low:.3g} to {high:.3g} | {seconds:.1f} "
            f"| {side.startup:.1f} | {side.peak / 2**30:.2f} "
            f"| {'' if share is None else f'{share:.0%}'} |"
        )
    if len(comparison.sides) > 1:
        low, high = min(comparison.ratios), max(comparison.ratios)
        lines.append(
            f"\n{comparison.ratio:.2f} times the rate ({low:.2f} to {high:.2f} over "
            f"{len(comparison.ratios)} rounds), {comparison.memory_ratio:.2f} times the memory; "
            f"{comparison.threads} threads, limit {comparison.limit / 1e9:.0f} GFLOP/s"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    names = ("finetrap", "torch", "transformers", "lm_eval", "trl", "peft")
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "versions": {name: version(name) for name in names if find_spec(name) is not None},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
