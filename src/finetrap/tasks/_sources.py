"""Where rows come from: a file or folder on this machine, or the hub at a pinned commit."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from finetrap.errors import BadData, in_a_line
from finetrap.text.rows import Row

_COMMIT = re.compile("[0-9a-f]{40}")
PATIENCE = 5.0
"""Seconds to wait for a sign of the hub before its cache is the only place left."""


# --- files ------------------------------------------------------------------------------------


def local_file(task: str, source: str | Path, names: Sequence[str]) -> Path:
    """Return the file a source means: itself, or the first of `names` that lies in its folder.

    A name with a folder, `easy/test.json`, is also found from inside that folder.
    """
    place = Path(source)
    inside = [place.parent / name for name in names if Path(name).parent.name == place.name]
    candidates = [*(place / name for name in names), *inside] if place.is_dir() else [place]
    for path in candidates:
        if path.is_file():
            return path
    found = f"a folder without {' or '.join(names)}" if place.is_dir() else "nothing"
    raise BadData(
        f"{task}: {found} at {place}; give {' or '.join(names)}, or the folder that holds it: "
        f'[data] {task} = "path"'
    )


def folder_files(task: str, source: str | Path, names: Sequence[str]) -> list[Path]:
    """Return the files that a task's folder must hold. Raises BadData naming what is missing."""
    folder = Path(source)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        found = f"{' and '.join(missing)} missing in" if folder.is_dir() else "no folder at"
        raise BadData(
            f"{task}: {found} {folder}; give the folder that holds {' and '.join(names)}: "
            f'[data] {task} = "path"'
        )
    return [folder / name for name in names]


def file_revision(*paths: Path) -> str:
    """Return `sha256:…` over the bytes of one or more files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            own = hashlib.sha256()
            with path.open("rb") as file:
                while part := file.read(2**20):
                    own.update(part)
            digest.update(own.digest())
        except OSError as error:
            raise BadData(f"{path}: {error.strerror}; give a file that can be read") from error
    return f"sha256:{digest.hexdigest()}"


# --- the hub ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hub:
    """A data set on the hub at a commit that is known to hold it."""

    repository: str
    config: str | None
    revision: str

    def pinned(self) -> Hub:
        """Return the data set at the commit that its branch or tag names now.

        Without the hub, at the one that its cache knows by that name; unchanged where that knows
        none, and for a folder, which `datasets` takes before the hub.
        """
        from huggingface_hub import HfApi, constants

        if _COMMIT.fullmatch(self.revision) or Path(self.repository).is_dir():
            return self
        if not constants.HF_HUB_OFFLINE and _hub_answers():
            try:
                found = HfApi().dataset_info(self.repository, revision=self.revision).sha
            except (OSError, ValueError):
                return self  # told in full by whoever reads its rows
            return replace(self, revision=found or self.revision)
        folder = Path(constants.HF_HUB_CACHE) / f"datasets--{self.repository.replace('/', '--')}"
        known = folder / "refs" / self.revision
        return replace(self, revision=known.read_text().strip()) if known.is_file() else self

    def rows(self, task: str, split: str) -> list[Row]:
        """Fetch a split, from the local cache where the hub is out of reach.

        Raises BadData that names both ways to the data.
        """
        import datasets  # half a second, and only for data that is not local

        offline = datasets.config.HF_HUB_OFFLINE or not _hub_answers()
        try:
            with _offline() if offline else nullcontext():
                found = datasets.load_dataset(
                    self.repository,
                    self.config,
                    split=split,
                    revision=self.revision,
                    trust_remote_code=False,
                )
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise self._unavailable(task, offline, in_a_line(error)) from error
        files = [str(f["filename"]) for f in found.cache_files]
        pinned = self.revision != "main"
        # A fetch that failed ends in what the cache holds, whatever that is.
        if pinned and not all(self.revision in f for f in files):
            raise self._unavailable(task, offline, "its cache holds another revision")
        place = f"{self.repository}@{self.revision[:8]} {split} row"
        return [(f"{place} {i}", dict(row)) for i, row in enumerate(found)]

    def _unavailable(self, task: str, offline: bool, reason: str) -> BadData:
        state = (
            "the hub is out of reach and its cache has no copy" if offline else "the hub refused"
        )
        return BadData(
            f"{task}: {self.repository} at {self.revision[:8]} cannot be read: {state} ({reason}). "
            f"Either connect this machine to the hub, or download the data and say where it lies: "
            f'[data] {task} = "path"'
        )


@cache
def _hub_answers() -> bool:
    """Whether anything answers at the hub's address, through the proxies of the environment.

    Asked once: `datasets` itself retries for 25 seconds before it says that there is no network.
    """
    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # someone answered; other settings may apply
    except OSError:
        return False
    return True


@contextmanager
def _offline() -> Iterator[None]:
    """Keep `datasets` from asking a hub that does not answer; both libraries hold the switch."""
    import datasets
    import huggingface_hub.constants as hub

    before = datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE = before
