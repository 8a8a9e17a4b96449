"""Puts the files of one report in their place together, so that no page stands beside the tables
of another."""

from __future__ import annotations

import glob
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from finetrap.text.paths import exchanged

NAMES = {
    *("report.html", "report.md", "table.tex", "figures"),
    *(f"{name}.csv" for name in ("effects", "cells", "summary", "trials", "claims", "fields")),
}
"""What a report consists of."""
_DEAD = 3600.0
"""Seconds after which a draft has no writer any more."""


def put_together(folder: Path, write: Callable[[Path], None]) -> None:
    """Have a report written into a draft, and put that in the place of the one in a folder.

    A folder that holds nothing else is exchanged for the draft in one step, where the system can.
    In any other folder each file takes its old one's place, in the milliseconds after all of them
    were written. Raises OSError, and leaves the old report whole.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    draft = _draft_beside(folder) if _is_alone(folder) else None
    if draft is None:
        draft = _draft_in(folder, "report")
    try:
        write(draft)
        if draft.parent == folder or not exchanged(draft, folder):
            _move(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _is_alone(folder: Path) -> bool:
    """Whether a folder holds a report and nothing else, and can be renamed."""
    mounted = folder == folder.parent or folder.stat().st_dev != folder.parent.stat().st_dev
    own = {entry.name for entry in folder.iterdir()} <= NAMES
    return own and not mounted and all(p.suffix == ".svg" for p in folder.glob("figures/*"))


def _draft_beside(folder: Path) -> Path | None:
    """Make a draft that can be exchanged for a folder; None where nothing can be written there."""
    try:
        draft = _draft_in(folder.parent, folder.name)
        shutil.copymode(folder, draft)
    except OSError:
        return None
    return draft


def _draft_in(parent: Path, name: str) -> Path:
    """Make an empty draft, and remove those that killed processes left."""
    for old in parent.glob(f".{glob.escape(name)}.{'[0-9a-f]' * 12}"):
        if time.time() - old.stat().st_mtime > _DEAD:
            shutil.rmtree(old, ignore_errors=True)
    draft = parent.joinpath(f".{name}.{secrets.token_hex(6)}")
    draft.mkdir()
    return draft


def _move(draft: Path, folder: Path) -> None:
    """Let each file of a draft take the place of its old one, the page last."""
    figures = folder.joinpath("figures")
    figures.mkdir(exist_ok=True)
    drawn = sorted(draft.joinpath("figures").iterdir())
    for stale in figures.glob("*.svg"):
        if stale.name not in {chart.name for chart in drawn}:
            stale.unlink()
    for chart in drawn:
        chart.replace(figures.joinpath(chart.name))
    written = (file for file in draft.iterdir() if file.name != "figures")
    for file in sorted(written, key=lambda file: (file.name == "report.html", file.name)):
        file.replace(folder.joinpath(file.name))
