"""Draws inputs for one target with atheris, in a process of its own: it ends the process."""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["finetrap"]):
    from benchmarks.fuzz import mutations, seeds, targets
    from benchmarks.fuzz.watched import Watch

ROOM = 700_000_000
"""Bytes of memory that are left to an input, beyond what the process has at its start."""
FROM_A_SEED = 0.25
"""Share of inputs that start from a seed again: what the fuzzer keeps becomes small, and odd."""
OFTEN = 2.0
"""Seconds of the processor after which the tally is written, for whoever reads it meanwhile."""
PATIENCE = 120
"""Seconds by the clock after which libFuzzer ends a process that is stuck where Python is not."""


def fuzz(name: str, seconds: float, out: Path, folder: Path) -> None:
    """Try inputs for so many seconds of the processor, and write what became of them."""
    corpus, place = folder / "corpus", folder / "target"
    target, known = opened(name, place)
    corpus.mkdir()
    for number, seed in enumerate(known):
        (corpus / f"{number:03}").write_bytes(seed)
    watch, end, due = Watch(name, target, target.seconds, out), time.process_time() + seconds, 0.0

    def tried(data: bytes) -> None:
        nonlocal due
        watch(data)
        now = time.process_time()
        if now >= min(due, end):
            watch.tally.write(out / f"{name}.json")
            due = now + OFTEN
        if now >= end:
            sys.stderr.flush()
            os._exit(0)

    def other(data: bytes, most: int, number: int) -> bytes:
        draw = random.Random(number)
        if draw.random() < FROM_A_SEED:
            data = draw.choice(known)
        given = (data, target.shape, target.head, draw)
        return mutations.mutated(*given, lambda body: atheris.Mutate(body, most))[:most]

    options = {
        **{"artifact_prefix": f"{out}/{name}-", "max_len": 2 * max(map(len, known))},
        **{"timeout": PATIENCE, "report_slow_units": PATIENCE, "rss_limit_mb": 0, "reload": 0},
    }
    arguments = [sys.argv[0], str(corpus), *(f"-{key}={value}" for key, value in options.items())]
    atheris.Setup(arguments, tried, custom_mutator=other)
    limit_memory()
    atheris.Fuzz()


def opened(name: str, place: Path) -> tuple[targets.Target, list[bytes]]:
    """Return a target that works in a new folder, and its seeds; whatever they import counts."""
    place.mkdir()
    with atheris.instrument_imports(include=["finetrap"]):
        target = targets.opened(name, place)
        known = seeds.seeds_of(name, target)
        for seed in known:
            with suppress(Exception):  # each is tried again, and told then
                target(seed)
    return target, known


def limit_memory() -> None:
    """Let an input that takes more raise MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    fuzz(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
