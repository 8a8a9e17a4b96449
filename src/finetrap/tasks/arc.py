"""ARC, easy and challenge: science questions with three to five choices (arXiv 1803.05457). Probes.

Local files may have the layout of the hub's and of AI2's own rows (`question`, `choices`,
`answerKey`) or that of LLM-Adapters, where the choices stand inside `instruction`:
"… the question: Q\\n\\nAnswer1: a Answer2: b\\n\\nAnswer format: answer1/answer2".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from finetrap.errors import BadData
from finetrap.records import Problem, TaskKind, TaskRef
from finetrap.tasks import Task
from finetrap.tasks._sources import Hub, file_revision, local_file
from finetrap.text.files import read_rows
from finetrap.text.rows import Row, column

NAMES: dict[str, TaskKind] = {"arc_easy": "choice", "arc_challenge": "choice"}
TOPICS = {
    "arc_easy": "Science questions with choices, the easier ones.",
    "arc_challenge": "Science questions with choices, the harder ones.",
}
COMMIT = "210d026faf9955653af8916fad021475a3f00453"
HUBS = {
    "arc_easy": Hub("allenai/ai2_arc", "ARC-Easy", COMMIT),
    "arc_challenge": Hub("allenai/ai2_arc", "ARC-Challenge", COMMIT),
}
FILES = {
    "arc_easy": ("easy/test.json", "ARC-Easy/ARC-Easy-Test.jsonl", "ARC-Easy-Test.jsonl"),
    "arc_challenge": (
        "challenge/test.json",
        "ARC-Challenge/ARC-Challenge-Test.jsonl",
        "ARC-Challenge-Test.jsonl",
    ),
}
_INSTRUCTION = re.compile(r"(?:.*?question: )?(.*?)\n\n(Answer1:.*?)\n\nAnswer format:", re.DOTALL)
_CHOICE = re.compile(r"\s*\bAnswer\d+: ")


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return the hub's commit, or a hash over the local file."""
    if source is None:
        return HUBS[name].revision
    return file_revision(local_file(name, source, FILES[name]))


def load(ref: TaskRef) -> Task:
    """Read the test split."""
    if ref.source is None:
        rows = HUBS[ref.name].rows(ref.name, "test")
    else:
        rows = read_rows(local_file(ref.name, ref.source, FILES[ref.name]))
    read = _adapters if "instruction" in rows[0][1] else _original
    test = tuple(read(f"test-{i:04d}", row) for i, row in enumerate(rows))
    return Task(ref.name, "choice", (), test)


def _adapters(id_: str, row: Row) -> Problem:
    """Read a row whose choices stand inside its instruction."""
    match = _INSTRUCTION.match(column(row, "instruction"))
    if match is None:
        raise BadData(f"{row[0]}: `instruction` holds no question with `Answer1: …` after it")
    choices = [text.strip() for text in _CHOICE.split(match[2])[1:]]
    key = column(row, "answer").removeprefix("answer")
    labels = [str(i + 1) for i in range(len(choices))]
    return _problem(row, id_, match[1].strip(), choices, labels, key)


def _original(id_: str, row: Row) -> Problem:
    """Read a row of the hub, or of AI2's own files, where the stem and choices are nested."""
    place, columns = row
    nested = columns.get("question")
    if isinstance(nested, dict):
        columns = {**columns, "question": nested.get("stem"), "choices": nested.get("choices")}
    choices = columns.get("choices")
    if isinstance(choices, list):
        choices = {key: [c[key] for c in choices] for key in ("text", "label")}
    if not isinstance(choices, dict):
        raise BadData(f"{place}: no `choices` with `text` and `label`")
    row = place, columns
    texts = [str(text).strip() for text in choices["text"]]
    return _problem(
        row, id_, column(row, "question"), texts, list(choices["label"]), column(row, "answerKey")
    )


def _problem(
    row: Row, id_: str, question: str, choices: list[str], labels: list[str], key: str
) -> Problem:
    if key not in labels or len(labels) != len(choices) or not all(choices):
        raise BadData(f"{row[0]}: answer '{key}' is not one of the choices {', '.join(labels)}")
    label = labels.index(key)
    right = choices[label]
    return Problem(id_, question, right, right, "", tuple(choices), label, place=row[0])
