"""Every error finetrap raises on purpose.

FinetrapError
├── BadInput            what a person wrote cannot be used (exit code 2)
│   ├── BadStudy        a study file: all its faults at once
│   ├── BadData         a data set, predictions file or row
│   └── BadModel        a model folder, hub id or tokenizer
├── ContextTooLong      a prompt does not fit the model's context; never truncated silently
├── Diverged            a loss that is not finite; the step is recorded with the run
├── NotFinite           a model whose weights hold NaN or infinity
├── MissingPackage      what was asked for needs a package that is not installed
├── Unsupported         a PEFT method that needs more than its configuration
└── StoreError          a runs folder that cannot be read or written

A message says what was found, what is allowed and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches


class FinetrapError(Exception):
    """Base of every error that is shown to a person without a traceback."""


class BadInput(FinetrapError):
    """Something a person wrote cannot be used."""


class BadStudy(BadInput):
    """A study file with one or more faults; `faults` holds one line for each."""

    def __init__(self, place: str, faults: Sequence[str]) -> None:
        self.place = place
        self.faults = tuple(faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
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


class StoreError(FinetrapError):
    """A runs folder cannot be read or written."""


def opening(text: str) -> str:
    """Return the first words of a text in quotes, to recognise it by in a message."""
    words = text[:200].split()
    shown = " ".join(words[:8])[:60]
    more = "…" if len(shown) < len(" ".join(words)) or len(text) > 200 else ""
    return "'" + "".join(c if c.isprintable() else "?" for c in shown) + more + "'"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the closest allowed name, or an empty string."""
    close = get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def out_of_memory(fault: BaseException) -> bool:
    """Tell an exhausted memory from other faults; torch's CPU allocator only says so in words."""
    return (
        isinstance(fault, MemoryError)
        or type(fault).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in str(fault)
    )
