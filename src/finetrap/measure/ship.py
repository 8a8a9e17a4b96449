"""What is to be shipped: a measured solver, made once more and written."""

from __future__ import annotations

import shutil
from pathlib import Path

from finetrap.measure.engines.machine import computing, crew
from finetrap.measure.session import Session
from finetrap.measure.telling import Teller
from finetrap.records import Cell


def ship(cell: Cell, folder: Path, *, whole: bool) -> Path:
    """Make what a cell measured once more, and write it to be shipped; return where it lies.

    `model/` for changed weights, `adapter/` for an adapter unless `whole`, `prompt.txt` for
    examples; what lay there is replaced. Raises BadInput, Diverged.
    """
    with computing(crew(cell.model).threads):  # or the weights would not be those measured
        return _made(cell, folder, whole=whole)


def _made(cell: Cell, folder: Path, *, whole: bool) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    session, tell = Session(), Teller()
    loaded = session.open(cell, tell)
    solver = loaded.adapt(cell, session.problems.trained(cell), tell)
    loaded.rewind(solver, cell, session.problems, tell)
    folder.mkdir(parents=True, exist_ok=True)
    if not cell.strategy.trains:
        (folder / "prompt.txt").write_text(solver.prompt("{question}"), encoding="utf-8")
        return folder / "prompt.txt"
    whole = whole or cell.strategy.kind == "full"
    solver.model.save(folder, whole=whole)
    if not any(folder.iterdir()):  # a rewound adapter that is no adapter any more
        solver.model.save(folder, whole=True)
    places = [folder / name for name in (("model", "adapter") if whole else ("adapter", "model"))]
    return next((place for place in places if place.exists()), folder)
