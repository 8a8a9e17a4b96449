"""Folders that live no longer than their process: held by a lock that the kernel lets go of.

What a killed process leaves behind, the next sweep removes.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir
from weakref import finalize

from finetrap.runs.locks import flock

_DEAD = 86_400.0
"""Seconds after which a folder is taken to have no owner, where the file system has no locks."""
_NAME = "finetrap-scratch-"


def locked_folder(parent: Path, name: str, mode: int = 0o777) -> tuple[Path, int]:
    """Make a folder and lock it; return it and its open handle.

    In its name `*` becomes what makes it new.
    """
    while True:
        folder = parent / name.replace("*", secrets.token_hex(6))
        folder.mkdir(mode)
        handle = os.open(folder, os.O_RDONLY)
        # A sweep may come between mkdir and flock: then the folder is gone, and we try again.
        if flock(handle, folder) is not False and folder.exists():
            return folder, handle
        os.close(handle)


def sweep_left(folders: Iterable[Path]) -> None:
    """Remove those of such folders whose processes have died."""
    for folder in folders:
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            try:
                free = flock(handle, folder)
                old = time.time() - os.fstat(handle).st_mtime > _DEAD
                if free or (free is None and old):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def sweep_scratch() -> None:
    """Remove what killed processes left in the folder for temporary files."""
    with suppress(OSError):
        sweep_left(Path(gettempdir()).glob(f"{_NAME}*"))


class Scratch:
    """A folder for temporary files, gone with this object or, after a kill, at the next sweep."""

    def __init__(self) -> None:
        sweep_scratch()
        self.path, handle = locked_folder(Path(gettempdir()), f"{_NAME}*", 0o700)
        self._end = finalize(self, _let_go, self.path, handle, os.getpid())

    def cleanup(self) -> None:
        """Remove the folder now."""
        self._end()


def _let_go(folder: Path, handle: int, owner: int) -> None:
    if os.getpid() == owner:  # not a process that was forked from it
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        os.close(handle)
