"""torch's private operators behind one guard.

They are faster than what torch promises to keep. Where this build of torch has one, it is used;
where it is missing, or `FINETRAP_PLAIN` is set in the environment, the caller takes the plain path,
whose numbers are the same to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

SWITCH = "FINETRAP_PLAIN"
"""Environment variable that switches all of them off."""

FLASH = "aten._scaled_dot_product_flash_attention_for_cpu"
"""Attention, with the log of each sum of exponentials, which the public one keeps to itself."""
SOFTMAX_GRADIENT = "aten._softmax_backward_data"
SILU_GRADIENT = "aten.silu_backward"
LINEAR = "mkldnn._linear_pointwise"
REORDER = "mkldnn._reorder_linear_weight"
HAS_BF16 = "mkldnn._is_mkldnn_bf16_supported"


@cache
def operator(name: str) -> Callable[..., Any] | None:
    """Return a private operator of torch, None where the plain path is to be taken.

    Looked up once for a process, and so is the environment.
    """
    if os.environ.get(SWITCH):
        return None
    space, _, own = name.partition(".")
    found: Callable[..., Any] | None = getattr(getattr(torch.ops, space), own, None)
    return found
