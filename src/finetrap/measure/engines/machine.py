"""What this machine offers to workers: cores, memory, GPUs. Nothing here starts one of them.

How many threads a model gets depends on the machine and the model alone, never on how much remains
or on `--workers`: a sum in another number of threads is rounded otherwise in training, and a study
that was interrupted is to end with the same answers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from finetrap.backends.hf.device import apples, driver_says, visible_gpus
from finetrap.errors import BadInput
from finetrap.quota import memory_total
from finetrap.records import ModelSpec

BYTES_PER_PARAMETER = 24
"""Full fine-tuning in fp32: weights, gradients, two moments, the base weights, and as much again
as one of them for activations."""
BYTES_PER_WORKER = 2**30
"""Interpreter and libraries."""
UNKNOWN_PARAMETERS = 500_000_000
LARGE = 50_000_000
"""Parameters from which products are most of a training step: with 3 million bfloat16 takes 1.2 to
1.4 times as long as fp32 on a processor made for it (docs/log.md)."""
MULTIPLIES_BF16 = {"amx_bf16", "avx512_bf16", "bf16"}
"""Flags of processors with instructions for it, in /proc/cpuinfo."""
_WEIGHTS = (".safetensors", ".bin")
AMPERE = 8.0
"""Compute capability of the first GPUs that multiply in bfloat16."""

PER_GPU = "FINETRAP_PER_GPU"
"""The variable by which a process is told how many workers share a GPU."""
MOST_PER_GPU = 4
"""Workers that share a GPU unless told otherwise, though its memory may hold more; not measured."""


class Crew(NamedTuple):
    """Worker processes that run at once, and the threads of each."""

    workers: int
    threads: int


class Machine(NamedTuple):
    """What there is to be shared among workers."""

    cores: int
    memory: int
    """Bytes."""
    gpus: tuple[str, ...] = ()
    """As their driver names them."""
    gpu_memory: int | None = None
    """Bytes of the smallest of them; None where the driver does not say."""
    threads: int | None = None
    """Of each worker, where OMP_NUM_THREADS is set already."""
    per_gpu: int | None = None
    """Workers that are to share a GPU, where that is set."""
    apples: bool = False
    """Whether models lie on the GPU of an Apple machine, which shares its memory."""


def this_machine() -> Machine:
    """Return what this process may use."""
    gpus = visible_gpus()
    smallest = min(driver_says("memory.total"), default=0) if gpus else 0
    threads, shared = _counted("OMP_NUM_THREADS"), _counted(PER_GPU)
    return Machine(
        cores(), memory_total(), gpus, int(smallest) * 2**20 or None, threads, shared, apples()
    )


def crew(model: ModelSpec, workers: int | None = None, on: Machine | None = None) -> Crew:
    """Return a model's crew on a machine, this one unless told: workers as asked, or as fit.

    The threads of each are what that many by default would have, whatever is asked for.
    """
    on = on or this_machine()
    usual = 1 if on.apples else max(1, min(on.cores, on.memory // bytes_needed(model)))
    if on.gpus:
        share = (on.gpu_memory or 0) // bytes_needed(model)
        usual = len(on.gpus) * max(1, min(MOST_PER_GPU, on.cores // len(on.gpus), share))
        workers = workers or len(on.gpus) * (on.per_gpu or 0) or None
    return Crew(workers or usual, on.threads or max(1, on.cores // usual))


def check_workers(workers: int | None, on: Machine) -> None:
    """Raise BadInput for a number of workers on each GPU that cannot be had."""
    if on.per_gpu and not on.gpus:
        raise BadInput(f"--per-gpu {on.per_gpu}: there is no GPU to be shared here; leave it out")
    if on.per_gpu and workers:
        raise BadInput(
            f"--workers {workers} counts all processes and --per-gpu {on.per_gpu} those of each "
            "GPU; give one of them"
        )


def _counted(variable: str) -> int | None:
    """Return the number that a variable holds, None for none or zero."""
    told = os.environ.get(variable, "")
    return (int(told) or None) if told.isdecimal() else None


def bytes_needed(model: ModelSpec) -> int:
    """Return the memory that a worker may come to hold for a model."""
    return BYTES_PER_PARAMETER * parameters(model) + BYTES_PER_WORKER


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Let this process compute in as many threads as a worker would."""
    torch = sys.modules.get("torch")
    if torch is None:  # it reads the variable once, when it is imported
        with variables_set(OMP_NUM_THREADS=str(threads)):
            yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def variables_set(**variables: str) -> Iterator[None]:
    """Set variables for a child that is started inside."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@lru_cache(maxsize=256)
def parameters(model: ModelSpec) -> int:
    """Return a model's number of parameters: as stated, or at most what its files can hold."""
    if model.parameters is not None:
        return model.parameters
    folder = Path(model.base or model.source)
    if folder.suffix == ".gguf" and folder.is_file():
        return 2 * folder.stat().st_size  # of four bits each
    if not folder.is_dir():
        return UNKNOWN_PARAMETERS
    return sum(p.stat().st_size for p in folder.iterdir() if p.suffix in _WEIGHTS) // 2


def cores() -> int:
    """Return the cores that this process may use, a container's quota included."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, _, period = _control_group("cpu.max").partition(" ")
    if quota.isdecimal() and period.isdecimal():
        return max(1, min(allowed or 1, int(quota) // int(period)))
    return allowed or 1


def faster_in_bf16(model: ModelSpec) -> bool:
    """Whether training passes in bfloat16 can be expected to beat fp32 for a model here.

    What the machine is made for tells, not a clock: the answer is the same every time.
    """
    if parameters(model) < LARGE:
        return False
    if visible_gpus():
        return min(driver_says("compute_cap"), default=0) >= AMPERE
    return multiplies_bf16(_limit_lines("/proc/cpuinfo"))


def multiplies_bf16(cpuinfo: Iterable[str]) -> bool:
    """Whether a processor has instructions for bfloat16, by the lines of its /proc/cpuinfo."""
    flags = next((li for li in cpuinfo if li.lower().startswith(("flags", "features"))), "")
    return not MULTIPLIES_BF16.isdisjoint(flags.split())


def _control_group(name: str) -> str:
    return "\n".join(_limit_lines(f"/sys/fs/cgroup/{name}")).strip()


def _limit_lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
