"""Everything that is judged about a study's runs: verdicts, claims, diagnosis, advice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from finetrap.findings import Findings
from finetrap.judge import detectable, diagnosis, summary, tradeoffs, verdicts
from finetrap.judge.advice import advise
from finetrap.judge.paper import claims, cliff
from finetrap.records import Cell, Run, Study
from finetrap.runs.store import Store


def judge(
    store: Store,
    study: Study | None = None,
    *,
    cells: Iterable[Cell] | None = None,
    margin: float | None = None,
    wishes: advise.Wishes | None = None,
    command: str = "",
) -> tuple[Findings, list[Run]]:
    """Judge what a runs folder holds of a study, and return the runs as well.

    `cells` and `margin` are those of `verdicts.judge_study`, `wishes` the user's limits, `command`
    what repeats the study. Raises StoreError.
    """
    found, runs = verdicts.judge_study(store, study, cells=cells, margin=margin)
    found = concluded(found, runs, wishes, command)
    return replace(found, diagnoses=diagnosis.diagnose(found, runs)), runs


def concluded(
    found: Findings, runs: Sequence[Run], wishes: advise.Wishes | None = None, command: str = ""
) -> Findings:
    """Add what follows from the verdicts: summaries, trade-offs, claims, thresholds and advice."""
    lines = summary.summaries(found.cells, runs, found.effects)
    lines, frontiers = tradeoffs.traded(lines, found.effects, runs)
    found = replace(
        found,
        summary=lines,
        tally=summary.tally(lines),
        frontiers=frontiers,
        detectable=detectable.measured(found.effects, runs),
        claims=claims.judge(found, runs),
    )
    limits = wishes or advise.Wishes()
    advice = advise.advise(found, runs, limits, study_command=command)
    return replace(found, cliffs=cliff.cliffs(found, runs), advice=advice)
