"""The training step: loss on targets and end tokens, mean over the targets of a whole batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor

from finetrap.backends import Progress, Row
from finetrap.backends.hf.kernels.head import HeadLoss
from finetrap.backends.hf.kernels.joined import Rows, joining
from finetrap.backends.hf.layout import Span, marked, pad_right
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.tokens import Tokens
from finetrap.backends.hf.training.half import Copies
from finetrap.backends.hf.training.lowrank import Merging
from finetrap.errors import Diverged

ON_GPU = 2**32
"""Bytes of activations for one backward pass on a GPU: 2,300 tokens of SmolLM2-135M."""
LOGITS = 2**26
"""Logits held at once (256 MiB in fp32; their gradient takes as much again)."""
FULL = 3 / 2
"""Bytes of activations for one of the weights, where all are trained."""
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


def examples(rows: Sequence[Row], tokens: Tokens, *, virtual: int, max_length: int) -> list[Span]:
    """Encode training rows: prompt, target, end token. Raises ContextTooLong, naming the row."""
    end = [] if tokens.end is None else [tokens.end]
    spans = []
    for number, row in enumerate(rows):
        head = tokens.prompt(row.prompt)
        span = Span(head + tokens.continuation(row.target) + end, max(1, len(head)))
        tokens.check_fits(len(span.ids) + virtual, "the training row", number, max_length)
        spans.append(span)
    return spans


class Member:
    """One training run: its rows, its order, its weights, its optimizer."""

    def __init__(
        self,
        weights: Sequence[torch.nn.Parameter],
        spans: Sequence[Span],
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


def fit(
    network: Network,
    member: Member,
    *,
    filler: int,
    merging: Merging | Copies | None = None,
    joined: bool = False,
    progress: Progress | None = None,
) -> None:
    """Train a member to its last step, or to the one at which it diverges.

    `merging` is what is computed once a step from its weights. `joined` is `Passes`'s.
    """
    for step in range(1, len(member.batches) + 1):
        if merging:
            merging.refresh()
        rows = member.rows(step)
        loss = accumulate(network, rows, filler, joined=joined)
        member.update(step, loss)
        if progress:
            tokens = sum(len(span.ids) for span in rows)
            facts = {"step": step, "steps": len(member.batches), "loss": loss}
            progress("step", {**facts, "tokens": tokens})
        if member.fault:
            return


def trainable(network: Network) -> list[torch.nn.Parameter]:
    """Return the parameters that are trained, a learned prompt's included."""
    return [p for p in network.module.parameters() if p.requires_grad]


def accumulate(
    network: Network,
    batch: Sequence[Span],
    filler: int,
    logits: int = LOGITS,
    *,
    joined: bool = False,
) -> float:
    """Add the gradient of a batch's mean loss; return the loss, in nats per target.

    A batch that holds more activations than there is room for, or more than `logits` at once where
    the head's loss cannot be taken in chunks, is cut, the longest rows first. Each pass divides its
    summed loss by the targets of the *whole* batch, so that the step does not depend on how it is
    cut.
    """
    targets = max(1, sum(span.scored for span in batch))
    total = torch.zeros((), device=network.device)
    places = activation_bytes(network) // token_bytes(network)
    most = logits // network.vocabulary if network.head is None else targets
    for part in passes(batch, most, places, joined=joined):
        total += backward(network, part, targets, filler, joined=joined)
    return float(total)


def backward(
    network: Network,
    spans: Sequence[Span],
    targets: int,
    filler: int,
    *,
    joined: bool = False,
) -> Tensor:
    """Add the gradient of one pass; return its summed loss over `targets`, a scalar."""
    device = network.device
    chosen = torch.tensor([t for s in spans for t in s.ids[s.start :]], device=device)
    weights = torch.full((len(chosen),), 1 / targets, device=device)
    ids, keep, rows = (_in_one_row if joined else _padded)(spans, filler, device)
    places = None if rows is None else rows.places[None]
    head = network.head
    with joining(network.core, rows):
        if head is not None:
            hidden = network.hidden(ids, keep, places=places)
            total, losses = HeadLoss.apply(  # type: ignore[no-untyped-call]
                hidden, head, chosen, weights, network.into
            )
        else:
            logits = network.logits(ids, keep, places=places).float()
            losses = torch.nn.functional.cross_entropy(logits, chosen, reduction="none")
            total = (losses * weights).sum()
    total.backward()
    loss: Tensor = (losses * weights).detach().sum()
    return loss


def _padded(
    spans: Sequence[Span], filler: int, device: torch.device
) -> tuple[Tensor, Tensor, Rows | None]:
    """Return ids and what predicts a target, [rows, longest]."""
    ids = pad_right([s.ids[:-1] for s in spans], filler, device)
    return ids, marked([(s.start - 1, len(s.ids) - 1) for s in spans], ids.shape[1], device), None


def _in_one_row(
    spans: Sequence[Span], filler: int, device: torch.device
) -> tuple[Tensor, Tensor, Rows | None]:
    """Return ids and what predicts a target, [1, tokens], and where rows stand."""
    ids = [token for span in spans for token in span.ids[:-1]]
    keep = [at >= span.start - 1 for span in spans for at in range(len(span.ids) - 1)]
    row = torch.tensor([ids], device=device), torch.tensor([keep], device=device)
    return *row, Rows([len(span.ids) - 1 for span in spans])


def passes(
    batch: Sequence[Span], targets: int, places: int, *, joined: bool = False
) -> Iterator[list[Span]]:
    """Cut a batch, the longest rows first, into parts that are read together.

    A part has at most `targets` scored positions, and `places` in all, padding included, or one
    row.
    """
    rows = sorted(batch, key=lambda s: -len(s.ids))

    def held(part: Sequence[Span]) -> int:
        return sum(len(s.ids) for s in part) if joined else len(part) * len(part[0].ids)

    # Joined rows are cut into passes of about one size; of padded ones the longest stand apart.
    enough = held(rows) / math.ceil(held(rows) / places) if joined else places
    part: list[Span] = []
    for row in rows:
        longer = [*part, row]
        scored = sum(span.scored for span in longer)
        if part and (held(longer) > places or held(part) >= enough or scored > targets):
            yield part
            longer = [row]
        part = longer
    if part:
        yield part


def activation_bytes(network: Network) -> int:
    """Return the bytes of activations to keep for one backward pass.

    On a CPU passes of some hundred tokens are the fastest: what they write stays in the cache.
    Where all weights are trained each pass adds to every gradient, and activations may take about
    what the weights of the pass do. A GPU wants more tokens. What is free has no say: a step
    that is cut otherwise is summed in another order.
    """
    if network.device.type == "cuda":
        return ON_GPU
    weights = list(network.core.parameters())
    if not all(weight.requires_grad for weight in weights):
        return 3 * 2**28
    return max(2**28, int(FULL * sum(weight.nbytes for weight in weights)))


def token_bytes(network: Network) -> int:
    """Estimate the bytes of activations that one token keeps for the backward pass.

    Per layer about sixteen vectors of the model's width and four of the feed-forward's; attention
    over rows of some hundred tokens keeps less than these.
    """
    config = network.core.config.get_text_config()
    wide = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    size = next(network.core.parameters()).element_size()
    return int(size * config.num_hidden_layers * (16 * config.hidden_size + 4 * wide))


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
    flat = tensor.detach().view(-1)
    if len(flat) <= SAMPLED:
        return flat
    apart = len(flat) // BLOCKS
    return flat[: apart * BLOCKS].view(BLOCKS, apart)[:, : SAMPLED // BLOCKS]


def rendered(span: Span, tokens: Tokens) -> list[list[Any]]:
    """Return a row as [token text, in loss] pairs, for a person to look at."""
    return [[tokens.piece(t), at >= span.start] for at, t in enumerate(span.ids)]
