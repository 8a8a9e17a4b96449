"""From a folder, a file or a hub id to the weights that are meant; nothing here imports torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from finetrap.errors import BadInput, BadModel, opening
from finetrap.records import ModelSpec
from finetrap.text.paths import place_of

PREFIX = ""
"""A source that no other backend claims is one of these."""
PACKAGE = "package:"
"""A source inside the installed package."""
ADAPTER = "adapter_config.json"
"""What a folder with an adapter holds, and no other."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
SETTINGS = (
    *("config.json", "generation_config.json", "model.safetensors.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    "vocab.json",
)
"""Files of a checkpoint folder that each hold a JSON object, where they are there."""
ALLOW_PICKLE = (
    "Save them as safetensors, or, if you trust them, write allow_pickle = true under [model.NAME] "
    "and run with --allow-code"
)
_PICKLED = "pytorch_model*.bin"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_AT_REVISION = re.compile(r"([\w.-]+/[\w.-]+)@([\w./-]+)")
_IN_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?:([\w./-]+\.gguf)")
"""A GGUF file of a hub id: `org/name:file.gguf`, `org/name@revision:file.gguf`."""
_PARTS = (".safetensors", ".bin", ".json", ".txt", ".model", ".jinja", ".tiktoken")
"""Weights, configuration and tokenizer: what decides a model's numbers."""


def named(entry: str, base: Path) -> tuple[str, str] | None:
    """Return the name and the source of a folder, a .gguf file or a hub id (`id@revision` and
    `id:file.gguf` too), None for anything else. Raises BadModel."""
    place = place_of(entry, base)
    if place.is_dir() or is_gguf(place):
        return place.resolve().name, str(place)
    if entry.endswith(".gguf") and not _IN_REPOSITORY.fullmatch(entry):
        raise BadModel(
            f"no file {place.resolve()}; give the path of a .gguf file, or org/name:file.gguf"
        )
    if entry.startswith((".", "/", "~")):
        raise BadModel(f"no folder {place.resolve()}; give one that save_pretrained wrote")
    return (entry, entry) if _is_hub_id(entry) else None


def in_repository(source: str) -> tuple[str, str] | None:
    """Return the hub id and the name of a GGUF file that lies there; None for anything else."""
    found = _IN_REPOSITORY.fullmatch(source)
    return (found[1], found[3]) if found else None


def _is_hub_id(text: str) -> bool:
    return any(form.fullmatch(text) for form in (_HUB_ID, _AT_REVISION, _IN_REPOSITORY))


def is_gguf(place: Path) -> bool:
    """Whether a path is that of a model in one GGUF file."""
    return place.suffix == ".gguf" and place.is_file()


def spec(name: str, source: str, settings: Mapping[str, Any], home: Path) -> ModelSpec:
    """Return the model of a source; its path starts from `home`. Raises BadModel, BadInput.

    `settings` may hold the `base` of an adapter, as a ModelSpec, or as `its_base` the one it has if
    it is an adapter; that of an adapter's folder is
    else the one that the folder names, and that of an adapter on the hub is found on opening.
    """
    place, base = _place(source, home), settings.get("base")
    code = settings.get("trust_remote_code", False)
    if place is None:
        source, stated = _split(source)
        if stated and "revision" in settings:
            raise BadModel(f"'{source}@{stated}' has its revision: remove `revision`")
        revision = stated or settings.get("revision", "main")
    elif "revision" in settings:
        kind = "folder" if place.is_dir() else "file"
        raise BadModel(f"{place} is a {kind}: its content is its revision; remove `revision`")
    else:
        source, revision = str(place), content_revision(place, code=code)
        if (place / ADAPTER).is_file():
            base = base or settings.get("its_base") or stated_base(place)
        elif base is not None:
            raise BadModel(f"{place} is a whole model, no adapter (no {ADAPTER}); remove `base`")
        elif place.is_dir():
            check_folder(place, pickles=settings.get("allow_pickle", False))
        if base is not None and base.base:
            raise BadModel(
                f"{place}: its base '{base.source}' is an adapter too; merge that one into a "
                "checkpoint folder first (PEFT's merge_and_unload)"
            )
    return ModelSpec(
        name,
        source,
        revision,
        parameters=settings.get("parameters"),
        base=base.source if base else "",
        base_revision=base.revision if base else "",
        allow_pickle=settings.get("allow_pickle", False),
        trust_remote_code=code,
    )


def _place(source: str, home: Path) -> Path | None:
    """Return the folder or file that a source means, None for a hub id. Raises BadModel."""
    if source.startswith(PACKAGE):
        inside = source.removeprefix(PACKAGE)
        place = Path(str(files("finetrap").joinpath(inside)))
        missing = f"this installation has no {inside}: install finetrap again, or build it anew"
    else:
        place = place_of(source, home).resolve()
        if not place.exists() and _is_hub_id(source) and not source.startswith("."):
            return None
        found = "has no config.json and no " + ADAPTER if place.is_dir() else "is not a model"
        found = found if place.exists() else "does not exist"
        missing = f"{place} {found}: give a folder that save_pretrained wrote, or a .gguf file"
    if not is_gguf(place) and not any((place / f).is_file() for f in ("config.json", ADAPTER)):
        raise BadModel(missing)
    for name in SETTINGS:
        if (place / name).is_file():
            settings_in(place / name)
    return place


def check_folder(folder: Path, *, pickles: bool) -> None:
    """Name what the folder of a whole model lacks. Raises BadModel."""
    lacks = None
    if not (folder / "config.json").is_file():
        lacks = "config.json"
    elif not any((folder / name).is_file() for name in TOKENIZER_FILES):
        lacks = "tokenizer (tokenizer.json, tokenizer.model or vocab.json)"
    elif not any(folder.glob("*.safetensors")) and not (pickles and any(folder.glob(_PICKLED))):
        if any(folder.glob(_PICKLED)):
            raise BadModel(
                f"model folder '{folder}' has pickled weights alone ({_PICKLED}), which can hold a "
                f"program. {ALLOW_PICKLE}"
            )
        lacks = "weights (*.safetensors)"
    if lacks:
        raise BadModel(
            f"model folder '{folder}' has no {lacks}; a checkpoint folder holds config.json, "
            "tokenizer files and weights, as save_pretrained of model and tokenizer write them"
        )


def _split(source: str) -> tuple[str, str]:
    """Split `id@revision` or `id@revision:file`; the revision is empty where there is none."""
    if found := _IN_REPOSITORY.fullmatch(source):
        return f"{found[1]}:{found[3]}", found[2] or ""
    name, _, revision = source.partition("@")
    return name, revision


def stated_base(folder: Path) -> ModelSpec:
    """Return the model that an adapter's own folder names as its base. Raises BadModel."""
    told = adapter_settings(folder)
    stated = str(told.get("base_model_name_or_path") or "")
    try:
        revision = told.get("revision")
        pinned = {"revision": revision} if revision and _is_on_hub(stated) else {}
        return spec(stated, stated, pinned, Path())
    except BadModel as fault:
        raise BadModel(
            f"{folder} is an adapter, and its base '{stated}' ({ADAPTER}) is not at hand; write "
            'base = "FOLDER or hub id" under [model.NAME], NAME as the model is called in `models`'
        ) from fault


def _is_on_hub(source: str) -> bool:
    return bool(_HUB_ID.fullmatch(source)) and not Path(source).exists()


def adapter_settings(folder: Path) -> dict[str, Any]:
    """Return an adapter's own configuration. Raises BadModel."""
    return settings_in(folder / ADAPTER)


def settings_in(file: Path) -> dict[str, Any]:
    """Return what a file of a model says, a JSON object. Raises BadModel."""
    remedy = "as save_pretrained writes it; save the model again, or take the file of its origin"
    try:
        told = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadModel(f"{file} cannot be read: {error}; give a JSON object, {remedy}") from error
    if not isinstance(told, dict):
        found = opening(json.dumps(told))
        raise BadModel(f"{file} holds {found}, which is no JSON object of settings, {remedy}")
    return told


def content_revision(place: Path, *, code: bool = False) -> str:
    """Return `sha256:…` of a .gguf file, or over the names and bytes of a folder's files, with
    `code` those of its Python files too."""
    if place.is_file():
        return f"sha256:{_hash_of(place)}"
    deciding = (*_PARTS, ".py") if code else _PARTS
    parts = sorted(
        path
        for path in place.iterdir()
        if path.suffix in deciding and not path.name.startswith(".") and path.is_file()
    )
    digest = hashlib.sha256()
    for path in parts:
        digest.update(f"{path.name}\0{_hash_of(path)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _hash_of(path: Path) -> str:
    """Return the SHA-256 of a file. Raises BadInput."""
    try:
        state = path.stat()
        return _file_hash(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; the model cannot be read") from error


@lru_cache(maxsize=4096)
def _file_hash(path: Path, modified_ns: int, size: int) -> str:
    """Hash a file once for each state that it is found in."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
