"""Kills a process at random moments of a cell again and again, and counts what that costs.

    python -m benchmarks.kills --model mini-3m --kills 60
    python -m benchmarks.kills --model SmolLM2-135M-Instruct/ --kills 10 --problems 8 --tokens 16

Every attempt is a fork of one process that has all libraries open, killed with SIGKILL after a time
drawn from as long as an undisturbed one takes. A cell is attempted until it is committed; then the
next one begins. Lost: attempts that took a training step again that was in a checkpoint, or had
answers no more that were on the disk. Wrong: cells with a file that is not that of the undisturbed
cell, byte for byte. Orphans: what is left of a cell beside its committed run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from finetrap.events import Event, Resumed, StepDone
from finetrap.measure.problems import Problems
from finetrap.measure.runner import run_group
from finetrap.measure.session import Session
from finetrap.measure.study import reading
from finetrap.measure.study.cells import cells_of
from finetrap.records import Cell, Keep
from finetrap.runs.store import Store
from finetrap.runs.unfinished import Journal

STRATEGIES = "zero-shot,full,lora,dora,prompt-tuning"


def main() -> None:
    """Measure, and print one JSON object."""
    wanted = _arguments()
    torch.set_num_threads(1)
    table = {
        "name": "kills",
        "models": [wanted.model],
        "tasks": [wanted.task],
        "strategies": wanted.strategies.split(","),
        "probes": ["prose"],
        "seeds": [0],
        "train": {"problems": wanted.problems, "epochs": wanted.epochs, "batch": 4},
        "limits": {
            "test_problems": wanted.problems,
            "probe_problems": 4,
            "max_new_tokens": wanted.tokens,
            "batch": wanted.batch,
        },
        "data": {"prose": "miniature"},
    }
    found = cells_of(reading.check(table, at="kills", base=Path()))
    cells = [cell for cell in found if cell.strategy.name in table["strategies"]]
    problems = Problems()
    for cell in cells:
        problems.asked(cell)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(Trial(Path(folder), problems, wanted.checkpoints).run(cells, wanted)))


class Trial:
    """Cells and what becomes of them."""

    def __init__(self, folder: Path, problems: Problems, checkpoints: float) -> None:
        self.folder, self.problems = folder, problems
        self.keep = Keep("none", checkpoints)

    def run(self, cells: Sequence[Cell], wanted: argparse.Namespace) -> dict[str, Any]:
        """Return the counts."""
        draw = random.Random(wanted.seed)
        whole = {cell.key: self._undisturbed(cell) for cell in cells}
        counts = {"kills": 0, "cells": 0, "lost": 0, "wrong": 0, "orphans": 0}
        inside: dict[str, int] = {}
        while counts["kills"] < wanted.kills:
            cell = draw.choice(cells)
            files, seconds = whole[cell.key]
            place = self.folder / "runs"
            while True:
                kept = _kept(place, cell)
                left = draw.uniform(0, seconds) if counts["kills"] < wanted.kills else None
                ended = self._attempt(cell, place, left)
                counts["lost"] += _made_again(place, kept[0])
                if ended:
                    break
                if Store(place).remaining([cell]):
                    counts["lost"] += _rows(place, cell)[: len(kept[1])] != kept[1]
                counts["kills"] += 1
                where = _where(place, cell)
                inside[where] = inside.get(where, 0) + 1
            counts["cells"] += 1
            counts["wrong"] += _files(place) != files
            Store(place).sweep()
            counts["orphans"] += _orphans(place)
            shutil.rmtree(place)
            print(json.dumps({**counts, "inside": inside}), file=sys.stderr, flush=True)
        slowest = max(seconds for _, seconds in whole.values())
        return {**counts, "inside": inside, "longest_cell_s": round(slowest, 1)}

    def _undisturbed(self, cell: Cell) -> tuple[dict[str, bytes], float]:
        place, start = self.folder / "whole", time.perf_counter()
        if not self._attempt(cell, place, None):
            raise SystemExit(f"{cell.slug} failed undisturbed")
        seconds, files = time.perf_counter() - start, _files(place)
        shutil.rmtree(place)
        return files, seconds

    def _attempt(self, cell: Cell, place: Path, kill_after: float | None) -> bool:
        """Run a cell in a fork of this process; return whether that came to its end."""
        child = os.fork()
        if not child:
            status = 1
            try:
                log = open(place.with_name("events"), "a", buffering=1)  # noqa: SIM115
                store = Store(place)
                store.sweep()
                session = Session(problems=self.problems)
                run_group([cell], store, self.keep, lambda event: _note(log, event), session)
                (run,) = store.runs()
                status = 0 if run.status == "done" else 1
                if run.failure:
                    print(run.failure.message, file=sys.stderr)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        end = None if kill_after is None else time.monotonic() + kill_after
        while True:
            done, code = os.waitpid(child, os.WNOHANG)
            if done:
                if os.WIFEXITED(code) and os.WEXITSTATUS(code):
                    raise SystemExit(f"{cell.slug} ended with {code}")
                return os.WIFEXITED(code)
            if end is not None and time.monotonic() >= end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return False
            time.sleep(0.002)


def _note(log: Any, event: Event) -> None:
    if isinstance(event, StepDone):
        log.write(f"step {event.step}\n")
    elif isinstance(event, Resumed):
        log.write(f"resumed {event.phase} {event.done}\n")


def _kept(place: Path, cell: Cell) -> tuple[int, list[Any]]:
    """Return the training step and the answers that are on the disk."""
    return _step(place, cell), _rows(place, cell)


def _step(place: Path, cell: Cell) -> int:
    try:
        with (place / ".cells" / cell.key / "training").open("rb") as file:
            return int(json.loads(file.readline())["step"])
    except OSError:
        return 0


def _rows(place: Path, cell: Cell) -> list[Any]:
    """Return the journal's lines but its head, whoever made them."""
    answers = place / ".cells" / cell.key / "answers"
    try:
        head = json.loads(answers.read_bytes().partition(b"\n")[0][9:])
    except (OSError, ValueError):
        return []
    return Journal(answers, head[1]).found


def _made_again(place: Path, kept: int) -> int:
    """Return 1 if the last attempt took a step again that was in a checkpoint."""
    log = place.with_name("events")
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    steps = [int(line.split()[1]) for line in lines if line.startswith("step")]
    return int(bool(steps) and min(steps) <= kept)


def _where(place: Path, cell: Cell) -> str:
    step, rows = _step(place, cell), _rows(place, cell)
    if any(row[0] == "text" for _, row in rows):
        return "answering"
    return "training, after a checkpoint" if step else "before a checkpoint"


def _files(place: Path) -> dict[str, bytes]:
    found = sorted(place.glob("*--*/*.json*"))
    return {path.name: path.read_bytes() for path in found if path.name != "run.json"}


def _orphans(place: Path) -> int:
    return sum(1 for name in (".cells/*", ".tmp-*") for _ in place.glob(name))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="mini-3m")
    parser.add_argument("--task", default="market")
    parser.add_argument("--strategies", default=STRATEGIES)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--problems", type=int, default=48)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--checkpoints", type=float, default=0.5, help="seconds between two")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
