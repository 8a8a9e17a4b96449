"""The runs folder: a run is committed whole or not at all, and what is not committed remains.

RUNS/<slug>--<key>/        a committed run (folder.py)
RUNS/.studies/<name>.json  what was last asked for under that name, and the keys it needs
RUNS/.locks/<key>          held while a process measures that cell (locks.py)
RUNS/.cells/<key>/         what is done of that cell as long as it is not committed (unfinished.py)
RUNS/.tmp-…                a run being written
RUNS/.damaged/<folder>     a run that was damaged after it was committed, set aside by `fsck`
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetrap.errors import AGAIN, MachineFault, StoreError, machine_fault
from finetrap.records import FORMAT, Cell, Judge, Keep, Run, Status, Study
from finetrap.runs.current import read_run, regraded, with_choices
from finetrap.runs.folder import (
    file_stem,
    is_later,
    read_as_graded,
    read_environment,
    read_status,
    write_run,
)
from finetrap.runs.held import ROOM, Shelf
from finetrap.runs.locks import Holder, hold, holder_of
from finetrap.runs.scratch import locked_folder, sweep_left, sweep_scratch
from finetrap.runs.unfinished import Unfinished, sync_to_disk
from finetrap.text.paths import exchanged

SPARED = 7 * 86_400.0
"""Seconds since the last change for which what is done of a cell is kept although no study asks
for the cell: one that was narrowed for a while (`--set strategies=…`) may ask for it again."""
_FOLDER = re.compile(r"[^.].*--([0-9a-f]{64})")


class Store:
    """The runs folder at `root`, which need not exist yet."""

    def __init__(
        self,
        root: str | Path,
        again: Mapping[str, int] = {},
        take_over: float | None = None,
        room: int = ROOM,
    ) -> None:
        self.root = Path(root)
        self._again = again
        """Runs that are as good as not there, by key: the identities of their folders."""
        self._take_over = take_over
        """Time before which a lock file was made that is taken from its holder."""
        self._room = room
        """Bytes of files whose content is held while many runs are read (held.py)."""
        self._begun = False
        """Whether a study's note lies in the folder, which tells it from one that took its name."""

    def remaining(self, cells: Iterable[Cell]) -> tuple[Cell, ...]:
        """Return the cells without a whole committed run, each once, in the given order.

        A cell that failed is committed like any other; in the store of `retrying` it remains.
        """
        unique = {cell.key: cell for cell in cells}
        folders = self._folders()
        return tuple(
            cell
            for key, cell in unique.items()
            if key not in folders or read_status(folders[key]) is None
        )

    def commit(self, run: Run, *, weights: Callable[[Path], None] | None = None) -> Path:
        """Write a run whole, or leave nothing; return its folder.

        `weights` is called with the folder being written, to put `adapter/` or `model/` into it.
        The first whole commit of a key stands, a later one is dropped. Raises MachineFault where it
        cannot be written, StoreError where it would not be one.
        """
        folder = self.root / f"{run.cell.slug}--{run.cell.key}"
        if read_status(folder) is not None and not self._is_again(run.cell.key, folder):
            return folder
        self._check_place()
        try:
            with self._hidden_folder(folder.name) as hidden:
                write_run(hidden, run)
                if weights is not None:
                    weights(hidden)
                _sync_tree(hidden)
                if not (folder.exists() and exchanged(hidden, folder)):
                    self._set_aside(folder)
                    hidden.rename(folder)
                sync_to_disk(self.root)
        except Exception as error:
            if fault := machine_fault(error, self.root):
                raise fault from error
            raise
        return folder

    def retrying(self, cells: Iterable[Cell]) -> Store:
        """Return this store without those runs of the cells that ended without answers.

        Their cells remain in it. Each run stays on disk until another has its place.
        """
        folders = self._folders()
        again = {
            key: _identity(folders[key])
            for key in {cell.key for cell in cells} & folders.keys()
            if read_status(folders[key]) != "done"
        }
        return Store(self.root, again, self._take_over, self._room)

    def load(self, run: str | Path) -> Run:
        """Read one run by its key or its folder.

        Raises StoreError if there is none, or if it is torn, edited or of another version.
        """
        if isinstance(run, Path):
            return read_run(run)
        folders = self._folders()
        if run not in folders:
            raise StoreError(f"{self.root}: no run with key '{run}' among {len(folders)} runs")
        return read_run(folders[run])

    def runs(self, keys: Collection[str] | None = None) -> list[Run]:
        """Read the committed runs of these keys, or all that can be read.

        They come in the order of their folders' names. Raises StoreError.
        """
        shelf = Shelf(self._room)
        return with_choices(read_run(folder, shelf) for folder in self._wanted(keys))

    def sound_runs(
        self, keys: Collection[str] | None = None, seen: Callable[[Run], None] | None = None
    ) -> tuple[list[Run], dict[Path, str]]:
        """Read what can be read of these runs, and say what is wrong with each of the others.

        Every byte that a run's manifest names is checked. `seen` is given each run while its
        answers are at hand.
        """
        shelf, damaged = Shelf(self._room), dict[Path, str]()

        def sound() -> Iterator[Run]:
            for folder in self._wanted(keys):
                try:
                    run = read_run(folder, shelf)
                except StoreError as fault:
                    damaged[folder] = str(fault)
                    continue
                if seen is not None:
                    seen(run)
                yield run

        return with_choices(sound()), damaged

    def set_aside(self, folder: Path) -> Path:
        """Move a damaged run out of the way, so that its cell remains; return where it is now."""
        aside = self.root / ".damaged"
        aside.mkdir(exist_ok=True)
        place = aside / folder.name
        while place.exists():
            place = aside / f"{folder.name}.{secrets.token_hex(3)}"
        folder.rename(place)
        return place

    def graded_before(self) -> Iterator[tuple[Run, Run]]:
        """Yield each run that was graded under another version, as written and as it is judged.

        Trials of a search are none of them: their grades stand, as the search chose by them.
        """
        for folder in self._wanted(None):
            before = read_as_graded(folder)
            if before.grading is not None and before.cell.split == "test":
                yield before, regraded(before)

    def statuses(self) -> dict[str, Status]:
        """Return how each whole run ended, by key, without opening any answers."""
        found = {key: read_status(folder) for key, folder in self._folders().items()}
        return {key: status for key, status in found.items() if status is not None}

    def environments(self, keys: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """Return what whole runs were computed on, by key, without opening any answers."""
        folders = self._folders()
        return {key: read_environment(folders[key]) for key in keys if key in folders}

    def remember(self, study: Study, cells: Iterable[Cell]) -> None:
        """Note what a study asks for, so that its report can name what is missing without it.

        From then on the folder must stay where it is. Raises MachineFault.
        """
        self._check_place()
        folder = self.root / ".studies"
        note = {
            "format": FORMAT,
            "name": study.name,
            "judge": asdict(study.judge),
            "keys": sorted({cell.key for cell in cells}),
            "source": study.source,
        }
        place = folder / f"{file_stem(study.name)}.json"
        draft = place.with_name(f".{secrets.token_hex(6)}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(note, ensure_ascii=False, indent=1) + "\n", "utf-8")
            draft.replace(place)
        except OSError as error:
            raise machine_fault(error, self.root) or error from None
        self._begun = True

    def remembered(self) -> list[dict[str, Any]]:
        """Return the notes of `remember`, by the studies' names."""
        try:
            places = sorted((self.root / ".studies").glob("*.json"))
            return [_study_note(json.loads(place.read_text("utf-8"))) for place in places]
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise StoreError(f"{self.root / '.studies'}: {error}; delete that folder") from error

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        """Hold the right to measure a cell; yields False if another holder has it."""
        self._check_place()
        folder = self.root / ".locks"
        with ExitStack() as holding:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                mine = holding.enter_context(hold(folder / key, self._take_over))
            except OSError as error:
                raise machine_fault(error, self.root) or error from None
            yield mine

    def holder(self, key: str) -> Holder | None:
        """Return who measures a cell, or did last; None if nobody has."""
        return holder_of(self.root / ".locks" / key)

    def unfinished(self, cell: Cell, keep: Keep) -> Unfinished:
        """Return what is done of a cell that is not committed; hold its lock meanwhile."""
        return Unfinished(self.root / ".cells" / cell.key, keep)

    def sweep(self) -> None:
        """Remove hidden folders that dead processes left half-written, and what was done of cells
        that are committed by now or that no study has asked for in `SPARED` seconds."""
        self._sweep_cells()
        for draft in (self.root / ".studies").glob(f".{'[0-9a-f]' * 12}"):
            draft.unlink(missing_ok=True)
        sweep_left(self.root.glob(".tmp-*"))
        sweep_scratch()

    def _sweep_cells(self) -> None:
        found = list((self.root / ".cells").glob("*"))
        if not found:
            return
        studies, committed = self.remembered(), self.statuses()
        asked = {key for note in studies for key in note["keys"]}
        for folder in found:
            forgotten = studies and folder.name not in asked and _age_s(folder) > SPARED
            if folder.name in committed or forgotten:
                with self.lock(folder.name) as mine:
                    if mine:
                        shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> dict[str, Path]:
        """Return the folder of every committed key, by name."""
        if not self.root.is_dir():
            if self.root.exists():
                raise StoreError(f"{self.root} is a file, not a runs folder")
            return {}
        named = ((_FOLDER.fullmatch(name), name) for name in sorted(os.listdir(self.root)))
        folders: dict[str, Path] = {}
        for match, name in named:
            # Of two folders with one key, as after a copy under another name, the whole one counts.
            if match and (match[1] not in folders or read_status(folders[match[1]]) is None):
                folders[match[1]] = self.root / name
        return {key: place for key, place in folders.items() if not self._is_again(key, place)}

    def _check_place(self) -> None:
        """Raise MachineFault where the folder is gone, rather than begin another in its place."""
        if self._begun and not (self.root / ".studies").is_dir():
            raise MachineFault(
                f"{self.root} was renamed or removed while the study ran; put it back, or name its "
                f"new place (--runs FOLDER), {AGAIN}"
            )

    def _is_again(self, key: str, folder: Path) -> bool:
        return key in self._again and self._again[key] == _identity(folder)

    def _wanted(self, keys: Collection[str] | None) -> list[Path]:
        folders = self._folders()
        if keys is not None:
            wanted = set(keys)
            return [folder for key, folder in folders.items() if key in wanted]
        return [folder for folder in folders.values() if not is_later(folder)]

    @contextmanager
    def _hidden_folder(self, name: str) -> Iterator[Path]:
        """Make a hidden folder, locked as long as its writer lives, and gone unless renamed."""
        self.root.mkdir(parents=True, exist_ok=True)
        hidden, handle = locked_folder(self.root, f".tmp-*-{name}")
        try:
            yield hidden
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
            os.close(handle)

    def _set_aside(self, folder: Path) -> None:
        """Remove a run in one step for whoever looks: renamed first, then deleted."""
        if folder.exists():
            hidden = self.root / f".tmp-{secrets.token_hex(6)}-{folder.name}"
            folder.rename(hidden)
            shutil.rmtree(hidden, ignore_errors=True)


def _study_note(note: dict[str, Any]) -> dict[str, Any]:
    """Return a note of `remember`. Raises KeyError, TypeError, ValueError for what is none."""
    if not (isinstance(note["name"], str) and all(isinstance(key, str) for key in note["keys"])):
        raise TypeError("a study's note lacks its name or its keys")
    Judge(**note["judge"])
    return note


def _age_s(folder: Path) -> float:
    """Return the seconds since anything in a folder was written; 0 where that cannot be told."""
    try:
        return time.time() - max(p.stat().st_mtime for p in (folder, *folder.iterdir()))
    except OSError:
        return 0.0


def _identity(folder: Path) -> int:
    """Return what tells a folder from another that takes its name."""
    with suppress(OSError):
        return folder.stat().st_ino
    return 0


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_to_disk(Path(parent, name))
        sync_to_disk(Path(parent))
