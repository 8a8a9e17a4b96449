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
        normed = any(layer.magnitude is not None for layer in self._layers.values())
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


def _linears(model: Any) -> dict[str, Any]:
    return {name: m for name, m in model.named_modules() if isinstance(m, BaseTunerLayer)}


class AdaptedLayer:
    """One linear layer and its adapter."""

    def __init__(self, layer: Any, bias: Tensor | None) -> None:
        self.bias = bias
        self.weight: Tensor = layer.base_layer.weight
        name = layer.active_adapters[0]
        self.down: Tensor = layer.lora_A[name].weight
        self.up: Tensor = layer.lora_B[name].weight
        self.scaling = float(layer.scaling[name])
        self.magnitude: Tensor | None = None
        if layer.lora_variant.get(name) is not None:
            self.magnitude = layer.lora_magnitude_vector[name].weight

    def forward(self, inputs: Tensor, *_: Any, **__: Any) -> Tensor:
        """Apply the merged weight to [rows, length, in]."""
        leaves = [self.down, self.up, *([] if self.magnitude is None else [self.magnitude])]
        output: Tensor = _Apply.apply(inputs, self, *leaves)  # type: ignore[no-untyped-call]
        return output

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute what the passes of one optimizer step need."""
        self.ups = self.up * self.scaling
        norms = self.adapt()
        self.factor = None if self.magnitude is None else self.magnitude / norms
        if self.factor is not None:
            self.ups = self.ups * self.factor[:, None]
        self.downs = self.down.detach().clone()
        self.scale()

    def adapt(self) -> Tensor:
        """Form the adapted weight; return the norms of its rows, [out]."""
        raise NotImplementedError

    def scale(self) -> None:
        """Bring what `refresh` found to where the products need it."""

    def product(self, flat: Tensor) -> Tensor:
        """Return x·Eᵀ of [tokens, in]."""
        raise NotImplementedError

    def to_inputs(self, over: Tensor, through: Tensor) -> Tensor:
        """Return g·E from g and g·(s·c∘B)."""
        raise NotImplementedError

    def restore(self) -> None:
        """Leave the frozen weight as it was."""

    def up_scale(self) -> Any:
        """Return s·c, one or [out]: what the gradient of Bᵀ is multiplied by."""
        return self.scaling if self.factor is None else self.factor * self.scaling


class MergedLayer(AdaptedLayer):
    """Computes with E itself, which takes the frozen weight's place."""

    def __init__(self, layer: Any, kept: Kept) -> None:
        super().__init__(layer, layer.base_layer.bias)
        copy = kept(self.weight)
        self._origin = self.weight.detach().clone() if copy is None else copy
        self._effective = self.weight.detach()

    def adapt(self) -> Tensor:
        """Form the adapted weight; return the norms of its rows."""
        weight = self._effective
        weight.copy_(self._origin)
        weight.addmm_(self.up, self.down, alpha=self.scaling)
        return weight.new_ones(()) if self.magnitude is None else weight.norm(dim=1)

    def scale(self) -> None:
        """Bring the factor into the weight."""
        if self.factor is not None:
            self._effective.mul_(self.factor[:, None])

    def product(self, flat: Tensor) -> Tensor:
        """Return x·Eᵀ."""
        return flat @ self._effective.mT

    def to_inputs(self, over: Tensor, through: Tensor) -> Tensor:
        """Return g·E."""
        return over @ self._effective

    def restore(self) -> None:
        """Write the frozen weight back where the merged one stood."""
        with torch.no_grad():
            self.weight.copy_(self._origin)


class BesideLayer(AdaptedLayer):
    """Computes with the frozen weight in bfloat16, and the adapter's small products beside it."""

    def __init__(self, layer: Any, half: Any) -> None:
        super().__init__(layer, half.bias)
        self._half: Tensor = half.weight.detach()
        if self.magnitude is not None:
            self._square = self.weight.detach().square().sum(1)

    def adapt(self) -> Tensor:
        """Return the norms of the adapted weight's rows, where they matter."""
        if self.magnitude is None:
            return self._half.new_ones(())
        down, up, scaling = self.down, self.up, self.scaling
        crossed = ((self.weight @ down.mT) * up).sum(1)
        own = ((up @ (down @ down.mT)) * up).sum(1)
        squares: Tensor = self._square + 2 * scaling * crossed + scaling**2 * own
        return squares.clamp(min=0).sqrt()

    def scale(self) -> None:
        """Bring what is used into bfloat16."""
        self.ups, self.downs = self.ups.to(self._half.dtype), self.downs.to(self._half.dtype)
        self._columns = None if self.factor is None else self.factor.to(self._half.dtype)

    def product(self, flat: Tensor) -> Tensor:
        """Return x·Eᵀ."""
        output = flat @ self._half.mT
        if self._columns is not None:
            output.mul_(self._columns)
        return output.addmm_(flat @ self.downs.mT, self.ups.mT)

    def to_inputs(self, over: Tensor, through: Tensor) -> Tensor:
        """Return g·E."""
        scaled = over if self._columns is None else over * self._columns
        return (scaled @ self._half).addmm_(through, self.downs)


class _Apply(torch.autograd.Function):
    """x·Eᵀ + bias, with gradients for x, A, B and m."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: AdaptedLayer, *leaves: Tensor) -> Tensor:
        flat = inputs.reshape(-1, inputs.shape[-1])
        output = layer.product(flat)
        if layer.magnitude is None:
            ctx.save_for_backward(flat)
        else:
            ctx.save_for_backward(flat, output)
        ctx.layer, ctx.shape = layer, inputs.shape
        shaped: Tensor = output.view(*inputs.shape[:-1], -1)
        return shaped if layer.bias is None else shaped + layer.bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        layer: AdaptedLayer = ctx.layer
        flat, *output = ctx.saved_tensors
        over = gradient.reshape(-1, gradient.shape[-1])
        through = over @ layer.ups
        to_inputs = None
        if ctx.needs_input_grad[0]:
            to_inputs = layer.to_inputs(over, through).view(ctx.shape)
        down = through.mT @ flat
        up = ((flat @ layer.downs.mT).mT @ over).mul_(layer.up_scale()).mT
        found = [down, up]
        if layer.magnitude is not None:
            found.append((over * output[0]).sum(-2, dtype=torch.float32) / layer.magnitude)
        return to_inputs, None, *(part.float() for part in found)
