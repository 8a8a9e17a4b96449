"""PIQA: which of two ways reaches a goal (Bisk et al., arXiv 1911.11641). A probe.

The validation set is the test: the test labels are not public. Local: the authors' folder with
valid.jsonl (`goal`, `sol1`, `sol2`) and valid-labels.lst (0 or 1 per line). The hub's original is a
script that `datasets` no longer runs, so its Parquet copy is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetrap.errors import BadData
from finetrap.records import Problem, TaskKind, TaskRef
from finetrap.tasks import Task
from finetrap.tasks._sources import Hub, file_revision, folder_files
from finetrap.text.files import read_rows, read_text
from finetrap.text.rows import Row, column

NAMES: dict[str, TaskKind] = {"piqa": "choice"}
TOPICS = {"piqa": "Which of two ways reaches an everyday goal."}
HUB = Hub("baber/piqa", None, "142f6d7367fd9877f0fb3b5734ea6a545f54cdd1")
FILES = ("valid.jsonl", "valid-labels.lst")


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return the hub's commit, or a hash over the two files."""
    return HUB.revision if source is None else file_revision(*folder_files(name, source, FILES))


def load(ref: TaskRef) -> Task:
    """Read the validation set."""
    if ref.source is None:
        rows = HUB.rows(ref.name, "validation")
        labels = [column(row, "label") for row in rows]
    else:
        questions, answers = folder_files(ref.name, ref.source, FILES)
        rows, labels = read_rows(questions), read_text(answers).split()
        if len(rows) != len(labels):
            raise BadData(f"{answers}: {len(labels)} labels for {len(rows)} rows of {questions}")
    test = [
        _problem(f"validation-{i:04d}", row, label)
        for i, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]
    return Task(ref.name, "choice", (), tuple(test))


def _problem(id_: str, row: Row, label: str) -> Problem:
    if label not in ("0", "1"):
        raise BadData(f"{row[0]}: label {label!r}; it must be 0 or 1")
    choices = column(row, "sol1"), column(row, "sol2")
    right = choices[int(label)]
    goal = column(row, "goal")
    return Problem(id_, goal, right, right, "", choices, int(label), place=row[0])
