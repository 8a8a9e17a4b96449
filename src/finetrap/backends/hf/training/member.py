"""One training run: how far and fast it goes, its rows and weights, and what is measured of it."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finetrap.backends import Row, Training
from finetrap.backends.hf.device import forked
from finetrap.backends.hf.layout import Span
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.tokens import Tokens
from finetrap.backends.hf.training.adapters import Adapter
from finetrap.backends.hf.training.encoded import Encoded, encode
from finetrap.errors import BadInput, Diverged
from finetrap.records import StrategySpec, TrainSpec
from finetrap.runs.scratch import Scratch

SAMPLED, BLOCKS = 2**14, 16
"""Weights of a large tensor that stand for all in the size of an update, and in how many places."""


@dataclass(frozen=True)
class Schedule:
    """How far and how fast one run trains."""

    epochs: float
    batch: int
    learning_rate: float
    warmup: float
    weight_decay: float
    clip: float

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, counted from 1: linear warm-up, cosine to zero."""
        rising = round(self.warmup * steps)
        if step <= rising:
            return self.learning_rate * step / (rising + 1)
        done = (step - 1 - rising) / (steps - rising)
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2

    def batches(self, rows: int, seed: int) -> list[list[int]]:
        """Return each step's rows: one seeded order per epoch, cut into batches across epochs."""
        stream: list[int] = []
        total = max(1, round(self.epochs * rows))
        while len(stream) < total:
            order = list(range(rows))
            Random(f"order/train/{seed}/{len(stream) // rows}").shuffle(order)
            stream += order
        stream = stream[:total]
        return [stream[at : at + self.batch] for at in range(0, total, self.batch)]


@dataclass
class Curve:
    """What was measured at every step."""

    loss: list[float] = field(default_factory=list)
    """Nats per target token."""
    gradient_norm: list[float] = field(default_factory=list)
    """Before clipping."""
    update_ratio: list[float | None] = field(default_factory=list)
    """‖Δw‖ / ‖w‖ over the trained parameters; None where ‖w‖ is zero."""
    learning_rate: list[float] = field(default_factory=list)
    micro_batch_halved: list[int] = field(default_factory=list)
    """Steps at which the memory did not hold a pass: from there on passes are half as large."""


class Member:
    """One training run: its rows, its order, its weights, its optimizer."""

    def __init__(
        self,
        weights: Sequence[torch.nn.Parameter],
        spans: Encoded,
        schedule: Schedule,
        seed: int,
    ) -> None:
        self.weights, self.spans, self.schedule = weights, spans, schedule
        self.batches = schedule.batches(len(spans), seed)
        self.optimizer = torch.optim.AdamW(weights, weight_decay=schedule.weight_decay, fused=True)
        for weight in weights:  # as its first step would, but between what comes and goes
            moments = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
            count = torch.zeros((), device=weight.device)
            self.optimizer.state[weight] = {"step": count, **moments}
        self.curve = Curve()
        self.fault: Diverged | None = None
        """Set at the step at which the loss or the gradient stopped being finite."""

    def rows(self, step: int) -> list[Span]:
        """Return the rows of a step, counted from 1."""
        return [self.spans[i] for i in self.batches[step - 1]]

    def update(self, step: int, loss: float) -> None:
        """Take an optimizer step with the gradient at hand, or note that it cannot be taken."""
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights, self.schedule.clip))
        if not math.isfinite(loss) or not math.isfinite(norm):
            self.fault = Diverged(step, norm if math.isfinite(loss) else loss, asdict(self.curve))
            return
        rate = self.schedule.rate(step, len(self.batches))
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.curve.loss.append(loss)
        self.curve.gradient_norm.append(norm)
        self.curve.update_ratio.append(update_ratio(self.optimizer, rate))
        self.curve.learning_rate.append(rate)


@dataclass
class Trainee:
    """One strategy being trained, with what it needs to be settled afterwards."""

    network: Network
    adapter: Adapter | None
    member: Member
    scratch: Scratch


def examples(rows: Sequence[Row], tokens: Tokens, *, virtual: int, max_length: int) -> Encoded:
    """Encode training rows: prompt, target, end token. Raises ContextTooLong, naming the row."""
    spans = encode(rows, tokens)
    most = max_length if tokens.context is None else min(max_length, tokens.context)
    for number in np.flatnonzero(spans.lengths + virtual > most)[:1].tolist():
        length = len(spans[number].ids) + virtual
        tokens.check_fits(length, "the training row", number, max_length)
    return spans


def trainable(network: Network) -> list[torch.nn.Parameter]:
    """Return the parameters that are trained, a learned prompt's included."""
    return [p for p in network.module.parameters() if p.requires_grad]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw an adapter's start and its dropout from the seed, and leave no trace of it."""
    with forked():
        torch.manual_seed(_generator_seed(f"adapter/train/{seed}"))
        yield


def schedule_of(strategy: StrategySpec, train: TrainSpec) -> Schedule:
    """Return how far and how fast a strategy trains. Raises BadInput for a rate that is none."""
    train = train.of(strategy)
    rate = train.learning_rate
    if rate is None or not rate > 0 or not math.isfinite(rate):
        raise BadInput(
            f"strategy '{strategy.name}' trains and its learning rate is {rate}; give a number "
            f"above zero in [strategy.{strategy.name}] or [train]"
        )
    return Schedule(
        epochs=train.epochs,
        batch=train.batch,
        learning_rate=rate,
        warmup=train.warmup,
        weight_decay=train.weight_decay,
        clip=train.clip,
    )


@torch.no_grad()
def update_ratio(optimizer: torch.optim.AdamW, rate: float) -> float | None:
    """Return ‖Δw‖ / ‖w‖ of the step just taken, from AdamW's own moments: no copy of the weights.

    Δw = −rate · (m̂ / (√v̂ + ε) + decay · w), Loshchilov & Hutter 2019, algorithm 2. Of a tensor of
    more than `SAMPLED` weights that many, evenly spread, stand for all.
    """
    group = optimizer.param_groups[0]
    (first, second), epsilon, decay = group["betas"], group["eps"], group["weight_decay"]
    moved, size = [], []
    for weight in group["params"]:
        state: dict[str, Any] = optimizer.state.get(weight, {})
        part = _sample(weight)
        share = part.numel() / weight.numel()
        size.append(part.square().sum() / share)
        if not state:
            continue
        step = float(state["step"])
        mean, square = _sample(state["exp_avg"]), _sample(state["exp_avg_sq"])
        scale = (square / (1 - second**step)).sqrt_().add_(epsilon)
        update = torch.div(mean, scale, out=scale).div_(1 - first**step)
        update = update.add_(part, alpha=decay) if decay else update
        moved.append(update.square_().sum() / share)
    norm = float(torch.stack(size).sum().sqrt())
    return rate * float(torch.stack(moved).sum().sqrt()) / norm if norm and moved else None


def _sample(tensor: Tensor) -> Tensor:
    """Return a view of evenly spread pieces of a large tensor, of a small one all."""
    flat = tensor.detach().reshape(-1)  # a weight tied by PEFT is transposed
    if len(flat) <= SAMPLED:
        return flat
    apart = len(flat) // BLOCKS
    return flat[: apart * BLOCKS].view(BLOCKS, apart)[:, : SAMPLED // BLOCKS]


def shown_row(row: Row, tokens: Tokens) -> list[tuple[str, bool]]:
    """Return the text of each token of a training row, with whether it is in the loss."""
    (span,) = examples([row], tokens, virtual=0, max_length=sys.maxsize)
    return [(text, in_loss) for text, in_loss in rendered(span, tokens)]


def rendered(span: Span, tokens: Tokens) -> list[list[Any]]:
    """Return a row as [token text, in loss] pairs, for a person to look at."""
    return [[text, at >= span.start] for at, text in enumerate(tokens.pieces(span.ids))]


def _generator_seed(purpose: str) -> int:
    """Return the seed of a torch generator that serves one purpose."""
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big") >> 1


def training_of(member: Member, tokens: Tokens, adapter: Adapter | None) -> Training:
    """Return what a training run was, with the evidence that judging reads."""
    spans, lengths = member.spans, member.spans.lengths.tolist()
    return Training(
        steps=len(member.curve.loss),
        tokens=sum(lengths[i] for i in chain(*member.batches)),
        trainable=sum(weight.numel() for weight in member.weights),
        evidence={
            **asdict(member.curve),
            "rows": [rendered(span, tokens) for span in spans[:2]],
            "eos_share": sum(s.ids[-1] == tokens.end for s in spans) / len(spans),
            "retokenised": spans.apart,
            "template_faults": list(tokens.template_faults),
            "merged": adapter.merged if adapter else None,
        },
    )
