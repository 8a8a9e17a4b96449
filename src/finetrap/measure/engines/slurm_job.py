"""A job of Slurm: it runs one group, and writes what it tells into a file that its driver reads.

The folder is shared by all nodes. Nothing here imports submitit but to be requeued.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetrap.events import Event, RowsDone, StepDone
from finetrap.measure.engines.sending import Message, SendingStore, run_and_send
from finetrap.measure.engines.workers import Group, RunGroup, default_run_group
from finetrap.records import Keep

STOP = "stop"
"""The file that asks a job to leave its group after the current step."""
_GROUP = "group"
_MAIL = "mail-{:04}"
_LENGTH = 8
"""Bytes of a message's length before it."""
_EVERY = 5.0
"""Seconds between two tellings of progress within a cell: the folder is on a network."""
_LOOK = 1.0
"""Seconds between two looks, while a cell goes on, for the file that stops it."""


class JobStore(SendingStore):
    """What is done of a job's cells stays in the shared folder, for the node that goes on."""

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        """Yield True: a group has one job, and file systems of clusters may know no locks."""
        yield True


class GroupJob:
    """Runs one group; called again after it was requeued, it goes on where it was."""

    def __init__(self, folder: Path, keep: Keep, run_group: RunGroup | None = None) -> None:
        self.folder, self.keep, self.run_group = folder, keep, run_group

    def __call__(self) -> None:
        """Run the group of the folder, and tell of it there."""
        earlier = Mail(self.folder)
        sent = [content.run.cell.key for kind, content in earlier.read() if kind == "run"]
        self._progress = self._looked = 0.0
        with open(self.folder / _MAIL.format(earlier.files), "xb") as self._out:
            act = self.run_group or default_run_group()
            store = JobStore(self.folder, lambda finished: self._tell("run", finished), sent)
            run_and_send(act, group_of(self.folder), store, self.keep, self._tell, self._emit)
            self._tell("free")

    def checkpoint(self) -> Any:
        """Return what submitit is to run when the job is requeued."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(GroupJob(self.folder, self.keep, self.run_group))

    def _tell(self, kind: str, content: object = None) -> None:
        told = pickle.dumps((kind, content))
        self._out.write(len(told).to_bytes(_LENGTH, "big") + told)
        self._out.flush()

    def _emit(self, event: Event) -> None:
        now = time.monotonic()
        progress = isinstance(event, StepDone | RowsDone)
        if not progress or now - self._progress > _EVERY:
            self._progress = now if progress else self._progress
            self._tell("event", event)
        if not progress or now - self._looked > _LOOK:
            self._looked = now
            if (self.folder / STOP).exists():
                raise KeyboardInterrupt


class Mail:
    """Reads what the jobs of one folder told: a file for each time that a job was started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = 0
        """Those that were there at the last reading."""
        self._taken: dict[Path, int] = {}

    def read(self) -> list[Message]:
        """Return whole messages that were not read before, in order."""
        found: list[Message] = []
        places = sorted(self.folder.glob(_MAIL.format(0).replace("0000", "*")))
        self.files = len(places)
        for place in places:
            with open(place, "rb") as file:
                file.seek(self._taken.get(place, 0))
                while len(head := file.read(_LENGTH)) == _LENGTH:
                    told = file.read(int.from_bytes(head, "big"))
                    if len(told) < int.from_bytes(head, "big"):
                        break  # the rest is still on its way, or was never written
                    found.append(pickle.loads(told))
                    self._taken[place] = file.tell()
        return found


def put_group(folder: Path, members: Group) -> None:
    """Make a job's folder."""
    folder.mkdir(parents=True)
    (folder / _GROUP).write_bytes(pickle.dumps(members))


def group_of(folder: Path) -> Group:
    """Return the group of a job's folder. Raises OSError, where there is none."""
    members: Group = pickle.loads((folder / _GROUP).read_bytes())
    return members
