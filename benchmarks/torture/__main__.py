"""Try every fault many times, and write docs/reliability.md: `make torture`."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.torture import damages, kills, scarce, table
from benchmarks.torture.commands import Commands
from benchmarks.torture.scene import REAL, TOY, Scene, study_of
from benchmarks.torture.table import Count

Fault = Callable[[], "Count | list[Count]"]


def main() -> None:
    """Measure, and write the table; exit with 1 where anything was lost, wrong or left over."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/reliability.md"))
    wanted = parser.parse_args()
    start, counts = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for count in tried(Path(folder), wanted.share, random.Random(wanted.seed)):
            print(count.row(), file=sys.stderr, flush=True)
            counts.append(count)
            table.write(wanted.out, counts, (time.monotonic() - start) / 60)
    print(json.dumps([vars(count) for count in counts]))
    sys.exit(0 if all(count.clean for count in counts) else 1)


def tried(folder: Path, share: float, draw: random.Random) -> Iterator[Count]:
    """Try one fault after another."""

    def times(usual: int) -> int:
        return max(1, round(usual * share))

    (folder / "toy").mkdir()
    (folder / "real").mkdir()
    real = Scene(study_of(REAL), folder / "real")
    yield kills.at_random_moments(real, times(60), draw, "real training and answers")
    if kills.can_trace():
        yield kills.at_system_calls(real, times(10), draw, "a file operation of real training")
    yield damages.of_unfinished_cells(real, times(10), draw, "of real training")
    if scarce.can_mount():
        yield from scarce.of_whole_studies(real)
    toy = Scene(study_of(TOY), folder / "toy")
    yield kills.at_random_moments(toy, times(300), draw, "planted answers")
    if kills.can_trace():
        yield kills.at_system_calls(toy, times(80), draw)
    commands = Commands(toy, TOY)
    yield from commands.stopped(times(6), draw)
    yield commands.two_at_once(times(8), draw)
    yield from damages.of_committed_runs(toy, times(8), draw)
    yield damages.of_exchanged_runs(toy, times(8), draw)
    yield damages.of_unfinished_cells(toy, times(40), draw)
    yield damages.of_drafts(toy, times(5), draw)
    yield damages.of_full_disks(toy, times(20), draw)


if __name__ == "__main__":
    main()
