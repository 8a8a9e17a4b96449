"""Any tool's outputs as rows: one reader for comparing, grading and diagnosing.

Read are, of each row (judge/logs/tools.py has where each tool keeps it),
- `id`, and `correct`, or `completion` with `gold`, or all of them; finetrap's own answers.jsonl has
  all, and stop reasons besides;
- the logs of lm-evaluation-harness, lighteval and inspect, each with several scores of a row;
- predictions and references as `evaluate` takes them.

Where a problem has several rows (filters of lm-eval, epochs of inspect), one must be named, and so
must one of several metrics that are 0 or 1.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from finetrap.errors import BadData, nearest, opening
from finetrap.judge.logs.files import read_any
from finetrap.judge.logs.tools import layout_of
from finetrap.text.rows import Row, described
from finetrap.text.visible import one_line

NEEDED = (
    "expected `id` with `correct` or with `completion` and `gold`, or a log of lm-eval "
    "(`samples_*.jsonl`), lighteval (`details_*.parquet`) or inspect"
)
_NORMALISED = "acc_norm"
_USUAL = re.compile(r"hellaswag|(?<![a-z])(?:ai2_)?arc(?:[ _:|-]?(?:challenge|easy)|[_-][ce]\b)")
"""Tasks of choices whose length-normalised accuracy is the one that is reported."""
_ARC_KEYS = frozenset({"id", "question", "choices", "answerKey"})
_HELLASWAG_KEYS = frozenset({"activity_label", "endings"})


class Logged(NamedTuple):
    """One problem as a tool's file has it."""

    place: str
    """File and line."""
    tool: str
    """Empty for a plain row."""
    id: str
    scores: Mapping[str, Any]
    """What each metric gave; of a plain row every column."""
    filter: str | None
    """What tells rows of one problem apart."""
    completion: object
    gold: object
    values: Mapping[str, Any]
    """The whole row."""
    metric: str = ""
    """Which of the scores counts; empty without any."""

    @property
    def score(self) -> Any:
        """What the chosen metric gave."""
        return self.scores.get(self.metric)

    @property
    def correct(self) -> bool | None:
        """None for a score that is neither right nor wrong."""
        return bool(self.score) if _is_right_or_wrong(self.score) else None


class Scored(NamedTuple):
    """The rows of a file by id, under one metric."""

    rows: dict[str, Logged]
    metric: str
    """Empty where no score is 0 or 1 in every row."""
    usual: bool
    """Whether it was chosen among several as the usual one of its task."""


def read_logged(path: str | Path, filter: str | None = None, metric: str | None = None) -> Scored:
    """Read a file under one filter and one metric.

    Raises BadData naming the row, and for a filter or metric that must be chosen.
    """
    path = Path(path)
    rows = _one_filter(_logged_rows(read_any(path)), filter, path)
    found: dict[str, Logged] = {}
    twice = [row for row in rows if found.setdefault(row.id, row) is not row]
    if twice:
        more = f" (one of {len(twice)} such rows)" if twice[1:] else ""
        raise BadData(
            f"{twice[0].place}: id {opening(twice[0].id)} a second time{more}; each problem may be "
            "answered once"
        )
    chosen, usual = _one_metric(rows, metric, path)
    return Scored({row.id: row._replace(metric=chosen) for row in rows}, chosen, usual)


def read_gradable(path: str | Path, filter: str | None = None) -> list[Row]:
    """Read rows of `completion` and `gold`: plain ones as they are, of a tool's what grading reads.

    Filters that share their completions need no choice. Raises BadData.
    """
    path = Path(path)
    given = read_any(path)
    layout = layout_of(given[0][1])
    if layout is None or layout.tool == "":
        return given
    rows = _logged_rows(given)
    asked = {(row.id, repr(row.completion), repr(row.gold)): row for row in reversed(rows)}
    if filter is not None or len(asked) > len({row.id for row in rows}):
        rows = _one_filter(rows, filter, path)
    else:
        rows = list(asked.values())[::-1]
    if not any(isinstance(row.completion, str) for row in rows):
        raise BadData(
            f"{path}: a log of {layout.tool} without completions: likelihoods were compared, or "
            "several were drawn; there is nothing to grade"
        )
    return [(row.place, _gradable(row)) for row in rows]


def refuse_scores(rows: Sequence[Logged]) -> None:
    """Raise BadData if one of these scores is neither right nor wrong."""
    unscored = [row for row in rows if row.correct is None]
    if unscored:
        more = f" (one of {len(unscored)} such rows)" if unscored[1:] else ""
        raise BadData(f"{_at_fault(unscored[0], unscored[0].metric)}; {_ALLOWED}{more}")


def no_score(rows: Sequence[Logged], path: str | Path) -> BadData:
    """Return the error for a file in which no score is 0 or 1 in every row."""
    names = _metrics(rows)
    if names:
        faults = [
            _at_fault(next(r for r in rows if not _is_right_or_wrong(r.scores.get(name))), name)
            for name in names
        ]
        texts = any(isinstance(row.completion, str) for row in rows)
        own = f", or `finetrap grade {path} --out graded.jsonl` gives each row a score of its own"
        return BadData(f"{'; '.join(faults)}; {_ALLOWED}{own if texts else ''}")
    if any(isinstance(row.completion, str) for row in rows):
        return BadData(
            f"{rows[0].place}: no score; `finetrap grade {path} --out graded.jsonl` gives each row "
            "one"
        )
    return BadData(f"{rows[0].place}: no score; {NEEDED}")


_ALLOWED = "it must be 0, 1, true or false"


def _at_fault(row: Logged, name: str) -> str:
    if name not in row.scores and row.values.get("error"):
        return f"{row.place}: no `{name}`, as {row.tool or 'its tool'} failed on it"
    if name not in row.scores:
        return f"{row.place}: no `{name}`"
    value = row.scores[name]
    lists = isinstance(value, (list, dict))
    shown = described(value) if lists else json.dumps(value, default=str)[:60]
    return f"{row.place}: `{name}` is {shown}"


def _is_right_or_wrong(score: Any) -> bool:
    return isinstance(score, (bool, int, float)) and score in (0, 1)


def _logged_rows(given: Sequence[Row]) -> list[Logged]:
    """Return rows by the layout of their tool. Raises BadData naming the row that has none."""
    return _told_apart([_logged(row, number) for number, row in enumerate(given)])


def _logged(row: Row, number: int) -> Logged:
    place, values = row
    layout = layout_of(values)
    if layout is None:
        keys = ", ".join(one_line(str(key)) for key in list(values)[:8]) or "(none)"
        raise BadData(f"{place}: found the keys {keys}; {NEEDED}")
    name = layout.id(values)
    if name is None and layout.numbered:
        name = number
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise BadData(f"{place}: the id is {described(name)}; it must be text or a whole number")
    which = layout.filter(values)
    return Logged(
        place,
        layout.tool,
        str(name),
        _read_scores(layout.scores(values), values),
        None if which is None else str(which),
        layout.completion(values),
        layout.gold(values),
        values,
    )


def _read_scores(scores: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return scores as they are, or as they read in a table (CSV), whose fields are all text."""
    if not all(isinstance(value, str) for value in values.values()):
        return scores
    return {name: _SCORES_IN_TEXT.get(str(s).strip().lower(), s) for name, s in scores.items()}


_SCORES_IN_TEXT = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


def _gradable(row: Logged) -> dict[str, Any]:
    """Return what grading reads of a tool's row, beside its scores."""
    layout = layout_of(row.values)
    options = None if layout is None else layout.options(row.values)
    found = {"id": row.id, "completion": row.completion, "gold": row.gold}
    if options is not None:
        found["choices"] = options
    return {**found, **row.scores, **found}  # a score of one of these names gives way


# --- one filter ---------------------------------------------------------------------------------


def _told_apart(rows: list[Logged]) -> list[Logged]:
    """Name what tells rows of one problem apart where their tool does not.

    lm-eval before 0.4.7 logs a task's filters one after the other without their names; lighteval
    before 0.11 has a problem's text and no id; of inspect one epoch alone is no choice.
    """
    tool = rows[0].tool
    if tool == "inspect":
        alone = len({row.filter for row in rows}) == 1
        return [row._replace(filter=None if alone else f"epoch {row.filter}") for row in rows]
    times = set(Counter(row.id for row in rows).values())
    unnamed = tool == "lm-eval" and len(times) == 1 and not any(row.filter for row in rows)
    without_id = tool == "lighteval" and "doc" not in rows[0].values
    if times == {1} or not (unnamed or without_id):
        return rows
    seen: Counter[str] = Counter()
    numbered = []
    for row in rows:
        seen[row.id] += 1
        count = seen[row.id]
        own = row.id if count == 1 else f"{row.id} ({count})"
        numbered.append(row._replace(filter=str(count)) if unnamed else row._replace(id=own))
    return numbered


def _one_filter(rows: list[Logged], wanted: str | None, path: Path) -> list[Logged]:
    """Keep the rows of one filter; a plain file has none, and any wish for one is met by it."""
    names = sorted({row.filter for row in rows if row.filter is not None})
    if not names:
        return rows
    if wanted is None and len(names) > 1:
        order = (
            " (lm-eval before 0.4.7 does not name them: they are in the task's order, of gsm8k "
            "strict-match before flexible-extract)"
            if names[0] == "1"
            else ""
        )
        listed = f"{len(names)} filters: {', '.join(names)}{order}"
        raise BadData(f"{path}: {listed}; choose one with --filter NAME")
    if wanted is not None and wanted not in names:
        raise BadData(
            f"{path}: no filter {wanted!r}; it has {', '.join(names)}{nearest(wanted, names)}"
        )
    return [row for row in rows if row.filter in (None, wanted or names[0])]


# --- one metric ---------------------------------------------------------------------------------


def _one_metric(rows: list[Logged], wanted: str | None, path: Path) -> tuple[str, bool]:
    """Return the metric that counts, and whether it is only the usual one of its task.

    Of a plain file `correct`, or the column that is wanted where it has it. Metrics that are not 0
    or 1 throughout are left aside, unless one is wanted.
    """
    names = _metrics(rows)
    if _has_plain_rows(rows):
        held = wanted is not None and any(wanted in row.scores for row in rows)
        return (wanted or "" if held else "correct" if names else ""), False
    if wanted is not None:
        if wanted not in names:
            raise BadData(
                f"{path}: no metric {wanted!r}; it has {', '.join(names) or 'none'}"
                f"{nearest(wanted, names)}"
            )
        return wanted, False
    binary = [n for n in names if all(_is_right_or_wrong(row.scores.get(n)) for row in rows)]
    if len(binary) < 2:
        return (binary[0] if binary else ""), False
    if _NORMALISED in binary and _is_usual(rows[0], path):
        return _NORMALISED, True
    means = [f"{n} ({100 * sum(map(float, _column(rows, n))) / len(rows):.1f}%)" for n in binary]
    raise BadData(
        f"{path}: {len(binary)} metrics that are 0 or 1: {', '.join(means)}; choose one with "
        "--metric NAME"
    )


def _column(rows: Sequence[Logged], name: str) -> list[Any]:
    return [row.scores[name] for row in rows]


def _metrics(rows: Sequence[Logged]) -> list[str]:
    """Return the names of all metrics in their order; of plain rows `correct` alone."""
    names = dict.fromkeys(name for row in rows for name in row.scores if name)
    return ["correct"] * ("correct" in names) if _has_plain_rows(rows) else list(names)


def _has_plain_rows(rows: Sequence[Logged]) -> bool:
    layout = layout_of(rows[0].values)
    return layout is not None and layout.plain


def _is_usual(row: Logged, path: Path) -> bool:
    """Whether a log is of ARC or HellaSwag: by the name of file or task, or by its documents."""
    doc = row.values.get("doc")
    keys = doc.keys() if isinstance(doc, dict) else set()
    task = str(doc.get("task_name", "")) if isinstance(doc, dict) else ""
    named = _USUAL.search(path.name.lower()) or _USUAL.search(task.lower())
    return bool(named) or keys == _ARC_KEYS or keys >= _HELLASWAG_KEYS
