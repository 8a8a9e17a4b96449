"""One input after another under limits: each gives a value, is refused, or is kept as a failure."""

from __future__ import annotations

import json
import re
import signal
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import finetrap
from finetrap.errors import FinetrapError

SOURCE = Path(finetrap.__file__).parent
LONGEST = 2000
"""Characters of a line of a message: it is read by a person."""
SHOWN = 6000
"""Characters of a traceback that are kept, its last."""


class TooSlow(BaseException):
    """An input has had its time; nothing in finetrap catches this."""


@dataclass
class Tally:
    """What became of the inputs of one target."""

    target: str
    tried: int = 0
    values: int = 0
    refused: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    """Inputs that failed, by the kind of their failure."""

    def row(self) -> str:
        """Say it in a line."""
        return (
            f"{self.target}: {self.tried:,} inputs, {self.values:,} gave values, "
            f"{self.refused:,} refused, {sum(self.kinds.values()):,} failed in "
            f"{len(self.kinds)} ways"
        )

    def write(self, place: Path) -> None:
        """Write it where `read` finds it."""
        place.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, place: Path, target: str) -> Tally:
        """Return what a target has written; one that ended before it could has tried nothing."""
        return cls(**json.loads(place.read_text("utf-8"))) if place.exists() else cls(target)


class Watch:
    """Gives inputs to one target and counts; keeps what fails below a folder, if there is one."""

    def __init__(
        self, name: str, target: Callable[[bytes], None], seconds: float, out: Path | None = None
    ) -> None:
        self.tally = Tally(name)
        self._target, self._seconds, self._out = target, seconds, out
        self._smallest: dict[str, int] = {}
        signal.signal(signal.SIGPROF, _ring)

    def __call__(self, data: bytes) -> str | None:
        """Try one input, and return the kind of its failure if it is one."""
        self.tally.tried += 1
        try:
            # Again each second: what is raised in a finalizer is lost.
            signal.setitimer(signal.ITIMER_PROF, self._seconds, 1.0)
            try:
                self._target(data)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            self.tally.values += 1
        except FinetrapError as refusal:
            if any(len(line) > LONGEST for line in str(refusal).splitlines()):
                return self._failed(data, refusal, "long-message")
            self.tally.refused += 1
        except KeyboardInterrupt:
            raise
        except BaseException as failure:
            return self._failed(data, failure, type(failure).__name__)
        return None

    def _failed(self, data: bytes, failure: BaseException, what: str) -> str:
        """Count a failure; keep it if it is the first of its kind, or has the smallest input."""
        kind = f"{self.tally.target}-{what}-{_place(failure)}"
        self.tally.kinds[kind] = self.tally.kinds.get(kind, 0) + 1
        if self._out is not None and len(data) < self._smallest.get(kind, len(data) + 1):
            told = "".join(traceback.format_exception(failure))[-SHOWN:]
            keep(self._out, kind, told, data)
        self._smallest[kind] = min(len(data), self._smallest.get(kind, len(data)))
        return kind


def keep(out: Path, kind: str, told: str, data: bytes) -> None:
    """Write what is told of a failure, and its input, under the name of its kind."""
    (out / f"{kind}.txt").write_text(told, "utf-8", errors="backslashreplace")
    (out / f"{kind}.bin").write_bytes(data)


def _place(failure: BaseException) -> str:
    """Name the innermost function of finetrap that a failure went through, or any where none is."""
    frames = traceback.extract_tb(failure.__traceback__)
    if isinstance(failure, TooSlow):
        frames.pop()  # the one that raised it, wherever the input was
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(SOURCE)]
    inner = (own or frames)[-1]
    file = Path(inner.filename).with_suffix("")
    name = file.relative_to(SOURCE) if own else file.name
    return re.sub(r"\W+", "-", f"{name}-{inner.name}").strip("-")


def _ring(*_: object) -> None:
    raise TooSlow
