"""What a study names: models, prompts and tasks, and which of them decide a cell's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Format = Literal["auto", "plain", "chat"]


@dataclass(frozen=True)
class PromptSpec:
    """How a model is asked; what is left out keeps finetrap's own form."""

    format: Format = "auto"
    """`auto`: the tokenizer's chat template where it has one, else plain text."""
    system: str = ""
    """The system message of a chat; plain prompts begin with it."""
    template: str | None = None
    """Text around `{question}`, of choices also `{options}`; in a chat the user's message."""
    answer_prefix: str = ""
    """What every answer begins with: a part of the prompt, never trained or graded."""
    stops: tuple[str, ...] | None = None
    """Texts that end an answer; else those with which a plain prompt's next problem begins."""
    exemplars: tuple[tuple[str, str], ...] = ()
    """Questions with worked answers that few-shot takes in this order, instead of drawing them
    from the training problems."""

    def identity(self) -> str | dict[str, Any]:
        """Return its part of a cell's key: the format alone, unless it says more."""
        if self == PromptSpec(self.format):
            return self.format
        stops = None if self.stops is None else list(self.stops)
        return {**asdict(self), "stops": stops, "exemplars": [list(e) for e in self.exemplars]}

    @classmethod
    def read(cls, written: str | dict[str, Any]) -> PromptSpec:
        """Return the prompt that was written as JSON; older runs hold the format alone."""
        if isinstance(written, str):
            return cls(written)  # type: ignore[arg-type]
        stops = None if written["stops"] is None else tuple(written["stops"])
        exemplars = tuple((question, answer) for question, answer in written["exemplars"])
        return cls(**{**written, "stops": stops, "exemplars": exemplars})


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
    prompt: PromptSpec = PromptSpec()
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

    label: str = field(default="", compare=False)
    """What judging calls it where it was asked by several prompts. Not in the key."""

    @property
    def shown(self) -> str:
        """What it is called beside other models, and beside itself under another prompt."""
        return self.label or self.name

    def identity(self) -> dict[str, Any]:
        """Return the part of a cell's key that says which model this is."""
        base = self.base_revision
        if base and not base.startswith("sha256:"):
            base = f"{self.base}@{base}"
        return {
            "name": self.name,
            "revision": self.revision,
            "prompt": self.prompt.identity(),
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
