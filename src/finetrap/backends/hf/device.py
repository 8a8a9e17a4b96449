"""Which device models lie on. Every accelerator is reached through torch.accelerator, from here.

Nothing here imports torch before a model is opened: what only tells of a device has nothing to tell
until then. What a process may see of several GPUs is settled before it imports torch.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrap.errors import BadInput

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CHOICE = "FINETRAP_DEVICE"
"""The variable by which a process and its workers are told the device."""
NAMES = "auto, cpu, cuda, cuda:N, mps or xpu"
_NAME = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")
_SHOWN_BY = {"cuda": "CUDA_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK"}
"""The variable that shows a process only some GPUs of a kind."""


def checked_device(name: str) -> str:
    """Return the name of a device as it may be asked for. Raises BadInput."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"--device {name}: no such device; give {NAMES}")
    return name


def device_wanted() -> str:
    """Return what was asked for: by a flag, by the variable, or `auto`."""
    return checked_device(os.environ.get(CHOICE) or "auto")


def visible_gpus(listing: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the GPUs that this process may use, as their driver names them, without torch.

    NVIDIA's lie in `listing`; of other kinds there are those that a variable shows. Raises BadInput
    for a number that there is not.
    """
    kind, _, number = device_wanted().partition(":")
    kind = "cuda" if kind == "auto" else kind
    if kind not in _SHOWN_BY:
        return ()
    shown = os.environ.get(_SHOWN_BY[kind])
    numbers = sorted(int(file.name[6:]) for file in listing.glob("nvidia[0-9]*"))
    found = tuple(map(str, numbers)) if kind == "cuda" else ()
    if shown is not None and (found or kind != "cuda"):
        found = () if shown in ("", "-1") else tuple(name.strip() for name in shown.split(","))
    if not number or not found:
        return found
    if int(number) >= len(found):
        raise BadInput(f"--device {device_wanted()}: there are {len(found)}, counted from 0")
    return (found[int(number)],)


def apples() -> bool:
    """Say, without torch, whether models are to lie on the one GPU of an Apple machine."""
    wanted = device_wanted()
    own = (sys.platform, platform.machine()) == ("darwin", "arm64")
    return wanted == "mps" or (wanted == "auto" and own)


def bound_to(gpu: str) -> dict[str, str]:
    """Return the variables by which a process sees one GPU alone; it then has the number 0."""
    kind = device_wanted().partition(":")[0]
    shown = {_SHOWN_BY.get(kind, _SHOWN_BY["cuda"]): gpu}
    return shown if kind == "auto" else {**shown, CHOICE: kind}


@cache
def driver_says(what: str) -> tuple[float, ...]:
    """Return a number of each NVIDIA GPU, such as `memory.total` in MiB; none without a driver."""
    asked = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
        return tuple(map(float, told.stdout.split()))
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


def chosen() -> torch.device:
    """Return the device asked for; for `auto` the accelerator if there is one, else the CPU.

    Raises BadInput for one that this machine lacks.
    """
    import torch

    name = device_wanted()
    found = torch.accelerator.current_accelerator(check_available=True)
    if name == "cpu" or (name == "auto" and found is None):
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if found is None or kind not in ("auto", found.type):
        has = "no accelerator" if found is None else f"{found.type} alone"
        raise BadInput(f"--device {name}: torch finds {has} here; give auto or cpu")
    if not number:
        return torch.device(found.type)
    count = torch.accelerator.device_count()
    if int(number) >= count:
        raise BadInput(f"--device {name}: torch finds {count}, counted from 0")
    torch.accelerator.set_device_index(int(number))
    return torch.device(found.type, int(number))


def module() -> Any:
    """Return torch's functions for the accelerator in use; None on a CPU."""
    torch = sys.modules.get("torch")
    if torch is None or device_wanted() == "cpu":
        return None
    device = torch.accelerator.current_accelerator(check_available=True)
    return None if device is None else torch.get_device_module(device)


def memory() -> tuple[int, int, int] | None:
    """Return bytes of the accelerator: free, in all, and held here; None where it tells none."""
    found = module()
    if not hasattr(found, "mem_get_info"):
        return None
    free, total = found.mem_get_info()
    return int(free), int(total), int(found.memory_reserved())


def reset_peak() -> bool:
    """Start a new high-water mark of the accelerator's memory; False where none is kept."""
    found = module()
    if not hasattr(found, "reset_peak_memory_stats"):
        return False
    found.reset_peak_memory_stats()
    return True


def peak() -> int | None:
    """Return the most bytes held since the mark was made; None where none is kept."""
    found = module()
    return int(found.max_memory_allocated()) if hasattr(found, "max_memory_allocated") else None


def title() -> str | None:
    """Return what the accelerator calls itself; None on a CPU, or where it has no name."""
    found = module()
    return str(found.get_device_name()) if hasattr(found, "get_device_name") else None


def empty_cache() -> None:
    """Give memory that torch holds for reuse back to the accelerator."""
    if (found := module()) is not None:
        found.empty_cache()


def forked() -> AbstractContextManager[None]:
    """Leave every generator that a training may draw from as it was."""
    import torch

    if not (numbers := _numbers()):
        return torch.random.fork_rng(devices=())
    kind = torch.accelerator.current_accelerator()
    return torch.random.fork_rng(devices=numbers, device_type=kind.type if kind else "cpu")


def generators() -> list[Tensor]:
    """Return the states that dropout is drawn from: this process's, and each accelerator's."""
    import torch

    return [torch.get_rng_state(), *(module().get_rng_state(number) for number in _numbers())]


def set_generators(states: Sequence[Tensor]) -> None:
    """Bring the generators to states that `generators` returned."""
    import torch

    torch.set_rng_state(states[0])
    for number, state in enumerate(states[1:]):
        module().set_rng_state(state, number)


def _numbers() -> range:
    """Return the accelerators that have a generator each; a Mac has one, without a number."""
    import torch

    known = hasattr(module(), "get_rng_state_all")
    return range(torch.accelerator.device_count() if known else 0)
