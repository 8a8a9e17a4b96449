"""Whose fault it is: errors of the system as Python, safetensors, tokenizers and torch raise them.

Each is made to happen, in a process of its own where it needs a limit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetrap import quota
from finetrap.errors import Diverged, MachineFault, in_a_line, machine_fault, out_of_memory
from finetrap.measure import meter

LIMITED = """
import os, resource, sys
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from finetrap.errors import machine_fault, out_of_memory

folder = sys.argv[1]
weights = {"w": torch.randn(500, 500)}

def write():
    with open(f"{folder}/plain", "wb") as file:
        file.write(bytes(10**6))

def bfloat16():
    other, kept = torch.randn(2000, 2000).bfloat16(), []
    for rows in range(100, 10**6, 7):
        kept.append(torch.randn(rows, 2000).bfloat16() @ other)

def allocate():
    kept = []
    while True:
        kept.append(torch.empty(2**20))

def pile():
    kept = []
    while True:
        kept.append([0] * 10**6)

def files():
    kept = []
    while True:
        kept.append(open(os.devnull))

def size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))

def memory():
    torch.randn(9, 9).bfloat16() @ torch.randn(9, 9).bfloat16()
    held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**25,) * 2)

def opened():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

CASES = {
    "write": (size, write),
    "safetensors": (size, lambda: save_file(weights, f"{folder}/w.safetensors")),
    "torch.save": (size, lambda: torch.save(weights, f"{folder}/w.pt")),
    "tokenizers": (lambda: None, lambda: Tokenizer(models.BPE()).save("/proc/tokenizer.json")),
    "open files": (opened, files),
    "allocate": (memory, allocate),
    "pile": (memory, pile),
    "oneDNN": (memory, bfloat16),
}
limit, act = CASES[sys.argv[2]]
limit()
try:
    act()
except Exception as error:
    fault, memory = machine_fault(error), out_of_memory(error)
    print(type(error).__name__, memory, fault)
"""


def met(case: str, folder: Path) -> tuple[str, str, str]:
    """Return the class of an error that really happened, whether memory ran out, and the fault."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder), case],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout, done.stderr
    name, memory, fault = done.stdout.strip().split(" ", 2)
    return name, memory, fault


@pytest.mark.parametrize(
    ("case", "name", "remedy"),
    [
        ("write", "OSError", "raise the limit on the size of files (ulimit -f)"),
        ("safetensors", "SafetensorError", "raise the limit on the size of files (ulimit -f)"),
        ("torch.save", "RuntimeError", "free space there"),
        ("tokenizers", "Exception", "put that right"),
        ("open files", "OSError", "raise the limit on open files (ulimit -n)"),
    ],
)
def test_a_call_that_the_system_refuses_is_the_machines_fault(case, name, remedy, tmp_path):
    found, memory, fault = met(case, tmp_path)
    assert (found, memory) == (name, "False")
    assert remedy in fault
    assert fault.endswith("and give the same command again: what is measured is kept")


@pytest.mark.parametrize("case", ["allocate", "pile", "oneDNN"])
def test_memory_that_runs_out_is_no_fault_of_the_disk(case, tmp_path):
    assert met(case, tmp_path)[1:] == ("True", "None")


def test_a_full_device_is_named_with_what_is_free():
    with (
        pytest.raises(OSError, match="No space") as error,
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")
    fault = machine_fault(error.value, "/")
    assert fault is not None
    assert str(fault).startswith("No space left on device (free: ")
    assert " MB in /); free space there, or choose another place (--runs FOLDER;" in str(fault)


def test_a_place_that_is_no_folder_is_what_a_person_wrote(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory") as error:
        (tmp_path / "file" / "inside").write_text("x")
    assert machine_fault(error.value) is None


def test_a_place_that_is_read_only_is_named(read_only):
    with pytest.raises(OSError, match="Read-only") as error:
        (read_only / "x").write_text("x")
    said = f"{read_only}/x: Read-only file system; make it writable, or choose another place ("
    assert str(machine_fault(error.value)).startswith(said)


@pytest.fixture
def read_only(tmp_path):
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=4k", "none", tmp_path], capture_output=True
    )
    if made.returncode:
        pytest.skip("only root may mount")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_no_place_for_temporary_files_asks_for_space():
    script = (
        "import tempfile; from finetrap.errors import machine_fault\n"
        "tempfile._candidate_tempdir_list = lambda: ['/proc']\n"
        "try: tempfile.TemporaryDirectory()\n"
        "except OSError as error: print(machine_fault(error))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "No usable temporary directory found in ['/proc']" in done.stdout
    assert "; free space there, or choose another place" in done.stdout


@pytest.mark.parametrize(
    "fault",
    [
        Diverged(3, float("nan")),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("could not create a primitive descriptor for the matmul primitive"),
        OSError("org/model is not a local folder"),
        KeyError("input_ids"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_what_goes_wrong_in_a_cell_is_its_own(fault):
    assert machine_fault(fault) is None
    assert not out_of_memory(fault)


def test_a_fault_that_was_told_stays_as_it_is():
    fault = MachineFault("no room")
    assert machine_fault(fault, "/") is fault


V2 = {
    "proc/self/cgroup": "0::/jobs/one\n",
    "sys/fs/cgroup/jobs/memory.max": "8000000\n",
    "sys/fs/cgroup/jobs/memory.current": "7000000\n",
    "sys/fs/cgroup/jobs/memory.stat": "anon 1\ninactive_file 500000\n",
    "sys/fs/cgroup/jobs/one/memory.max": "max\n",
    "sys/fs/cgroup/jobs/one/memory.current": "6000000\n",
    "sys/fs/cgroup/jobs/one/memory.events": "oom 4\noom_kill 3\n",
}
V1 = {
    "proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/abc\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "1200000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000000\n",
    "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 300000\n",
    "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
}
MEMINFO = {
    "proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 4000 kB\n",
    "proc/vmstat": "oom_kill 9",
}


def system(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "total", "free", "kills"),
    [(V2, 8000000, 1500000, 3), (V1, 1200000, 500000, 2), ({}, None, 4096000, 9)],
    ids=["version 2", "version 1", "no group"],
)
def test_the_limits_of_control_groups_are_seen(files, total, free, kills, tmp_path):
    root = system(tmp_path, {**MEMINFO, **files})
    assert quota.memory_free(root) == free
    assert quota.kernel_kills(root) == kills
    if total:
        assert quota.memory_total(root) == total
    else:
        assert quota.memory_total(root) > 2**29


def test_memory_that_a_limit_keeps_from_a_process_is_told_with_the_limit(monkeypatch) -> None:
    monkeypatch.setattr(meter, "own_limit", lambda: 4_600_000_000)
    fault = meter.held_by_others()
    assert "4.6 GB of addresses (ulimit -v)" in str(fault)
    assert "raise the limit" in str(fault)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n one\ntwo"), "one"),
        (ValueError(), "ValueError"),
        (KeyError(), "KeyError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_an_error_is_told_in_a_line_and_by_its_class_where_it_says_nothing(
    error: Exception, line: str
) -> None:
    assert in_a_line(error) == line
