"""A runs folder in which one file holds other bytes: every reader of it, up to the report."""

from __future__ import annotations

import hashlib
import json
import zlib
from contextlib import suppress
from pathlib import Path

from finetrap import judge, report
from finetrap.errors import BadInput, StoreError
from finetrap.judge import diagnosis
from finetrap.records import content_hash
from finetrap.runs.folder import is_later
from finetrap.runs.locks import holder_of
from finetrap.runs.store import Store
from finetrap.runs.unfinished import Checkpoint, Journal
from tests.builders.runs import FULL, ZERO, answers, run

FILES = ("run.json", "cell.json", "answers.jsonl", "evidence.json")
RENAMED = "a cell, and its folder named so"
NOTE = "what a study asked for"
UNFINISHED = "a checkpoint, a journal, a lock"
CHOICES = (*FILES, RENAMED, NOTE, UNFINISHED)
REPORTED = 6
"""Of so many sound folders one gets its report, which takes longer than all else."""
UNREADABLE = (ValueError, KeyError, TypeError, RecursionError, AttributeError, OSError)
"""What is raised where a cell has no identity to be named by."""


class Runs:
    """Two runs, of which a byte chooses a file that the others replace; its hashes are right."""

    shape, head, seconds = "json", 1, 3.0

    def __init__(self, folder: Path) -> None:
        self._root, self._out = folder / "runs", folder
        for one in (run(ZERO, answers([1, 0] * 4)), run(FULL, answers([1, 1] * 4), 0)):
            Store(self._root).commit(one)
        self._run = next(place for place in self._root.iterdir() if "full" in place.name)
        self.whole = {name: (self._run / name).read_bytes() for name in FILES}

    def __call__(self, data: bytes) -> None:
        choice = CHOICES[int.from_bytes(data[:1], "big") % len(CHOICES)]
        if choice == UNFINISHED:
            self._unfinished(data[1:])
        elif choice == NOTE:
            self._note(data[1:])
        else:
            self._changed(choice, data[1:])

    def _changed(self, choice: str, body: bytes) -> None:
        """Change one file of a run, and read the folder."""
        place = self._run
        try:
            place = self._written(choice, body)
            self._judged(reported=zlib.crc32(body) % REPORTED == 0)
        finally:
            if place != self._run:
                place.rename(self._run)
            for name, content in self.whole.items():
                (self._run / name).write_bytes(content)

    def _written(self, choice: str, body: bytes) -> Path:
        """Put the bytes in place of a file, make the hashes anew, and return where the run is."""
        name = "cell.json" if choice == RENAMED else choice
        place, key = self._run, None
        if name == "cell.json":
            with suppress(*UNREADABLE):
                cell = json.loads(body)
                key = cell["key"] = content_hash(cell["identity"])
                body = json.dumps(cell).encode()
        (place / name).write_bytes(body)
        if name != "run.json":
            (place / "run.json").write_text(json.dumps(self._manifest()), "utf-8")
        if choice == RENAMED and key:
            place = place.with_name(f"{place.name.rpartition('--')[0]}--{key}")
            self._run.rename(place)
        return place

    def _manifest(self) -> dict[str, object]:
        """Return what run.json says of the files as they are."""
        manifest: dict[str, object] = json.loads(self.whole["run.json"])
        files = {name: (self._run / name).read_bytes() for name in FILES[1:]}
        manifest["answers"] = files["answers.jsonl"].count(b"\n")
        manifest["files"] = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        }
        return manifest

    def _judged(self, reported: bool) -> None:
        """Read all runs, judge and diagnose them. Raises StoreError where one is damaged."""
        store = Store(self._root)
        found, damaged = store.sound_runs()
        later = sum(map(is_later, self._root.glob("*--*")))
        assert len(found) + len(damaged) + later == 2, f"{len(found)} sound, {len(damaged)} not"
        store.statuses()
        findings, runs = judge.judge_study(store)
        for one in runs:
            with suppress(BadInput):
                diagnosis.diagnosis_text(diagnosis.diagnose_run(one, runs, findings))
        if damaged:
            raise StoreError("; ".join(damaged.values()))
        list(store.graded_before())
        if reported:
            folder = self._out / "report"
            report.write_report(folder, findings, runs, study=None, command="x", topics={})

    def _unfinished(self, body: bytes) -> None:
        """Give the bytes to whoever reads a checkpoint, a journal and a lock: no error is meant."""
        place = self._out / "unfinished"
        place.write_bytes(body)
        kept = Checkpoint(place, "this", 1.0)
        _ = (kept.step, kept.steps, kept.facts, kept.earlier_s)
        Journal(place, "this").rows("call")
        holder_of(place)

    def _note(self, body: bytes) -> None:
        note = self._root / ".studies" / "x.json"
        note.parent.mkdir(exist_ok=True)
        note.write_bytes(body)
        try:
            Store(self._root).remembered()
        finally:
            note.unlink()
