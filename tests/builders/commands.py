"""The command line, run as a process, and what it leaves on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def finetrap(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "finetrap.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def answers(runs: Path) -> dict[str, bytes]:
    files = [*runs.glob("*/answers.jsonl"), *runs.glob("*/probe-*.jsonl")]
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files}


HEAVY = ("torch", "transformers", "peft", "datasets", "accelerate")
SLOW = (*HEAVY, "scipy.stats", "pandas", "pydantic", "typer", "rich")


def loaded_by(*modules: str) -> set[str]:
    """Return which slow modules are loaded in a fresh interpreter that imports these."""
    script = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split()) & set(SLOW)
