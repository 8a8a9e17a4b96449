"""A model is opened: what a study names becomes what can be asked and trained."""

from __future__ import annotations

import torch

from finetrap.backends.hf.device import chosen
from finetrap.backends.hf.load import load_checkpoint
from finetrap.backends.hf.memory import keep_freed, return_freed
from finetrap.backends.hf.model import HFModel
from finetrap.records import Limits, ModelSpec

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def open_model(spec: ModelSpec, limits: Limits) -> HFModel:
    """Open a model on the device asked for, the accelerator or else the CPU. Raises BadInput."""
    opened = load_checkpoint(spec, chosen())
    keep_freed()
    return_freed()
    return HFModel(spec, opened, DTYPES[limits.dtype])
