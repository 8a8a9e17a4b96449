"""Any tool's outputs as rows: plain JSON lines, finetrap's own, or sample logs of lm-eval.

Read are, of each row,
- `id`, and `correct`, or `completion` with `gold`, or all of them; finetrap's own answers.jsonl has
  all, and stop reasons besides;
- or, in a sample log of lm-evaluation-harness (`samples_*.jsonl`, read at 0.4.13), `doc_id`,
  `resps`, `target` and the score under the first key that `metrics` lists. Each filter of a task
  writes its own row for every document: where a file has several, one must be named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from finetrap.errors import BadData, nearest
from finetrap.text.rows import Row, described, json_lines

NEEDED = (
    "expected `id` with `correct` or with `completion` and `gold`, or `doc_id` and `metrics` of an "
    "lm-evaluation-harness sample log"
)


class Logged(NamedTuple):
    """One problem as a tool's file has it."""

    place: str
    """File and line."""
    id: str
    metric: str
    """Which key holds the score; empty without any."""
    score: Any
    filter: str | None
    completion: object
    gold: object
    values: Mapping[str, Any]
    """The whole row."""

    @property
    def correct(self) -> bool | None:
        """None for a score that is neither right nor wrong."""
        if isinstance(self.score, (bool, int, float)) and self.score in (0, 1):
            return bool(self.score)
        return None


def read_logged(path: str | Path, filter: str | None = None) -> dict[str, Logged]:
    """Read a file, by id. Raises BadData naming the line, and for a filter that must be chosen."""
    rows = _one_filter([_logged(row) for row in json_lines(path)], filter, str(path))
    found: dict[str, Logged] = {}
    twice = [row for row in rows if found.setdefault(row.id, row) is not row]
    if twice:
        more = f" (one of {len(twice)} such rows)" if twice[1:] else ""
        raise BadData(
            f"{twice[0].place}: id {twice[0].id!r} a second time{more}; each problem may be "
            "answered once"
        )
    return found


def refuse_scores(rows: Sequence[Logged]) -> None:
    """Raise BadData if one of these scores is neither right nor wrong."""
    unscored = [row for row in rows if row.correct is None]
    if unscored:
        first = unscored[0]
        raise BadData(
            f"{first.place}: `{first.metric}` is {json.dumps(first.score)[:60]}; it must be 0, 1, "
            "true or false" + (f" (one of {len(unscored)} such rows)" if unscored[1:] else "")
        )


def _logged(row: Row) -> Logged:
    place, values = row
    if "id" in values:
        metric = "correct" if "correct" in values else ""
        name, completion, gold = values["id"], values.get("completion"), values.get("gold")
        chosen = None
    elif "doc_id" in values:
        metrics = values.get("metrics")
        metric = str(metrics[0]) if isinstance(metrics, list) and metrics else ""
        name, completion, gold = values["doc_id"], values.get("resps"), values.get("target")
        while isinstance(completion, list) and completion:  # a list in a list
            completion = completion[0]
        chosen = values.get("filter")
    else:
        raise BadData(
            f"{place}: found the keys {', '.join(list(values)[:8]) or '(none)'}; {NEEDED}"
        )
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise BadData(f"{place}: the id is {described(name)}; it must be text or a whole number")
    which = None if chosen is None else str(chosen)
    score = values.get(metric)
    return Logged(place, str(name), metric, score, which, completion, gold, values)


def _one_filter(rows: list[Logged], wanted: str | None, path: str) -> list[Logged]:
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
