"""From what a study calls a model to where its weights are and which weights those are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetrap import catalog
from finetrap.backends import backend_of
from finetrap.errors import BadModel, BadStudy, nearest
from finetrap.measure.study.faults import checked_model
from finetrap.measure.study.forms import prompts_of
from finetrap.measure.study.toml import read_toml
from finetrap.records import ModelSpec
from finetrap.text.paths import place_of


def resolve(entry: str, base: Path, settings: Mapping[str, Any]) -> ModelSpec:
    """Return the model that `entry` means outside a study; see `variants`."""
    return variants(entry, base, settings)[0]


def variants(
    entry: str, base: Path, settings: Mapping[str, Any], prompt: Mapping[str, Any] | None = None
) -> list[ModelSpec]:
    """Return the model that a study means by `entry`, once for each prompt it is asked by.

    Paths start from the folder `base`; `prompt` is the study's `[prompt]`. An entry is a catalog
    name, a model file (.toml), or what a backend knows: a source with its prefix, a local folder or
    .gguf file, a hub id. `settings` are what `[model.NAME]` says, and with `source` define a model
    of that name.

    Raises BadModel, BadStudy for a model file with errors or a prompt that cannot be.
    """
    name, table, home = _name_and_table(entry, base, settings)
    asked = prompts_of(_prompt(table), prompt or {}, _prompt(settings))
    below, start = (settings, base) if "base" in settings else (table, home)
    settings = {**table, **settings}
    if "base" in below:
        settings["base"] = resolve(below["base"], start, {})
    source = settings.get("source", name)
    model = backend_of(source).spec(name, source, settings, home)
    return [replace(model, prompt=own) for own in asked]


def _prompt(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a model's table says of its prompt; a string is short for its format."""
    said = table.get("prompt", {})
    return {"format": said} if isinstance(said, str) else said


def suggested_data(entry: str) -> Mapping[str, str]:
    """Return the sources of tasks that go with a model where a study says nothing."""
    data: Mapping[str, str] = catalog.models().get(entry, {}).get("data", {})
    return data or getattr(backend_of(entry), "DATA", {})


def _name_and_table(
    entry: str, base: Path, settings: Mapping[str, Any]
) -> tuple[str, dict[str, Any], Path]:
    """Return the model's name, what is known about it, and where its paths start."""
    known = catalog.models()
    if settings.get("source"):
        return entry, {}, base
    if entry.endswith(".toml"):
        return _from_file(place_of(entry, base))
    if entry in known:
        return entry, known[entry], catalog.FOLDER
    found = backend_of(entry).named(entry, base)
    if found is None:
        raise BadModel(
            f"no model '{entry}': neither in the catalog (`finetrap list`) nor a folder, a .gguf "
            f"file or a hub id like org/name{nearest(entry, known)}"
        )
    name, source = found
    pinned = next((table for table in known.values() if table.get("source") == source), None)
    return name, pinned or {"source": source}, base


def _from_file(path: Path) -> tuple[str, dict[str, Any], Path]:
    table, _ = read_toml(path)
    model, faults = checked_model(table, path.name)
    if not model.source:
        faults.append(f"{path.name}: source: missing; give a hub id, a folder or a .gguf file")
    if faults:
        raise BadStudy(str(path), faults)
    return path.stem, table, path.parent


def given(entry: str, home: Path, base: ModelSpec) -> ModelSpec:
    """Return weights that others trained from a base model; an adapter's base is that one.

    It is asked as its base is. Raises BadModel.
    """
    settings = {
        "its_base": base,
        "allow_pickle": base.allow_pickle,
        "trust_remote_code": base.trust_remote_code,
    }
    backend = backend_of(entry)
    found = backend.named(entry, home)
    if found is None:
        raise BadModel(
            f"no weights '{entry}': give a checkpoint or adapter folder, a .gguf file or a hub id"
        )
    return backend.spec(*found, settings, home)
