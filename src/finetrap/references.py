"""What a study names: models and tasks, and which of them decide a cell's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class ModelSpec:
    """A model as a study names it."""

    name: str
    source: str
    """Hub id, folder or .gguf file; of an adapter its own. Not in the key: the revision says which
    weights these are."""
    revision: str
    """Commit on the hub, or `sha256:…` over a folder's files or a .gguf file."""
    backend: str = "hf"
    prompt: Literal["auto", "plain", "chat"] = "auto"
    """`auto`: the tokenizer's chat template where it has one, else plain text."""
    parameters: int | None = None
    """Number of parameters where the catalog states it."""
    base: str = ""
    """Of an adapter: the hub id or folder of the model that it belongs to. Not in the key."""
    base_revision: str = ""
    """Which weights those are."""
    allow_pickle: bool = False
    """Open weights that are pickled, not safetensors."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the model."""

    def identity(self) -> dict[str, Any]:
        """Return the part of a cell's key that says which model this is."""
        base = self.base_revision
        if base and not base.startswith("sha256:"):
            base = f"{self.base}@{base}"
        return {
            "name": self.name,
            "revision": self.revision,
            "prompt": self.prompt,
            **({"base": base} if base else {}),
            **({"trust_remote_code": True} if self.trust_remote_code else {}),
        }


@dataclass(frozen=True)
class TaskRef:
    """A task as a study names it."""

    name: str
    revision: str
    """Pinned hub commit, generator version, or `sha256:…` over a local file."""
    source: str | None = None
    """Local file or folder; None for the hub or a generator. Not in the key."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Column names of user data and the like."""

    def identity(self) -> dict[str, Any]:
        """Return the part of a cell's key that says which task this is."""
        return {"name": self.name, "revision": self.revision, "options": dict(self.options)}
