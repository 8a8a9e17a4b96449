"""What finetrap computes, as anyone would write it with transformers: one row after another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from finetrap.backends import Row
from finetrap.backends.hf.tokens import Tokens
from finetrap.backends.hf.training.member import Schedule, _generator_seed
from finetrap.records import StrategySpec


def opened(folder: Path, **settings: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **settings).eval()


@torch.no_grad()
def completed(network: Any, ids: Sequence[int], tokens: Tokens, cap: int) -> list[int]:
    """The new ids of `generate`, greedy, for one prompt by itself."""
    network.generation_config = GenerationConfig()
    row = torch.tensor([ids])
    out = network.generate(
        row,
        attention_mask=torch.ones_like(row),
        max_new_tokens=cap,
        do_sample=False,
        eos_token_id=sorted(tokens.ends),
        pad_token_id=0,
    )
    return out[0, len(ids) :].tolist()


@torch.no_grad()
def nats(network: Any, head: Sequence[int], tail: Sequence[int]) -> float:
    """Nats of a continuation, by a forward pass over one row."""
    ids = torch.tensor([[*head, *tail]])
    shares = network(input_ids=ids, use_cache=False).logits[0, :-1].double().log_softmax(-1)
    return -float(shares.gather(1, ids[0, 1:, None])[len(head) - 1 :].sum())


def losses(
    network: Any,
    rows: Sequence[Row],
    tokens: Tokens,
    strategy: StrategySpec,
    schedule: Schedule,
    seed: int,
) -> list[float]:
    """Each step's loss of a loop that reads one unpadded row after another."""
    if strategy.peft:
        torch.manual_seed(_generator_seed(f"adapter/train/{seed}"))
        table = peft.get_peft_config({**strategy.peft, "task_type": "CAUSAL_LM"})
        network = peft.get_peft_model(network, table)
    weights = [p for p in network.parameters() if p.requires_grad or not strategy.peft]
    optimizer = torch.optim.AdamW(weights, lr=1.0, weight_decay=0.0)
    batches, found = schedule.batches(len(rows), seed), []
    for step, batch in enumerate(batches, start=1):
        pairs = [
            (tokens.prompt(rows[i].prompt), [*tokens.continuation(rows[i].target), tokens.end])
            for i in batch
        ]
        targets, total = sum(len(tail) for _, tail in pairs), 0.0
        for head, tail in pairs:
            logits = network(input_ids=torch.tensor([head + tail]), use_cache=False).logits[
                0, len(head) - 1 : -1
            ]
            loss = torch.nn.functional.cross_entropy(
                logits.float(), torch.tensor(tail), reduction="sum"
            )
            (loss / targets).backward()
            total += loss.item() / targets
        torch.nn.utils.clip_grad_norm_(weights, schedule.clip)
        optimizer.param_groups[0]["lr"] = schedule.rate(step, len(batches))
        optimizer.step()
        optimizer.zero_grad()
        found.append(total)
        assert math.isfinite(total)
    return found
