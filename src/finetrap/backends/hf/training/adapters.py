"""PEFT adapters: built from a strategy's table as it is, merged for evaluation, saved to share."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import (
    BaseTuner,
    BaseTunerLayer,
    _check_lora_target_modules_mamba,
)
from peft.utils import SAFETENSORS_WEIGHTS_NAME, PeftType
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers.pytorch_utils import Conv1D

from finetrap.backends.hf.kernels.alike import succeeds
from finetrap.backends.hf.network import Network
from finetrap.catalog import NEEDS_MORE, OWN_KEYS, check_peft, moves_base_weights
from finetrap.errors import BadInput, BadModel, Unsupported, in_a_line, nearest

REFUSALS = (
    *(ValueError, TypeError, LookupError, ImportError, AttributeError, NotImplementedError),
    re.error,
)
"""What PEFT raises where a table does not suit it or the model; some settings are patterns."""


class Adapter:
    """An adapter on a model: built, trained by others, then settled for evaluation.

    `folder` is where it is written in PEFT's format; `source` and `revision` name the base model
    there.
    """

    def __init__(
        self,
        core: Any,
        table: Mapping[str, Any],
        folder: Path,
        *,
        source: str,
        revision: str | None,
    ) -> None:
        self.model, config = put_on(core, table)
        config.base_model_name_or_path, config.revision = source, revision
        self._folder = folder
        self._start: Path | None = None
        if moves_base_weights(getattr(config, "init_lora_weights", None)):
            self._start = folder / "start"
            self.model.save_pretrained(str(self._start))
        self.merged = False
        self.layers = kinds_of_layers(self.model)
        """Kinds of layers that it adapts, in the order in which the model has them."""

    @property
    def network(self) -> Network:
        """The forward pass through PEFT's modules."""
        core = self.model.get_base_model()
        learned = self.model if self.model.active_peft_config.is_prompt_learning else None
        return Network(core, learned)

    def write(self) -> Path:
        """Write the adapter so that PeftModel.from_pretrained on the plain base model restores it.

        An adapter that moved the base weights is written as the LoRA of twice its rank that equals
        the change from the base weights.
        """
        target = self._folder / "adapter"
        start = str(self._start) if self._start else None
        with _calm():
            self.model.save_pretrained(str(target), path_initial_model_for_weight_conversion=start)
        _order_sets(target / "adapter_config.json", self.model.active_peft_config)
        return target

    def settle(self) -> Network:
        """Merge the adapter into the weights where its method can be merged; return the result.

        Merging is rehearsed on a copy of each layer first, for a merge that fails half-way would
        leave a model that is neither. A tensor of two modules is no place to merge into: what acts
        at one of them would act at both. And a layer that stands twice cannot be saved merged.
        """
        twice = getattr(self.model.active_peft_config, "layer_replication", None)
        core = None if twice else _merged(self.model)
        self.merged = core is not None
        return self.network if core is None else Network(core)


def put_on(core: Any, table: Mapping[str, Any]) -> tuple[Any, Any]:
    """Put the adapter of a `[peft]` table on a model; return PEFT's model and its configuration.

    Raises BadInput for what PEFT refuses, Unsupported for what would be merged otherwise than it is
    trained.
    """
    config = peft_configuration(table)
    if getattr(config, "target_modules", None) == "all-linear":
        config.target_modules = set(linear_layers(core, config))
    try:
        with _calm():
            model = peft.get_peft_model(core, config)
    except REFUSALS as error:
        what = f"{config.peft_type.value} on {type(core).__name__}"
        raise BadInput(
            f"PEFT cannot put {what}: {in_a_line(error)}; change the strategy's [peft] table"
        ) from error
    _refuse_tied(model, config)
    _refuse_replicated(model, config)
    return model, config


def kinds_of_layers(model: Any) -> list[str]:
    """Return the kinds of layers that an adapter is on, in the order that the model has them in."""
    adapted = (n for n, m in model.named_modules() if isinstance(m, BaseTunerLayer))
    kinds = dict.fromkeys(name.rpartition(".")[2] for name in adapted)
    return [
        kind for kind in kinds if kind != "base_layer"
    ]  # PEFT's own, where one stands in another


def _order_sets(file: Path, config: Any) -> None:
    """Write what is a set in a configuration in one order: a process has an order of its own."""
    written = json.loads(file.read_text("utf-8"))
    for name, value in vars(config).items():
        if isinstance(value, set) and isinstance(written.get(name), list):
            written[name] = sorted(written[name])
    file.write_text(json.dumps(written, indent=2, sort_keys=True), "utf-8")


def merged_into(network: Any, folder: Path) -> Any:
    """Merge an adapter that lies in a folder into a model, and return the result.

    Raises BadModel where the two do not fit, or the method's adapter stays beside the weights.
    """
    place = folder / SAFETENSORS_WEIGHTS_NAME
    if not place.is_file():
        raise BadModel(f"{folder} has no {place.name}; save the adapter again, as safetensors")
    kept = load_file(place)
    _resize_embeddings(network, kept)
    try:
        with _calm():
            model = peft.PeftModel.from_pretrained(network, str(folder))
            held = peft.get_peft_model_state_dict(model)
            strangers = sorted(kept.keys() - held.keys())
            core = None if strangers else _merged(model)
    except (*REFUSALS, RuntimeError) as error:
        cause = " ".join((str(error).strip() or type(error).__name__).split())[:300]
        raise BadModel(
            f"adapter '{folder}' does not go on {type(network).__name__}: {cause}; is its base the "
            "model that it was trained on?"
        ) from error
    if strangers:
        raise BadModel(
            f"adapter '{folder}' has {len(strangers)} tensors that {type(network).__name__} has no "
            f"place for, such as '{strangers[0]}'; is its base the model that it was trained on?"
        )
    if core is None:
        raise BadModel(
            f"adapter '{folder}' ({model.active_peft_config.peft_type.value}) stays beside the "
            "weights and cannot be merged into them, so it is no model by itself"
        )
    return core


def _resize_embeddings(network: Any, kept: Mapping[str, torch.Tensor]) -> None:
    """Give a base the rows of an adapter that was trained with added tokens."""
    embedding = network.get_input_embeddings()
    name = next(name for name, module in network.named_modules() if module is embedding)
    own = kept.get(f"base_model.model.{name}.weight")
    if own is not None and len(own) != len(embedding.weight):
        network.resize_token_embeddings(len(own), mean_resizing=False)


def _merged(model: Any) -> Any | None:
    """Merge PEFT's model; None where its method's adapter stays beside the weights."""
    tuner = model.base_model
    if not isinstance(tuner, BaseTuner) or not _can_merge(tuner):
        return None
    with _calm():
        return tuner.merge_and_unload()


def adapter_bytes(folder: Path) -> int:
    """Return the size of a written adapter's weights, in bytes."""
    weights: Path = folder / SAFETENSORS_WEIGHTS_NAME
    return weights.stat().st_size


def can_be_scaled(folder: Path) -> bool:
    """Say whether a share of the adapter's change is an adapter too: a plain LoRA, linear in B."""
    with safe_open(folder / SAFETENSORS_WEIGHTS_NAME, "pt") as file:
        return all("lora_A" in name or "lora_B" in name for name in file.keys())  # noqa: SIM118


def scale(folder: Path, share: float) -> None:
    """Multiply a written LoRA's change of the weights by a number."""
    place = folder / SAFETENSORS_WEIGHTS_NAME
    scaled = {
        name: tensor * share if "lora_B" in name else tensor
        for name, tensor in load_file(place).items()
    }
    save_file(scaled, place, metadata={"format": "pt"})


def peft_configuration(table: Mapping[str, Any]) -> Any:
    """Return PEFT's configuration of a `[peft]` table.

    Raises Unsupported for a method that needs more than its configuration, BadInput for a method,
    key or value that PEFT does not know.
    """
    if faults := check_peft(table):
        raise Unsupported("; ".join(faults))
    name = str(table["peft_type"]).upper()
    known = [t.value for t in PEFT_TYPE_TO_CONFIG_MAPPING if t.value not in NEEDS_MORE]
    if name not in known:
        raise BadInput(
            f"peft_type '{table['peft_type']}' is not a method of this PEFT; there are "
            f"{', '.join(sorted(known))}{nearest(name, known)}"
        )
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(name)]
    settings = {key: value for key, value in table.items() if key != "peft_type"}
    allowed = {f.name for f in dataclasses.fields(kind)} - set(OWN_KEYS) - _INTERNAL
    if unknown := sorted(set(settings) - allowed):
        raise BadInput(
            f"{name} has no setting '{unknown[0]}'{nearest(unknown[0], allowed)}; its settings are "
            f"{', '.join(sorted(allowed))}"
        )
    try:
        with _calm():
            return kind(task_type="CAUSAL_LM", **settings)
    except REFUSALS as error:
        raise BadInput(f"PEFT refuses this {name} table: {error}") from error


_INTERNAL = {"peft_type", "auto_mapping", "peft_version", "runtime_config"}


def training_parts(model: Any, base: set[torch.nn.Module]) -> None:
    """Put what PEFT added in training mode and leave the base model in evaluation mode.

    So the strategy's own dropout acts and the base model's does not.
    """
    for module in model.modules():
        module.training = module not in base


def linear_layers(core: Any, config: Any) -> list[str]:
    """Return the names of all linear layers but the head that a method can adapt.

    Left out are the layers of a model's own that return more than a product, such as the routers
    of some mixtures of experts, and those that PEFT refuses, as beside a state space, whose
    weights are read without their layer's forward.
    """
    head = core.get_output_embeddings()
    return [
        name
        for name, module in core.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module is not head
        and _is_adaptable(config, core, name, module)
    ]


def _is_adaptable(config: Any, core: Any, name: str, module: torch.nn.Module) -> bool:
    if not succeeds(lambda: _returns_a_product(module)):
        return False
    try:
        _check_lora_target_modules_mamba(config, core, name.rpartition(".")[2])
    except ValueError:
        return False
    return True


@torch.no_grad()
def _returns_a_product(module: Any) -> bool:
    turned = module.weight.T if isinstance(module, Conv1D) else module.weight
    found = module(module.weight.new_zeros(2, turned.shape[1]))
    return isinstance(found, torch.Tensor) and found.shape == (2, turned.shape[0])


def on_shared_tensors(model: Any) -> list[BaseTunerLayer]:
    """Return the adapted layers whose weights another module of the model computes with too."""
    holders: Counter[int] = Counter(
        id(p) for module in model.modules() for p in module.parameters(recurse=False)
    )
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer)
        and any(holders[id(p)] > 1 for p in layer.get_base_layer().parameters(recurse=False))
    ]


def _refuse_tied(model: Any, config: Any) -> None:
    """Raise Unsupported for an adapter on one of the two places of a tied embedding and head."""
    core = model.get_base_model()
    ends = (core.get_input_embeddings(), core.get_output_embeddings())
    found = [layer for layer in on_shared_tensors(core) if any(layer is end for end in ends)]
    if found and not getattr(config, "ensure_weight_tying", False):
        names = [name for name, module in core.named_modules() if module is found[0]]
        tying = hasattr(config, "ensure_weight_tying")
        raise Unsupported(
            f"{config.peft_type.value} on '{names[0]}': {type(core).__name__} has one tensor as "
            "embedding and head, and this adapter would train one of the two and change both when "
            "it is merged; leave it out of target_modules"
            + (", or say ensure_weight_tying = true" if tying else "")
        )


def _refuse_replicated(model: Any, config: Any) -> None:
    """Raise Unsupported for layers that stand twice in a model that lists their types once."""
    core = model.get_base_model()
    types = getattr(core.config, "layer_types", None)
    if getattr(config, "layer_replication", None) and types:
        raise Unsupported(
            f"{config.peft_type.value} with layer_replication: {type(core).__name__} lists the "
            "types of its layers, and PEFT repeats the layers without them; leave it out"
        )


def _can_merge(tuner: BaseTuner) -> bool:
    layers = [m for m in tuner.modules() if isinstance(m, BaseTunerLayer)]
    if on_shared_tensors(tuner):
        return False
    try:
        tuner._check_merge_allowed()
        for layer in layers:
            with _calm(), torch.no_grad():
                copy.deepcopy(layer).merge(safe_merge=True)
    except (ValueError, NotImplementedError, AttributeError, RuntimeError):
        return False
    return bool(layers)


@contextmanager
def _calm() -> Iterator[None]:
    """Keep PEFT's advice about settings, which the catalog has chosen, off the screen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
