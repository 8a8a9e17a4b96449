"""HellaSwag: which of four endings continues a text (Zellers et al., arXiv 1905.07830). A probe.

The validation set is the test, as everywhere: the test labels are not public. Texts from WikiHow
carry marks such as `[title]` and `[step]`, which are taken out as evaluation harnesses do; the case
of the last, unfinished sentence stays as published.

Local files: the authors' hellaswag_val.jsonl, or six lines of text per item (context, index of the
right ending, four endings), plain or compressed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetrap.errors import BadData
from finetrap.records import Problem, TaskKind, TaskRef
from finetrap.tasks import Task
from finetrap.tasks._sources import Hub, file_revision, local_file
from finetrap.text.files import read_rows, read_text
from finetrap.text.rows import Row, column

NAMES: dict[str, TaskKind] = {"hellaswag": "continuation"}
TOPICS = {"hellaswag": "Which of four endings continues a text."}
HUB = Hub("Rowan/hellaswag", None, "218ec52e09a7e7462a5400043bb9a69a41d06b76")
FILES = ("hellaswag_val.jsonl", "hellaswag_val_full.txt.bz2", "hellaswag_val_full.txt")
ENDINGS = 4


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return the hub's commit, or a hash over the local file."""
    return HUB.revision if source is None else file_revision(local_file(name, source, FILES))


def load(ref: TaskRef) -> Task:
    """Read the validation set."""
    items = enumerate(_items(ref))
    test = tuple(_problem(f"validation-{i:05d}", *item) for i, item in items)
    return Task(ref.name, "continuation", (), test)


Item = tuple[str, str, list[str], str]
"""Where an item stands, its context, its endings and the index of the right one."""


def _items(ref: TaskRef) -> Iterator[Item]:
    if ref.source is None:
        return map(_of_row, HUB.rows(ref.name, "validation"))
    path = local_file(ref.name, ref.source, FILES)
    return map(_of_row, read_rows(path)) if path.suffix == ".jsonl" else _of_text(path)


def _of_row(row: Row) -> Item:
    endings = row[1].get("endings")
    if not isinstance(endings, list):
        raise BadData(f"{row[0]}: no list `endings`")
    context = f"{column(row, 'activity_label')}: {column(row, 'ctx')}"
    return row[0], context, [str(e) for e in endings], column(row, "label")


def _of_text(path: Path) -> Iterator[Item]:
    """Read six lines per item."""
    lines = read_text(path).rstrip("\n").split("\n")
    size = ENDINGS + 2
    if len(lines) % size:
        raise BadData(f"{path}: {len(lines)} lines; it must hold {size} lines for each item")
    for start in range(0, len(lines), size):
        context, label, *endings = lines[start : start + size]
        yield f"{path}, line {start + 1}", context, endings, label.strip()


def _problem(id_: str, place: str, context: str, endings: list[str], label: str) -> Problem:
    endings = [_cleaned(ending) for ending in endings]
    if label not in [str(i) for i in range(len(endings))] or not all(endings):
        raise BadData(f"{place}: label {label!r} is not one of {len(endings)} endings")
    right = endings[int(label)]
    context = _cleaned(context)
    return Problem(id_, context, right, right, "", tuple(endings), int(label), place=place)


def _cleaned(text: str) -> str:
    """Take out WikiHow's marks: `[title]` ends a sentence, other brackets go."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ").strip()
