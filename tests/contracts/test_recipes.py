"""One file adds a task, a model, a method or a backend: nothing else is edited."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import finetrap

FILES = {
    "tasks/dozens.py": """
from finetrap.records import Problem
from finetrap.tasks import Task

NAMES = {"dozens": "math"}


def revision(name, source, options):
    return "dozens-1"


def load(ref):
    def problem(number):
        return Problem(f"{number}", f"What is {number} + 12?", f"It is\\n#### {number + 12}",
                       answer=f"{number + 12}")

    rows = [problem(number) for number in range(120)]
    return Task(ref.name, "math", tuple(rows[:60]), tuple(rows[60:]))
""",
    "catalog/models/parrot.toml": (
        'about = "Planted effects."\nsource = "echo:base=0.4,tiny-lora=0.5"\n'
    ),
    "catalog/strategies/tiny-lora.toml": (
        'about = "LoRA of rank 1."\nkind = "peft"\nlearning_rate = 1e-3\n'
        '[peft]\npeft_type = "LORA"\nr = 1\n'
    ),
    "backends/echo.py": """
from dataclasses import replace

from finetrap.backends import toy

PREFIX = "echo:"
named = toy.named


def spec(name, source, settings, home):
    planted = toy.spec(name, toy.PREFIX + source.removeprefix(PREFIX), settings, home)
    return replace(planted, source=source, backend="echo")


def open_model(spec, limits):
    return toy.open_model(replace(spec, source=spec.source.replace(PREFIX, toy.PREFIX)), limits)
""",
}
STUDY = """
name = "one of each"
models = ["parrot", "echo:base=0.9"]
tasks = ["dozens"]
strategies = ["tiny-lora"]
seeds = [0]
[train]
problems = 20
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """An installed package to which the four files are added."""
    place = tmp_path_factory.mktemp("site")
    source = Path(finetrap.__file__).parent
    shutil.copytree(source, place / "finetrap", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (place / "finetrap" / name).write_text(text, encoding="utf-8")
    return place


def command(package: Path, folder: Path, *words: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "finetrap.cli", *words, "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_four_new_files_are_listed_run_and_judged(package, tmp_path):
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    ended = command(package, tmp_path, "run", "study.toml", "--workers", "1")
    assert (ended["done"], ended["failed"]) == (4, 0)
    told = command(package, tmp_path, "report", "study.toml", "--out", "report")
    (effect,) = [
        e for e in told["effects"] if e["model"] == "parrot" and e["measure"] == "accuracy"
    ]
    assert effect["verdict"] == "improved"


def test_a_backend_claims_the_sources_with_its_prefix_and_no_others(package, tmp_path):
    script = (
        "from finetrap.backends import backend_of as of;"
        "print(*(of(s).__name__ for s in ('echo:base=1', 'toy:base=1', 'org/echo:name', './echo')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=True,
    )
    hf = "finetrap.backends.hf"
    assert done.stdout.split() == ["finetrap.backends.echo", "finetrap.backends.toy", hf, hf]
