"""A study, the files that it has undisturbed, and attempts at it that may be cut short."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.torture.table import Count
from finetrap.errors import MachineFault
from finetrap.measure.engines import rounds
from finetrap.measure.study import reading
from finetrap.records import Keep, Study
from finetrap.runs.store import Store
from finetrap.runs.unfinished import Journal

Prepare = Callable[[], None]
"""What a fork does to itself before it begins."""
Cut = Callable[[int, float], bool]
"""Ends the process of this number, which has run since this time, or returns false."""

TOY: dict[str, Any] = {
    "name": "torture",
    "models": ["toy:base=0.6,full=-0.2,few-shot-5=0.1,seconds=0.02"],
    "tasks": ["market"],
    "strategies": ["zero-shot", "few-shot-5", "full", "lora", "full+rewind"],
    "probes": ["school", "prose"],
    "seeds": [0, 1],
    "train": {"problems": 24, "epochs": 2, "batch": 4, "dev": 6},
    "limits": {"test_problems": 12, "probe_problems": 4},
    "data": {"prose": "miniature"},
}
REAL: dict[str, Any] = {
    "name": "torture",
    "models": ["mini-0.3m"],
    "tasks": ["market"],
    "strategies": ["zero-shot", "full", "lora", "prompt-tuning"],
    "probes": ["prose"],
    "seeds": [0],
    "train": {"problems": 24, "epochs": 2, "batch": 4},
    "limits": {"test_problems": 24, "probe_problems": 4, "max_new_tokens": 48, "batch": 8},
    "data": {"prose": "miniature"},
}
FAULT = 3
FREE = ("costs", "environment")
"""Of run.json, what may differ from one attempt to another."""


def study_of(table: dict[str, Any], checkpoints: float = 0.0) -> Study:
    """Return a checked study that keeps its weights and a checkpoint every so many seconds."""
    checked = reading.check(table, at=table["name"], base=Path())
    return replace(checked, keep=Keep("all", checkpoints))


class Scene:
    """One study in folders of its own below a folder, attempted in forks of this process."""

    def __init__(self, study: Study, folder: Path) -> None:
        self.study, self.folder = study, folder
        self._here(folder / "warm")  # what this process has imported, no fork has to
        start = time.perf_counter()
        self.attempt(folder / "whole")
        self.seconds = time.perf_counter() - start
        self.files = files(folder / "whole")
        self.cells = len(Store(folder / "whole").statuses())
        self.number = 0

    def place(self) -> Path:
        """Return a new runs folder."""
        self.number += 1
        return self.folder / str(self.number)

    def attempt(
        self,
        place: Path,
        cut: Cut | None = None,
        prepare: Prepare | None = None,
        faults: bool = False,
    ) -> bool:
        """Go on with the study in a fork; return whether that came to its end uncut.

        Where `faults` of the machine are meant to come, they are no reason to stop.
        """
        child = os.fork()
        if not child:
            self._go_on(place, prepare)
        start, cutting = time.monotonic(), cut is not None
        while True:
            done, code = os.waitpid(child, os.WNOHANG)
            if done:
                if os.WIFSIGNALED(code):
                    return False
                if os.WEXITSTATUS(code) == FAULT and faults:
                    return False
                if os.WEXITSTATUS(code):
                    raise SystemExit(f"{place}: the study ended with {os.WEXITSTATUS(code)}")
                return True
            if cutting and cut is not None and cut(child, start):
                cutting = False
            time.sleep(0.001)

    def _go_on(self, place: Path, prepare: Prepare | None) -> None:
        status = 1
        try:
            tempfile.tempdir = str(temporary(place))
            if prepare is not None:
                prepare()
            self._here(place)
            gc.collect()  # as a process that ends without os._exit would
            status = 0
        except MachineFault:
            status = FAULT
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _here(self, place: Path) -> None:
        rounds.run_study(self.study, Store(place), workers=1, emit=lambda event: None)

    def held(self, place: Path, count: Count, kept: Kept) -> None:
        """Count what of a kept state is on the disk no more, and what was measured again."""
        now = Kept(place)
        count.lost += sum(now.runs.get(name) != made for name, made in kept.runs.items())
        for key, rows in kept.answers.items():
            committed = any(name.endswith(key) for name in now.runs)
            count.lost += not committed and now.answers.get(key, [])[: len(rows)] != rows

    def ended(self, place: Path, count: Count) -> None:
        """Count what differs from the undisturbed study, and what it left beside its runs."""
        found = files(place)
        names = found.keys() | self.files.keys()
        differing = sorted(name for name in names if found.get(name) != self.files.get(name))
        left = left_over(place)
        count.wrong += len(differing)
        count.orphans += len(left)
        for path in [*differing, *left]:
            print(f"{count.fault}, number {count.tried}: {path}", file=sys.stderr, flush=True)


class Kept:
    """What is on the disk after a kill: committed runs, and answers of unfinished cells."""

    def __init__(self, place: Path) -> None:
        self.runs = {folder.name: folder.stat().st_ino for folder in place.glob("[!.]*--*")}
        self.answers = {
            answers.parent.name: _rows(answers) for answers in place.glob(".cells/*/answers")
        }


def killed_after(seconds: float, number: int = signal.SIGKILL) -> Cut:
    """Send a signal once so many seconds have gone by."""

    def cut(child: int, start: float) -> bool:
        if time.monotonic() - start < seconds:
            return False
        os.kill(child, number)
        return True

    return cut


def files(place: Path) -> dict[str, bytes]:
    """Return what every run holds, but for its times."""
    found: dict[str, bytes] = {}
    for path in sorted(p for p in place.glob("[!.]*--*/**/*") if p.is_file()):
        content = path.read_bytes()
        if path.name == "run.json":
            outcome = json.loads(content)
            kept = {name: outcome[name] for name in outcome if name not in FREE}
            content = json.dumps(kept).encode()
        found[str(path.relative_to(place))] = content
    return found


def left_over(place: Path) -> list[Path]:
    """Return drafts, what is done of cells that are committed, and temporary files."""
    patterns = (".cells/*", ".tmp-*", ".studies/.*")
    left = [path for pattern in patterns for path in place.glob(pattern)]
    return [*left, *temporary(place).iterdir()]


def temporary(place: Path) -> Path:
    """Return the folder for temporary files of whoever works at a runs folder."""
    folder = place.with_name(f"{place.name}.temporary")
    folder.mkdir(exist_ok=True, parents=True)
    return folder


def _rows(answers: Path) -> list[Any]:
    """Return a journal's lines but its head, whoever made them."""
    try:
        head = json.loads(answers.read_bytes().partition(b"\n")[0][9:])
    except (OSError, ValueError):
        return []
    return Journal(answers, head[1]).found
