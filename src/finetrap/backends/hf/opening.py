"""A model is opened: what a study names becomes what can be asked and trained."""

from __future__ import annotations

import torch

from finetrap.backends.hf.load import load_checkpoint
from finetrap.backends.hf.memory import keep_freed, return_freed
from finetrap.backends.hf.model import HFModel
from finetrap.records import Limits, ModelSpec

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def open_model(spec: ModelSpec, limits: Limits) -> HFModel:
    """Open a model on the GPU if there is one, else on the CPU. Raises BadModel."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    opened = load_checkpoint(spec, device)
    keep_freed()
    return_freed()
    return HFModel(spec, opened, DTYPES[limits.dtype])
