"""LoRA and DoRA trained through their merged weights: one product a layer, forward and backward.

PEFT computes x·Wᵀ and adds the adapter's own small products, layer by layer and pass by pass; for
DoRA it also forms the product B·A and the norm of every row each time. Here the weight that the
adapter stands for is computed once per optimizer step,

    V = W + s·B·A,   E = c∘V,   c = 1 (LoRA) or m / ‖V‖ by row (DoRA; Liu et al. 2024, eq. 5),

and the forward pass is x·Eᵀ. The norm counts as a constant in the gradient (section 4.3 there, and
PEFT). With g the gradient of the output, summed over tokens,

    dx = g·E,   dB = s·c∘gᵀ(x·Aᵀ),   dA = (g·(s·c∘B))ᵀx,   dm = Σ g∘(x·Vᵀ) / ‖V‖ = Σ g∘(x·Eᵀ) / m,

so the frozen weight has no gradient. Where passes run in bfloat16 a merged weight would round the
adapter away: there the small products stay beside the frozen one, and the norm is computed without
V, ‖V‖² = ‖W‖² + 2s⟨W·Aᵀ, B⟩ + s²⟨B·(A·Aᵀ), B⟩ by row, in fp32, once a step too.

Several adapters of one shape train as a pack: their weights are stacked, [members, out, in], and
each has its own share of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from peft.tuners.lora.variants import DoraLinearVariant
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from finetrap.backends.hf.training.half import Kept
from finetrap.backends.hf.weights import laid_aside


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

    def __init__(self, cores: Sequence[Any], kept: Kept, half: Any = None) -> None:
        """Adapt the first core for all, or `half`, its copy in bfloat16."""
        tables = [_linears(core) for core in cores]
        self._base, self._half, self._kept = cores[0], half, kept
        self._runs = tables[0] if half is None else _linears(half)
        self._layers: dict[str, AdaptedLayer] = {}
        for name in tables[0]:
            members = [table[name] for table in tables]
            if half is None:
                self._layers[name] = MergedLayer(members, kept)
            else:
                self._layers[name] = BesideLayer(members, self._runs[name].base_layer)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Let the core compute with the adapters; its own weights come back at the end."""
        normed = any(layer.magnitude for layer in self._layers.values())
        aside = (
            nullcontext() if self._half is None or normed else laid_aside(self._base, self._kept)
        )
        try:
            for name, layer in self._layers.items():
                self._runs[name].forward = layer.forward
            with aside:  # the norms of DoRA alone need the weights in fp32
                yield
        finally:
            for name, layer in self._layers.items():
                del self._runs[name].forward
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


class AdaptedLayer:
    """One linear layer of all members. With a single member there is no leading dimension."""

    def __init__(self, layers: Sequence[Any], bias: Tensor | None) -> None:
        self.bias = bias
        self.weight: Tensor = layers[0].base_layer.weight
        name = layers[0].active_adapters[0]
        self.down = [layer.lora_A[name].weight for layer in layers]
        self.up = [layer.lora_B[name].weight for layer in layers]
        self.scaling = [float(layer.scaling[name]) for layer in layers]
        self.magnitude: list[Tensor] = []
        if layers[0].lora_variant.get(name) is not None:
            self.magnitude = [layer.lora_magnitude_vector[name].weight for layer in layers]
        self._rank = max(weight.shape[0] for weight in self.down)
        self.alone = len(layers) == 1

    def forward(self, inputs: Tensor, *_: Any, **__: Any) -> Tensor:
        """Apply the merged weight to [rows, length, in]; members' rows stand one after another."""
        output: Tensor = _Apply.apply(  # type: ignore[no-untyped-call]
            inputs, self, *self.down, *self.up, *self.magnitude
        )
        return output

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute what the passes of one optimizer step need."""
        ups, factors = [], []
        for at, (up, scaling) in enumerate(zip(self.up, self.scaling, strict=True)):
            scaled = up * scaling
            if self.magnitude:
                factor = self.magnitude[at] / self.adapt(at)
                scaled = scaled * factor[:, None]
                factors.append(factor)
            else:
                self.adapt(at)
            ups.append(_ranked(scaled, self._rank, 1))
        downs = [_ranked(down, self._rank, 0) for down in self.down]
        self.ups, self.downs = self.stacked(ups), self.stacked(downs)
        self.factors = self.stacked(factors)[..., None] if factors else None
        self.scale()

    def adapt(self, member: int) -> Tensor:
        """Form a member's weight; return the norms of its rows, [out]."""
        raise NotImplementedError

    def scale(self) -> None:
        """Bring what `refresh` found to where the products need it."""

    def product(self, flat: Tensor) -> Tensor:
        """Return x·Eᵀ."""
        raise NotImplementedError

    def to_inputs(self, over: Tensor, through: Tensor) -> Tensor:
        """Return g·E from g and g·(s·c∘B)."""
        raise NotImplementedError

    def restore(self) -> None:
        """Leave the frozen weight as it was."""

    def drop(self, member: int) -> None:
        """Take a member out."""
        for kept in (self.down, self.up, self.scaling, self.magnitude):
            if kept:
                del kept[member]

    def up_scales(self) -> Sequence[Any]:
        """Return s·c of each member, one or [out]: what the gradient of Bᵀ is multiplied by."""
        if self.factors is None:
            return self.scaling
        factors = self.split(self.factors[..., 0])
        return [factor * scaling for factor, scaling in zip(factors, self.scaling, strict=True)]

    def stacked(self, tensors: list[Tensor]) -> Tensor:
        """Return members' tensors as one."""
        return tensors[0] if self.alone else torch.stack(tensors)

    def split(self, stacked: Tensor) -> list[Tensor]:
        """Return a member's part of a stacked gradient each."""
        return [stacked] if self.alone else list(stacked)

    def flat(self, states: Tensor) -> Tensor:
        """Return [tokens, width], or [members, tokens, width] in a pack."""
        members = () if self.alone else (len(self.down),)
        return states.reshape(*members, -1, states.shape[-1])


class MergedLayer(AdaptedLayer):
    """Computes with E itself, which takes the frozen weight's place where there is one member."""

    def __init__(self, layers: Sequence[Any], kept: Kept) -> None:
        super().__init__(layers, layers[0].base_layer.bias)
        self._origin: Tensor = self.weight
        self._effective = self.weight.detach()
        if self.alone:
            copy = kept(self.weight)
            self._origin = self.weight.detach().clone() if copy is None else copy
        else:
            self._effective = self._effective.expand(len(layers), -1, -1).clone()

    def adapt(self, member: int) -> Tensor:
        """Form a member's weight; return the norms of its rows."""
        weight = self._effective if self.alone else self._effective[member]
        weight.copy_(self._origin)
        weight.addmm_(self.up[member], self.down[member], alpha=self.scaling[member])
        return weight.norm(dim=1) if self.magnitude else weight.new_ones(())

    def scale(self) -> None:
        """Bring the factors into the weights, or what is used into bfloat16."""
        if self.factors is not None:
            self._effective.mul_(self.factors)

    def product(self, flat: Tensor) -> Tensor:
        """Return x·Eᵀ."""
        return flat @ self._effective.mT

    def to_inputs(self, over: Tensor, through: Tensor) -> Tensor:
        """Return g·E."""
        return over @ self._effective

    def restore(self) -> None:
        """Write the frozen weight back where the merged one stood."""
        if self.alone:
            with torch.no_grad():
                self.weight.copy_(self._origin)

    def drop(self, member: int) -> None:
        """Take a member and its weight out."""
        super().drop(member)
        rest = [at for at in range(self._effective.shape[0]) if at != member]
        self._effective = self._effective[rest]


class BesideLayer(AdaptedLayer):
    """Computes with the frozen weight in bfloat16, and the adapters' small products beside it."""

    def __init__(self, layers: Sequence[Any], half: Any) -> None:
        super().__init__(layers, half.bias)
        self._half: Tensor = half.weight.detach()
        if self.magnitude:
            self._square = self.weight.detach().square().sum(1)

    def adapt(self, member: int) -> Tensor:
        """Return the norms of a member's rows, where they matter."""
        if not self.magnitude:
            return self._half.new_ones(())
        down, up, scaling = self.down[member], self.up[member], self.scaling[member]
        crossed = ((self.weight @ down.mT) * up).sum(1)
        own = ((up @ (down @ down.mT)) * up).sum(1)
        squares: Tensor = self._square + 2 * scaling * crossed + scaling**2 * own
        return squares.clamp(min=0).sqrt()

    def scale(self) -> None:
        """Bring the factors into the weights, or what is used into bfloat16."""
        self.ups, self.downs = self.ups.to(self._half.dtype), self.downs.to(self._half.dtype)
        self._rows = None if self.factors is None else self.factors.mT.to(self._half.dtype)

    def product(self, flat: Tensor) -> Tensor:
        """Return x·Eᵀ."""
        output = flat @ self._half.mT
        if self._rows is not None:
            output.mul_(self._rows)
        return _plus(output, flat @ self.downs.mT, self.ups.mT)

    def to_inputs(self, over: Tensor, through: Tensor) -> Tensor:
        """Return g·E."""
        scaled = over if self._rows is None else over * self._rows
        return _plus(scaled @ self._half, through, self.downs)


class _Apply(torch.autograd.Function):
    """x·Eᵀ + bias, with gradients for x and the members' A, B and m."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: AdaptedLayer, *leaves: Tensor) -> Tensor:
        flat = layer.flat(inputs)
        output = layer.product(flat)
        if layer.magnitude:
            ctx.save_for_backward(flat, output)
        else:
            ctx.save_for_backward(flat)
        ctx.layer, ctx.shape = layer, inputs.shape
        shaped: Tensor = output.view(*inputs.shape[:-1], -1)
        return shaped if layer.bias is None else shaped + layer.bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        layer: AdaptedLayer = ctx.layer
        flat, *output = ctx.saved_tensors
        over = layer.flat(gradient)
        through = over @ layer.ups
        to_inputs = None
        if ctx.needs_input_grad[0]:
            to_inputs = layer.to_inputs(over, through).view(ctx.shape)
        downs = layer.split(through.mT @ flat)
        ups = layer.split((flat @ layer.downs.mT).mT @ over)
        downs = [part[: own.shape[0]] for part, own in zip(downs, layer.down, strict=True)]
        ups = [
            part[: own.shape[1]].mul_(scale).mT
            for part, own, scale in zip(ups, layer.up, layer.up_scales(), strict=True)
        ]
        magnitudes = []
        if output:
            total = (over * output[0]).sum(-2, dtype=torch.float32)
            magnitudes = [
                part / own for part, own in zip(layer.split(total), layer.magnitude, strict=True)
            ]
        leaves = (part.float() for part in (*downs, *ups, *magnitudes))
        return to_inputs, None, *leaves


def _plus(output: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Add a product in place, in a pack each member's: the product is never held by itself."""
    return output.addmm_(one, other) if output.ndim == 2 else output.baddbmm_(one, other)


def _ranked(weight: Tensor, rank: int, dim: int) -> Tensor:
    """Return a weight with zeros up to the pack's largest rank."""
    missing = rank - weight.shape[dim]
    if missing == 0:
        return weight.detach().clone()
    shape = list(weight.shape)
    shape[dim] = missing
    return torch.cat([weight.detach(), weight.new_zeros(shape)], dim)
