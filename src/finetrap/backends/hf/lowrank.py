"""LoRA and DoRA trained through their merged weights: one product a layer, forward and backward.

PEFT computes x·Wᵀ and adds the adapter's own small products, layer by layer and pass by pass; for
DoRA it also forms the product B·A and the norm of every row each time. Here the weight that the
adapter stands for is computed once per optimizer step,

    V = W + s·B·A,   E = c∘V,   c = 1 (LoRA) or m / ‖V‖ by row (DoRA; Liu et al. 2024, eq. 5),

and the forward pass is x·Eᵀ. The norm counts as a constant in the gradient (section 4.3 there, and
PEFT). With g the gradient of the output, summed over tokens,

    dx = g·E,   dB = s·c∘gᵀ(x·Aᵀ),   dA = (g·(s·c∘B))ᵀx,   dm = Σ g∘(x·Vᵀ) / ‖V‖ = Σ g∘(x·Eᵀ) / m,

so the frozen weight has no gradient. Several adapters of one shape train as a pack: their weights
are stacked, [members, out, in], and each has its own share of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from peft.tuners.lora.variants import DoraLinearVariant
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

Kept = Callable[[Tensor], Tensor | None]
"""Finds the untouched copy of a weight, None where there is none."""


def can_merge_each_step(model: Any) -> bool:
    """Whether all that a PEFT model adds is LoRA or DoRA without dropout on fp32 linear layers."""
    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
    others = [
        name for name, p in model.named_parameters() if p.requires_grad and ".lora_" not in name
    ]
    return bool(layers) and not others and all(map(_is_plain, layers))


def can_train_together(models: Sequence[Any]) -> bool:
    """Whether adapters can be stacked: the same layers of one base, all LoRA or all DoRA."""
    if not all(map(can_merge_each_step, models)):
        return False
    first, *others = map(_linears, models)

    def kind(layer: Any) -> tuple[int, bool]:
        return layer.base_layer.weight.data_ptr(), bool(layer.lora_variant)

    return all(
        table.keys() == first.keys()
        and all(kind(table[name]) == kind(layer) for name, layer in first.items())
        for table in others
    )


def _is_plain(layer: Any) -> bool:
    if type(layer) is not Linear or type(layer.base_layer) is not torch.nn.Linear:
        return False
    names = layer.active_adapters
    if len(names) != 1 or layer.merged or layer.disable_adapters or layer.fan_in_fan_out:
        return False
    name = names[0]
    variant = layer.lora_variant.get(name)
    return (
        isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and not layer.lora_bias[name]
        and (variant is None or isinstance(variant, DoraLinearVariant))
        and layer.base_layer.weight.dtype == torch.float32
    )


class Merging:
    """The adapted layers of one or several members that train together on one core."""

    def __init__(self, models: Sequence[Any], kept: Kept) -> None:
        self._tables = [_linears(model) for model in models]
        self._layers = {
            name: MergedLayer([table[name] for table in self._tables], kept)
            for name in self._tables[0]
        }

    @contextmanager
    def training(self) -> Iterator[None]:
        """Train the first member's core through merged weights; its own come back at the end."""
        try:
            for name, layer in self._layers.items():
                self._tables[0][name].forward = layer.forward
            yield
        finally:
            for name, layer in self._layers.items():
                del self._tables[0][name].forward
                layer.restore()

    def refresh(self) -> None:
        """Merge anew, after the adapters have changed."""
        for layer in self._layers.values():
            layer.refresh()

    def drop(self, member: int) -> None:
        """Take a member out; the others go on as before."""
        for layer in self._layers.values():
            layer.drop(member)


def _linears(model: Any) -> dict[str, Any]:
    return {name: m for name, m in model.named_modules() if isinstance(m, BaseTunerLayer)}


class MergedLayer:
    """One linear layer of all members. With a single member there is no leading dimension."""

    def __init__(self, layers: Sequence[Any], kept: Kept) -> None:
        base = layers[0].base_layer
        self.bias: Tensor | None = base.bias
        self._base: Tensor = base.weight
        self._origin = kept(base.weight)
        name = layers[0].active_adapters[0]
        self.down = [layer.lora_A[name].weight for layer in layers]
        self.up = [layer.lora_B[name].weight for layer in layers]
        self.scaling = [float(layer.scaling[name]) for layer in layers]
        self.magnitude = (
            [layer.lora_magnitude_vector[name].weight for layer in layers]
            if layers[0].lora_variant.get(name) is not None
            else []
        )
        self._rank = max(weight.shape[0] for weight in self.down)
        self._alone = len(layers) == 1
        if self._alone and self._origin is None:
            self._origin = base.weight.detach().clone()
        if self._alone:
            self.effective = base.weight.detach()
        else:
            self.effective = base.weight.detach().expand(len(layers), -1, -1).clone()

    def forward(self, inputs: Tensor, *_: Any, **__: Any) -> Tensor:
        """Apply the merged weight to [rows, length, in]; members' rows stand one after another."""
        output: Tensor = _Apply.apply(  # type: ignore[no-untyped-call]
            inputs, self, *self.down, *self.up, *self.magnitude
        )
        return output

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute the merged weight, and what the backward pass needs of it."""
        weights = [self.effective] if self._alone else list(self.effective)
        ups, factors = [], []
        for at, weight in enumerate(weights):
            weight.copy_(self._origin if self._alone else self._base)
            weight.addmm_(self.up[at], self.down[at], alpha=self.scaling[at])
            up = self.up[at] * self.scaling[at]
            if self.magnitude:
                factor = (self.magnitude[at] / weight.norm(dim=1))[:, None]
                weight.mul_(factor)
                up = up * factor
                factors.append(factor * self.scaling[at])
            ups.append(_ranked(up, self._rank, 1))
        downs = [_ranked(down, self._rank, 0) for down in self.down]
        self.ups, self.downs = self._stacked(ups), self._stacked(downs)
        self.factors = self._stacked(factors) if factors else None

    def drop(self, member: int) -> None:
        """Take a member out."""
        for kept in (self.down, self.up, self.scaling, self.magnitude):
            if kept:
                del kept[member]
        rest = [at for at in range(self.effective.shape[0]) if at != member]
        self.effective = self.effective[rest]

    def restore(self) -> None:
        """Write the frozen weight back where the merged one stood."""
        if self._alone and self._origin is not None:
            with torch.no_grad():
                self._base.copy_(self._origin)

    def _stacked(self, tensors: list[Tensor]) -> Tensor:
        return tensors[0] if self._alone else torch.stack(tensors)

    def split(self, stacked: Tensor) -> list[Tensor]:
        """Return a member's part of a stacked gradient each."""
        return [stacked] if self._alone else list(stacked)

    def flat(self, states: Tensor) -> Tensor:
        """Return [tokens, width], or [members, tokens, width] in a pack."""
        members = () if self._alone else (self.effective.shape[0],)
        return states.reshape(*members, -1, states.shape[-1])


class _Apply(torch.autograd.Function):
    """x·Eᵀ + bias, with gradients for x and the members' A, B and m."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: MergedLayer, *leaves: Tensor) -> Tensor:
        flat = layer.flat(inputs)
        output = flat @ layer.effective.mT
        if layer.magnitude:
            ctx.save_for_backward(flat, output)
        else:
            ctx.save_for_backward(flat)
        ctx.layer, ctx.shape = layer, inputs.shape
        shaped: Tensor = output.view(*inputs.shape[:-1], -1)
        return shaped if layer.bias is None else shaped + layer.bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        layer: MergedLayer = ctx.layer
        flat, *output = ctx.saved_tensors
        over = layer.flat(gradient)
        to_inputs = (over @ layer.effective).view(ctx.shape) if ctx.needs_input_grad[0] else None
        # Tokens stand last in every thin product: a CPU takes a third of the time for it.
        downs = layer.split((layer.ups.mT @ over.mT) @ flat)
        ups = layer.split((layer.downs @ flat.mT @ over).mT)
        scales: Sequence[Any] = layer.scaling
        if layer.factors is not None:
            scales = layer.split(layer.factors)
        downs = [part[: own.shape[0]] for part, own in zip(downs, layer.down, strict=True)]
        ups = [
            part[:, : own.shape[1]] * scale
            for part, own, scale in zip(ups, layer.up, scales, strict=True)
        ]
        magnitudes = []
        if output:
            total = torch.linalg.vecdot(over, output[0], dim=-2)
            magnitudes = [
                part / own for part, own in zip(layer.split(total), layer.magnitude, strict=True)
            ]
        return to_inputs, None, *downs, *ups, *magnitudes


def _ranked(weight: Tensor, rank: int, dim: int) -> Tensor:
    """Return a weight with zeros up to the pack's largest rank."""
    missing = rank - weight.shape[dim]
    if missing == 0:
        return weight.detach().clone()
    shape = list(weight.shape)
    shape[dim] = missing
    return torch.cat([weight.detach(), weight.new_zeros(shape)], dim)
