"""The seam between a strategy and whatever computes: one file or package a backend."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from finetrap.errors import Unsupported
from finetrap.records import Limits, ModelSpec, StopReason, StrategySpec, TrainSpec
from finetrap.runs.unfinished import Checkpoint
from finetrap.text.prompts import Form

Progress = Callable[[str, Mapping[str, Any]], None]
"""Called after each training step, as `step` with `step`, `steps`, `loss` and `tokens`."""


@dataclass(frozen=True)
class Completion:
    """What a model wrote, cut before its stop string."""

    text: str
    tokens: int
    """Tokens generated, the end token included."""
    stop: StopReason


Written = Callable[[int, Completion], None]
"""Called once with each prompt's number and completion, as soon as it is whole, in any order."""
Scored = Callable[[int, float], None]
"""Called with the number of what is scored and its nats as soon as they are known, in any order."""


Moved = Callable[[int, tuple[float, float]], None]
"""Likewise with both divergences."""


@dataclass(frozen=True)
class Known:
    """What a call found before its process died, by the numbers that its callbacks tell."""

    completions: Mapping[int, Completion] = field(default_factory=dict)
    nats: Mapping[int, float] = field(default_factory=dict)
    divergences: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    @property
    def whole(self) -> Mapping[int, Completion]:
        """The completions of prompts whose golds are known too."""
        return {i: found for i, found in self.completions.items() if i in self.nats}


NOTHING_KNOWN = Known()


@dataclass(frozen=True)
class Row:
    """One training row: the loss is on `target` and on the end token that is put after it."""

    prompt: str
    target: str


@dataclass(frozen=True)
class Training:
    """What a training run was."""

    steps: int
    tokens: int
    """Tokens of all rows seen, padding not counted."""
    trainable: int
    """Parameters that were trained."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """`loss`, `gradient_norm`, `update_ratio` and `learning_rate` per step; `rows` (two rendered
    examples, each a list of [token text, in loss]); `eos_share` (rows that train their end);
    where there is a tokenizer `retokenised` and `template_faults`."""


class Model(Protocol):
    """An opened model, as every backend has to provide it: text in, text and nats out.

    Nothing else of a backend is seen outside it. What is `known` need not be found again, and
    nothing else may come out otherwise for it; a backend may find and tell it again.
    """

    parameters: int
    form: Form
    """Writes its prompts, and what follows them."""

    @property
    def tokens_read(self) -> int:
        """Tokens that `generate` and `score` have read and written since the model was opened."""

    @property
    def ship_bytes(self) -> int:
        """Bytes to ship: the adapter's file, or the whole model if its weights were changed."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        stops: Sequence[str],
        batch: int,
        written: Written | None = None,
        golds: Sequence[str] = (),
        scored: Scored | None = None,
        known: Known = NOTHING_KNOWN,
    ) -> list[Completion]:
        """Complete each prompt greedily. Raises ContextTooLong.

        `golds`, one for each prompt or none at all, are scored after their prompts as `score` does,
        which costs less than doing it apart; `scored` takes the nats of each.
        """

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        batch: int,
        windows: bool = False,
        scored: Scored | None = None,
        known: Known = NOTHING_KNOWN,
    ) -> list[float]:
        """Return the nats of each continuation given its context.

        One that is too long raises ContextTooLong, or is read in disjoint `windows` that each stand
        after the context.
        """

    def train(
        self,
        rows: Sequence[Row],
        strategy: StrategySpec,
        train: TrainSpec,
        seed: int,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Training:
        """Change this model as the strategy says. Raises Diverged, Unsupported, ContextTooLong.

        A backend that can go on from a `checkpoint`, and writes it, ends with the very same numbers
        as without; one that cannot leaves it alone.
        """

    def save(self, folder: Path, *, whole: bool) -> None:
        """Write `adapter/` in PEFT's format, or with `whole` also `model/` as safetensors."""

    def reset(self) -> None:
        """Return to the base weights, exactly."""


@runtime_checkable
class Interpolating(Model, Protocol):
    """A model that has its base weights beside the trained ones: for rewinds and divergences."""

    def rewind(self, share: float) -> None:
        """Set the weights to `share` of the way from the base to the trained ones.

        Both ends are exact. Raises Unsupported for an adapter that is not merged into weights.
        """

    def divergence(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        batch: int,
        moved: Moved | None = None,
        known: Known = NOTHING_KNOWN,
    ) -> list[tuple[float, float]]:
        """Return KL(this‖base) and KL(base‖this) on each continuation, nats per token."""


@runtime_checkable
class Counting(Model, Protocol):
    """A model that says what tokens texts are, without computing: for `plan` and `show`."""

    def lengths(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
        """Return the tokens of each context and of its continuation, as `score` reads them."""

    def training_tokens(
        self, rows: Sequence[Row], strategy: StrategySpec, train: TrainSpec, seed: int
    ) -> int:
        """Return the tokens that `train` would see, without training. Raises ContextTooLong."""

    def row_bytes(self, tokens: int) -> int:
        """Return about how many bytes a row of so many tokens holds while it is completed."""

    def shown(self, row: Row) -> list[tuple[str, bool]]:
        """Return the text of each token of a training row, with whether it is in the loss."""


class Showing(Protocol):
    """What shows the texts that a model is given; no weights are needed for it."""

    form: Form

    def shown(self, row: Row) -> list[tuple[str, bool]]:
        """Return the text of each token of a training row, with whether it is in the loss."""


@runtime_checkable
class Adopting(Model, Protocol):
    """A model that can be what others made of it."""

    def adopt(self, given: ModelSpec) -> Training:
        """Take weights that were trained elsewhere, until `reset`. Raises BadModel.

        The training's evidence says as `differs` in what else than its weights the given model is
        another, by what it is, in words.
        """


@runtime_checkable
class Derived(Model, Protocol):
    """A model that was made of something else than a checkpoint."""

    @property
    def made_from(self) -> Mapping[str, str]:
        """What its weights came from, each with a name: for people to read; empty if nothing."""


@runtime_checkable
class Told(Model, Protocol):
    """A model that says how it is read."""

    @property
    def how_read(self) -> Mapping[str, str]:
        """`attention`, `completions` and, with an adapter, `adapted`, for people to read."""


@runtime_checkable
class Fitting(Model, Protocol):
    """A model that is asked fewer rows at once than it was told where memory holds no more."""

    def take_rows_held(self) -> int | None:
        """Return the fewest rows at once, None where all were held, and begin to count anew."""


def interpolating(model: Model) -> Interpolating:
    """Return the model as one that has two ends. Raises Unsupported."""
    if isinstance(model, Interpolating):
        return model
    raise Unsupported(
        f"{type(model).__name__} keeps no base weights beside the trained ones; leave `rewind` "
        "out, or use a model of another backend"
    )


class Backend(Protocol):
    """What a backend's file defines; the folder is the registry.

    A file whose name starts with an underscore is no backend. `DATA`, sources of tasks that suit
    its models, may be left out, and so may `adapted`, which says which layers a strategy's adapter
    would be on, and `open_reader`, which opens what `show` needs.
    """

    PREFIX: str
    """What the sources of its models start with; one backend has none, and takes all others."""

    def named(self, entry: str, base: Path) -> tuple[str, str] | None:
        """Return the name and the source of a model that is in no catalog, None for no model."""

    def spec(self, name: str, source: str, settings: Mapping[str, Any], home: Path) -> ModelSpec:
        """Return the model of a source, with what a study or the catalog says of it.

        Paths start from the folder `home`. Raises BadModel.
        """

    def open_model(self, spec: ModelSpec, limits: Limits) -> Model:
        """Open a model. Raises BadModel."""


def backend_of(source: str) -> Backend:
    """Return the backend that opens a source."""
    fitting = (backend for backend in _backends() if source.startswith(backend.PREFIX))
    return max(fitting, key=lambda backend: len(backend.PREFIX))


@cache
def _backends() -> tuple[Backend, ...]:
    names = (found.name for found in pkgutil.iter_modules(__path__))
    return tuple(map(_backend, (name for name in names if not name.startswith("_"))))


def _backend(name: str) -> Backend:
    module: Any = import_module(f"{__name__}.{name}")
    backend: Backend = module
    return backend


def open_model(spec: ModelSpec, limits: Limits) -> Model:
    """Open a model with the backend that its spec names; importing it may be slow."""
    return _backend(spec.backend).open_model(spec, limits)


def adapter_layers(spec: ModelSpec, strategy: StrategySpec, *, fetch: bool) -> Sequence[str] | None:
    """Return the kinds of layers that an adapter would be on, None where opening the model tells.

    Nothing is opened; `fetch` allows to ask the network. Raises BadInput for one that is refused.
    """
    ask = getattr(_backend(spec.backend), "adapted", None)
    found: Sequence[str] | None = ask(spec, strategy, fetch=fetch) if ask else None
    return found


def shown_by(spec: ModelSpec, limits: Limits) -> Showing:
    """Open what shows a model's texts, without its weights where its backend can.

    Raises BadModel, Unsupported.
    """
    open_reader = getattr(_backend(spec.backend), "open_reader", None)
    reader: Showing | None = open_reader(spec) if open_reader else None
    if reader is not None:
        return reader
    model = open_model(spec, limits)
    if not isinstance(model, Counting):
        raise Unsupported(f"the backend {spec.backend} shows no tokens: nothing can be shown")
    return model
