"""Two tools side by side: each in a process of its own, alternating round by round.

A benchmark names its sides; a side is a function at the top of a module that opens a tool and
returns the work to be timed. Each side lives in its own worker process, so that its peak memory is
its own; while one works the others are idle. What is opened and warmed up is not timed, but
reported as start-up. The machine's limit, the rate of a matrix product on as many threads, is
measured in the same run, before and after the rounds.

    sides = [Side("finetrap", open_ours, {…}), Side("peer, batch 8", open_theirs, {…})]
    report(alternate("decoding", "problems", sides, rounds=5, threads=2))
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.measured import Comparison, Done, Measured, Round
from finetrap.backends.hf import device as devices
from finetrap.backends.hf.device import chosen
from finetrap.errors import BadInput, FinetrapError

Work = Callable[..., Done]
"""The work of one round, called with the arguments that `Worker.run` is given."""


@dataclass(frozen=True)
class Side:
    """A tool with its settings."""

    name: str
    opener: Callable[..., Work]
    """Importable by name: it runs in the worker, and imports there what it needs."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the opener is called with."""


class Worker:
    """One side in a process of its own, opened and warmed up. Raises FinetrapError of the side."""

    def __init__(self, side: Side, threads: int) -> None:
        self.name = side.name
        os.environ["OMP_NUM_THREADS"] = str(threads)
        spawning = multiprocessing.get_context("spawn")
        self._connection, other = spawning.Pipe()
        started = time.perf_counter()
        self._process = spawning.Process(target=_serve, args=(other, side, threads), daemon=True)
        self._process.start()
        other.close()
        try:
            self._receive()
        except BaseException:
            self._process.join()
            raise
        self.startup = time.perf_counter() - started

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join()

    def run(self, **arguments: Any) -> Round:
        """Do the work once; the arguments are handed to it."""
        self._connection.send(arguments)
        done: Round = self._receive()
        return done

    def peak(self) -> int:
        """Return the most bytes held so far."""
        self._connection.send(None)
        found: int = self._receive()
        return found

    def _receive(self) -> Any:
        try:
            said = self._connection.recv()
        except EOFError:
            self._process.join()
            raise FinetrapError(
                f"the process of '{self.name}' ended with code {self._process.exitcode} before its "
                "work was done; if it was killed, there was not enough memory for both sides"
            ) from None
        if isinstance(said, BaseException):
            raise said
        return said


def alternate(
    name: str,
    unit: str,
    sides: Sequence[Side],
    *,
    rounds: int,
    threads: int,
    arguments: Callable[[int], Mapping[str, Any]] = lambda number: {},
    half: bool = False,
    limit: float | None = None,
) -> Comparison:
    """Measure every side in each round, the first one first in every other round.

    `arguments` says what the work of a round is called with; `half`, that the limit is that of
    bfloat16; `limit`, that it was measured before. Raises FinetrapError of a side.
    """
    if rounds < 1:
        raise BadInput(f"{rounds} rounds asked for; there must be at least 1")
    before = matrix_limit(threads, half) if limit is None else limit
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(side, threads)) for side in sides]
        found: list[list[Round]] = [[] for _ in sides]
        for number in range(rounds):
            order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
            for i in order:
                found[i].append(workers[i].run(**arguments(number)))
                _note(f"{name}, round {number + 1}: {sides[i].name} {found[i][-1].rate:.3g}/s")
        measured = [
            Measured(side.name, tuple(rows), worker.startup, worker.peak())
            for side, rows, worker in zip(sides, found, workers, strict=True)
        ]
    after = matrix_limit(threads, half) if limit is None else limit
    return Comparison(name, unit, tuple(measured), max(before, after), threads)


def fastest(side: Side, choices: Iterable[Mapping[str, Any]], threads: int) -> dict[str, Round]:
    """Try a peer's settings once each, in one process; return what each gave, the fastest first.

    A choice is what the work is called with; its key in the result is its JSON.
    """
    found = {}
    with Worker(side, threads) as worker:
        for choice in choices:
            found[json.dumps(choice)] = done = worker.run(**choice)
            _note(f"{side.name}, {json.dumps(choice)}: {done.rate:.3g}/s")
    return dict(sorted(found.items(), key=lambda item: -item[1].rate))


def matrix_limit(threads: int, half: bool = False) -> float:
    """Return the FLOP per second of a large matrix product, in a process of its own.

    In fp32, torch's own or oneDNN's on a processor, whichever is faster; or with `half` in
    bfloat16, which torch multiplies by oneDNN there.
    """
    found = []
    for onednn in (False,) if half or chosen().type != "cpu" else (False, True):
        asked = {"half": half, "onednn": onednn}
        with Worker(Side("matrix product", open_matrix_product, asked), threads) as worker:
            found += [worker.run().flop_rate for _ in range(5)]
    return max(found)


def open_matrix_product(size: int | None = None, half: bool = False, onednn: bool = False) -> Work:
    import torch

    device = chosen()
    size = size or (2048 if device.type == "cpu" else 8192)  # else starting it would count
    dtype = torch.bfloat16 if half else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    multiply = torch.mm
    if onednn and device.type == "cpu" and torch.backends.mkldnn.is_available():
        b = torch.ops.mkldnn._reorder_linear_weight(b)

        def multiply(a: Any, b: Any) -> Any:
            return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")

    def work() -> Done:
        for _ in range(8):
            multiply(a, b)
        return Done(8, 8 * 2.0 * size**3)

    work()
    return work


def needs(*packages: str) -> None:
    """Raise BadInput with the command that installs a peer which is not there."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise BadInput(
            f"this benchmark compares with {', '.join(missing)}, which is not installed; "
            "install the peers with: pip install -e .[peers]"
        )


def parser(description: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """Return the options that every benchmark has."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each side")
    options.add_argument("--data", help="folder of the public data; default FINETRAP_DATA")
    options.add_argument("--cache", help="where checkpoints are kept")
    options.add_argument("--layers", type=int, default=30, help="fewer for a quick look")
    options.add_argument("--limit", type=float, help="FLOP/s of a matrix product, measured before")
    options.add_argument("--out", type=Path, help="file to which a JSON line is added per table")
    return options


def _serve(connection: Connection, side: Side, threads: int) -> None:
    """Open the side, then do one round for each message; a message of None asks for the peak."""
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    try:
        import torch

        torch.set_num_threads(threads)
        work = side.opener(**side.settings)
        connection.send("opened")
        while True:
            arguments = connection.recv()
            connection.send(_peak() if arguments is None else _timed(work, arguments))
    except EOFError:
        return
    except FinetrapError as fault:
        connection.send(FinetrapError(str(fault)))
    except Exception:  # The parent shows what a peer's own code raised.
        connection.send(FinetrapError(f"'{side.name}' failed:\n{traceback.format_exc()}"))


def _timed(work: Work, arguments: Mapping[str, Any]) -> Round:
    import torch

    gc.collect()
    wait = torch.accelerator.synchronize if chosen().type != "cpu" else lambda: None
    wait()
    started, computed = time.perf_counter(), time.process_time()
    done = work(**arguments)
    wait()
    return Round(time.perf_counter() - started, time.process_time() - computed, done)


def _peak() -> int:
    """Return the process's peak: of the GPU, else VmHWM, which unlike ru_maxrss starts at exec."""
    if (held := devices.peak()) is not None:
        return held
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
