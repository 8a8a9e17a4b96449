"""Whether a faster way gives what the plain one does: tried on a few numbers, never guessed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from finetrap.errors import out_of_memory

ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}
"""Relative difference up to which two ways to the same logits differ by rounding alone."""
RAISED = (
    *(RuntimeError, TypeError, ValueError, AttributeError, LookupError, ImportError),
    *(ArithmeticError, AssertionError, MemoryError),
)
"""What a model's own code may raise where it is used unlike its own way."""


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one type, the other the plain way's, differ by rounding alone."""
    if one.shape != other.shape:
        return False
    difference = (one.float() - other.float()).norm()
    return bool(difference <= ROUNDING[other.dtype] * other.float().norm())


def succeeds(trial: Callable[[], bool]) -> bool:
    """Whether a trial succeeds; one that raises does not, unless it ran out of memory."""
    try:
        return trial()
    except RAISED as fault:
        if out_of_memory(fault):
            raise
        return False
