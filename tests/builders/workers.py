"""Cells whose strategy says what becomes of the worker that runs them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetrap.errors import FinetrapError, MachineFault
from finetrap.events import CellLeft, Emit, Event, cell_begins, cell_ends
from finetrap.measure.engines import local
from finetrap.records import (
    Cell,
    Costs,
    Keep,
    Limits,
    ModelSpec,
    Run,
    StrategySpec,
    TaskRef,
    TrainSpec,
)
from finetrap.runs.store import Store

ZERO = StrategySpec("zero-shot", "prompt")
FULL = StrategySpec("full", "full", learning_rate=1e-3)
A, B = TaskRef("a", "v1"), TaskRef("b", "v1")


def model(name: str = "m", parameters: int = 1000) -> ModelSpec:
    return ModelSpec(name, "toy:", "toy-1", "toy", parameters=parameters)


def cell(
    strategy: StrategySpec = FULL, seed: int | None = 0, task: TaskRef = A, **changes: Any
) -> Cell:
    trained_on = None if strategy is ZERO else A
    base = Cell(model(), task, strategy, TrainSpec(), Limits(), seed, trained_on)
    return replace(base, **changes)


def study_cells(seeds: int = 4) -> list[Cell]:
    return [cell(ZERO, None), *(cell(seed=seed) for seed in range(seeds))]


def fake_group(cells: Sequence[Cell], store: Store, keep: Keep, emit: Emit) -> None:
    """Do what a runner does, with what should happen written into the strategy's name."""
    for member in cells:
        with store.lock(member.key) as mine:
            if not mine or not store.remaining([member]):
                continue
            emit(cell_begins(member))
            fate, _, place = member.strategy.name.partition("@")
            if fate == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if fate in ("once", "taken") and not Path(place).exists():
                Path(place).write_text("tried")
                if fate == "once":
                    os.kill(os.getpid(), signal.SIGTERM)
                emit(CellLeft(member.key, member.slug, "other processes hold 7 of 8 GB"))
                continue
            if fate == "full-disk":
                raise MachineFault("No space left on device")
            if fate == "unloadable":
                os._exit(127)
            if fate == "exit":
                os._exit(3)
            if fate == "wait":
                Path(place).write_text(str(os.getpid()))
                time.sleep(60)
            if fate == "hold":
                Path(place).write_text(str(os.getpid()))
                wait_for(Path(f"{place}.go").exists, 60)
            if fate == "fault":
                raise FinetrapError("the disk is full")
            facts = {
                "pid": os.getpid(),
                "threads": os.environ.get("OMP_NUM_THREADS"),
                "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
            }
            run = Run(member, "done", costs=Costs(), environment=facts)
            store.commit(run)
            emit(cell_ends(run))


def waiting_cell(place: Path) -> Cell:
    return cell(StrategySpec(f"wait@{place}", "full", learning_rate=1e-3))


def held_cell(place: Path) -> Cell:
    """Return a cell that writes its process's number to a file, and waits for `<file>.go`."""
    return cell(StrategySpec(f"hold@{place}", "full", learning_rate=1e-3))


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


class Events(list[Event]):
    def named(self, name: str) -> list[str]:
        return [event.key for event in self if event.name == name]


def run_cells(cells: Sequence[Cell], store: Store, emit: Emit, **settings: Any) -> None:
    """Run the cells that remain on this machine, in one round."""
    with local.ready(store, **{"keep": Keep("none"), **settings}) as run_remaining:
        run_remaining(cells, emit)


def run(cells: Sequence[Cell], root: Path, workers: int | None) -> tuple[Store, Events]:
    store, events = Store(root), Events()
    run_cells(cells, store, events.append, workers=workers, run_group=fake_group)
    return store, events
