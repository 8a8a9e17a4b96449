"""A person's own problems: `jsonl:PATH`, a file of rows or a folder with a train and a test file.

The file may be JSON lines, a JSON list, CSV, TSV or Parquet, compressed or not (text/files.py); a
row holds a question and an answer in one of the usual shapes (_columns.py). The answer is a number
or one line of text, or a worked solution that ends in `#### answer`. Options name other columns
(`question`, `answer`, `solution` for a worked solution apart from the answer, `id`, `family`) and
the test problems: `test` is a file beside the first, `split` a column that says train or test.
`scoring` says how answers are scored, else their own kind does (text/scorers.py): `number`, `text`
(a list of texts allows any of them), `expression`, `json`, `json-fields`, `python:FILE.py:FUNCTION`
beside the data, and for the options in the column `choices`, else the file's different answers,
`choice` (the likeliest) or `letter` (the one that the model writes).
Otherwise one problem in five is held out by the wording of its question, or by its `group`, whose
rows stay together (`test_share`; 1 makes all of them test problems, 0 training problems). A
training row that asks what the test asks is refused, or left out with `duplicates = "drop"`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NoReturn

from finetrap.errors import BadData, BadInput
from finetrap.records import Problem, TaskKind, TaskRef
from finetrap.tasks import Task
from finetrap.tasks._columns import (
    family,
    question_and_answer,
    shape,
    text,
    with_question,
)
from finetrap.tasks._scored import CHOSEN, checked_scoring, labelled, scored_problem
from finetrap.tasks._sources import file_revision
from finetrap.tasks._splits import draw, identified, without, wording
from finetrap.text import own_scorer, scorers
from finetrap.text.files import each_row
from finetrap.text.golds import count_golds, doubtful_gold
from finetrap.text.paths import place_of
from finetrap.text.rows import Row
from finetrap.text.scoring import gradable
from finetrap.text.scoring import grade as graded

NAMES: dict[str, TaskKind] = {"jsonl": "math"}
TEST_SHARE = 0.2
COLUMNS = ("question", "answer", "solution", "id", "family", "group", "split", "choices")
OPTIONS = (*COLUMNS, "test", "test_share", "scoring", "duplicates")


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return a hash over the file, and over the test file where there is one."""
    for option in (*COLUMNS, "test", "scoring", "duplicates"):
        if option in options and not isinstance(options[option], str):
            raise BadInput(f"{name}: option {option} is {options[option]!r}; it must be a string")
    share = options.get("test_share", TEST_SHARE)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise BadInput(f"{name}: test_share is {share!r}; it must be from 0 to 1")
    check_sides(name, options)
    files = _own_files(source, options)
    how = checked_scoring(name, options)
    own = []
    if how and _is_own(how):
        own = [place_of(own_scorer.parts(how)[0], files[0].parent)]
    return file_revision(*files, *own)


def check_sides(name: str, options: Mapping[str, Any]) -> None:
    """Raise BadInput for options that would put a problem on a side in two ways."""
    if len({"test", "split", "test_share"} & set(options)) > 1:
        raise BadInput(f"{name}: give only one of the options test, split and test_share")
    clash = [other for other in ("family", "split", "test") if other in options]
    if "group" in options and clash:
        raise BadInput(
            f"{name}: `group` keeps rows of a group on one side and is their family; it cannot "
            f"stand beside {' and '.join(f'`{other}`' for other in clash)}"
        )
    if options.get("duplicates", "drop") != "drop":
        raise BadInput(f'{name}: duplicates is {options["duplicates"]!r}; it can be "drop"')


def load(ref: TaskRef) -> Task:
    """Read the problems and split them. Raises BadData naming the row that cannot be used."""
    files = _own_files(ref.source, ref.options)
    parts = [each_row(path) for path in files]
    how = checked_scoring(ref.name, ref.options)
    if how and _is_own(how):
        file, function = own_scorer.parts(how)
        how = f"{own_scorer.PREFIX}{files[0].parent / file}:{function}"
    return of_rows(ref, parts, ref.options, how)


def of_rows(
    ref: TaskRef, parts: Sequence[Iterable[Row]], options: Mapping[str, Any], how: str | None
) -> Task:
    """Make a task of rows: those of one file, which are split here, or of training and test.

    Raises BadData naming the row that cannot be used.
    """
    ref = replace(ref, options=options)
    problems: list[list[Problem]] = [[] for _ in parts]
    sides: list[str] = []
    shapes: dict[str, None] = {}
    for rows, own in zip(parts, problems, strict=True):
        for row in rows:  # one at a time: they may be millions
            own.append(_problem(row, options, how))
            shapes[shape(row, options)] = None
            if "split" in options:
                sides.append(_side_of(row, options))
    if how in CHOSEN:
        problems = labelled(problems)
    if "id" in options:
        _refuse_repeated_ids(chain(*problems))
    if len(parts) == 2:
        train, test = problems
    else:
        train, test = [], []
        for problem, side in zip_longest(problems[0], sides):
            out = side == "test" if side else _held_out(problem, options)
            (test if out else train).append(problem)
    if how is None:
        _refuse_doubtful([*train, *test])
    kept = without(train, test)
    if len(kept) < len(train) and kept and "duplicates" not in options:
        _refuse_duplicates(ref, train, test)
    _refuse_one_side(ref, train, test, kept)
    if "id" not in ref.options:
        kept, test = identified(kept), identified(test)
    kind: TaskKind = "choice" if how == scorers.CHOICE else "math"
    left_out = len(train) - len(kept)
    told = "; and as ".join(filter(None, shapes))
    grouped = "group" in options
    return Task(ref.name, kind, tuple(kept), tuple(test), left_out, told, grouped)


def _refuse_duplicates(ref: TaskRef, train: list[Problem], test: list[Problem]) -> NoReturn:
    """Refuse training rows that ask what the test asks, and name the first."""
    asked = {wording(p.question): p for p in test}
    twice = [p for p in train if wording(p.question) in asked]
    first = twice[0]
    raise BadData(
        f"{ref.name}: {len(twice)} of {len(train)} training rows ask what the test asks; the first "
        f"is {first.named}, in the test at {asked[wording(first.question)].place}. Remove them, or "
        'leave them out of the training: duplicates = "drop"'
    )


def _refuse_doubtful(problems: list[Problem]) -> None:
    """Refuse an answer that would be graded as text although most of the file are numbers."""
    count = count_golds(p.answer for p in problems)
    for problem in problems:
        meant = doubtful_gold(problem.answer, count)
        if meant is not None:
            raise BadData(
                f"{problem.place}: the answer {problem.answer[:40]!r} would be graded as text, but "
                f"most of the {len(problems)} answers are {count.mostly}s; write {meant!r}"
            )


def _refuse_one_side(
    ref: TaskRef, train: list[Problem], test: list[Problem], kept: list[Problem]
) -> None:
    """Refuse a file all of whose problems fall on one side, and say why they do."""
    rows = len(train) + len(test)
    distinct = len({wording(p.question) for p in (*train, *test)})
    found = f"{ref.name}: {rows} row{'s' * (rows != 1)}, {distinct} distinct question"
    found += "s" * (distinct != 1)
    if {"split", "test"} & set(ref.options):
        if not test:
            raise BadData(f"{found}: no row says test in `{ref.options.get('split')}`")
    elif (not test or not train) and ref.options.get("test_share") not in (0, 1):
        side = "test" if train else "training"
        raise BadData(
            f"{found}, and none left for the {side}: problems are held out by the wording of "
            "their question, so add other questions, or give the option test, split or test_share"
        )
    if train and not kept:
        raise BadData(f"{found}: all {len(train)} to train on are asked in the test; remove some")


def _own_files(source: str | None, options: Mapping[str, Any]) -> list[Path]:
    """Return the file, or the training and the test file."""
    path = Path(source or "")
    if path.is_dir():
        if "test" in options:
            raise BadInput(f"{path} is a folder: it holds a train and a test file; drop `test`")
        return [_side(path, "train"), _side(path, "test")]
    return [path, place_of(options["test"], path.parent)] if "test" in options else [path]


def _side(folder: Path, side: str) -> Path:
    """Return the one file of a folder that is called after its side: train.csv, test-0.parquet."""
    names = sorted(p.name for p in folder.iterdir() if p.is_file())
    own = [name for name in names if name.startswith((f"{side}.", f"{side}-"))]
    if len(own) != 1:
        found = f"{len(own)} files for {side} ({', '.join(own)})" if own else f"no {side} file"
        raise BadData(f"{folder}: {found}; it must hold one, such as {side}.jsonl or {side}.csv")
    return folder / own[0]


def _problem(row: Row, options: Mapping[str, Any], how: str | None = None) -> Problem:
    if how is not None:
        return scored_problem(row, options, how)
    place = row[0]
    question, stated = question_and_answer(row, options)
    row = with_question(row, question)
    worked, marker, answer = stated.rpartition("####")
    answer = answer.strip()
    if "solution" in options:
        worked = text(row, options["solution"], "solution")
        solution = worked if "####" in worked else f"{worked}\n#### {answer}"
    else:
        solution = stated if marker else f"#### {answer}"
    if answer.casefold() == "nan":
        raise BadData(f"{row[0]}: the answer is {answer}, a number that is missing; leave it out")
    if not gradable(answer):
        raise BadData(
            f"{row[0]}: {stated[:40]!r} states no answer; it must be a number, one line of text, "
            "or a worked solution that ends in `#### answer`. A column of worked solutions apart "
            "from the answers is named by the option `solution`"
        )
    if not graded(solution, answer).correct:
        found = graded(solution, answer).extracted
        raise BadData(f"{row[0]}: the solution ends in {found!r}, the answer is {answer!r}")
    return Problem(
        id=text(row, options["id"], "id") if "id" in options else "",
        question=question,
        solution=solution,
        answer=answer,
        family=family(row, options),
        place=place,
    )


def _held_out(problem: Problem, options: Mapping[str, Any]) -> bool:
    """Whether the wording of a problem, or of its group, belongs to the test."""
    share = float(options.get("test_share", TEST_SHARE))
    together = problem.family if "group" in options else problem.question
    return draw("jsonl/test", together) < share


def _side_of(row: Row, options: Mapping[str, Any]) -> str:
    """Return the side that a row's split column says."""
    side = text(row, options["split"], "split")
    if side not in ("train", "test"):
        raise BadData(f"{row[0]}: `{options['split']}` is {side!r}; it must be train or test")
    return side


def _is_own(how: str) -> bool:
    return how.startswith(own_scorer.PREFIX)


def _refuse_repeated_ids(problems: Iterable[Problem]) -> None:
    first: dict[str, str] = {}
    for problem in problems:
        if problem.id in first:
            raise BadData(
                f"{problem.place}: the id {problem.id!r} stands at {first[problem.id]} too; each "
                "row needs its own, or leave the option `id` out"
            )
        first[problem.id] = problem.place
