"""Verdicts on toy studies with planted effects, each run from its cells to its findings.

    PYTHONPATH=src python -m benchmarks.planted [--studies 500] [--folder /dev/shm]

Half of the studies have nothing but planted nulls. A wrong verdict is harm or gain where there is
none or the contrary, or equivalence of what is no smaller than the margin.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.simulations.planted import MIXED, NULL, is_wrong, judged, task_effects

WORDS = ("harmed", "improved", "equivalent", "inconclusive")
SEED_SDS = (0.01, 0.03)


def count(folder: Path, first: int, studies: int, truth: Mapping[str, float], sd: float) -> None:
    found: dict[tuple[str, str], Counter[str]] = {}
    wrong: Counter[str] = Counter()
    for number in range(first, first + studies):
        findings = judged(folder, number, truth, sd)
        shutil.rmtree(folder / str(number))
        for measure in ("accuracy", "bits_per_byte"):
            effects = task_effects(findings, measure)
            wrong[measure] += any(is_wrong(e, truth[e.strategy]) for e in effects)
            for e in effects:
                found.setdefault((measure, e.strategy), Counter())[e.verdict] += 1
    for (measure, strategy), verdicts in found.items():
        counts = " | ".join(str(verdicts[word]) for word in WORDS)
        print(
            f"| {measure} | {100 * sd:g} | {strategy} | {100 * truth[strategy]:+g} | {counts} |",
            flush=True,
        )
    for measure, studies_wrong in wrong.items():
        print(f"| {measure} | {100 * sd:g} | some verdict wrong: {studies_wrong} of {studies} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--folder", help="where the runs are written; a memory disk is faster")
    asked = parser.parse_args()
    print(f"| measure | seed SD | strategy | planted | {' | '.join(WORDS)} |")
    print("|---|---|---|---|---|---|---|---|")
    each = asked.studies // (2 * len(SEED_SDS))
    plans = [(truth, sd) for truth in (MIXED, NULL) for sd in SEED_SDS]
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        for i, (truth, sd) in enumerate(plans):
            count(Path(folder), i * each, each, truth, sd)


if __name__ == "__main__":
    main()
