"""Everything that is judged about a study's runs: verdicts, claims, diagnosis, advice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from finetrap.findings import Findings
from finetrap.records import Cell, Run, Study
from finetrap.runs.store import Store

if TYPE_CHECKING:
    from finetrap.judge.advice.advise import Wishes

# Imports stand in the functions: comparing two files needs none of them and starts at once.


def judge_study(
    store: Store,
    study: Study | None = None,
    *,
    cells: Iterable[Cell] | None = None,
    margin: float | None = None,
    wishes: Wishes | None = None,
    command: str = "",
) -> tuple[Findings, list[Run]]:
    """Judge what a runs folder holds of a study, and return the runs as well.

    `cells` and `margin` are those of `verdicts.study_verdicts`, `wishes` the user's limits,
    `command` what repeats the study. Raises StoreError.
    """
    from finetrap.judge import diagnosis, verdicts

    found, runs = verdicts.study_verdicts(store, study, cells=cells, margin=margin)
    found = concluded(found, runs, wishes, command)
    return replace(found, diagnoses=diagnosis.diagnose_worse(found, runs)), runs


def concluded(
    found: Findings, runs: Sequence[Run], wishes: Wishes | None = None, command: str = ""
) -> Findings:
    """Add what follows from the verdicts: summaries, trade-offs, claims, thresholds and advice."""
    from finetrap.judge import detectable, summary, tradeoffs
    from finetrap.judge.advice import advise
    from finetrap.judge.paper import claims, cliff

    lines = summary.summaries(found.cells, runs, found.effects)
    lines, frontiers = tradeoffs.traded(lines, found.effects, runs)
    found = replace(
        found,
        summary=lines,
        tally=summary.tally(lines),
        frontiers=frontiers,
        detectable=detectable.measured(found.effects, runs),
        claims=claims.hold_claims(found, runs),
    )
    limits = wishes or advise.Wishes()
    advised = advise.conclude(found, runs, limits, study_command=command)
    return replace(
        found,
        cliffs=cliff.cliffs(found, runs),
        advice=tuple(one.advice for one in advised),
        headlines=tuple(one.headline for one in advised),
    )
