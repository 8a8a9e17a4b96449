"""A model's weights: those of the base kept aside, and every place on the way back to them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from finetrap.errors import Unsupported
from finetrap.runs.scratch import Scratch


class Originals:
    """The base model's tensors, kept on the CPU once something is about to change them."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._kept: dict[str, Tensor] = {}
        self._folder: Scratch | None = None

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """By name; empty until something is about to be changed."""
        if not self._kept and self._folder is not None:
            self._kept = load_file(self._file(self._folder))
        return self._kept

    def keep(self) -> None:
        """Copy every tensor, the first time only."""
        if not self._kept and self._folder is None:
            self._kept = {name: _narrowest(t.detach()) for name, t in tensors(self._model)}

    def lay_down(self) -> None:
        """Leave the copies to a temporary file until they are next asked for.

        They stay in memory where there is no room for it.
        """
        if self._folder is None:
            with suppress(OSError, SafetensorError):
                folder = Scratch()
                save_file(self._kept, self._file(folder))
                self._folder = folder
        if self._folder is not None:
            self._kept = {}

    @staticmethod
    def _file(folder: Scratch) -> Path:
        return folder.path / "originals.safetensors"

    def same(self, weight: Tensor) -> Tensor | None:
        """Return the kept copy of one of the model's tensors, None if it has moved since."""
        for name, tensor in tensors(self._model):
            if tensor.data_ptr() == weight.data_ptr():
                kept = self.kept[name]
                return kept if torch.equal(kept.to(weight.device, weight.dtype), weight) else None
        return None

    def restore(self) -> None:
        """Write the copies back, in fp32 where they were, and drop gradients."""
        for name, tensor in tensors(self._model):
            kept = self.kept[name]
            wide = torch.float32 if kept.is_floating_point() else kept.dtype
            tensor.data = kept.to(device=tensor.device, dtype=wide, copy=True)
            tensor.grad = None
        self._model.requires_grad_(False)


def tensors(model: torch.nn.Module) -> list[tuple[str, Tensor]]:
    """Return every parameter and buffer by name, tied ones once."""
    return [*model.named_parameters(), *model.named_buffers()]


def _narrowest(tensor: Tensor) -> Tensor:
    """Copy a tensor to the CPU in half precision if that holds it exactly, as it does for a
    checkpoint that was stored so."""
    if tensor.dtype == torch.float32:
        for half in (torch.bfloat16, torch.float16):
            copied = tensor.to(half)
            if torch.equal(copied.float(), tensor):
                return copied.cpu()
    return tensor.to("cpu", copy=True)


def sharing_copy(model: Any) -> Any:
    """Copy a module tree whose parameters and buffers stay the very same tensors."""
    return copy.deepcopy(model, {id(tensor): tensor for _, tensor in tensors(model)})


def cast(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Bring the weights to a dtype; buffers (rotary frequencies) stay as precise as they were."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


class WayBack:
    """Weights between the base and the trained ones: θ₀ + λ(θ − θ₀).

    Raises Unsupported where the trained model is not the base model with other weights.
    """

    def __init__(self, trained: torch.nn.Module, originals: Mapping[str, Tensor]) -> None:
        self._ends: list[tuple[Tensor, Tensor, Tensor]] = []
        found = dict(tensors(trained))
        if found.keys() != originals.keys():
            raise Unsupported(
                "only merged weights can go back towards the base model, and this method's "
                "adapter stays beside them; leave `rewind` to full fine-tuning or a method that "
                "merges, such as LoRA"
            )
        for name, tensor in found.items():
            base = originals[name].to(tensor.device)
            if not torch.equal(base.to(tensor.dtype), tensor):
                self._ends.append((tensor, originals[name], tensor.detach().to("cpu", copy=True)))

    @torch.no_grad()
    def go(self, share: float) -> None:
        """Set the weights to this share of the way; 0 and 1 are exact."""
        for tensor, base, trained in self._ends:
            if share in (0.0, 1.0):
                tensor.copy_(trained if share else base)
            else:
                tensor.copy_(torch.lerp(base.float(), trained.float(), share))


@contextmanager
def laid_aside(model: torch.nn.Module, kept: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Give up frozen fp32 weights inside that are `kept` in bfloat16; bring them back exactly."""
    found = [(p, kept(p)) for p in model.parameters() if not p.requires_grad]
    aside = [(p, same) for p, same in found if same is not None and same.dtype == torch.bfloat16]
    places = [p.device for p, _ in aside]
    for weight, _ in aside:
        weight.data = weight.data.new_empty(0)
    try:
        yield
    finally:
        for (weight, same), device in zip(aside, places, strict=True):
            weight.data = same.to(device=device, dtype=torch.float32)


def base_copy(model: Any, originals: Mapping[str, Tensor]) -> Any:
    """Return a second model, beside the one at hand, with the base weights."""
    other = copy.deepcopy(model)
    for name, tensor in tensors(other):
        tensor.data = originals[name].to(device=tensor.device, dtype=tensor.dtype, copy=True)
    return other
