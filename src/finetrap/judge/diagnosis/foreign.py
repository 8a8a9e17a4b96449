"""Any tool's outputs (judge/logs) as a case.

A score in the file is what its tool counted; it is kept, and held against finetrap's own grade.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from finetrap.errors import BadData
from finetrap.judge.diagnosis.case import MARGIN, Case, is_right
from finetrap.judge.logs import Logged, Scored, read_logged, refuse_scores
from finetrap.judge.predictions import judged_pair, paired_ids
from finetrap.records import Answer, StopReason
from finetrap.text.golds import GoldCount, count_golds
from finetrap.text.numbers import counted
from finetrap.text.scoring import grade, refuse_long
from finetrap.text.visible import one_line

_OWN = "finetrap's own grades"
_STOPS = ("eos", "stop", "loop", "cap")


def read_case(
    before: Path, after: Path, filter: str | None = None, metric: str | None = None
) -> Case:
    """Read two files and pair them by problem. Raises BadData.

    Where one of them has not a score in every row, both are graded here if they can be.
    """
    logs = [read_logged(path, filter, metric) for path in (before, after)]
    counts = [log.metric or _OWN for log in logs]
    if _OWN in counts and all(_is_gradable(row) for log in logs for row in log.rows.values()):
        counts = [_OWN, _OWN]
        logs = [_without_scores(log) for log in logs]
    was, now = (_logged_answers(log.rows) for log in logs)
    both = paired_ids(str(before), was, str(after), now, common=True)
    left, right = tuple(was[i] for i in both), tuple(now[i] for i in both)
    other = next(
        (i for i in both if was[i].gold and now[i].gold and was[i].gold != now[i].gold), ""
    )
    if other:
        raise BadData(
            f"{before} and {after} have different gold answers of problem {other!r}: "
            f"{was[other].gold!r} and {now[other].gold!r}; give outputs on the same problems"
        )
    change = judged_pair([*map(is_right, left)], [*map(is_right, right)], MARGIN)
    alone = len(was.keys() ^ now.keys())
    left_out = f"; {counted(alone, 'problem')} of one file only left out" if alone else ""
    about = f"by {one_line(' against '.join(dict.fromkeys(counts)))}{left_out}"
    return Case(left, right, accuracy=change, about=about)


def _is_gradable(row: Logged) -> bool:
    return isinstance(row.completion, str) and bool(_logged_gold(row))


def _without_scores(log: Scored) -> Scored:
    return Scored({name: row._replace(metric="") for name, row in log.rows.items()}, "", False)


def _logged_answers(rows: Mapping[str, Logged]) -> dict[str, Answer]:
    for row in rows.values():
        refuse_long(row.place, completion=str(row.completion), gold=_logged_gold(row))
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
