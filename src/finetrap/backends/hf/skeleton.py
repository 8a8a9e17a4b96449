"""What an adapter would be on, found on a model without weights: before a study starts."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from finetrap.backends.hf import source
from finetrap.backends.hf.kernels.alike import RAISED
from finetrap.backends.hf.load import FAULTS, quiet
from finetrap.backends.hf.training.adapters import kinds_of_layers, put_on
from finetrap.errors import BadInput, BadModel
from finetrap.records import ModelSpec, StrategySpec
from finetrap.text.paths import place_of

UNREADABLE = (*FAULTS, *RAISED)
"""What comes of a configuration that is not at hand, or of a model that needs its weights."""


def adapted(spec: ModelSpec, strategy: StrategySpec, *, fetch: bool) -> list[str] | None:
    """Return the kinds of layers that a strategy's adapter would be on; None where only opening the
    model tells. Configurations on the hub are fetched only if `fetch`.

    Raises BadInput, Unsupported for an adapter that PEFT does not put on such a model.
    """
    try:
        with quiet(), torch.device("meta"):
            config = _configuration(spec, fetch=fetch)
            core: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (*UNREADABLE, BadModel):
        return None
    try:
        with quiet(), torch.device("meta"):
            model, _ = put_on(core.eval(), strategy.peft or {})
    except RuntimeError:  # as where an adapter starts from the weights
        return None
    except BadInput as fault:
        if isinstance(fault.__cause__, NotImplementedError):
            return None
        raise
    return kinds_of_layers(model)


def _configuration(spec: ModelSpec, *, fetch: bool) -> Any:
    """Return the configuration of the weights that are adapted."""
    name, revision = (spec.base, spec.base_revision) if spec.base else (spec.source, spec.revision)
    place = place_of(name)
    where: dict[str, Any] = {"pretrained_model_name_or_path": name, "revision": revision}
    if source.is_gguf(place):
        where = {"pretrained_model_name_or_path": str(place.parent), "gguf_file": place.name}
    elif place.is_dir():
        where = {"pretrained_model_name_or_path": str(place)}
    return AutoConfig.from_pretrained(**where, trust_remote_code=False, local_files_only=not fetch)
