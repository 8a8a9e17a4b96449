"""GSM8K: grade-school word problems with worked solutions (Cobbe et al., arXiv 2110.14168).

A row: {"question": "…", "answer": "She makes 9 * 2 = $<<9*2=18>>18 every day.\\n#### 18"}.
Solutions lose their calculator annotations, `<<9*2=18>>`: no calculator runs here, and they would
be a seventh of what is learnt. The last line, `#### 18`, stays: it is the format asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from finetrap.errors import BadData
from finetrap.records import Problem, TaskKind, TaskRef
from finetrap.tasks import Task
from finetrap.tasks._sources import Hub, file_revision, folder_files
from finetrap.tasks._splits import without
from finetrap.text.files import read_rows
from finetrap.text.rows import Row, column

NAMES: dict[str, TaskKind] = {"gsm8k": "math"}
TOPICS = {"gsm8k": "Grade-school word problems."}
HUB = Hub("openai/gsm8k", "main", "e53f048856ff4f594e959d75785d2c2d37b678ee")
FILES = ("train.jsonl", "test.jsonl")
_ANNOTATION = re.compile(r"<<[^<>]*>>")


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return the hub's commit, or a hash over a folder's train.jsonl and test.jsonl."""
    return HUB.revision if source is None else file_revision(*folder_files(name, source, FILES))


def load(ref: TaskRef) -> Task:
    """Read both splits."""
    if ref.source is None:
        rows = {split: HUB.rows(ref.name, split) for split in ("train", "test")}
    else:
        train, test = folder_files(ref.name, ref.source, FILES)
        rows = {"train": read_rows(train), "test": read_rows(test)}
    problems = {
        split: [_problem(f"{split}-{i:04d}", row) for i, row in enumerate(found)]
        for split, found in rows.items()
    }
    kept = without(problems["train"], problems["test"])
    left_out = len(problems["train"]) - len(kept)
    return Task(ref.name, "math", tuple(kept), tuple(problems["test"]), left_out)


def _problem(id_: str, row: Row) -> Problem:
    solution = _ANNOTATION.sub("", column(row, "answer"))
    worked, marker, answer = solution.rpartition("####")
    if not marker or not worked.strip() or not answer.strip():
        raise BadData(f"{row[0]}: `answer` must be a worked solution that ends in `#### number`")
    return Problem(id_, column(row, "question"), solution, answer.strip(), place=row[0])
