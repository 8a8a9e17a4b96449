"""All that gpu.sh measures, stage by stage, in one JSON file.

Each stage is a command in a process of its own. One that fails, or takes too long, is recorded with
its cause and its last lines, and the next one follows. No stage starts, or goes on, after `MOST_S`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.harness import matrix_limit
from benchmarks.measured import machine
from finetrap.backends.hf import device
from finetrap.errors import FinetrapError

MOST_S = 460.0
"""Seconds of all stages together; with `--small`, on a slow machine, ten times that."""
LINES = 30
"""Lines of a failed stage's output that are kept."""
PEERS = ("generate", "continuous")
METHODS = {"fp32": ("full",), "bf16": ("full", "lora", "dora")}


@dataclass(frozen=True)
class Stage:
    """A command, the table of the JSON file that its records belong to, and its most seconds."""

    name: str
    kind: str
    command: tuple[str, ...]
    seconds: float = 90.0
    dtype: str = ""


def planned(small: bool) -> list[Stage]:
    """Return what is run, in order: checks first."""
    checks = ("pytest", "tests/hf", "-m", "device", "-p", "no:randomly", "-q")
    decode = ["--problems", "128", "--rounds", "2"]
    train = ["--rows", "32", "--rounds", "3", "--steps", "4", "--settings", "32", "32-free"]
    layers: list[str] = []
    if small:
        layers = ["--layers", "1"]
        decode = ["--problems", "4", "--new-tokens", "4", "--rounds", "1"]
        train = ["--rows", "4", "--rounds", "1", "--settings", "4"]
    model = ("benchmarks.shape", *layers)
    stages = [Stage("checks", "checks", checks, 120.0), Stage("weights", "weights", model)]
    for dtype in ("fp32",) if small else METHODS:
        how = (*layers, "--dtype", dtype)
        for peer in PEERS:
            command = ("benchmarks.gpu", "--peer", peer, *decode, *how)
            stages.append(Stage(f"decoding {dtype}, {peer}", "decoding", command, dtype=dtype))
        for method in ("lora",) if small else METHODS[dtype]:
            command = ("benchmarks.training", "--methods", method, *train, *how)
            stages.append(Stage(f"training {dtype}, {method}", "training", command, dtype=dtype))
    return stages


def run(stage: Stage, room: Path, seconds: float, limit: float | None) -> dict[str, Any]:
    """Run one stage for at most so many seconds; return what became of it."""
    command = [sys.executable, "-m", *stage.command]
    if stage.kind == "checks":
        command += ["--junitxml", str(room / "checks.xml")]
    elif stage.kind != "weights":
        command += ["--out", str(room / f"{stage.name}.jsonl")]
        command += [] if limit is None else ["--limit", str(limit)]
    log, started, cause = room / "log", time.perf_counter(), ""
    with log.open("wb") as file:
        child = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            cause = f"not done after {seconds:.0f} s"
        finally:  # with the processes that it started
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    if child.returncode and not cause:
        cause = lines[-1] if lines else f"ended with code {child.returncode}"
    print("\n".join(lines), flush=True)
    found = {"stage": stage.name, "ok": not cause, "seconds": time.perf_counter() - started}
    return {**found, "cause": cause, "output": lines[-LINES:]} if cause else found


def limits(dtypes: Sequence[str], threads: int) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Measure the matrix product in each precision; return it, and each stage as `run` does."""
    reached, done = {}, []
    for dtype in dtypes:
        started, cause = time.perf_counter(), {}
        try:
            reached[dtype] = matrix_limit(threads, dtype == "bf16")
        except FinetrapError as fault:
            cause = {"cause": str(fault).splitlines()[-1], "output": str(fault).splitlines()}
        took = time.perf_counter() - started
        done.append({"stage": f"limit {dtype}", "ok": not cause, "seconds": took, **cause})
    return reached, done


def measured(stages: Sequence[Stage], room: Path, most: float, threads: int) -> dict[str, Any]:
    """Run the stages one after another; return the tables and what became of each stage."""
    ends = time.perf_counter() + most
    dtypes = sorted({stage.dtype for stage in stages if stage.dtype})
    reached: dict[str, float] = {}
    done: list[dict[str, Any]] = []
    tables: dict[str, list[Any]] = {"decoding": [], "training": []}
    for stage in stages:
        if stage.dtype and dtypes:
            (reached, more), dtypes = limits(dtypes, threads), []
            done += more
        left = min(stage.seconds * most / MOST_S, ends - time.perf_counter())
        if left <= 0:
            cause = f"not started: {most:.0f} s were over"
            done.append({"stage": stage.name, "ok": False, "seconds": 0.0, "cause": cause})
            continue
        done.append(run(stage, room, left, reached.get(stage.dtype)))
        records = room / f"{stage.name}.jsonl"
        if records.is_file():
            for line in records.read_text("utf-8").splitlines():
                tables[stage.kind].append({"dtype": stage.dtype, **json.loads(line)})
    return {"checks": checked(room / "checks.xml"), "limit_flops": reached, "stages": done} | tables


def checked(path: Path) -> dict[str, Any]:
    """Return how many tests passed, failed and were skipped, and which failed."""
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return {"passed": 0, "failed": 0, "skipped": 0, "failures": []}
    bad = [case for case in cases if {"failure", "error"} & {part.tag for part in case}]
    skipped = sum(case.find("skipped") is not None for case in cases)
    names = [str(case.get("name")) for case in bad]
    passed = len(cases) - len(bad) - skipped
    return {"passed": passed, "failed": len(bad), "skipped": skipped, "failures": names}


def where() -> Mapping[str, Any]:
    """Return what it was measured on."""
    import torch

    device.chosen()
    held = device.memory()
    return {
        "device": device.device_wanted(),
        "accelerator": device.title(),
        "accelerator_bytes": held and held[1],
        "torch": torch.__version__,
        "machine": machine(),
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--device", default="auto")
    asked.add_argument("--small", action="store_true", help="to see that it works")
    asked.add_argument("out", nargs="?", type=Path, default=Path("gpu.json"))
    options = asked.parse_args()
    os.environ[device.CHOICE] = device.checked_device(options.device)
    if gpus := device.visible_gpus():  # TRL would divide each batch among several
        os.environ.update(device.bound_to(gpus[0]))
    started, threads = time.perf_counter(), os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as room:
        most = MOST_S * 10 if options.small else MOST_S
        told = measured(planned(options.small), Path(room), most, threads)
    told = {**where(), "seconds": time.perf_counter() - started, **told}
    options.out.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    failed = [stage["stage"] for stage in told["stages"] if not stage["ok"]]
    print(f"{options.out}: {told['checks']['passed']} checks passed; failed: {failed or 'none'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
