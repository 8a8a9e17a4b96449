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
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
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
    return bool(layers) and not others and all(map(_is_plain_linear, layers))


def _is_plain_linear(layer: Any) -> bool:
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
    """The adapted layers of a model that trains."""

    def __init__(self, core: Any, kept: Kept, half: Any = None) -> None:
        """Adapt the core, or `half`, its copy in bfloat16."""
        layers = _linears(core)
        self._base, self._half, self._kept = core, half, kept
        self._runs = layers if half is None else _linears(half)
        self._layers: dict[str, AdaptedLayer] = {}
        for name, layer in layers.items():
            if half is None:
                self._layers[name] = MergedLayer(layer, kept)
            else:
                self._layers[name] = BesideLayer(layer, self._runs[name].base_layer)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Let the core compute with the adapters; its own weights come back at the end."""
        normed = any(layer.adapter.magnitude is not None for layer in self._layers.values())
        aside = (
            nullcontext() if self._half is None or normed else laid_aside(self._base, self._kept)
        )
        try:
            for name, layer in self._layers.items():
                self._runs[name].forward = partial(apply, layer)
            with aside:  # the norms of DoRA alone need the weights in fp32
                yield
        finally:
            for name, layer in self._layers.items():
                del self._runs[name].forward
                if isinstance(layer, MergedLayer):
                    layer.restore()

    def refresh(self) -> None:
        """Merge anew, after the adapters have changed."""
        for layer in self._layers.values():
            layer.refresh()


def _linears(model: Any) -> dict[str, Any]:
    return {name: m for name, m in model.named_modules() if isinstance(m, BaseTunerLayer)}


class LowRank:
    """What an adapter holds of one linear layer: A, B, s, and m of DoRA."""

    def __init__(self, layer: Any) -> None:
        name = layer.active_adapters[0]
        self.down: Tensor = layer.lora_A[name].weight
        """A, [rank, in]."""
        self.up: Tensor = layer.lora_B[name].weight
        """B, [out, rank]."""
        self.scaling = float(layer.scaling[name])
        self.magnitude: Tensor | None = None
        """m, [out]; None for LoRA."""
        if layer.lora_variant.get(name) is not None:
            self.magnitude = layer.lora_magnitude_vector[name].weight

    @property
    def leaves(self) -> list[Tensor]:
        """What is trained."""
        return [self.down, self.up, *([] if self.magnitude is None else [self.magnitude])]

    def factors(self, norms: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return s·c∘B, [out, rank], and c, [out]; from the norms of the adapted rows, [out]."""
        up = self.up * self.scaling
        if self.magnitude is None or norms is None:
            return up, None
        factor = self.magnitude / norms
        return up * factor[:, None], factor


class MergedLayer:
    """Computes with E itself, which takes the frozen weight's place until it is restored."""

    def __init__(self, layer: Any, kept: Kept) -> None:
        self.adapter = LowRank(layer)
        self.bias: Tensor | None = layer.base_layer.bias
        self._weight: Tensor = layer.base_layer.weight.detach()
        copy = kept(layer.base_layer.weight)
        self._origin = self._weight.clone() if copy is None else copy

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute what the passes of one optimizer step need."""
        adapter, weight = self.adapter, self._weight
        # 1. V = W + s·B·A, from W anew: a difference added each step would round it away.
        weight.copy_(self._origin)
        weight.addmm_(adapter.up, adapter.down, alpha=adapter.scaling)
        # 2. c = m / ‖V‖ by row, for DoRA.
        norms = None if adapter.magnitude is None else weight.norm(dim=1)
        self.up, self.factor = adapter.factors(norms)
        self.down = adapter.down.detach().clone()
        # 3. E = c∘V.
        if self.factor is not None:
            weight.mul_(self.factor[:, None])

    def product(self, flat: Tensor) -> Tensor:
        """Return x·Eᵀ, [tokens, out], of x, [tokens, in]."""
        return flat @ self._weight.mT

    def to_inputs(self, over: Tensor, through: Tensor) -> Tensor:
        """Return g·E, [tokens, in], of g, [tokens, out]; g·(s·c∘B) is not needed for it."""
        return over @ self._weight

    def restore(self) -> None:
        """Write the frozen weight back where the merged one stood."""
        with torch.no_grad():
            self._weight.copy_(self._origin)


class BesideLayer:
    """Computes with the frozen weight in bfloat16, and the adapter's small products beside it."""

    def __init__(self, layer: Any, half: Any) -> None:
        self.adapter = LowRank(layer)
        self.bias: Tensor | None = half.bias
        self._weight: Tensor = layer.base_layer.weight
        self._half: Tensor = half.weight.detach()
        if self.adapter.magnitude is not None:
            self._square = self._weight.detach().square().sum(1)

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute what the passes of one optimizer step need."""
        adapter, dtype = self.adapter, self._half.dtype
        up, self.factor = adapter.factors(None if adapter.magnitude is None else self._norms())
        self.up, self.down = up.to(dtype), adapter.down.detach().to(dtype)
        self._columns = None if self.factor is None else self.factor.to(dtype)

    def _norms(self) -> Tensor:
        """Return ‖V‖ by row, [out], without V."""
        down, up, scaling = self.adapter.down, self.adapter.up, self.adapter.scaling
        crossed = ((self._weight @ down.mT) * up).sum(1)
        own = ((up @ (down @ down.mT)) * up).sum(1)
        squares: Tensor = self._square + 2 * scaling * crossed + scaling**2 * own
        return squares.clamp(min=0).sqrt()

    def product(self, flat: Tensor) -> Tensor:
        """Return x·Eᵀ, [tokens, out], of x, [tokens, in]."""
        output = flat @ self._half.mT
        if self._columns is not None:
            output.mul_(self._columns)
        return output.addmm_(flat @ self.down.mT, self.up.mT)

    def to_inputs(self, over: Tensor, through: Tensor) -> Tensor:
        """Return g·E, [tokens, in], of g, [tokens, out], and g·(s·c∘B), [tokens, rank]."""
        scaled = over if self._columns is None else over * self._columns
        return (scaled @ self._half).addmm_(through, self.down)


AdaptedLayer = MergedLayer | BesideLayer


def apply(layer: AdaptedLayer, inputs: Tensor, *_: Any, **__: Any) -> Tensor:
    """Return x·Eᵀ + bias of x, [..., in]: what stands in for a PEFT layer's forward."""
    leaves = layer.adapter.leaves
    flat = inputs.reshape(-1, inputs.shape[-1])
    output: Tensor = _Apply.apply(flat, layer, *leaves)  # type: ignore[no-untyped-call]
    return output.view(*inputs.shape[:-1], -1)


class _Apply(torch.autograd.Function):
    """x·Eᵀ + bias, with gradients for x, A, B and m: the formulas above, in their order."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, layer: AdaptedLayer, *leaves: Tensor) -> Tensor:
        output = layer.product(flat)
        ctx.save_for_backward(flat)
        if layer.factor is not None:  # x·Eᵀ, for the gradient of m
            ctx.output, ctx.version = output.detach(), output._version
        ctx.layer = layer
        return output if layer.bias is None else output + layer.bias

    @staticmethod
    def backward(ctx: Any, over: Tensor) -> tuple[Any, ...]:
        layer: AdaptedLayer = ctx.layer
        [flat] = ctx.saved_tensors
        # 1. g·(s·c∘B), [tokens, rank]: for dA, and for dx where E is not at hand.
        through = over @ layer.up
        # 2. dx = g·E; the first layer's inputs are not trained.
        to_inputs = None
        if ctx.needs_input_grad[0]:
            to_inputs = layer.to_inputs(over, through)
        # 3. dA, and dB as ((x·Aᵀ)ᵀ·g)ᵀ, whose rows the factors scale while it is small.
        down = through.mT @ flat
        scale = layer.adapter.scaling
        scales = scale if layer.factor is None else layer.factor * scale
        up = ((flat @ layer.down.mT).mT @ over).mul_(scales).mT
        found = [down, up]
        # 4. dm = Σ g∘(x·Eᵀ) / m.
        if layer.adapter.magnitude is not None:
            output, ctx.output = ctx.output, None
            if output._version != ctx.version:  # what reads the layer has written over it
                output = layer.product(flat)
            total = (over * output).sum(-2, dtype=torch.float32)
            found.append(total / layer.adapter.magnitude)
        return to_inputs, None, *(part.float() for part in found)
