"""A person's own data of a million rows: time and peak memory of reading it, and of its checks.

    PYTHONPATH=src python -m benchmarks.large_data [--rows 1000000] [--format jsonl] [--out FILE]

The rows are written first. Each step runs in a process of its own, so that its peak is its own: the
first reading, which checks every row and puts the problems on disk; a later one, as every cell and
worker does, with the rows that a study of the default size draws; and the search for test questions
in the training questions. Exits with 1 if one of them holds more than 2 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.measured import append, machine
from finetrap import tasks
from finetrap.records import TrainSpec

MOST_GB = 2.0
WRITE = "write"
NAMES = ("Ava", "Ben", "Cleo", "Dan", "Eli", "Fay", "Gus", "Hana", "Ivo", "Jun")
THINGS = ("apples", "pens", "books", "coins", "shells", "stamps")


def rows(count: int) -> Iterator[dict[str, str]]:
    """Yield problems of one template, each with its own numbers."""
    drawn = random.Random("large data")
    for i in range(count):
        a, b, c = drawn.randint(2, 9999), drawn.randint(2, 9999), drawn.randint(2, 99)
        yield {
            "question": f"{drawn.choice(NAMES)} has {a} {drawn.choice(THINGS)} in box {i} and buys "
            f"{b} more at the market on the way home. Then {c} friends each bring one. How many "
            "are there now?",
            "answer": f"First {a} + {b} = {a + b}.\nThen {a + b} + {c} = {a + b + c}.\n"
            f"#### {a + b + c}",
        }


def write(path: Path, count: int) -> None:
    """Write so many rows as JSON lines or Parquet, by the file's ending."""
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        made = rows(count)
        schema = pyarrow.schema([("question", pyarrow.string()), ("answer", pyarrow.string())])
        with pyarrow.parquet.ParquetWriter(path, schema) as file:
            while batch := list(islice(made, 10_000)):
                file.write_table(pyarrow.Table.from_pylist(batch, schema))
        return
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(count))


def read(path: Path) -> int:
    """Read the data, and return how many problems it has."""
    task = tasks.load(tasks.reference(f"jsonl:{path}"))
    return len(task.train) + len(task.test)


def drawn(path: Path) -> int:
    """Read it and draw what a study trains on and is asked."""
    task = tasks.load(tasks.reference(f"jsonl:{path}"))
    chosen = tasks.training(task, TrainSpec(dev=100))
    return len(chosen) + len(tasks.asked(task, 1000, "test", 0))


def searched(path: Path) -> int:
    """Look for test questions in the training questions."""
    return tasks.near_duplicates(tasks.load(tasks.reference(f"jsonl:{path}"))).near


def told(path: Path) -> int:
    """Say what the data holds, as a study does before it runs."""
    task = tasks.load(tasks.reference(f"jsonl:{path}"))
    return len(tasks.held_data({"jsonl:rows": task}))


STEPS: dict[str, Callable[[Path], int]] = {
    "first": read,
    "again": drawn,
    "near": searched,
    "told": told,
}


def measured(step: str, path: Path, cache: Path) -> dict[str, Any]:
    """Run one step in a process; return its seconds, of the processor too, and its peak."""
    command = [sys.executable, "-m", "benchmarks.large_data", "--step", step, "--file", str(path)]
    started = time.perf_counter()
    child = subprocess.Popen(command, env={**os.environ, "XDG_CACHE_HOME": str(cache)})
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{step} ended with exit code {child.returncode}")
    return {
        f"{step}_s": time.perf_counter() - started,
        f"{step}_cpu_s": used.ru_utime + used.ru_stime,
        f"{step}_gb": used.ru_maxrss * 1024 / 1e9,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl")
    options.add_argument("--folder", help="where the rows are written")
    options.add_argument("--out", type=Path)
    options.add_argument("--step", choices=(WRITE, *STEPS), help=argparse.SUPPRESS)
    options.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.step == WRITE:
        write(asked.file, asked.rows)
        return
    if asked.step:
        print(asked.step, STEPS[asked.step](asked.file), flush=True)
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder, f"rows.{asked.format}")
        # In a process of its own too: what starts another passes its own peak on.
        command = [sys.executable, "-m", "benchmarks.large_data", "--step", WRITE]
        subprocess.run([*command, "--file", path, "--rows", str(asked.rows)], check=True)
        found: dict[str, Any] = {"rows": asked.rows, "format": asked.format}
        for step in STEPS:
            found |= measured(step, path, Path(folder, "cache"))
            print(json.dumps(found), flush=True)
    if asked.out:
        append({"benchmark": "large_data", **found, "machine": machine()}, asked.out)
    if over := [step for step in STEPS if found[f"{step}_gb"] > MOST_GB]:
        raise SystemExit(f"more than {MOST_GB:g} GB: {', '.join(over)}")


if __name__ == "__main__":
    main()
