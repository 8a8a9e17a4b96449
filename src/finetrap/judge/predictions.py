"""Any tool's predictions, paired and judged: two JSON-lines files in, one change out.

Three kinds of row are read as they are:
- plain: `{"id": "7", "correct": true}`, further keys ignored;
- finetrap's own answers.jsonl, which has the same two keys;
- sample logs of lm-evaluation-harness (`samples_*.jsonl`, read at 0.4.13): the id is `doc_id`, the
  score is the value under the first key that `metrics` lists; each filter of a task writes its own
  row for every document, so where a file has several `filter` says which one is meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finetrap.errors import BadData, BadInput, nearest
from finetrap.stats.changes import accuracy_components, estimate, flips, judge_family


def compare_files(
    a: str | Path,
    b: str | Path,
    *,
    margin: float = 2.0,
    filter: str | None = None,
    common: bool = False,
) -> dict[str, Any]:
    """Judge the change from predictions `a` (before) to `b` (after), paired by id.

    Returns n, a, b, delta, low, high, lost, gained, p and verdict; accuracies, `delta` = b − a,
    interval and `margin` are in points, `lost` counts what is right in `a` and wrong in `b`. With
    `common`, ids found in one file only are left out. Raises BadInput and BadData.
    """
    if not 0 < margin <= 100:
        raise BadInput(f"margin {margin:g}: give points of accuracy above 0, at most 100")
    before, after = read_predictions(a, filter), read_predictions(b, filter)
    ids = _paired_ids(str(a), before, str(b), after, common)
    was = np.array([before[i] for i in ids], dtype=float)
    now = np.array([[after[i]] for i in ids], dtype=float)
    found = estimate(accuracy_components(was, now))
    lost, gained = flips(was, now)
    return {
        "n": len(ids),
        "a": 100 * float(was.mean()),
        "b": 100 * float(now.mean()),
        "delta": 100 * found.delta,
        "low": 100 * found.low,
        "high": 100 * found.high,
        "lost": int(lost[0]),
        "gained": int(gained[0]),
        "p": found.p,
        "verdict": judge_family([found], margin / 100)[0].verdict,
    }


def sentence(result: Mapping[str, Any]) -> str:
    """Say what `compare_files` found, for a person."""
    p = result["p"]
    return (
        f"{result['verdict']}: {result['a']:.1f}% -> {result['b']:.1f}%, "
        f"{result['delta']:+.1f} points [{result['low']:+.1f}, {result['high']:+.1f}], "
        f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}; "
        f"{result['lost']} lost, {result['gained']} gained of {_count(result['n'], 'problem')}\n"
        "95% interval of these two sets of predictions; other seeds of a training may differ more"
    )


def read_predictions(path: str | Path, filter: str | None = None) -> dict[str, bool]:
    """Return whether each id was answered rightly. Raises BadData with the count of bad rows."""
    rows = [_prediction(line, row, str(path)) for line, row in _json_rows(Path(path))]
    if not rows:
        raise BadData(f"{path}: no rows; expected one JSON object per line")
    kept = _one_filter(rows, filter, str(path))
    unscored = [row for row in kept if row.correct is None]
    if unscored:
        first = unscored[0]
        raise BadData(
            f"{path}: {_count(len(unscored), 'score')} other than 0, 1, true or false, the first "
            f"in line {first.line}: {first.metric} = {json.dumps(first.score)[:60]}"
        )
    found = {row.id: bool(row.correct) for row in kept}
    if len(found) < len(kept):
        first_line = {row.id: row.line for row in reversed(kept)}
        twice = next(row for row in kept if row.line != first_line[row.id])
        raise BadData(
            f"{path}: {_count(len(kept) - len(found), 'duplicate id')}, the first in line "
            f"{twice.line}: {twice.id!r}; each problem may be answered once"
        )
    return found


@dataclass(frozen=True)
class _Prediction:
    line: int
    id: str
    metric: str
    score: Any
    filter: str | None

    @property
    def correct(self) -> bool | None:
        """None for a score that is neither right nor wrong."""
        if isinstance(self.score, (bool, int, float)) and self.score in (0, 1):
            return bool(self.score)
        return None


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield line number and object of each line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise BadData(f"{path}: cannot be read ({reason}); expected JSON lines") from error
    # Not splitlines(): JSON leaves characters such as U+2028 inside a completion as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadData(
                f"{path}, line {number}: not JSON; expected one object per line"
            ) from error
        if not isinstance(row, dict):
            raise BadData(f"{path}, line {number}: {type(row).__name__}, expected a JSON object")
        yield number, row


def _prediction(line: int, row: Mapping[str, Any], path: str) -> _Prediction:
    if "id" in row and "correct" in row:
        name, metric, filter = row["id"], "correct", None
    elif "doc_id" in row and isinstance(row.get("metrics"), list) and row["metrics"]:
        name, metric, filter = row["doc_id"], str(row["metrics"][0]), row.get("filter")
    else:
        raise BadData(
            f"{path}, line {line}: found the keys {', '.join(list(row)[:8]) or '(none)'}; expected "
            "`id` and `correct`, or `doc_id` and `metrics` of an lm-evaluation-harness sample log"
        )
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise BadData(
            f"{path}, line {line}: id {json.dumps(name)[:60]}; expected text or a whole number"
        )
    return _Prediction(
        line, str(name), metric, row.get(metric), None if filter is None else str(filter)
    )


def _one_filter(rows: list[_Prediction], wanted: str | None, path: str) -> list[_Prediction]:
    """Keep the rows of one filter; a plain file has none, and any wish for one is met by it."""
    names = sorted({row.filter for row in rows if row.filter is not None})
    if not names:
        return rows
    if wanted is None and len(names) > 1:
        raise BadData(
            f"{path}: {len(names)} filters: {', '.join(names)}; choose one with --filter NAME"
        )
    if wanted is not None and wanted not in names:
        raise BadData(
            f"{path}: no filter {wanted!r}; it has {', '.join(names)}{nearest(wanted, names)}"
        )
    return [row for row in rows if row.filter in (None, wanted or names[0])]


def _paired_ids(
    a: str, before: Mapping[str, bool], b: str, after: Mapping[str, bool], common: bool
) -> list[str]:
    """Return the ids that both files answer. Raises BadData if one file lacks some, or all."""
    shared = [i for i in before if i in after]
    only_a = [i for i in before if i not in after]
    only_b = [i for i in after if i not in before]
    if not shared:
        raise BadData(
            f"{a} ({_count(len(before), 'id')}, such as {next(iter(before))!r}) and {b} "
            f"({_count(len(after), 'id')}, such as {next(iter(after))!r}) have none in common"
        )
    if (only_a or only_b) and not common:
        faults = [
            f"{_count(len(ids), 'id')} of {there} not in {other}, such as {ids[0]!r}"
            for ids, there, other in ((only_a, a, b), (only_b, b, a))
            if ids
        ]
        raise BadData("; ".join(faults) + f"; --common compares the {len(shared)} that both have")
    return shared


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
