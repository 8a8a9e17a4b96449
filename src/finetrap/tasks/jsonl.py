"""A person's own problems: `jsonl:PATH`, a file of JSON lines or a folder with train and test.

Columns are `question` and `answer`; the answer is a number or one line of text, or a worked
solution that ends in `#### answer`. Options name other columns (`question`, `answer`, `solution`
for a worked solution apart from the answer, `id`, `family`) and the test problems: `test` is a file
beside the first, `split` a column that says train or test. Otherwise one problem in five is held
out by the wording of its question (`test_share`; 1 makes all of them test problems).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetrap.errors import BadData, BadInput
from finetrap.records import Problem, TaskKind, TaskRef
from finetrap.tasks import Task
from finetrap.tasks._sources import file_revision
from finetrap.tasks._splits import draw, identified, without
from finetrap.text.files import read_rows
from finetrap.text.rows import Row, column
from finetrap.text.scoring import gradable
from finetrap.text.scoring import grade as graded

NAMES: dict[str, TaskKind] = {"jsonl": "math"}
TEST_SHARE = 0.2
COLUMNS = ("question", "answer", "solution", "id", "family", "split")
OPTIONS = (*COLUMNS, "test", "test_share")


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return a hash over the file, and over the test file where there is one."""
    for option in (*COLUMNS, "test"):
        if option in options and not isinstance(options[option], str):
            raise BadInput(f"{name}: option {option} is {options[option]!r}; it must be a string")
    share = options.get("test_share", TEST_SHARE)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise BadInput(f"{name}: test_share is {share!r}; it must be above 0 and at most 1")
    if len({"test", "split", "test_share"} & set(options)) > 1:
        raise BadInput(f"{name}: give only one of the options test, split and test_share")
    return file_revision(*_files(source, options))


def load(ref: TaskRef) -> Task:
    """Read the problems and split them. Raises BadData naming the row that cannot be used."""
    parts = [read_rows(path) for path in _files(ref.source, ref.options)]
    problems = [[_problem(row, ref.options) for row in rows] for rows in parts]
    if len(parts) == 2:
        train, test = problems
        _refuse_repeated_ids([*parts[0], *parts[1]], ref.options)
    else:
        _refuse_repeated_ids(parts[0], ref.options)
        held_out = [
            _held_out(row, p, ref.options) for row, p in zip(parts[0], problems[0], strict=True)
        ]
        pairs = list(zip(problems[0], held_out, strict=True))
        train, test = [p for p, out in pairs if not out], [p for p, out in pairs if out]
    if not test:
        raise BadData(
            f"{ref.name}: {len(train)} problems and none held out for the test; add problems, or "
            "give the option test, split or test_share"
        )
    kept = without(train, test)
    if "id" not in ref.options:
        kept, test = identified(kept), identified(test)
    return Task(ref.name, "math", tuple(kept), tuple(test), len(train) - len(kept))


def _files(source: str | None, options: Mapping[str, Any]) -> list[Path]:
    """Return the file, or the training and the test file."""
    path = Path(source or "")
    if path.is_dir():
        if "test" in options:
            raise BadInput(f"{path} is a folder: it holds train.jsonl and test.jsonl; drop `test`")
        return [path / "train.jsonl", path / "test.jsonl"]
    return [path, path.parent / options["test"]] if "test" in options else [path]


def _problem(row: Row, options: Mapping[str, Any]) -> Problem:
    name = {c: options.get(c, c) for c in COLUMNS}
    stated = column(row, name["answer"])
    worked, marker, answer = stated.rpartition("####")
    answer = answer.strip()
    if "solution" in options:
        worked = column(row, name["solution"])
        solution = worked if "####" in worked else f"{worked}\n#### {answer}"
    else:
        solution = stated if marker else f"#### {answer}"
    if not gradable(answer):
        raise BadData(
            f"{row[0]}: `{name['answer']}` {stated[:40]!r} states no answer; it must be a number, "
            "one line of text, or a worked solution that ends in `#### answer`. A column of worked "
            "solutions apart from the answers is named by the option `solution`"
        )
    if not graded(solution, answer).correct:
        found = graded(solution, answer).extracted
        raise BadData(f"{row[0]}: `{name['solution']}` ends in {found!r}, the answer is {answer!r}")
    return Problem(
        id=column(row, name["id"]) if "id" in options else "",
        question=column(row, name["question"]),
        solution=solution,
        answer=answer,
        family=column(row, name["family"]) if "family" in options else "",
        place=row[0],
    )


def _held_out(row: Row, problem: Problem, options: Mapping[str, Any]) -> bool:
    """Whether a problem belongs to the test: as its split column says, else by its wording."""
    if "split" not in options:
        share = float(options.get("test_share", TEST_SHARE))
        return draw("jsonl/test", problem.question) < share
    side = column(row, options["split"])
    if side not in ("train", "test"):
        raise BadData(f"{row[0]}: `{options['split']}` is {side!r}; it must be train or test")
    return side == "test"


def _refuse_repeated_ids(rows: list[Row], options: Mapping[str, Any]) -> None:
    if "id" not in options:
        return
    counts = Counter(column(row, options["id"]) for row in rows)
    repeated = [id_ for id_, times in counts.items() if times > 1]
    if repeated:
        raise BadData(
            f"{rows[0][0].rsplit(',', 1)[0]}: {len(repeated)} ids stand more than once, such as "
            f"{repeated[0]!r}; each row needs its own, or leave the option `id` out"
        )
