"""From what a study calls a model to where its weights are and which weights those are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from finetrap import catalog
from finetrap.backends import toy
from finetrap.errors import BadInput, BadModel, BadStudy, nearest
from finetrap.measure.study.file import checked_model, read
from finetrap.records import ModelSpec, content_hash

PACKAGE = "package:"
"""A source inside the installed package."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_PARTS = (".safetensors", ".bin", ".json", ".txt", ".model", ".jinja", ".tiktoken")
"""Weights, configuration and tokenizer: what decides a model's numbers."""


def resolve(entry: str, base: Path, settings: Mapping[str, Any]) -> ModelSpec:
    """Return the model that a study means by `entry`; paths start from the folder `base`.

    An entry is a catalog name, a model file (.toml), a local folder, `toy:…` or a hub id.
    `settings` are what `[model.NAME]` says, and with `source` define a model of that name.
    Raises BadModel, BadStudy for a model file with faults.
    """
    name, table, home = _named(entry, base, settings)
    settings = {**table, **settings}
    source, prompt = settings.get("source", name), settings.get("prompt", "auto")
    if source.startswith(toy.PREFIX):
        parameters = int(toy.parse(source).settings["parameters"])
        revision = f"{toy.VERSION}:{content_hash(source)[:16]}"
        return ModelSpec(name, source, revision, "toy", prompt, parameters)
    folder = _folder(source, home)
    if folder is None:
        revision = settings.get("revision", "main")
    elif "revision" in settings:
        raise BadModel(f"{folder} is a folder: its content is its revision; remove `revision`")
    else:
        source, revision = str(folder), folder_revision(folder)
    return ModelSpec(name, source, revision, prompt=prompt, parameters=settings.get("parameters"))


def suggested_data(entry: str) -> Mapping[str, str]:
    """Return the sources of tasks that go with a model where a study says nothing."""
    if entry.startswith(toy.PREFIX):
        return {"prose": "miniature"}
    data: Mapping[str, str] = catalog.models().get(entry, {}).get("data", {})
    return data


def _named(entry: str, base: Path, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any], Path]:
    """Return the model's name, what is known about it, and where its paths start."""
    known = catalog.models()
    if entry.startswith(toy.PREFIX) or settings.get("source"):
        return entry, {}, base
    if entry.endswith(".toml"):
        return _from_file(base / entry)
    if entry in known:
        return entry, known[entry], catalog.FOLDER
    folder = base / Path(entry).expanduser()
    if folder.is_dir():
        return folder.resolve().name, {"source": str(folder)}, base
    if _HUB_ID.fullmatch(entry) and not entry.startswith("."):
        pinned = next((t for t in known.values() if t.get("source") == entry), {"source": entry})
        return entry, pinned, base
    if entry.startswith((".", "/", "~")):
        raise BadModel(f"no folder {folder.resolve()}; give one that save_pretrained wrote")
    raise BadModel(
        f"no model '{entry}': neither in the catalog ({', '.join(known)}) nor a folder nor a hub "
        f"id like org/name{nearest(entry, known)}"
    )


def _from_file(path: Path) -> tuple[str, dict[str, Any], Path]:
    table, _ = read(path)
    model, faults = checked_model(table, path.name)
    if not model.source:
        faults.append(f"{path.name}: source: missing; give a hub id or a folder")
    if faults:
        raise BadStudy(str(path), faults)
    return path.stem, table, path.parent


def _folder(source: str, home: Path) -> Path | None:
    """Return the folder that a source means, None for a hub id. Raises BadModel."""
    if source.startswith(PACKAGE):
        inside = source.removeprefix(PACKAGE)
        folder = Path(str(files("finetrap").joinpath(inside)))
        missing = f"this installation has no {inside}: install finetrap again, or build it anew"
    else:
        folder = (home / Path(source).expanduser()).resolve()
        if not folder.exists() and _HUB_ID.fullmatch(source) and not source.startswith("."):
            return None
        missing = f"{folder} has no config.json: give a folder that save_pretrained wrote"
    if not (folder / "config.json").is_file():
        raise BadModel(missing)
    return folder


def folder_revision(folder: Path) -> str:
    """Return `sha256:…` over the names and bytes of a checkpoint's files."""
    parts = sorted(
        path
        for path in folder.iterdir()
        if path.suffix in _PARTS and not path.name.startswith(".") and path.is_file()
    )
    digest = hashlib.sha256()
    for path in parts:
        try:
            state = path.stat()
            content = _file_hash(path, state.st_mtime_ns, state.st_size)
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}; the model cannot be read") from error
        digest.update(f"{path.name}\0{content}\n".encode())
    return f"sha256:{digest.hexdigest()}"


@lru_cache(maxsize=4096)
def _file_hash(path: Path, modified_ns: int, size: int) -> str:
    """Hash a file once for each state that it is found in."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
