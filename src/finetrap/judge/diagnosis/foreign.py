"""Any tool's outputs as a case: JSON lines with completions, or sample logs of lm-eval.

Read are, of each row,
- `id`, and `completion` with `gold`, or `correct`, or all of them; finetrap's own answers.jsonl has
  all, and stop reasons besides;
- or `doc_id`, `resps`, `target` and the score under the first of `metrics`, as
  lm-evaluation-harness 0.4.13 writes them; where several filters scored the same completion, the
  first in the file counts.

A score in the file is what its tool counted; it is kept, and held against finetrap's own grade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from finetrap.errors import BadData
from finetrap.findings import Effect, SeedChange
from finetrap.judge.diagnosis.case import MARGIN, Case, is_right, paired, percent
from finetrap.records import Answer, StopReason
from finetrap.stats.changes import Estimate, judge_family, mcnemar_mid_p
from finetrap.text.rows import Row, described, json_lines
from finetrap.text.scoring import grade

_STOPS = ("eos", "stop", "cap")


def read_case(before: Path, after: Path) -> Case:
    """Read two files and pair them by problem. Raises BadData."""
    was, now = read_answers(before), read_answers(after)
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
    return Case(left, right, accuracy=_effect(left, right, change) if change else None)


def read_answers(path: Path) -> dict[str, Answer]:
    """Read one file, by id. Raises BadData naming the row."""
    found: dict[str, Answer] = {}
    chosen: object = None
    for row in json_lines(path):
        place, values = row
        scorer = values.get("filter")
        chosen = scorer if not found else chosen
        if found and scorer != chosen:
            continue
        answer = _logged(row) if "doc_id" in values else _plain(row)
        if answer.id in found:
            raise BadData(f"{place}: id {answer.id!r} a second time; each problem is answered once")
        found[answer.id] = answer
    return found


def _plain(row: Row) -> Answer:
    place, values = row
    name = _name(place, values, "id")
    gold, completion = values.get("gold"), values.get("completion")
    if "correct" in values and values["correct"] not in (0, 1):
        raise BadData(f"{place}: `correct` is {values['correct']!r}; it must be true or false")
    scored = bool(values["correct"]) if "correct" in values else None
    return _answer(place, name, completion, gold, scored, values)


def _logged(row: Row) -> Answer:
    """Read a row of a sample log: the completion stands in `resps`, a list in a list."""
    place, values = row
    name = _name(place, values, "doc_id")
    completion = values.get("resps")
    while isinstance(completion, list) and completion:
        completion = completion[0]
    metrics = values.get("metrics")
    score = values.get(str(metrics[0])) if isinstance(metrics, list) and metrics else None
    scored = bool(score) if score in (0, 1) else None
    text = completion if isinstance(completion, str) else None
    return _answer(place, name, text, values.get("target"), scored, {})


def _name(place: str, values: Mapping[str, Any], column: str) -> str:
    if column not in values:
        found = ", ".join(f"`{c}`" for c in list(values)[:8]) or "no columns"
        raise BadData(
            f"{place}: no `id` (found {found}); expected `id` with `completion` and `gold` or "
            "with `correct`, or a sample log of lm-evaluation-harness"
        )
    name = values[column]
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise BadData(f"{place}: `{column}` is {described(name)}; it must be text or a number")
    return str(name)


def _answer(
    place: str,
    name: str,
    completion: object,
    gold: object,
    scored: bool | None,
    values: Mapping[str, Any],
) -> Answer:
    """Grade a completion; the file's own score, where it has one, says what counted as right."""
    number = isinstance(gold, (int, float)) and not isinstance(gold, bool)
    wanted = str(gold) if number or isinstance(gold, str) else ""
    if not isinstance(completion, str) or not wanted:
        if scored is None:
            raise BadData(
                f"{place}: neither `completion` (text) with `gold` nor `correct`; give one of them"
            )
        return Answer(name, wanted, "", None, "none", scored, None, 0, "none", None, None)
    graded = grade(completion, wanted)
    stop = values.get("stop")
    return Answer(
        id=name,
        gold=wanted.rpartition("####")[2].strip(),
        completion=completion,
        extracted=graded.extracted,
        rule="likelihood" if values.get("rule") == "likelihood" else graded.rule,
        correct=graded.correct if scored is None else scored,
        strict=graded.strict,
        tokens=0,
        stop=cast(StopReason, stop if stop in _STOPS else "none"),
        nats=None,
        bytes=None,
    )


def _effect(before: Sequence[Answer], after: Sequence[Answer], found: Estimate) -> Effect:
    """Judge the change between two files, as `finetrap compare` does."""
    judged = judge_family([found], MARGIN / 100)[0]
    pairs = list(zip(before, after, strict=True))
    lost = sum(is_right(a) and not is_right(b) for a, b in pairs)
    gained = sum(is_right(b) and not is_right(a) for a, b in pairs)
    levels = percent(before, is_right), percent(after, is_right)
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
