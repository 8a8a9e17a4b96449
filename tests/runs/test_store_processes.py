"""The store between processes: locks, kills in the middle of a commit, and speed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from finetrap.runs.store import Store
from tests.builders.stored import answer, make_cell, make_run


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("k") as mine:
        assert mine
        with Store(tmp_path).lock("k") as second, store.lock("other") as third:
            assert (second, third) == (False, True)
    with store.lock("k") as again:
        assert again


def python(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a script that can import this module; it prints a line when it is where we want it."""
    path = os.pathsep.join([*(p for p in sys.path if p), str(Path(__file__).parents[2])])
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    assert process.stdout is not None
    process.stdout.close()


KILLED_WHILE_COMMITTING = """
import sys, time
from pathlib import Path
from finetrap.runs.store import Store
from tests.builders.stored import make_run
def wait(folder):
    (folder / "half").write_text("")
    print("writing", flush=True)
    time.sleep(60)
store = Store(Path(sys.argv[1]))
with store.lock(make_run().cell.key):
    store.commit(make_run(), weights=wait)
"""


def test_a_process_killed_before_the_rename_leaves_its_run_remaining(tmp_path: Path) -> None:
    store, run = Store(tmp_path), make_run()
    process = python(KILLED_WHILE_COMMITTING, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    store.sweep()
    assert len(list(tmp_path.glob(".tmp-*"))) == 1, "a living writer keeps its folder"
    with store.lock(run.cell.key) as mine:
        assert not mine
    kill(process)
    assert store.remaining([run.cell]) == (run.cell,)
    assert store.runs() == []
    store.sweep()
    assert list(tmp_path.glob(".tmp-*")) == []
    with store.lock(run.cell.key) as mine:
        assert mine
    folder = store.commit(run)
    assert store.load(folder) == run


WORK_THROUGH = """
import sys, time
from pathlib import Path
from finetrap.runs.store import Store
from tests.builders.stored import make_cell, make_run
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for cell in [make_cell(seed) for seed in range(20)]:
    with store.lock(cell.key) as mine:
        if mine and store.remaining([cell]):
            with open(sys.argv[2], "a") as log:
                log.write(cell.key + "\\n")
            time.sleep(0.002)
            store.commit(make_run(cell))
"""


def test_two_processes_never_measure_the_same_cell_twice(tmp_path: Path) -> None:
    path = os.pathsep.join([*(p for p in sys.path if p), str(Path(__file__).parents[2])])
    log = tmp_path / "log"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORK_THROUGH, str(tmp_path / "runs"), str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0
    done = log.read_text().split()
    assert sorted(done) == sorted({make_cell(seed).key for seed in range(20)})


def test_twenty_thousand_answers_load_in_half_a_second(tmp_path: Path) -> None:
    answers = tuple(answer(f"p{i:05}", completion="Step by step. " * 20) for i in range(20_000))
    store = Store(tmp_path)
    folder = store.commit(make_run(answers=answers))
    start = time.process_time()
    assert len(store.load(folder).answers) == 20_000
    assert time.process_time() - start < 0.5
