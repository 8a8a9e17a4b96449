"""What the hub has and does not have, in words that say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers.utils import cached_file

from finetrap.backends.hf.source import ADAPTER, ALLOW_PICKLE, TOKENIZER_FILES, in_repository
from finetrap.backends.hf.tokens import in_a_line
from finetrap.errors import BadModel
from finetrap.records import ModelSpec

TOKENIZER = (
    *("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
    *("spiece.model", "sentencepiece.bpe.model", "tekken.json", "*.jinja"),
)
"""Files of a tokenizer on the hub."""
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")

# transformers would ask a service on the hub to convert pickled weights.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


def adapter_folder(spec: ModelSpec) -> Path | None:
    """Return where a hub id's adapter lies once it is cached, None for a whole model.

    Raises what transformers raises for a model that cannot be had.
    """
    if _cached(spec, ADAPTER) is None:
        return None
    patterns = ["adapter_*.safetensors", ADAPTER, *TOKENIZER]
    return Path(snapshot_download(spec.source, revision=spec.revision, allow_patterns=patterns))


def commit_facts(spec: ModelSpec) -> dict[str, str]:
    """Return the commit of a hub id that is opened, as its fact. Raises BadModel for one without a
    tokenizer, or whose weights are not safetensors unless its study allows that.

    What cannot be had at all is left to be told by whoever opens it.
    """
    config = _cached(spec, "config.json")
    if config is None:
        return {}
    what = f"model '{spec.name}': '{spec.source}' at revision '{spec.revision}' has no"
    if not any(_cached(spec, name) for name in TOKENIZER_FILES):
        raise BadModel(
            f"{what} tokenizer ({', '.join(TOKENIZER_FILES[:3])}); download it with `hf download "
            f"{spec.source}`, put the tokenizer of its base model beside it, and give that folder"
        )
    if not spec.allow_pickle and not any(_cached(spec, name) for name in SAFETENSORS):
        raise BadModel(
            f"{what} {SAFETENSORS[0]}; pickled weights can hold a program. {ALLOW_PICKLE}"
        )
    return {"commit": Path(config).parent.name}


def gguf_file(spec: ModelSpec, repository: str, name: str) -> tuple[Path, dict[str, str]]:
    """Return where a GGUF file of a hub id lies, fetched if need be, and its commit as a fact.

    Raises what transformers raises for a file that cannot be had.
    """
    file = Path(str(cached_file(repository, name, revision=spec.revision)))
    return file, {"commit": file.parents[len(Path(name).parents) - 1].name}


def _cached(spec: ModelSpec, name: str) -> str | None:
    """Return where a file of a hub id lies, fetched if need be; None if the model lacks it."""
    found: str | None = cached_file(
        spec.source, name, revision=spec.revision, _raise_exceptions_for_missing_entries=False
    )
    return found


def missing_model(spec: ModelSpec, error: BaseException) -> str:
    """Say why a model cannot be had from the hub, and what to do."""
    met = [type(one) for one in _causes(error)]
    repository, name = in_repository(spec.source) or (spec.source, "")

    def is_one(*kinds: type[BaseException]) -> bool:
        return any(issubclass(kind, kinds) for kind in met)

    what = f"model '{spec.name}': '{spec.source}'"
    if is_one(GatedRepoError):
        return (
            f"{what} is gated: ask for access on {constants.ENDPOINT}/{repository}, then log in "
            "with `hf auth login`"
        )
    if is_one(RevisionNotFoundError):
        return f"{what} has no revision '{spec.revision}': give a branch, tag or commit of it"
    if is_one(RepositoryNotFoundError):
        return (
            f"{what} is not on the hub, or not for you: check its spelling, and log in with "
            "`hf auth login` if it is private"
        )
    if is_one(LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError) or _unreachable(met):
        wanted = f"{repository} {name}".rstrip()
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "no connection"
        return (
            f"{what} at revision '{spec.revision}' is not in {constants.HF_HUB_CACHE}, and the hub "
            f"cannot be reached ({offline}): connect, or run `hf download {wanted} --revision "
            f"{spec.revision}` where there is a network and copy that folder, or give a checkpoint "
            "folder"
        )
    return f"{what} at revision '{spec.revision}' cannot be opened: {in_a_line(error)}"


def _unreachable(met: list[type[BaseException]]) -> bool:
    """Whether the client that the hub's library uses found nobody to talk to."""
    return any(kind.__module__.startswith("httpx") for kind in met)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
