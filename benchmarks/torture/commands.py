"""The command line with its workers, stopped in every way, and two of them at once."""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.torture.scene import Kept, Scene
from benchmarks.torture.table import Count

_CHILD_SUBREAPER = 36
"""prctl(2): whoever loses its parent becomes a child of this process, and is seen."""
PATIENCE = 15.0
"""Seconds after which a worker without a parent is an orphan."""
STOPPED = {
    "the command killed, its workers not": ("SIGKILL to the first process", signal.SIGKILL),
    "the command and its workers killed": ("SIGKILL to the process group", signal.SIGKILL),
    "one worker killed": ("SIGKILL to one of two workers", signal.SIGKILL),
    "the command told to end": ("SIGTERM to the first process", signal.SIGTERM),
    "the command interrupted": ("SIGINT to the process group", signal.SIGINT),
}
ENDINGS = {
    signal.SIGKILL: {-signal.SIGKILL, 0},
    signal.SIGTERM: {130, 0},
    signal.SIGINT: {130, 0},
}
"""Exit codes that a stopped command may have; 0 where it had ended before."""


class Commands:
    """`finetrap run` of a scene's study, in processes of its own."""

    def __init__(self, scene: Scene, table: dict[str, Any]) -> None:
        self.scene = scene
        self.file = scene.folder / "torture.toml"
        keep = {"weights": "all", "checkpoints": "1 s"}
        self.file.write_text(tomli_w.dumps({**table, "keep": keep}), "utf-8")
        ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
        place = scene.place()
        start = time.monotonic()
        code = self.start(place, 2).wait()
        if code:
            raise SystemExit(f"the command ended with {code}")
        self.seconds = time.monotonic() - start
        shutil.rmtree(place)

    def start(self, place: Path, workers: int) -> subprocess.Popen[bytes]:
        """Start the command in a process group of its own; what it tells is kept beside."""
        said = (self.scene.folder / f"{place.name}.{time.monotonic_ns()}.said").open("wb")
        command = [sys.executable, "-m", "finetrap.cli", "run", str(self.file), "--runs"]
        return subprocess.Popen(
            [*command, str(place), "--workers", str(workers), "--json"],
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def stopped(self, times: int, draw: random.Random) -> list[Count]:
        """Stop the command at a random moment in each way, and go on."""
        return [self._stopped(what, times, draw) for what in STOPPED]

    def _stopped(self, what: str, times: int, draw: random.Random) -> Count:
        how, number = STOPPED[what]
        count = Count(what, how)
        for _ in range(times):
            place = self.scene.place()
            process = self.start(place, 2)
            to_one = how.endswith("workers")  # also as it starts
            time.sleep(draw.uniform(0.1 if to_one else 0.3, 1) * self.seconds)
            if to_one:
                found = children(process.pid)
                for worker in found and [draw.choice(found)]:
                    with suppress(ProcessLookupError):
                        os.kill(worker, number)
            elif how.endswith("group"):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            count.tried += 1
            count.wrong += process.wait() not in ENDINGS[number]
            count.orphans += alone(process.pid)
            self._go_on(place, count)
        return count

    def two_at_once(self, times: int, draw: random.Random) -> Count:
        """Start the command twice on one folder, and kill one of them."""
        count = Count("two commands on one folder, one killed", "SIGKILL to one process group")
        for _ in range(times):
            place = self.scene.place()
            pair = [self.start(place, 1), self.start(place, 1)]
            time.sleep(draw.uniform(0, self.seconds))
            victim, other = draw.sample(pair, 2)
            with suppress(ProcessLookupError):
                os.killpg(victim.pid, signal.SIGKILL)
            victim.wait()
            count.tried += 1
            count.wrong += other.wait() not in (0, 3)
            count.orphans += alone(victim.pid) + alone(other.pid)
            self._go_on(place, count)
        return count

    def _go_on(self, place: Path, count: Count) -> None:
        """Go on to the end; what was measured before is measured no more."""
        kept = Kept(place)
        count.wrong += self.start(place, 2).wait() != 0
        self.scene.held(place, count, kept)
        self.scene.ended(place, count)
        count.lost += self._twice(place)
        count.wrong += self._tracebacks(place)
        shutil.rmtree(place)

    def _twice(self, place: Path) -> int:
        """Count the cells that were told as measured more than once."""
        done = [
            json.loads(line)["key"]
            for said in self.scene.folder.glob(f"{place.name}.*.said")
            for line in said.read_text("utf-8").splitlines()
            if '"cell-done"' in line and line.endswith("}")
        ]
        return len(done) - len(set(done))

    def _tracebacks(self, place: Path) -> int:
        found = self.scene.folder.glob(f"{place.name}.*.said")
        return sum("Traceback" in said.read_text("utf-8") for said in found)


def children(parent: int) -> list[int]:
    """Return the workers of a process: not the one that counts its semaphores."""
    try:
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        named = [(int(pid), Path(f"/proc/{pid}/cmdline").read_bytes()) for pid in found]
    except OSError:
        return []
    return [pid for pid, line in named if b"resource_tracker" not in line]


def alone(group: int) -> int:
    """Count the processes of a group that go on without their parent, and end them."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(ChildProcessError):
            while os.waitpid(-group, os.WNOHANG)[0]:
                pass
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return 0
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    return 1
