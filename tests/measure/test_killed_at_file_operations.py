"""A process killed at any file operation of a checkpoint, a journal or a commit loses nothing."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from finetrap.measure.problems import Problems
from finetrap.measure.runner import run_group
from finetrap.measure.session import Session
from finetrap.measure.study import reading
from finetrap.measure.study.cells import cells_of
from finetrap.records import Cell, Keep
from finetrap.runs.store import Store

KEEP = Keep("all", checkpoints=0.0)
WATCHED = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")
"""Audit events (PEP 578) that change files; writes and syncs are none, and are counted apart."""
PROBLEMS = Problems()


def cell() -> Cell:
    table = {
        "name": "small",
        "models": ["toy:base=0.6,full=-0.2"],
        "tasks": ["market"],
        "strategies": ["full"],
        "probes": ["school"],
        "seeds": [0],
        "train": {"problems": 24, "epochs": 1},
        "limits": {"test_problems": 6, "probe_problems": 3},
    }
    return cells_of(reading.check(table, at="small", base=Path()))[-1]


def kill_at(number: int, place: Path) -> None:
    """Let this process be killed at its so-and-so-many-th operation on files under a folder."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in WATCHED and str(arguments[0]).startswith(str(place)):
            count()

    sync = os.fsync

    def synced(handle: int) -> None:
        count()
        sync(handle)
        count()

    sys.addaudithook(watch)
    os.fsync = synced


def attempt(place: Path, kill: int | None = None) -> bool:
    """Run the cell in a fork; return whether that came to its end."""
    child = os.fork()
    if not child:
        try:
            if kill is not None:
                kill_at(kill, place)
            store = Store(place)
            store.sweep()
            run_group([cell()], store, KEEP, lambda event: None, Session(problems=PROBLEMS))
            os._exit(0)
        finally:
            os._exit(1)
    _, code = os.waitpid(child, 0)
    assert os.WIFSIGNALED(code) or os.WEXITSTATUS(code) == 0
    return os.WIFEXITED(code)


def files(place: Path) -> dict[str, bytes]:
    found = sorted(place.glob("*--*/**/*"))
    return {p.name: p.read_bytes() for p in found if p.is_file() and p.name != "run.json"}


@pytest.mark.parametrize("apart", [7, pytest.param(1, marks=pytest.mark.full)])
def test_a_process_killed_at_any_file_operation_loses_nothing(tmp_path: Path, apart: int) -> None:
    PROBLEMS.asked(cell())
    whole = tmp_path / "whole"
    assert attempt(whole)
    expected = files(whole)
    assert {"answers.jsonl", "weights.bin"} <= expected.keys()
    number, ended = 1 - apart, False
    while not ended:
        number += apart
        place = tmp_path / str(number)
        ended = attempt(place, number)
        committed = Store(place).remaining([cell()]) == ()
        assert attempt(place)
        assert files(place) == expected, f"killed at operation {number}"
        store = Store(place)
        assert store.remaining([cell()]) == ()
        assert len(store.runs()) == 1
        store.sweep()
        left = [*place.glob(".tmp-*"), *place.glob(".cells/*")]
        assert left == [], f"killed at operation {number}"
        assert committed or not ended
    assert number > 30
