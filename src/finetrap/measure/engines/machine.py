"""What this machine offers to workers: cores, memory, a GPU. Nothing here starts one of them.

How many threads a model gets depends on the machine and the model alone, never on how much remains
or on `--workers`: a sum in another number of threads is rounded otherwise in training, and a study
that was interrupted is to end with the same answers.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from finetrap.backends.hf.device import device_wanted
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


class Crew(NamedTuple):
    """Worker processes that run at once, and the threads of each."""

    workers: int
    threads: int


class Machine(NamedTuple):
    """What there is to be shared among workers."""

    cores: int
    memory: int
    """Bytes."""
    gpu: bool
    threads: int | None
    """Of each worker, where OMP_NUM_THREADS is set already."""


def this_machine() -> Machine:
    """Return what this process may use."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(chosen) if chosen.isdecimal() and int(chosen) else None
    return Machine(cores(), memory_total(), has_gpu(), threads)


def crew(model: ModelSpec, workers: int | None = None, on: Machine | None = None) -> Crew:
    """Return a model's crew on a machine, this one unless told: workers as asked, or as fit.

    The threads of each are what that many by default would have, whatever is asked for.
    """
    on = on or this_machine()
    usual = 1 if on.gpu else max(1, min(on.cores, on.memory // bytes_needed(model)))
    return Crew(usual if workers is None else workers, on.threads or max(1, on.cores // usual))


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
    if has_gpu():
        return _gpu_generation() >= AMPERE
    return multiplies_bf16(_limit_lines("/proc/cpuinfo"))


def multiplies_bf16(cpuinfo: Iterable[str]) -> bool:
    """Whether a processor has instructions for bfloat16, by the lines of its /proc/cpuinfo."""
    flags = next((li for li in cpuinfo if li.lower().startswith(("flags", "features"))), "")
    return not MULTIPLIES_BF16.isdisjoint(flags.split())


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is visible: one worker then, which has all of its memory."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or device_wanted() == "cpu"
    return not hidden and Path("/dev/nvidia0").exists()


def _gpu_generation() -> float:
    """Return the compute capability of the first GPU, 0 where its driver does not say."""
    asked = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
        return float(told.stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0.0


def _control_group(name: str) -> str:
    return "\n".join(_limit_lines(f"/sys/fs/cgroup/{name}")).strip()


def _limit_lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
