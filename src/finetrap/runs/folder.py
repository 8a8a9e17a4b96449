"""One run as files: how a run folder is written and read (docs/protocol.md, `format = 2`).

    <slug>--<key>/
        cell.json           what was measured, and the key's own content (`identity`)
        run.json            how it ended: status, costs, environment, the version of grading, and
                            the size and hash of each file below
        answers.jsonl       one answer a line, sorted by id, without any time in it
        probe-<name>.jsonl  likewise for each probe
        evidence.json       what judging needs later without torch
        adapter/, model/    kept weights, if any: in no hash, they may be deleted

Every file is JSON as it stands in the standard, so a number that is not finite is written as null.
The folder names no machine and no place that is needed to read it: it can be copied. Folders of
format 1 are read too: they lack the precision of training, the version of grading (1) and how many
choices a problem had, which is filled in as far as the run's evidence tells it.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from finetrap.errors import StoreError, opening
from finetrap.records import (
    FORMAT,
    PROTOCOL,
    Answer,
    Cell,
    Costs,
    Failure,
    Limits,
    ModelSpec,
    Precision,
    Run,
    Status,
    StrategySpec,
    TaskRef,
    TrainSpec,
    content_hash,
)
from finetrap.references import PromptSpec
from finetrap.runs.held import HeldAnswers, HeldEvidence, Part, Shelf
from finetrap.runs.shapes import misshapen
from finetrap.text.rows import finite_json, halves_escaped
from finetrap.text.scoring import GRADING
from finetrap.text.visible import stands_on_a_line

_AGAIN = (
    "`finetrap fsck RUNS --repair` sets the folder aside, and the next run measures this cell anew"
)
_TOLD = 200
"""Characters of what an error says."""
_COLUMNS = tuple(f.name for f in fields(Answer))
_NEWER = ("choices", "cut", "scoring", "score")
FORMATS = tuple(range(1, FORMAT + 1))
PROTOCOLS = tuple(range(1, PROTOCOL + 1))
"""What can be read; a version from the future cannot."""


def write_run(folder: Path, run: Run) -> None:
    """Write the files of a run into an empty folder. Raises StoreError, OSError."""
    contents = {"answers.jsonl": _answer_lines(run.cell.task.name, run.answers)}
    probes = {name: f"probe-{file_stem(name)}.jsonl" for name in sorted(run.probes)}
    for name, file in probes.items():
        contents[file] = _answer_lines(name, run.probes[name])
    contents["evidence.json"] = _json_document(run.evidence)
    identity = run.cell.identity()
    contents["cell.json"] = _json_document(
        {"format": FORMAT, "key": run.cell.key, "identity": identity, "cell": asdict(run.cell)}
    )
    outcome = {
        "format": FORMAT,
        "status": run.status,
        "grading": run.grading or GRADING,
        "answers": len(run.answers),
        "probes": probes,
        "failure": asdict(run.failure) if run.failure else None,
        "costs": asdict(run.costs),
        "environment": run.environment,
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in contents.items()
        },
    }
    for name, data in {**contents, "run.json": _json_document(outcome)}.items():
        (folder / name).write_bytes(data)


def _answer_lines(task: str, answers: Sequence[Answer]) -> bytes:
    ordered = sorted(answers, key=lambda answer: answer.id)
    for one, other in pairwise(ordered):
        if one.id == other.id:
            raise StoreError(f"{task}: two answers with id '{one.id}'; ids must differ")
    return b"".join(_json_bytes(_row(answer)) + b"\n" for answer in ordered)


def _row(answer: Answer) -> dict[str, Any]:
    """Return a line's content; a line that has nothing of what is newer is one of format 1."""
    row = {name: getattr(answer, name) for name in _COLUMNS}
    return {name: row[name] for name in row if name not in _NEWER or row[name] is not None}


def _json_document(value: Mapping[str, Any]) -> bytes:
    return _json_bytes(value, indent=1) + b"\n"


def _json_bytes(value: object, indent: int | None = None) -> bytes:
    # Evidence that was read from a folder is a mapping and no dictionary.
    dumped = partial(json.dumps, ensure_ascii=False, allow_nan=False, indent=indent, default=dict)
    try:
        text = dumped(value)
    except ValueError:
        text = dumped(finite_json(value))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return halves_escaped(text).encode()


def file_stem(name: str) -> str:
    """Return a name for use in a file's; a changed one carries a hash to stay apart."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[-60:]
    return plain if plain == name else f"{plain}-{content_hash(name)[:8]}"


def read_as_graded(folder: Path, shelf: Shelf | None = None) -> Run:
    """Read a run with the grades that were written with it. Raises StoreError."""
    outcome, shared = _read_document(folder, "run.json"), shelf is not None
    try:
        data = {name: _read_file(folder, name, file) for name, file in outcome["files"].items()}
        evidence = json.loads(data["evidence.json"])
        grading = outcome["grading"] if outcome["format"] > 1 else 1
        run = Run(
            cell=_read_cell(folder, evidence),
            status=outcome["status"],
            answers=_parse_answers(folder / "answers.jsonl", data["answers.jsonl"], shared),
            probes={
                name: _parse_answers(folder / file, data[file], shared)
                for name, file in outcome["probes"].items()
            },
            costs=Costs(**outcome["costs"]),
            evidence=evidence,
            environment=outcome["environment"],
            failure=Failure(**outcome["failure"]) if outcome["failure"] else None,
            grading=None if grading == GRADING else int(grading),
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        told = f"{type(error).__name__}: {error}"  # which may hold a whole file
        told = told if len(told) <= _TOLD else f"{told[:_TOLD]}…"
        raise StoreError(f"{folder / 'run.json'} was edited ({told}); {_AGAIN}") from error
    if run.status not in get_args(Status):
        raise StoreError(f"{folder / 'run.json'}: no status is '{run.status}'; {_AGAIN}")
    stated = outcome.get("answers")
    if len(run.answers) != stated:
        raise StoreError(f"{folder}: {len(run.answers)} answers, run.json says {stated}; {_AGAIN}")
    if fault := misshapen(run):
        raise StoreError(f"{folder}: {fault} is not as finetrap writes it; {_AGAIN}")
    return run if shelf is None else _on_shelf(run, folder, outcome, shelf)


def read_status(folder: Path) -> Status | None:
    """Return how a run ended from run.json alone; None unless every file there has its size."""
    try:
        here = f"{folder}{os.sep}"  # of ten thousand runs, paths would take most of the time
        with open(f"{here}run.json", "rb") as file:
            outcome = json.loads(file.read())
        sizes = {name: told["bytes"] for name, told in outcome["files"].items()}
        whole = all(os.stat(here + name).st_size == size for name, size in sizes.items())
        status: Status = outcome["status"]
        return status if whole and status in get_args(Status) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def read_environment(folder: Path) -> Mapping[str, Any]:
    """Return what a run was computed on and how its model was read, from run.json alone."""
    found: Mapping[str, Any] = json.loads((folder / "run.json").read_bytes())["environment"]
    return found


def _on_shelf(run: Run, folder: Path, outcome: Mapping[str, Any], shelf: Shelf) -> Run:
    """Put what was read of a run's answers and evidence on a shelf."""
    files = outcome["files"]

    def held(file: str, answers: Sequence[Answer]) -> HeldAnswers:
        part = Part(
            lambda: _parse_answers(folder / file, _read_file(folder, file, files[file]), True),
            files[file]["bytes"],
        )
        return HeldAnswers(part, len(shelf.put(part, tuple(answers))), shelf)

    evidence: Part[dict[str, Any]] = Part(
        lambda: json.loads(_read_file(folder, "evidence.json", files["evidence.json"])),
        files["evidence.json"]["bytes"],
    )
    return replace(
        run,
        answers=held("answers.jsonl", run.answers),
        probes={name: held(file, run.probes[name]) for name, file in outcome["probes"].items()},
        evidence=HeldEvidence(evidence, shelf.put(evidence, dict(run.evidence)), shelf),
    )


def _read_cell(folder: Path, evidence: Mapping[str, Any]) -> Cell:
    document = _read_document(folder, "cell.json")
    identity, key = document["identity"], document["key"]
    if content_hash(identity) != key:
        raise StoreError(f"{folder / 'cell.json'}: its content is not that of its key; {_AGAIN}")
    if identity["protocol"] not in PROTOCOLS:
        stated = opening(str(identity["protocol"]))
        raise StoreError(
            f"{folder} was measured under protocol {stated}, this reads up to {PROTOCOL}; read it "
            "with the version that wrote it"
        )
    cell = _parse_cell(document["cell"])
    if document["format"] == 1:
        known: Precision | None = evidence.get("passes") if cell.strategy.trains else "fp32"
        cell = replace(cell, protocol=1, train=replace(cell.train, dtype=known))
    if cell.identity() != identity:
        raise StoreError(f"{folder / 'cell.json'}: `cell` and `identity` differ; {_AGAIN}")
    asked = (cell.task, *cell.probes, cell.trained_on or cell.task)
    names = (cell.model.name, cell.strategy.name, *(task.name for task in asked))
    if not all(map(stands_on_a_line, names)):
        raise StoreError(f"{folder / 'cell.json'}: a name holds control characters; {_AGAIN}")
    if folder.name.rpartition("--")[2] != key:  # what stands before it is for people
        raise StoreError(f"{folder} was renamed from {cell.slug}--{key}; give it that name back")
    return cell


def _read_file(folder: Path, name: str, file: Mapping[str, Any]) -> bytes:
    place = folder / name
    try:
        if place.parent != folder or not place.is_file():
            raise OSError(f"{place} is no file of the folder")  # nor read: it may have no end
        data = place.read_bytes()
    except OSError as error:
        raise StoreError(f"{folder} is torn: {name} cannot be read; {_AGAIN}") from error
    if len(data) != file["bytes"]:
        raise StoreError(
            f"{folder} is torn: {name} has {len(data)} bytes of {file['bytes']}; {_AGAIN}"
        )
    if hashlib.sha256(data).hexdigest() != file["sha256"]:
        raise StoreError(f"{folder / name} was edited after it was committed; {_AGAIN}")
    return data


def _read_document(folder: Path, name: str) -> dict[str, Any]:
    try:
        document = json.loads((folder / name).read_bytes())
    except OSError as error:
        raise StoreError(f"{folder} is torn: {name} cannot be read; {_AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{folder / name} is not JSON ({error}); {_AGAIN}") from error
    if not isinstance(document, dict) or document.get("format") not in FORMATS:
        raise StoreError(
            f"{folder / name} is in no format up to {FORMAT}; read it with the version that wrote "
            "it"
        )
    return document


def is_later(folder: Path) -> bool:
    """Whether a run was measured under a protocol that this version does not know yet."""
    try:
        protocol = json.loads((folder / "cell.json").read_bytes())["identity"]["protocol"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False  # reading it will say what is wrong
    return type(protocol) is int and protocol > PROTOCOL


def _parse_answers(place: Path, data: bytes, shared: bool) -> tuple[Answer, ...]:
    """Parse the lines in one go: a line each would take twice the time.

    What they have in common with those of other runs can be `shared`: it is held once.
    """
    lines = data.split(b"\n")  # never splitlines: completions hold other line ends
    try:
        with _no_garbage_sought():
            rows = json.loads(b"[" + b",".join(lines[:-1]) + b"]")
            return tuple([Answer(**row) for row in (map(_shared, rows) if shared else rows)])
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"{place}: not rows of answers ({error}); {_AGAIN}") from error


def _shared(row: dict[str, Any]) -> dict[str, Any]:
    """Hold once what the answers of many runs have in common."""
    for name in ("id", "gold", "rule", "family"):
        if type(text := row.get(name)) is str:
            row[name] = sys.intern(text)
    return row


@contextmanager
def _no_garbage_sought() -> Iterator[None]:
    """Pause the collector: many new objects, all kept, would have it search the whole heap."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def _parse_model(document: Mapping[str, Any]) -> ModelSpec:
    return ModelSpec(**{**document, "prompt": PromptSpec.read(document["prompt"])})


def _parse_cell(document: Mapping[str, Any]) -> Cell:
    strategy = {**document["strategy"], "rewind": tuple(document["strategy"]["rewind"])}
    strategy["weights"] = tuple(map(_parse_model, strategy.get("weights", ())))
    trained_on, replayed = document["trained_on"], document["replayed"]
    return Cell(
        model=_parse_model(document["model"]),
        task=TaskRef(**document["task"]),
        strategy=StrategySpec(**strategy),
        train=TrainSpec(**document["train"]),
        limits=Limits(**document["limits"]),
        seed=document["seed"],
        trained_on=TaskRef(**trained_on) if trained_on else None,
        probes=tuple(TaskRef(**probe) for probe in document["probes"]),
        replayed=TaskRef(**replayed) if replayed else None,
        split=document["split"],
        extends=document["extends"],
        protocol=document.get("protocol", 1),
    )
