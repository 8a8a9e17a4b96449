"""The models of a study by size and alignment: which of them a claim is about.

Real models keep the paper's own lines (300M, 500M). Where every model is a miniature those lines
mean nothing, and the analogous claim is about the sizes that there are; it is marked so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from finetrap.records import ModelSpec, Run

MINIATURE = 50_000_000
"""Parameters below which a model is a miniature, no language model as the paper has them."""
SMALL_BELOW = 300_000_000
LARGE_FROM = 490_000_000
"""The paper's "500M": its Qwen2.5-0.5B has 494 million parameters."""
PAPER_SMALLEST = (100_000_000, 200_000_000)
"""Between these lies the paper's smallest model, SmolLM2-135M."""
_ALIGNED_NAME = re.compile(r"(^|[^a-z])(instruct|it|chat)($|[^a-z])", re.IGNORECASE)


class SizedModel(NamedTuple):
    """A model as claims see it."""

    name: str
    parameters: int | None
    aligned: bool


class ModelChoice(NamedTuple):
    """The models that a claim is about in this study."""

    names: tuple[str, ...]
    who: str
    """The models in words."""
    analogue: bool = False
    lack: str = ""
    """What the study would need; empty if the claim can be tested."""


Belongs = Callable[[SizedModel, Sequence[int]], bool]
"""Whether a model is one of those meant, among the sizes of its study, smallest first."""


@dataclass(frozen=True)
class Models:
    """A choice among models: the paper's, and its analogue where all are miniatures."""

    who: str
    needs: str
    paper: Belongs
    analogue_who: str
    analogue: Belongs

    def choose(self, known: Sequence[SizedModel]) -> ModelChoice:
        """Choose among the models of a study; real ones if there are any."""
        unknown = [m.name for m in known if m.parameters is None]
        real = [m for m in known if m.parameters is None or m.parameters >= MINIATURE]
        belongs, who = (self.paper, self.who) if real else (self.analogue, self.analogue_who)
        sized = sorted({m.parameters for m in real or known if m.parameters is not None})
        chosen = [m for m in real or known if belongs(m, sized)]
        lack = "" if chosen else f"needs {self.needs}"
        if lack and unknown:
            lack += f" (parameters unknown: {', '.join(unknown)})"
        sizes = ", ".join(map(_sized, chosen)) or "none here"
        return ModelChoice(tuple(m.name for m in chosen), who.format(sizes=sizes), not real, lack)


def sized_models(runs: Sequence[Run]) -> list[SizedModel]:
    """Return the models of these runs; a measured number of parameters goes before a stated one."""
    found: dict[str, SizedModel] = {}
    for run in runs:
        spec = run.cell.model
        known = found.get(spec.shown)
        size = run.costs.parameters or (known.parameters if known else None) or spec.parameters
        found[spec.shown] = SizedModel(spec.shown, size, aligned(spec))
    return list(found.values())


def aligned(spec: ModelSpec) -> bool:
    """Say whether a model is tuned to instructions: a chat prompt, or its name says so."""
    return spec.prompt.format == "chat" or bool(_ALIGNED_NAME.search(spec.name))


def size_of(parameters: int) -> str:
    """Write a number of parameters: 135M, 1.24B, 0.92M."""
    unit, letter = (1e9, "B") if parameters >= 1e9 else (1e6, "M")
    return f"{parameters / unit:.3g}{letter}"


def _sized(model: SizedModel) -> str:
    return model.name if model.parameters is None else f"{model.name} {size_of(model.parameters)}"


def _below(model: SizedModel, sizes: Sequence[int]) -> bool:
    return model.parameters is not None and model.parameters < SMALL_BELOW


def _from(model: SizedModel, sizes: Sequence[int]) -> bool:
    return model.parameters is not None and model.parameters >= LARGE_FROM


def _smallest_as_published(model: SizedModel, sizes: Sequence[int]) -> bool:
    low, high = PAPER_SMALLEST
    return model.parameters in sizes[:1] and low <= sizes[0] <= high


SMALL = Models(
    "models under 300M parameters",
    "a model under 300M parameters",
    _below,
    "the smaller half of this study's sizes ({sizes})",
    lambda model, sizes: model.parameters in sizes[: len(sizes) // 2],
)
LARGE = Models(
    "models from 500M parameters up",
    "a model from 500M parameters up",
    _from,
    "the larger half of this study's sizes ({sizes})",
    lambda model, sizes: model.parameters in sizes[(len(sizes) + 1) // 2 :],
)
ALL = Models(
    "all models",
    "a model",
    lambda model, sizes: True,
    "all models of this study ({sizes})",
    lambda model, sizes: True,
)
ALIGNED = Models(
    "aligned models",
    "an aligned (instruction-tuned) model",
    lambda model, sizes: model.aligned,
    "this study's aligned models ({sizes})",
    lambda model, sizes: model.aligned,
)
SMALLEST = Models(
    "the smallest model ({sizes})",
    "a smallest model of the paper's size, 100M to 200M parameters",
    _smallest_as_published,
    "the smallest size of this study ({sizes})",
    lambda model, sizes: model.parameters in sizes[:1],
)
