"""A hundred nodes and ten thousand runs: a cluster in virtual time, and a real runs folder.

    PYTHONPATH=src python -m benchmarks.scale [--cells 10000] [--nodes 100] [--out results.jsonl]

Nodes work through cells whose durations were recorded (studies/results), in the order that every
engine gives them out, and fail at random; what a driver does with a finished run or a lost node is
done by its own code, commits to a runs folder included. Only the seconds are invented: no cell is
measured. A cell whose node was lost three times is left to the next `finetrap run`, which the
simulation does not go on to. Then the folder is asked what remains, and reported.

Exits with 1 if a goal is missed: the makespan is to be within 10% of the larger of work ÷ nodes
(lost work counts as work) and the longest group, what remains is to be told in a second, and the
report is to take at most two minutes and 4 GB.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from benchmarks.measured import append, machine
from finetrap.events import CellLeft, Event, cell_begins, cell_ends
from finetrap.measure.engines.local import shifts
from finetrap.measure.engines.machine import Crew
from finetrap.measure.engines.sending import Assigned, Finished, Receiver
from finetrap.records import Cell, Run
from finetrap.runs.store import Store

RECORDED = Path(__file__).parents[1] / "studies" / "results" / "svamp-smollm2-q4.tar.xz"
MODELS = 20
FAILS_AFTER = 24 * 3600.0
"""Mean seconds until a node fails."""
DOWN = 600.0
"""Seconds until it is back."""
SPREAD = 0.2
"""Standard deviation of the logarithm of a duration around the recorded one."""


@dataclass(frozen=True)
class Planned:
    """A cell, the run that it will end in, and how long each part takes."""

    run: Run
    train_s: float
    ask_s: float


@dataclass
class Node:
    """A machine of the simulated cluster."""

    fails_at: float
    work: Assigned
    trained: str = ""
    """The training whose model it holds."""
    begun: float = 0.0


@dataclass(frozen=True)
class Simulated:
    """What a study took in virtual time, in seconds, and what the store really took."""

    cells: int
    nodes: int
    failures: int
    work_s: float
    """Of all nodes, the lost part included."""
    lost_s: float
    longest_group_s: float
    makespan_s: float
    commit_s: float
    """Real, of one commit; the mean."""

    @property
    def over(self) -> float:
        """How much longer it took than any order could have made it, as a share."""
        return self.makespan_s / max(self.work_s / self.nodes, self.longest_group_s) - 1


def recorded(archive: Path = RECORDED) -> list[Run]:
    """Return the runs of a study that was measured."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
        return Store(Path(folder, "runs")).runs()


def grid(runs: Sequence[Run], asked: int) -> Iterator[Planned]:
    """Yield ever more cells of a grid: each recorded run, for many models and seeds.

    A run keeps `asked` of its answers and as many of all its probes, graded as they are now.
    """
    drawn = random.Random("durations")
    for turn in count():
        for model in range(MODELS):
            for run in runs:
                if run.cell.seed is None and turn:
                    continue
                spec = replace(run.cell.model, name=f"model-{model:02}", revision=f"{model}")
                seed = None if run.cell.seed is None else run.cell.seed + 3 * turn
                cell = replace(run.cell, model=spec, seed=seed)
                each = asked // max(1, len(run.probes))
                probes = {name: answers[:each] for name, answers in run.probes.items()}
                factor = drawn.lognormvariate(0, SPREAD)
                costs = run.costs
                yield Planned(
                    replace(
                        run, cell=cell, answers=run.answers[:asked], probes=probes, grading=None
                    ),
                    factor * (costs.train_s or 0.0),
                    factor * ((costs.eval_s or 0.0) + (costs.again_s or 0.0)),
                )


class Cluster:
    """Nodes in virtual time, and a driver that gives them groups."""

    def __init__(self, plans: Sequence[Planned], nodes: int, store: Store, seed: int = 0) -> None:
        self.plans = {plan.run.cell.key: plan for plan in plans}
        self.driver = Receiver(store)
        self.left: dict[str, str] = {}
        """Cells that the driver gave up, by key, and what it said."""
        self.driver.emit = self._told
        self.random = random.Random(f"nodes/{seed}")
        self.nodes = [Node(self._lifetime(), Assigned()) for _ in range(nodes)]
        self.events: list[tuple[float, int, str]] = []
        self.idle: set[int] = set()
        self.failures = 0
        self.work_s = self.lost_s = self.commit_s = 0.0

    def _told(self, event: Event) -> None:
        if isinstance(event, CellLeft):
            self.left[event.key] = event.message

    def _lifetime(self) -> float:
        return self.random.expovariate(1 / FAILS_AFTER)

    def run(self) -> Simulated:
        """Work through all cells."""
        cells = [plan.run.cell for plan in self.plans.values()]
        team = Crew(len(self.nodes), 1)
        ordered = shifts(cells, {cell.model: team for cell in cells})
        groups = [members for _, found in ordered for members in found]
        self.driver.waiting.extend((members[0].model, members) for members in groups)
        longest = max(self._seconds(members) for members in groups)
        self.idle = set(range(len(self.nodes)))
        now = done = 0.0
        while True:
            self._give_out(now)
            if not self.events:
                break
            now, number, what = heapq.heappop(self.events)
            if what == "ends":
                self._end(number, now)
                done = now
            elif what == "fails":
                self._fail(number, now)
            else:
                self.idle.add(number)
        return Simulated(
            cells=len(cells),
            nodes=len(self.nodes),
            failures=self.failures,
            work_s=self.work_s,
            lost_s=self.lost_s,
            longest_group_s=longest,
            makespan_s=done,
            commit_s=self.commit_s / len(cells),
        )

    def _seconds(self, members: Sequence[Cell]) -> float:
        plans = [self.plans[cell.key] for cell in members]
        trainings = {plan.run.cell.training_key(): plan.train_s for plan in plans}
        return sum(trainings.values()) + sum(plan.ask_s for plan in plans)

    def _give_out(self, now: float) -> None:
        for number in sorted(self.idle):
            if not self.driver.waiting:
                break
            self.idle.remove(number)
            node = self.nodes[number]
            node.work = Assigned(self.driver.waiting.popleft()[1])
            self._begin(number, now)

    def _begin(self, number: int, now: float) -> None:
        """Begin with the next cell of a node's group: it will end, or the node fails before."""
        node = self.nodes[number]
        if not node.work.rest:
            self.driver.take(node.work, "free", None)
            self.idle.add(number)
            return
        cell = node.work.rest[0]
        self.driver.take(node.work, "event", cell_begins(cell))
        plan, node.begun = self.plans[cell.key], now
        end = now + plan.ask_s + (0 if node.trained == cell.training_key() else plan.train_s)
        what, at = ("fails", max(now, node.fails_at)) if node.fails_at < end else ("ends", end)
        heapq.heappush(self.events, (at, number, what))

    def _end(self, number: int, now: float) -> None:
        node = self.nodes[number]
        cell = node.work.rest[0]
        node.trained = cell.training_key()
        self.work_s += now - node.begun
        run = self.plans[cell.key].run
        started = time.perf_counter()
        self.driver.take(node.work, "run", Finished(run, {}))
        self.commit_s += time.perf_counter() - started
        self.driver.take(node.work, "event", cell_ends(run))
        self._begin(number, now)

    def _fail(self, number: int, now: float) -> None:
        node = self.nodes[number]
        self.failures += 1
        self.lost_s += now - node.begun
        self.work_s += now - node.begun
        self.driver.put_back(node.work, "node lost")
        node.trained, node.fails_at = "", now + DOWN + self._lifetime()
        heapq.heappush(self.events, (now + DOWN, number, "back"))


def reported(root: Path) -> dict[str, Any]:
    """Report a runs folder in a process of its own; return its seconds and its peak memory."""
    command = [sys.executable, "-m", "finetrap.cli", "report", "--runs", str(root), "--quiet"]
    started = time.perf_counter()
    child = subprocess.Popen(command)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"the report ended with exit code {child.returncode}")
    seconds = time.perf_counter() - started
    page = (root / "report" / "report.html").stat().st_size
    return {
        "report_s": seconds,
        "report_cpu_s": used.ru_utime + used.ru_stime,
        "report_gb": used.ru_maxrss * 1024 / 1e9,
        "page_mb": page / 1e6,
    }


def measure(cells: int, nodes: int, asked: int, root: Path, report: bool = True) -> dict[str, Any]:
    """Simulate a study, and time what its runs folder takes to be asked and reported."""
    store = Store(root)
    plans = list(islice(grid(recorded(), asked), cells))
    cluster = Cluster(plans, nodes, store)
    found = cluster.run()
    started, computed = time.perf_counter(), time.process_time()
    remaining = store.remaining(plan.run.cell for plan in plans)
    seconds, computed = time.perf_counter() - started, time.process_time() - computed
    if {cell.key for cell in remaining} != cluster.left.keys():
        raise SystemExit(f"{len(remaining)} cells remain, of {cells}; left were {cluster.left}")
    told = {**vars(found), "over": found.over, "answers": asked, "left": len(remaining)}
    told |= {"remaining_s": seconds, "remaining_cpu_s": computed}
    return {**told, **(reported(root) if report else {})}


def missed(told: dict[str, Any]) -> list[str]:
    """Return the goals that were not reached."""
    most = {"over": 0.1, "remaining_s": 1, "report_s": 120, "report_gb": 4}
    return [
        f"{name} is {told[name]:.2f}, to be ≤ {most[name]}"
        for name in most
        if told.get(name, 0) > most[name]
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cells", type=int, default=10_000)
    options.add_argument("--nodes", type=int, default=100)
    options.add_argument("--asked", type=int, default=50, help="answers kept of test and probes")
    options.add_argument("--folder", help="where the runs are written")
    options.add_argument("--no-report", action="store_true")
    options.add_argument("--out", type=Path)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        root = Path(folder, "runs")
        told = measure(asked.cells, asked.nodes, asked.asked, root, not asked.no_report)
    print(json.dumps(told, indent=1))
    if asked.out:
        append(asked.out, {"benchmark": "scale", **told, "machine": machine()})
    if faults := missed(told):
        print("\n".join(faults), file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
