"""What is told of a model without its weights: what an adapter would be on, what it is given."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from finetrap.backends import Row
from finetrap.backends.hf import source
from finetrap.backends.hf.kernels.alike import RAISED
from finetrap.backends.hf.load import FAULTS, Opened, quiet, tokenizer_at, tokens_of
from finetrap.backends.hf.training.adapters import kinds_of_layers, put_on
from finetrap.backends.hf.training.member import shown_row
from finetrap.errors import BadInput, BadModel
from finetrap.records import ModelSpec, StrategySpec
from finetrap.text.paths import place_of
from finetrap.text.prompts import Form

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


class Reader:
    """A model's tokenizer and the form of its prompts."""

    def __init__(self, spec: ModelSpec, opened: Opened) -> None:
        self._tokens = tokens_of(opened, spec.prompt.format)
        self.form = Form(spec.prompt, self._tokens.chat)

    def shown(self, row: Row) -> list[tuple[str, bool]]:
        """Return the text of each token of a training row, with whether it is in the loss."""
        return shown_row(row, self._tokens)


def open_reader(spec: ModelSpec) -> Reader | None:
    """Open what decides a model's texts and tokens; None where it takes the whole model to tell.

    An adapter may bring tokens of its own, and what is missing is named when a model is opened.
    """
    if spec.base or spec.trust_remote_code:
        return None
    where = _found_by(spec)
    try:
        with quiet(), torch.device("meta"):
            config = AutoConfig.from_pretrained(**where)
            core = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        with quiet():
            tokenizer = tokenizer_at(**where)
    except UNREADABLE:
        return None
    return Reader(spec, Opened(core, tokenizer, 0))


def _configuration(spec: ModelSpec, *, fetch: bool) -> Any:
    """Return the configuration of the weights that are adapted."""
    return AutoConfig.from_pretrained(**_found_by(spec), local_files_only=not fetch)


def _found_by(spec: ModelSpec) -> dict[str, Any]:
    """Return where transformers finds a model, or the base that its adapter is put on."""
    name, revision = (spec.base, spec.base_revision) if spec.base else (spec.source, spec.revision)
    place = place_of(name)
    where: dict[str, Any] = {"pretrained_model_name_or_path": name, "revision": revision}
    if found := source.in_repository(name):
        where = {**where, "pretrained_model_name_or_path": found[0], "gguf_file": found[1]}
    elif source.is_gguf(place):
        where = {"pretrained_model_name_or_path": str(place.parent), "gguf_file": place.name}
    elif place.is_dir():
        where = {"pretrained_model_name_or_path": str(place)}
    return {**where, "trust_remote_code": False}
