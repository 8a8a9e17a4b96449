"""Every error finetrap raises on purpose, and whose fault the others are.

FinetrapError
├── BadInput            what a person wrote cannot be used (exit code 2)
│   ├── BadStudy        a study file: all its errors at once
│   ├── BadData         a data set, predictions file or row
│   ├── BadModel        a model folder, hub id or tokenizer
│   ├── ContextTooLong  a prompt does not fit the model's context; never truncated silently
│   └── Unsupported     a PEFT method that needs more than its configuration
├── Diverged            a loss that is not finite; the step is recorded with the run
├── NotFinite           a model whose weights hold NaN or infinity
├── MissingPackage      what was asked for needs a package that is not installed; an ImportError too
├── MachineFault        what the machine lacks: a cell that met it remains (exit code 3)
│   ├── MemoryTaken     memory that other programs hold
│   └── DiskTooSmall    a disk that has no room for a cell
└── StoreError          a runs folder that cannot be read

A message says what was found, what is allowed and what to do next.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path


class FinetrapError(Exception):
    """Base of every error that is shown to a person without a traceback."""


class BadInput(FinetrapError):
    """Something a person wrote cannot be used."""


class BadStudy(BadInput):
    """A study file with one or more errors; `faults` holds one line for each."""

    def __init__(self, place: str, faults: Sequence[str]) -> None:
        self.place = place
        self.faults = tuple(faults)
        count = "1 error" if len(faults) == 1 else f"{len(faults)} errors"
        super().__init__(f"{place}: {count}\n" + "\n".join(f"  - {f}" for f in faults))


class BadData(BadInput):
    """A data set, a predictions file or one of their rows cannot be used."""


class BadModel(BadInput):
    """A model cannot be opened: wrong name, no tokenizer, no weights."""


class ContextTooLong(BadInput):
    """A prompt with its answer does not fit the model's context.

    `row` is its number, from 0, among the texts that a model was given; None where none is meant.
    """

    def __init__(self, reason: str, row: int | None = None) -> None:
        self.reason, self.row = reason, row
        super().__init__(reason if row is None else f"text {row + 1}: {reason}")

    def at(self, place: str) -> ContextTooLong:
        """Return the same fault of a problem that can be found."""
        return ContextTooLong(f"{place}: {self.reason}")


class Unsupported(BadInput):
    """A PEFT method that needs data, a schedule or other adapters."""


class Diverged(FinetrapError):
    """The training loss stopped being finite at `step` (counted from 1)."""

    def __init__(
        self, step: int, loss: float, curve: Mapping[str, Sequence[float | None]] | None = None
    ) -> None:
        self.step = step
        self.curve = curve or {}
        """What was recorded of each step before it, as in a run's evidence."""
        super().__init__(f"loss {loss} at step {step}")


class NotFinite(FinetrapError):
    """A model's weights hold NaN or infinity: a finding about it, so its cells are recorded."""


class MissingPackage(FinetrapError, ImportError):
    """What was asked for needs an optional package; the message says how to install it."""


class MachineFault(FinetrapError):
    """The machine lacks something, which says nothing about a cell: the cell remains."""


class MemoryTaken(MachineFault):
    """There was too little memory, and other programs hold much of it."""


class DiskTooSmall(MachineFault):
    """There is less room on the disk than a cell will take."""


class StoreError(FinetrapError):
    """A runs folder cannot be read."""


def opening(text: str) -> str:
    """Return the first words of a text in quotes, to recognise it by in a message."""
    words = text[:200].split()
    shown = " ".join(words[:8])[:60]
    more = "…" if len(shown) < len(" ".join(words)) or len(text) > 200 else ""
    return "'" + "".join(c if c.isprintable() else "?" for c in shown) + more + "'"


def in_a_line(error: BaseException) -> str:
    """Return the first line of what an error says, its class where it says nothing."""
    return line_of(str(error), type(error).__name__)


def line_of(message: str, cause: str) -> str:
    """Return the first line of a failure's message, its cause where it has none.

    Of a line in which a library quotes a whole file, the first 600 characters.
    """
    line = (message.strip() or cause).splitlines()[0]
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"


_LONGEST_LINE = 600


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the closest allowed name, or an empty string."""
    close = get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def machine_fault(fault: BaseException, *places: str | Path) -> MachineFault | None:
    """Return an error as the machine's fault if it is: disk, folder, rights, network, threads.

    Every call that the system refused is one, but for memory. `places` are where was written, to
    say how much is free there.
    """
    if isinstance(fault, MachineFault):
        return fault
    if isinstance(fault, ImportError):
        return MachineFault(f"{fault}; install what is missing, {AGAIN}")
    number = _refused(fault)
    if number in _NAMED or (number is None and not _UNNUMBERED.search(str(fault))):
        return None
    told = number is not None and number > 0 and number != errno.ENOENT
    what = os.strerror(number or 0) if told else str(fault)
    named = getattr(fault, "filename", None)
    where = f"{named}: " if named and told else ""
    free = ", ".join(filter(None, map(_free, places)))
    beside, remedy = f" (free: {free})" if free else "", _remedy(number, str(fault))
    return MachineFault(f"{where}{what}{beside}; {remedy}, {AGAIN}")


def out_of_memory(fault: BaseException) -> bool:
    """Tell an exhausted memory from other faults; torch's CPU allocator only says so in words."""
    return (
        isinstance(fault, MemoryError)
        or type(fault).__name__ == "OutOfMemoryError"
        or _refused(fault) == errno.ENOMEM
        or _NO_MEMORY.search(str(fault)) is not None
    )


AGAIN = "and give the same command again: what is measured is kept"
_ELSEWHERE = "choose another place (--runs FOLDER; for temporary files TMPDIR=FOLDER)"
_FULL = f"free space there, or {_ELSEWHERE}"
_CLOSED = f"make it writable, or {_ELSEWHERE}"
_NAMED = (errno.ENOMEM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)
"""Of memory `out_of_memory` tells; the others are in the name that a person gave."""
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _CLOSED),
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit on open files (ulimit -n)"),
}
_NUMBERED = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust (safetensors, tokenizers) tell the number of an error of the system."""
_WRITES = r"unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing"
_THREADS = "can't start new thread"
_UNNUMBERED = re.compile(f"{_WRITES}|{_THREADS}")
"""How torch says that a file was not written whole, and Python that no thread could start."""
_NO_MEMORY = re.compile(
    r"DefaultCPUAllocator|Cannot allocate memory|std::bad_alloc|CUDA error: out of memory|"
    r"STATUS_ALLOC_FAILED|could not create a primitive(?! desc)|failed to map segment"
)
"""The last is oneDNN's."""


def _refused(fault: BaseException) -> int | None:
    """Return the number of an error of the system, None for every other error."""
    if isinstance(fault, OSError):
        return fault.errno
    told = _NUMBERED.search(str(fault))
    return int(told.group(1)) if told else None


def _remedy(number: int | None, said: str) -> str:
    if number is None:
        return "raise the limit on processes (ulimit -u)" if _THREADS in said else _FULL
    if "temporary directory" in said:  # Python looked through all of them
        return _FULL
    return _REMEDIES.get(number, "put that right")


def _free(place: str | Path) -> str:
    """Say how much space is left where a place lies; nothing where that cannot be told."""
    with suppress(OSError):
        return f"{shutil.disk_usage(place).free / 1e6:,.1f} MB in {place}"
    return ""
