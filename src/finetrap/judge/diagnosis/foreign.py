"""Any tool's outputs (judge/logs) as a case.

A score in the file is what its tool counted; it is kept, and held against finetrap's own grade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from finetrap.errors import BadData
from finetrap.findings import Effect, SeedChange
from finetrap.judge.diagnosis.case import MARGIN, Case, is_right, paired, percent_that
from finetrap.judge.logs import Logged, read_logged, refuse_scores
from finetrap.records import Answer, StopReason
from finetrap.stats.changes import Estimate, judge_family, mcnemar_mid_p
from finetrap.text.golds import GoldCount, count_golds
from finetrap.text.scoring import grade

_STOPS = ("eos", "stop", "cap")


def read_case(
    before: Path, after: Path, filter: str | None = None, metric: str | None = None
) -> Case:
    """Read two files and pair them by problem. Raises BadData."""
    logs = [read_logged(path, filter, metric) for path in (before, after)]
    was, now = (_logged_answers(log.rows) for log in logs)
    both = [i for i in was if i in now]
    if not both:
        raise BadData(
            f"{before} ({len(was)} ids, such as {next(iter(was))!r}) and {after} ({len(now)} ids, "
            f"such as {next(iter(now))!r}) have none in common; give outputs on the same problems"
        )
    left, right = tuple(was[i] for i in both), tuple(now[i] for i in both)
    other = next(
        (i for i in both if was[i].gold and now[i].gold and was[i].gold != now[i].gold), ""
    )
    if other:
        raise BadData(
            f"{before} and {after} have different gold answers of problem {other!r}: "
            f"{was[other].gold!r} and {now[other].gold!r}; give outputs on the same problems"
        )
    change = paired(left, [right])
    return Case(left, right, accuracy=_change_between(left, right, change) if change else None)


def _logged_answers(rows: Mapping[str, Logged]) -> dict[str, Answer]:
    golds = count_golds(filter(None, map(_logged_gold, rows.values())))
    return {name: _answer(row, golds) for name, row in rows.items()}


def _logged_gold(row: Logged) -> str:
    """Return the right answer as text, empty where there is none."""
    number = isinstance(row.gold, (int, float)) and not isinstance(row.gold, bool)
    return str(row.gold) if number or isinstance(row.gold, str) else ""


def _answer(row: Logged, golds: GoldCount) -> Answer:
    """Grade a completion; the file's own score, where it has one, says what counted as right."""
    if row.metric in row.scores:
        refuse_scores([row])
    wanted, completion, scored = _logged_gold(row), row.completion, row.correct
    if not isinstance(completion, str) or not wanted:
        if scored is None:
            raise BadData(
                f"{row.place}: neither `completion` (text) with `gold` nor `correct`; give one of "
                "them"
            )
        return Answer(row.id, wanted, "", None, "none", scored, None, 0, "none", None, None)
    graded = grade(completion, wanted, golds)
    stop = row.values.get("stop")
    return Answer(
        id=row.id,
        gold=wanted.rpartition("####")[2].strip(),
        completion=completion,
        extracted=graded.extracted,
        rule="likelihood" if row.values.get("rule") == "likelihood" else graded.rule,
        correct=graded.correct if scored is None else scored,
        strict=graded.strict,
        cut=graded.cut,
        tokens=0,
        stop=cast(StopReason, stop if stop in _STOPS else "none"),
        nats=None,
        bytes=None,
    )


def _change_between(before: Sequence[Answer], after: Sequence[Answer], found: Estimate) -> Effect:
    """Judge the change between two files, as `finetrap compare` does."""
    judged = judge_family([found], MARGIN / 100)[0]
    pairs = list(zip(before, after, strict=True))
    lost = sum(is_right(a) and not is_right(b) for a, b in pairs)
    gained = sum(is_right(b) and not is_right(a) for a, b in pairs)
    levels = percent_that(before, is_right), percent_that(after, is_right)
    return Effect(
        model="",
        task="",
        kind="task",
        strategy="",
        learning_rate=None,
        setting="fixed",
        against="zero-shot",
        seeds=1,
        n=len(before),
        before=levels[0],
        after=levels[1],
        delta=100 * found.delta,
        low=100 * found.low,
        high=100 * found.high,
        lost=lost,
        gained=gained,
        p=found.p,
        p_adjusted=judged.p_adjusted,
        margin=MARGIN,
        verdict=judged.verdict,
        needed_n=None,
        needed_seeds=None,
        small=judged.small,
        per_seed=(
            SeedChange(
                None, lost, gained, mcnemar_mid_p(lost, gained), 100 * (gained - lost) / len(before)
            ),
        ),
        floor=max(levels) <= MARGIN,
    )
