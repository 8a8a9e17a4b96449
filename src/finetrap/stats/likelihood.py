"""Likelihoods of gold texts: nats become bits per byte here, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from finetrap.records import Answer

if TYPE_CHECKING:  # the verbs that only look start without numpy
    import numpy as np
    from numpy.typing import NDArray

Nats = TypeVar("Nats", float, "NDArray[np.float64]")


def as_bits(nats: Nats) -> Nats:
    """Return nats as bits."""
    return nats / math.log(2)


def bits_per_byte(nats: float, size: float) -> float:
    """Return bits per byte of texts of `size` UTF-8 bytes that have this negative log-likelihood
    together."""
    return as_bits(nats / size)


def all_scored(answers: Sequence[Answer]) -> bool:
    """Say whether there are answers and the gold text of each has a likelihood."""
    return bool(answers) and all(a.nats is not None and a.bytes for a in answers)


def gold_bits(answers: Sequence[Answer]) -> float | None:
    """Return bits per byte over the gold texts that were scored, every byte alike; None without."""
    scored = [(a.nats, a.bytes) for a in answers if a.nats is not None and a.bytes]
    if not scored:
        return None
    return bits_per_byte(sum(nats for nats, _ in scored), sum(size for _, size in scored))
