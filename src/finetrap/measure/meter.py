"""Clocks, memory and the environment of a cell: how its costs are measured."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from typing import Any

from finetrap.backends.hf import device
from finetrap.errors import AGAIN, MemoryTaken
from finetrap.quota import memory_free, memory_total, own_limit, resident

ENGINE = 2
"""Raised where models are asked or trained in another order of sums: bf16 rounds otherwise then."""
PACKAGES = (
    "accelerate",
    "datasets",
    "numpy",
    "peft",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)

OTHERS = 1 / 4
"""Share of the memory from which on it was taken by others, where a cell found too little."""


def flops(kind: str, parameters: int, trainable: int, trained: int, evaluated: int) -> float:
    """Return the operations of training on so many tokens, and of evaluating so many.

    Kaplan et al. 2020, section 2.1: 2·N a token forward and 4·N backward, of which 2·N are for the
    weights: frozen ones have none, so an adapter trains with 4·N + 6·`trainable` a token.
    """
    per_token = 6 * parameters if kind == "full" else 4 * parameters + 6 * trainable
    return float(per_token * trained + 2 * parameters * evaluated)


class Meter:
    """Wall-clock seconds of a cell's phases, kept apart, and the most memory its process held."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.earlier_s: Callable[[], float] = float
        """Returns the seconds that other processes spent on the phase, before they were stopped."""
        self._resettable = _reset_peak()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the seconds spent inside to the phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start + self.earlier_s()
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)

    def peak_bytes(self) -> int | None:
        """Return the most memory held since the meter was made: of the GPU where one is used.

        None where the system cannot say it for a stretch of a process's life (only Linux can).
        """
        held = device.peak()
        return held if held is not None else _high_water_mark() if self._resettable else None


def held_by_others() -> MemoryTaken | None:
    """Return the fault of memory that ran out while other processes held `OTHERS` of it, or that
    was kept from this one."""
    limit = own_limit()
    if limit is not None and device.memory() is None:
        return MemoryTaken(
            f"this process may hold {limit / 1e9:,.1f} GB of addresses (ulimit -v), which was too "
            f"little; raise the limit, {AGAIN}"
        )
    free, total, own = _memory()
    others = total - free - own
    if others < OTHERS * total:
        return None
    held = f"other processes hold {others / 1e9:,.1f} of {total / 1e9:,.1f} GB of memory"
    return MemoryTaken(
        f"{held}, and the rest was too little; end them, or take fewer --workers, {AGAIN}"
    )


def _memory() -> tuple[int, int, int]:
    """Return the bytes that are free, all there are, and what this process holds; of a GPU where
    one is used."""
    if (known := device.memory()) is not None:
        return known
    return memory_free(), memory_total(), resident()


def _reset_peak() -> bool:
    """Start a new high-water mark of resident memory (proc(5): writing 5 to clear_refs)."""
    if device.reset_peak():
        return True
    try:
        with open("/proc/self/clear_refs", "w") as control:
            control.write("5")
    except OSError:
        return False
    return True


def _high_water_mark() -> int | None:
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def environment() -> dict[str, Any]:
    """Describe what the cell runs on; recorded with the run, never part of its key."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in ("finetrap", *PACKAGES)},
        "engine": ENGINE,
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        facts["threads"] = torch.get_num_threads()
        if (name := device.title()) is not None:
            facts["gpu"] = name
    return facts


def computed_by() -> dict[str, Any]:
    """Return what may round otherwise: a cell does not go on where another of these was."""
    facts = environment()
    names = ("processor", "packages", "engine", "threads", "gpu")
    return {name: facts.get(name) for name in names}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
