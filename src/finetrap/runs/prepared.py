"""What is made once of large data, beside no study: each folder whole, or not there at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def cache_folder(sort: str) -> Path:
    """Return where prepared data of one sort is kept; it can be deleted at any time."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "finetrap" / sort


def make_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that `fill` writes; a disk that is full or read-only is let be."""
    draft = folder.with_name(f".{secrets.token_hex(6)}")
    with suppress(OSError):
        try:
            draft.mkdir(parents=True)
            fill(draft)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
