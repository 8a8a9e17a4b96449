"""Little room for a whole study: in its runs folder, for temporary files, in the memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import tomli_w

from benchmarks.torture.scene import REAL, Scene
from benchmarks.torture.table import Count

RUN = '"$0" -m finetrap.cli run "$1" --runs "$2" --workers 1'
CHOKED = {
    "a runs folder of 900 kB": f"""
mount -t tmpfs -o size=900k tmpfs "$2" || exit 99
{RUN}; echo "ended $?"
mount -o remount,size=64m tmpfs "$2"
{RUN}; echo "ended $?"
cp -a "$2" "$3"
""",
    "a folder of 1 MB for temporary files": f"""
mount -t tmpfs -o size=1m tmpfs "$4" || exit 99
TMPDIR="$4" {RUN}; echo "ended $?"
{RUN}; echo "ended $?"
cp -a "$2" "$3"
""",
    "1.2 GB of memory": f"""
(ulimit -v 1200000; {RUN}; echo "ended $?")
{RUN} --retry-failed; echo "ended $?"
cp -a "$2" "$3"
""",
}
"""Scripts: a study where room is little, and again where it is not; each says how both ended."""
ENDINGS = {"0", "1", "3"}
"""Done, cells out of memory, the machine's fault."""


def can_mount() -> bool:
    """Say whether small disks can be made here, in a namespace of their own."""
    tool = shutil.which("unshare")
    tried = tool and subprocess.run([tool, "-rm", "true"], capture_output=True, check=False)
    return bool(tried) and tried.returncode == 0


def of_whole_studies(scene: Scene) -> list[Count]:
    """Run a study of real training in each sort of little room, and go on outside of it."""
    study = scene.folder / "scarce.toml"
    study.write_text(tomli_w.dumps({**REAL, "keep": {"weights": "all", "checkpoints": "1 s"}}))
    return [_choked(scene, study, what) for what in CHOKED]


def _choked(scene: Scene, study: Path, what: str) -> Count:
    how = "ulimit -v" if "memory" in what else "tmpfs of that size"
    count, inside, place = Count(f"{what}, then room", how), scene.place(), scene.place()
    room = scene.place()
    for folder in (inside, room):
        folder.mkdir()
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", CHOKED[what], sys.executable, study, inside, place, room],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    told = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ended ")]
    count.tried += 1
    count.wrong += len(told) != 2 or told[0] not in ENDINGS or told[1] != "0"
    count.wrong += "Traceback" in done.stdout + done.stderr
    if count.wrong:
        print(done.stdout[-2000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
    scene.ended(place, count)
    return count
