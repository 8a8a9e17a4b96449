"""From a folder or a hub id to the weights that are meant; nothing here imports torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from finetrap.errors import BadInput, BadModel
from finetrap.records import ModelSpec

PREFIX = ""
"""A source that no other backend claims is one of these."""
PACKAGE = "package:"
"""A source inside the installed package."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_PARTS = (".safetensors", ".bin", ".json", ".txt", ".model", ".jinja", ".tiktoken")
"""Weights, configuration and tokenizer: what decides a model's numbers."""


def named(entry: str, base: Path) -> tuple[str, str] | None:
    """Return the name and the source of a folder or a hub id, None for anything else."""
    folder = base / Path(entry).expanduser()
    if folder.is_dir():
        return folder.resolve().name, str(folder)
    if entry.startswith((".", "/", "~")):
        raise BadModel(f"no folder {folder.resolve()}; give one that save_pretrained wrote")
    return (entry, entry) if _HUB_ID.fullmatch(entry) else None


def spec(name: str, source: str, settings: Mapping[str, Any], home: Path) -> ModelSpec:
    """Return the model of a source; its path starts from `home`. Raises BadModel, BadInput."""
    folder = _folder(source, home)
    if folder is None:
        revision = settings.get("revision", "main")
    elif "revision" in settings:
        raise BadModel(f"{folder} is a folder: its content is its revision; remove `revision`")
    else:
        source, revision = str(folder), folder_revision(folder)
    return ModelSpec(
        name,
        source,
        revision,
        prompt=settings.get("prompt", "auto"),
        parameters=settings.get("parameters"),
    )


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
