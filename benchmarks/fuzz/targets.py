"""What reads bytes: each target takes them as one input, and returns or raises as finetrap does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from benchmarks.fuzz.folders import Runs
from benchmarks.fuzz.mutations import SET
from finetrap.errors import BadInput, FinetrapError
from finetrap.judge.diagnosis import diagnose_files, diagnosis_text
from finetrap.judge.logs import read_gradable
from finetrap.judge.predictions import change_text, compare_files, predictions_of, read_scored
from finetrap.measure.study.reading import load_study
from finetrap.measure.study.toml import parse_value
from finetrap.records import TaskRef
from finetrap.tasks import jsonl
from finetrap.text import overlap
from finetrap.text.files import read_rows
from finetrap.text.golds import count_golds, described_golds
from finetrap.text.rows import json_line
from finetrap.text.scorers import fields_right, gold_fault, scored
from finetrap.text.scoring import (
    explain,
    explained_row,
    gradable,
    grade,
    graded_rows,
    odd_golds,
)

NAMES = ("study", "rows", "grade", "logs", "runs", "models")


class Target(Protocol):
    """Reads one input."""

    shape: str
    """What it mostly is: json, toml or text."""
    head: int
    """How many of its first bytes choose how the others are read."""
    seconds: float
    """Processor time that one input may take."""

    def __call__(self, data: bytes) -> None:
        """Read it all. Raises FinetrapError for what cannot be read."""


def opened(name: str, folder: Path) -> Target:
    """Return a target that works in an empty folder."""
    if name == "models":
        from benchmarks.fuzz.models import Models  # imports torch and transformers

        return Models(folder)
    kinds: dict[str, Callable[[Path], Target]] = {
        **{"study": Studies, "rows": Rows, "grade": Completions, "logs": Logs, "runs": Runs}
    }
    return kinds[name](folder)


class Studies:
    """A study file, and after a mark a setting as `--set` takes it."""

    shape, head, seconds = "toml", 0, 3.0

    def __init__(self, folder: Path) -> None:
        self._file = folder / "study.toml"
        (folder / "rows.jsonl").write_text('{"question": "a?", "answer": "2"}\n')
        (folder / "weights.gguf").touch()
        (folder / "lora.toml").write_text(
            'kind = "peft"\nlearning_rate = 1e-3\n[peft]\npeft_type = "LORA"\nr = 4\n'
        )

    def __call__(self, data: bytes) -> None:
        file, mark, setting = data.partition(SET)
        key, _, value = setting.decode("utf-8", "replace").partition("=")
        self._file.write_bytes(file)
        load_study(self._file, {key: parse_value(value)} if mark else {})


OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    *({"scoring": how} for how in ("number", "text", "json", "json-fields")),
    *({"scoring": how, "choices": "choices"} for how in ("choice", "letter")),
    {"question": "q", "answer": "a.value"},
    {"id": "id", "family": "family", "solution": "solution"},
    {"split": "split"},
    {"group": "group", "duplicates": "drop"},
)
"""Of a task of the user's own rows."""


class Rows:
    """A data file: its rows, its questions, and a task of it with options that a byte chooses."""

    shape, head, seconds = "json", 1, 3.0

    def __init__(self, folder: Path) -> None:
        self._file = folder / "rows"

    def __call__(self, data: bytes) -> None:
        options = OPTIONS[int.from_bytes(data[:1], "big") % len(OPTIONS)]
        if "split" not in options:
            options = {**options, "test_share": 1}  # too few rows to draw some of them
        self._file.write_bytes(data[1:])
        read_rows(self._file)
        ref = TaskRef("jsonl:rows", "sha256:0", str(self._file), options)
        each(lambda: overlap.read_questions(self._file), lambda: jsonl.load(ref))


WAYS = (None, None, None, "number", "text", "json", "json-fields", "letter:ABCD", "letter:AB")
LETTERS = ("", "AB", "ABCDE", "ab")


class Completions:
    """A completion and, after NUL, the right answer; two bytes choose how they are graded."""

    shape, head, seconds = "text", 2, 1.0

    def __init__(self, folder: Path) -> None:
        pass

    def __call__(self, data: bytes) -> None:
        way, more = data[:2].ljust(2, b"\0")
        completion, _, gold = data[2:].decode("utf-8", "replace").partition("\0")
        if more & 4 and completion:  # once more and again, as models do
            completion *= 1 + (40_000 if more & 32 else 3_000) // len(completion)
        how = WAYS[way % len(WAYS)]
        if how is None:
            self._by_gold(completion, gold, way, LETTERS[more & 3])
        else:
            if ":" not in how and gold_fault(gold, how) is not None:
                return
            scored(completion, gold, how, ended=bool(more & 16))
            fields_right(completion, gold)

    def _by_gold(self, completion: str, gold: str, way: int, letters: str) -> None:
        """Grade as the right answer demands, and explain the same."""
        count = count_golds([gold, "18", "3"])
        described_golds(count)
        gradable(gold)
        given, cut = count if way & 64 else None, bool(way & 128)
        found = grade(completion, gold, given, letters=letters, cut=cut)
        told = explain(completion, gold, given, letters=letters, cut=cut)
        assert told[-1] == ("correct" if found.correct else "wrong"), "explained otherwise"
        assert found.extracted is not None or not found.correct, "nothing found, and right"


class Logs:
    """Another tool's log: scored, graded, compared with itself and another, and diagnosed."""

    shape, head, seconds = "json", 0, 3.0

    def __init__(self, folder: Path) -> None:
        self._file, self._other = folder / "samples_gsm8k.jsonl", folder / "other.jsonl"
        rows = [
            {"id": i, "completion": f"so #### {gold}", "gold": str(gold), "correct": i % 2 == 0}
            for i, gold in enumerate((18, 3, 70000, 540))
        ]
        self._other.write_text("".join(json.dumps(r | {"exact_match": 1}) + "\n" for r in rows))

    def __call__(self, data: bytes) -> None:
        self._file.write_bytes(data)
        one, other = self._file, self._other
        each(
            lambda: predictions_of(read_scored(one)),
            lambda: [json_line(row) for row in graded_rows(read_gradable(one))],
            lambda: odd_golds(read_gradable(one)),
            lambda: explained_row(read_gradable(one), "1"),
            lambda: change_text(compare_files(one, one)),
            lambda: diagnosis_text(diagnose_files(one, one)),
            lambda: diagnose_files(one, other, None, "exact_match"),
            lambda: diagnose_files(other, one, "strict-match"),
            lambda: compare_files(other, one, common=True),
        )


def each(*steps: Callable[[], object]) -> None:
    """Take every step; what all of them refuse is refused."""
    refusals: list[FinetrapError] = []
    for step in steps:
        try:
            step()
        except BadInput as refusal:
            refusals.append(refusal)
    if len(refusals) == len(steps):
        raise refusals[0]
