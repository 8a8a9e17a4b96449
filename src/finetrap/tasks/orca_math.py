"""Orca-Math: 200,000 word problems with prose solutions by GPT-4 (Mitra et al., arXiv 2402.14830).

A row: {"question": "…", "answer": "… Therefore, Jungkook is in 5th place."}. The answer stands
somewhere in the prose, so it is read from the last sentence: a row is kept if that states exactly
one number and left out (and counted) if not. Solutions get the asked last line, `#### 5`.

There is no official split. One question in a hundred is held out by content, and 10,000 of the
others, drawn in the same way, are the training problems (`train_problems` sets another number).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from finetrap.errors import BadInput
from finetrap.records import Problem, TaskKind, TaskRef
from finetrap.tasks import Task
from finetrap.tasks._sources import Hub, file_revision, local_file
from finetrap.tasks._splits import draw, identified, lowest
from finetrap.text import numbers
from finetrap.text.files import read_rows
from finetrap.text.rows import Row, column

NAMES: dict[str, TaskKind] = {"orca_math": "math"}
TOPICS = {"orca_math": "Grade-school word problems."}
HUB = Hub(
    "microsoft/orca-math-word-problems-200k", None, "29255d1770cc4eac66e5e7fa378cba542c026350"
)
FILES = ("train-00000-of-00001.parquet", "data/train-00000-of-00001.parquet", "train.jsonl")
TEST_SHARE = 0.01
TRAIN_PROBLEMS = 10_000
OPTIONS = ("train_problems",)

_SENTENCE_END = re.compile(r"(?<=[.!?])[*)]*\s+|\n+")
_PART = re.compile(r"\\(?:sqrt|pi)|\d ?\^|\d ?: ?\d|\d ?[*/+-]? ?[a-z] ?[-+*/=]|\b[a-z]\d|[±√π]")
"""A number that is part of something else: a root, a power, a time, a ratio, algebra."""
_SEVERAL = re.compile(r"=[^=]*\b(?:and|or)\b[^=]*=")


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return the hub's commit, or a hash over a file of JSON lines."""
    count = options.get("train_problems", TRAIN_PROBLEMS)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise BadInput(f"{name}: train_problems is {count!r}; it must be a whole number above 0")
    return HUB.revision if source is None else file_revision(local_file(name, source, FILES))


def load(ref: TaskRef) -> Task:
    """Read the rows with one numeric answer and split them."""
    if ref.source is None:
        rows = HUB.rows(ref.name, "train")
    else:
        rows = read_rows(local_file(ref.name, ref.source, FILES))
    problems = identified(p for p in map(_problem, rows) if p is not None)
    draws = [draw("orca_math/test", p.question) for p in problems]
    test = [p for p, drawn in zip(problems, draws, strict=True) if drawn < TEST_SHARE]
    rest = [p for p, drawn in zip(problems, draws, strict=True) if drawn >= TEST_SHARE]
    train = lowest("orca_math/train", rest, ref.options.get("train_problems", TRAIN_PROBLEMS))
    return Task(ref.name, "math", tuple(train), tuple(test), len(rows) - len(problems))


def _problem(row: Row) -> Problem | None:
    """Return the problem of a row, None if its solution states no single number at its end."""
    solution = column(row, "answer")
    answer = final_number(solution)
    if answer is None:
        return None
    question = column(row, "question")
    return Problem("", question, f"{solution}\n#### {answer}", answer, place=row[0])


def final_number(solution: str) -> str | None:
    """Return the one number that the last sentence states, or the result of its last equation."""
    sentences = _SENTENCE_END.split(numbers.ascii_digits(solution))
    last = next((s for s in reversed(sentences) if s.strip(" *_$\\[]()")), "")
    stated = last.rpartition("=")[2]
    if _PART.search(stated) or _SEVERAL.search(last):
        return None
    found = {numbers.number_text(match) for match in numbers.NUMBER.finditer(stated)}
    answer = found.pop() if len(found) == 1 else ""
    return answer if numbers.value(answer) else None
