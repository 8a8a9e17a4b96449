"""The verb that checks every byte of a runs folder, and sets damaged runs aside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finetrap.cli.options import AsJson, Quiet, Voice
from finetrap.errors import BadInput
from finetrap.text.numbers import counted


def fsck(
    runs: Annotated[Path, typer.Argument(help="A runs folder.", metavar="RUNS")] = Path("runs"),
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged runs aside, in RUNS/.damaged.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check every byte of the runs in a folder.

    The report leaves damaged runs out and names them. With --repair they are moved away, so that
    the next `finetrap run` measures their cells anew; nothing is deleted. Exit code 1: some are
    damaged.

    Example: finetrap fsck runs
    """
    from finetrap.runs.store import Store

    if not runs.is_dir():
        raise BadInput(f"{runs}: no such folder; name the folder of the measured runs")
    store = Store(runs)
    sound, damaged = store.sound_runs()
    rows, lines = [], []
    for folder, fault in damaged.items():
        moved = str(store.set_aside(folder)) if repair else None
        rows.append({"run": str(folder), "fault": fault, "moved": moved})
        lines.append(f"{fault}; moved to {moved}" if moved else fault)
    lines.append(f"{counted(len(sound), 'run')} whole, {len(rows)} damaged")
    Voice(as_json, quiet).result({"whole": len(sound), "damaged": rows}, "\n".join(lines))
    raise typer.Exit(1 if rows and not repair else 0)
