"""Which tool wrote a row, and where it keeps id, completion, right answer and scores.

Read at these versions: lm-evaluation-harness 0.4.0 to 0.4.13 (evaluator.py, evaluation_tracker.py),
lighteval 0.6.2 to 0.13.0 (info_loggers.py), inspect_ai 0.3.285 (log/_log.py), evaluate 0.4.6.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Columns = Mapping[str, Any]

_NO_SCORES = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
}
"""What a row of lm-eval holds besides its metrics, which it lists since 0.4.7."""
_INSPECT_GRADES = {"C": 1, "I": 0, "N": 0, "P": 0.5}
"""Correct, incorrect, no answer, partially correct."""


class Layout(NamedTuple):
    """Where the rows of one tool have what is read of them."""

    tool: str
    """Empty for plain rows, finetrap's own among them."""
    keys: frozenset[str]
    """The keys by which its rows are known."""
    id: Callable[[Columns], Any]
    completion: Callable[[Columns], Any]
    """Text, or anything else where the row has no single completion."""
    gold: Callable[[Columns], Any]
    scores: Callable[[Columns], Columns]
    """Each metric's value."""
    filter: Callable[[Columns], Any] = lambda row: None
    """What tells rows of one problem apart."""
    options: Callable[[Columns], Any] = lambda row: None
    plain: bool = False
    """Whether any column can be a score: `correct` is, and another where a person names it."""
    numbered: bool = False
    """Whether a row without an id is known by its number."""


def layout_of(row: Columns) -> Layout | None:
    """Return the layout that a row has, None for none."""
    return next((layout for layout in LAYOUTS if layout.keys <= row.keys()), None)


def _value_at(path: str) -> Callable[[Columns], Any]:
    """Return what reads a value by its keys, separated by dots; None where one is missing."""

    def found(row: Columns) -> Any:
        value: Any = row
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    return found


def _only(path: str, *, written: bool = False) -> Callable[[Columns], Any]:
    """Return what reads a value out of the lists of one around it, `written` as text or not."""
    read = _value_at(path)

    def found(row: Columns) -> Any:
        value = _parsed(read(row)) if written else read(row)
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        return value

    return found


def _parsed(value: Any) -> Any:
    """Return a list of texts or a mapping that a tool wrote as text.

    lighteval wrote all columns so, and lm-eval writes its targets so.
    """
    if isinstance(value, str) and value[:2] in ("['", '["', "[]", "{'", "{}"):
        try:
            return ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return value
    return value


def _mapping(path: str) -> Callable[[Columns], Columns]:
    read = _value_at(path)

    def found(row: Columns) -> Columns:
        value = _parsed(read(row))
        return value if isinstance(value, dict) else {}

    return found


def _lm_eval_completion(row: Columns) -> Any:
    """Return the text that was generated; the likelihood of a whole text has one argument."""
    asked = row.get("arguments")
    if isinstance(asked, (dict, list)) and asked:
        first = next(iter(asked.values())) if isinstance(asked, dict) else asked[0]
        if isinstance(first, (dict, list)) and len(first) == 1:
            return None
    return _only("resps")(row)


def _lm_eval_scores(row: Columns) -> Columns:
    listed = row.get("metrics")
    names = listed if isinstance(listed, list) else [key for key in row if key not in _NO_SCORES]
    return {str(name): row.get(str(name)) for name in names}


def _lighteval_gold(row: Columns) -> Any:
    """Return the choices that are right: the right one, or a list of several."""
    choices, index = _value_at("doc.choices")(row), _value_at("doc.gold_index")(row)
    places = index if isinstance(index, list) else [index]
    if not isinstance(choices, list) or not all(
        isinstance(i, int) and 0 <= i < len(choices) for i in places
    ):
        return None
    golds = [choices[i] for i in places]
    return golds[0] if len(golds) == 1 else golds


def _inspect_completion(row: Columns) -> Any:
    written = _value_at("output.completion")(row)
    if not written:
        choices = _value_at("output.choices")(row)
        first = choices[0] if isinstance(choices, list) and choices else {}
        written = _value_at("message.content")(first) if isinstance(first, dict) else None
    if isinstance(written, list):  # blocks of text, reasoning and tools
        texts = [part.get("text") for part in written if isinstance(part, dict)]
        written = "\n".join(text for text in texts if isinstance(text, str))
    if isinstance(written, str) and written.startswith("attachment://"):
        return _mapping("attachments")(row).get(written.removeprefix("attachment://"))
    return written


def _inspect_scores(row: Columns) -> Columns:
    """Return the scores, those of a scorer with several as `scorer/name`."""
    found: dict[str, Any] = {}
    for scorer, score in _mapping("scores")(row).items():
        value = score.get("value") if isinstance(score, dict) else None
        parts = value if isinstance(value, dict) else {"": value}
        for name, part in parts.items():
            own = f"{scorer}/{name}" if name else str(scorer)
            found[own] = _INSPECT_GRADES.get(part, part) if isinstance(part, str) else part
    return found


LAYOUTS = (
    Layout(
        "lm-eval",
        frozenset({"doc_id"}),
        id=_value_at("doc_id"),
        completion=_lm_eval_completion,
        gold=_only("target", written=True),
        scores=_lm_eval_scores,
        filter=_value_at("filter"),
        options=_value_at("doc.choices"),
    ),
    Layout(
        "lighteval",
        frozenset({"doc", "model_response", "metric"}),
        id=_value_at("doc.id"),
        completion=_only("model_response.text"),
        gold=_lighteval_gold,
        scores=_mapping("metric"),
    ),
    Layout(
        "lighteval",  # before 0.11, without ids
        frozenset({"example", "predictions", "metrics"}),
        id=_value_at("example"),
        completion=_only("predictions", written=True),
        gold=_only("gold", written=True),
        scores=_mapping("metrics"),
    ),
    Layout(
        "inspect",
        frozenset({"id", "epoch", "target"}),
        id=_value_at("id"),
        completion=_inspect_completion,
        gold=_only("target"),
        scores=_inspect_scores,
        filter=_value_at("epoch"),
        options=_value_at("choices"),
    ),
    *(
        Layout(
            "evaluate",
            frozenset({f"prediction{s}", f"reference{s}"}),
            id=_value_at("id"),
            completion=_only(f"prediction{s}"),
            gold=_only(f"reference{s}"),
            scores=dict,
            plain=True,
            numbered=True,
        )
        for s in ("s", "")
    ),
    Layout(
        "",
        frozenset({"id"}),
        id=_value_at("id"),
        completion=_value_at("completion"),
        gold=_value_at("gold"),
        scores=dict,
        plain=True,
    ),
)
"""The first that fits a row is taken."""
