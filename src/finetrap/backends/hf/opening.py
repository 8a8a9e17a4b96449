"""A model is opened: what a study names becomes what can be asked and trained."""

from __future__ import annotations

import torch

from finetrap.backends.hf.device import chosen
from finetrap.backends.hf.load import load_checkpoint
from finetrap.backends.hf.memory import keep_freed, return_freed
from finetrap.backends.hf.model import HFModel
from finetrap.backends.hf.network import Network
from finetrap.errors import BadModel
from finetrap.records import Limits, ModelSpec

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def open_model(spec: ModelSpec, limits: Limits) -> HFModel:
    """Open a model on the device asked for, the accelerator or else the CPU.

    Raises BadInput, BadModel for one that is no decoder: its likelihoods would read the answer.
    """
    opened = load_checkpoint(spec, chosen())
    if not Network(opened.network).trials.causal:
        raise BadModel(
            f"model '{spec.name}': {type(opened.network).__name__} is no decoder as it is "
            "configured: each token reads what comes after it, so its answers would be known "
            "before they are given; use a causal language model (for BERT and its kin "
            "is_decoder = true in config.json)"
        )
    keep_freed()
    return_freed()
    return HFModel(spec, opened, DTYPES[limits.dtype])
