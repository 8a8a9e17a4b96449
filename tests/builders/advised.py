"""Advice on runs that were planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from finetrap.findings import Advice
from finetrap.judge.advice.advise import Wishes, conclude
from finetrap.judge.verdicts import verdicts_on
from finetrap.records import Judge, Run
from finetrap.report import advice_text

MARGIN = Judge(margin=4)
STUDY = "finetrap run study.toml"


def said(texts: Sequence[str]) -> str:
    return "; ".join(texts)


def advised(measured: list[Run], limits: Wishes | None = None, remaining: int = 0) -> Advice:
    found = replace(verdicts_on(measured, MARGIN), remaining=remaining)
    (one,) = conclude(found, measured, limits or Wishes(), study_command=STUDY)
    return one.advice


def unwrapped(found: Advice) -> str:
    """Return the advice as it is printed, on one line."""
    return " ".join(advice_text(found).split())
