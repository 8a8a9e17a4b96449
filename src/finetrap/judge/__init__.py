"""Everything that is judged about a study's runs: verdicts, claims, diagnosis, advice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from finetrap.findings import Findings
from finetrap.judge import diagnosis, verdicts
from finetrap.judge.advice import advise
from finetrap.judge.paper import claims
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
    found = replace(found, claims=claims.judge(found, runs))
    found = replace(found, diagnoses=diagnosis.diagnose(found, runs))
    limits = wishes or advise.Wishes()
    return replace(found, advice=advise.advise(found, runs, limits, study_command=command)), runs
