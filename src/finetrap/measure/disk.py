"""What a cell takes on the disk, foretold, and held against what is free."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from finetrap.errors import AGAIN, DiskTooSmall
from finetrap.measure.problems import number_asked
from finetrap.records import Cell, Keep

ANSWER = 2000
"""Bytes of an answer in a run folder, and as many while it is not committed."""
WEIGHT, TRAINED = 4, 12
"""Bytes of a weight, and of one with the optimizer's moments."""
ADAPTED = 1 / 50
"""Share of the parameters that an adapter trains where that is not known: LoRA of rank 8."""


class Disk(NamedTuple):
    """Bytes in the runs folder."""

    kept: int
    """Once the cell is committed."""
    most: int
    """Before that: a checkpoint and the one that replaces it, or what is committed beside it."""


def foretold(cell: Cell, keep: Keep, parameters: int, trainable: int | None = None) -> Disk:
    """Return what a cell takes, from its model's parameters and those that it trains."""
    kind = cell.strategy.kind
    answers = ANSWER * number_asked(cell)
    if kind == "prompt":
        return Disk(answers, 2 * answers)
    if trainable is None:
        trainable = parameters if kind == "full" else int(ADAPTED * parameters)
    adapter = WEIGHT * trainable if kind == "peft" and keep.weights != "none" else 0
    kept = adapter + (WEIGHT * parameters if keep.weights == "all" else 0)
    if keep.checkpoints is None:
        return Disk(answers + kept, 2 * answers + kept)
    most = max(2 * TRAINED * trainable, WEIGHT * trainable + kept)
    return Disk(answers + kept, 2 * answers + most)


def check_room(cell: Cell, keep: Keep, parameters: int, folder: Path) -> None:
    """Raise DiskTooSmall where a cell would not fit the disk of a folder."""
    most, free = foretold(cell, keep, parameters).most, free_bytes_of(folder)
    if most > free:
        never = foretold(cell, Keep(keep.weights, None), parameters).most
        less = f', write [keep] checkpoints = "never" ({_amount(never)} then)'
        raise DiskTooSmall(
            f"it takes up to {_amount(most)} on the disk and {_lying_in(folder)} has "
            f"{_amount(free)} free; free space there, choose another place (--runs FOLDER)"
            f"{less if never < most else ''}, {AGAIN}"
        )


def _amount(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 10**8 else f"{size / 1e6:,.2f} MB"


def free_bytes_of(folder: Path) -> int:
    """Return what is free where a folder is or will be."""
    return shutil.disk_usage(_lying_in(folder)).free


def _lying_in(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
