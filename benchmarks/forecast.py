"""How far `finetrap plan` is off: the seconds it foretells beside those that the study then takes.

    PYTHONPATH=src python -m benchmarks.forecast [--only terse|135m]

Both are commands, as a user gives them: `finetrap plan STUDY --json`, then `finetrap run STUDY`.
The studies are the shipped `terse`, and one of SmolLM2-135M's shape on GSM8K with ARC as a probe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import parser
from benchmarks.measured import append, machine
from benchmarks.shape import Shape, checkpoint, data
from finetrap import miniature
from finetrap.errors import FinetrapError

STUDY = """\
name = "shape"
models = [{model}]
tasks = ["gsm8k"]
probes = ["arc_easy"]
strategies = ["zero-shot", "few-shot-5", "full", "lora"]
seeds = [0]

[data]
gsm8k = {gsm8k}
arc_easy = {arc}

[train]
problems = {problems}
epochs = 1
batch = 8

[limits]
test_problems = {problems}
probe_problems = {problems}
max_new_tokens = 32
"""


def shaped(folder: Path, problems: int, options: Any) -> Path:
    """Write the study of SmolLM2-135M's shape; return its file."""
    model = checkpoint(Shape(layers=options.layers), options.cache, options.data)
    place = data(options.data).resolve()
    names = {"model": model, "gsm8k": place / "gsm8k", "arc": place / "arc"}
    texts = {name: json.dumps(str(path)) for name, path in names.items()}
    file = folder / "study.toml"
    file.write_text(STUDY.format(problems=problems, **texts), encoding="utf-8")
    return file


def command(verb: str, study: Path, runs: Path, overrides: Sequence[str], flag: str) -> str:
    """Run a verb of finetrap; return what it printed."""
    words = [sys.executable, "-m", "finetrap.cli", verb, str(study), "--runs", str(runs), flag]
    words += [word for text in overrides for word in ("--set", text)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise FinetrapError(f"finetrap {verb} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def measure(name: str, study: Path, overrides: Sequence[str], folder: Path, out: Any) -> float:
    """Plan a study, run it, and report; return the error as a share of what it took."""
    runs = folder / f"runs-{name}"
    started = time.perf_counter()
    plan = json.loads(command("plan", study, runs, overrides, "--json"))
    planning = time.perf_counter() - started
    started = time.perf_counter()
    command("run", study, runs, overrides, "--quiet")
    took = time.perf_counter() - started
    error = abs(plan["seconds"] - took) / took
    print(
        f"| {name} | {plan['remaining']} | {planning:.0f} | {plan['seconds']:.0f} "
        f"| {plan['seconds_like_solutions']:.0f} | {took:.0f} | {error:.0%} |",
        flush=True,
    )
    record = {
        "benchmark": f"plan, {name}",
        "cells": plan["remaining"],
        "planning_seconds": planning,
        "planned_seconds": plan["seconds"],
        "planned_like_solutions": plan["seconds_like_solutions"],
        "seconds": took,
        "error": error,
        "machine": machine(),
    }
    append(record, out)
    return error


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--only", choices=["terse", "135m"])
    asked.add_argument("--problems", type=int, default=32, help="of the 135M study; default 32")
    asked.add_argument("--set", action="append", default=[], help="for the study `terse`")
    options = asked.parse_args()
    print("| study | cells | planning s | planned s | if like solutions s | took s | error |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if options.only in (None, "terse"):
            measure("terse", miniature.study("terse"), options.set, folder, options.out)
        if options.only in (None, "135m"):
            study = shaped(folder, options.problems, options)
            measure("135M shape", study, (), folder, options.out)


if __name__ == "__main__":
    main()
