"""Fuzz what reads other people's bytes, and keep each kind of failure: `make fuzz`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.fuzz.targets import NAMES
from benchmarks.fuzz.watched import Tally, keep

NEEDED = (
    "atheris is not installed: `make fuzz` installs it; its wheels are for Linux on x86-64 alone"
)
STUCK = ("crash", "timeout", "oom")
"""How libFuzzer begins the names of inputs that ended the process."""


def main() -> None:
    """Fuzz each target; exit with 1 where any input failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--seconds", type=float, default=60, help="of the processor, each target")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="folder of failures")
    wanted = parser.parse_args()
    if unknown := set(wanted.targets) - set(NAMES):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if importlib.util.find_spec("atheris") is None:
        print(NEEDED, file=sys.stderr)
        sys.exit(2)
    wanted.out.mkdir(parents=True, exist_ok=True)
    tallies = []
    for name in wanted.targets or NAMES:
        tallies.append(fuzzed(name, wanted.seconds, wanted.out.resolve()))
        print(tallies[-1].row(), flush=True)
    kinds = sorted(kind for tally in tallies for kind in tally.kinds)
    print("\n".join(f"{wanted.out}/{kind}.txt" for kind in kinds) or "Nothing failed.")
    sys.exit(1 if kinds else 0)


def fuzzed(name: str, seconds: float, out: Path) -> Tally:
    """Fuzz one target in a process of its own, whose words go to a file."""
    (out / f"{name}.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.fuzz.guided", name, str(seconds), str(out)]
    with tempfile.TemporaryDirectory() as folder, (out / f"{name}.log").open("wb") as log:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        code = subprocess.run(
            [*command, folder], stdout=log, stderr=subprocess.STDOUT, env=environment
        ).returncode
    tally = Tally.read(out / f"{name}.json", name)
    if code:
        kind = f"{name}-ended-with-{code}"
        told = (out / f"{name}.log").read_text("utf-8", errors="replace")
        left = [path for stuck in STUCK for path in out.glob(f"{name}-{stuck}-*")]
        keep(out, kind, told[-6000:], left[0].read_bytes() if left else b"")
        for path in left:
            path.unlink()
        tally.kinds[kind] = 1
    return tally


if __name__ == "__main__":
    main()
