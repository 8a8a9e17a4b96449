"""Writes docs/events.md from finetrap's events; `make reference` runs it, and a test compares."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

from finetrap import events
from finetrap.terminal.words import ACCURACY

PAGE = Path(__file__).with_name("events.md")
INTRODUCTION = """\
# Events

*Written by `make reference` from `events.py`; change it there.*

`--json` prints one JSON object a line to standard output. While cells are measured (`run`, `demo`,
`try`) each line is an event: `event` names it, and `key` is the cell's key where it is about one.
Errors go to standard error, as an `error` event. Every other verb prints one line, its result.

Steps and rows are throttled to five events a second of each kind; the first and the last are always
told.

No event holds a verdict. `report` prints its verdicts once no cell of the study remains; before
that they are null, and what follows from them is empty.
"""


def page() -> str:
    """Return the whole page as Markdown."""
    return "\n".join([INTRODUCTION, *map(_section, events.Event.__subclasses__())])


def _section(kind: type[events.Event]) -> str:
    heading = ", ".join(f"`{name}`" for name in kind.names)
    rows = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in _rows(kind))
    return f"## {heading}\n{inspect.getdoc(kind)}\n\n| field | meaning |\n|---|---|\n{rows}\n"


def _rows(kind: type[events.Event]) -> Iterator[tuple[str, str]]:
    """Yield each field with its meaning, the accuracy behind the answers that are right."""
    meanings = _meanings(kind.__name__)
    for field in fields(kind):
        yield field.name, meanings[field.name]
        if field.name == "right":
            yield from ACCURACY.items()


def _meanings(kind: str) -> dict[str, str]:
    """Return the docstring below each field of an event."""
    tree = ast.parse(inspect.getsource(events))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == kind)
    return {
        ast.unparse(field.target): " ".join(str(text.value.value).split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
