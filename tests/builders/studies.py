"""Study files and tasks, as a person writes them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from finetrap import tasks
from finetrap.errors import BadStudy
from finetrap.measure.study import reading
from finetrap.records import Study


def write(folder: Path, text: str) -> Path:
    file = folder / "study.toml"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return file


def load(folder: Path, text: str, overrides: Mapping[str, object] | None = None) -> Study:
    return reading.load_study(write(folder, text), overrides)


def small(**lines: str) -> str:
    """Return a study whose top-level keys and tables can be replaced or added."""
    base = {
        "name": '"x"',
        "models": '["toy:base=0.5"]',
        "tasks": '["market"]',
        "strategies": '["full"]',
        "seeds": "[0]",
    }
    tables = {key: text for key, text in lines.items() if key not in (*base, "probes")}
    values = {**base, **{key: text for key, text in lines.items() if key not in tables}}
    head = "".join(f"{key} = {value}\n" for key, value in values.items() if value)
    return head + "".join(f"{text}\n" for text in tables.values())


def faults(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(BadStudy) as error:
        load(folder, text)
    return error.value.faults


def checkpoint(folder: Path, weights: bytes = b"\0" * 8) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def write_rows(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def load_task(name, source=None, **options):
    return tasks.load(tasks.reference(name, source, options))
