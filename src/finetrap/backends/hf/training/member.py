"""One training run on its way: what decides it, what it holds until it is settled."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import torch

from finetrap.backends.hf.network import Network
from finetrap.backends.hf.training import step as training
from finetrap.backends.hf.training.adapters import Adapter
from finetrap.errors import BadInput
from finetrap.records import StrategySpec, TrainSpec


@dataclass
class Trainee:
    """One strategy being trained, with what it needs to be settled afterwards."""

    network: Network
    adapter: Adapter | None
    member: training.Member
    scratch: TemporaryDirectory[str]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw an adapter's start and its dropout from the seed, and leave no trace of it."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(_number(f"adapter/train/{seed}"))
        yield


def schedule_of(strategy: StrategySpec, train: TrainSpec) -> training.Schedule:
    """Return how far and how fast a strategy trains. Raises BadInput for a rate that is none."""
    train = train.of(strategy)
    rate = train.learning_rate
    if rate is None or not rate > 0 or not math.isfinite(rate):
        raise BadInput(
            f"strategy '{strategy.name}' trains and its learning rate is {rate}; give a number "
            f"above zero in [strategy.{strategy.name}] or [train]"
        )
    return training.Schedule(
        epochs=train.epochs,
        batch=train.batch,
        learning_rate=rate,
        warmup=train.warmup,
        weight_decay=train.weight_decay,
        clip=train.clip,
    )


def _number(purpose: str) -> int:
    """Return the seed of a torch generator that serves one purpose."""
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big") >> 1
