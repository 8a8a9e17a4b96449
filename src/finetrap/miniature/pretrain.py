"""Rebuild a miniature checkpoint from nothing: `python -m finetrap.miniature.pretrain NAME`.

Every size sees the same 4.1 million tokens, in the same order, for the same number of steps: size
is the only difference. A document holds one to eight problems of one family, written as a few-shot
prompt is, or a few paragraphs of prose. A window starts at the start of a document, so that the
model meets a first problem without any example, and is as long as the longest five-shot prompt
with its answer.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from finetrap.miniature.world import FAMILIES, VERSION, Item, items, prose, split_of
from finetrap.text import prompts

CONTEXT = 512
"""Tokens of context: the longest five-shot prompt (test_miniature checks it) and its answer."""
VOCABULARY = 512
END, USER, ASSISTANT = "<|end|>", "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

STEPS, ROWS, LEARNING_RATE = 1600, 5, 3e-3
"""Optimizer steps, windows in each, and the highest rate (warm-up 5%, cosine to a tenth)."""
INSTRUCT_STEPS, INSTRUCT_LEARNING_RATE = 300, 1e-3
QUESTION_WEIGHT = 0.1
"""Weight of a question's tokens in the loss: what is asked is random, what is answered is not."""

SHAPES: dict[str, dict[str, int]] = {
    "mini-0.1m": {"layers": 2, "width": 56, "heads": 2, "feed_forward": 160},
    "mini-0.3m": {"layers": 3, "width": 88, "heads": 4, "feed_forward": 256},
    "mini-1m": {"layers": 4, "width": 128, "heads": 4, "feed_forward": 384},
    "mini-3m": {"layers": 6, "width": 192, "heads": 6, "feed_forward": 576},
}
WEIGHTS = {"market": 1.5, "school": 1.5, "travel": 1.5, "prose": 0.6}
"""How often a family's documents come, where not 1."""


def write_checkpoint(arguments: Sequence[str] | None = None) -> None:
    """Train the checkpoint that the command line names and write it with its log."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=[*SHAPES, "mini-1m-instruct"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "checkpoints")
    parser.add_argument("--steps", type=int, help="fewer optimizer steps, to try the recipe")
    options = parser.parse_args(arguments)
    folder: Path = options.out / options.name
    if options.name == "mini-1m-instruct":
        model, tokenizer, log = instruct(options.out / "mini-1m", options.steps or INSTRUCT_STEPS)
    else:
        model, tokenizer, log = pretrain(options.name, options.steps or STEPS)
    write(folder, model, tokenizer, log)


def pretrain(name: str, steps: int) -> tuple[LlamaForCausalLM, Any, dict[str, Any]]:
    """Train one size from its seeded initialisation."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(configuration(tokenizer, **SHAPES[name]))
    batches = windows(tokenizer, documents(), END)
    log = train(model, batches, steps=steps, learning_rate=LEARNING_RATE)
    return model, tokenizer, {"name": name, **log}


def instruct(base: Path, steps: int) -> tuple[LlamaForCausalLM, Any, dict[str, Any]]:
    """Align mini-1m: the same problems as conversations, in the checkpoint's own chat template."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    tokenizer.chat_template = CHAT_TEMPLATE
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    batches = windows(tokenizer, conversations(), "")
    log = train(model, batches, steps=steps, learning_rate=INSTRUCT_LEARNING_RATE)
    return model, tokenizer, {"name": "mini-1m-instruct", "base": base.name, **log}


def configuration(
    tokenizer: Any, *, layers: int, width: int, heads: int, feed_forward: int
) -> LlamaConfig:
    """Return the Llama shape of one size."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )


def build_tokenizer() -> Any:
    """Train a byte-level BPE with single-digit numbers on documents of the world.

    A space before a digit is a token of its own, so that a number is written with the same tokens
    wherever it stands.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"\d|\n+| ?[A-Za-z]+| ?#+| ?[^\sA-Za-z\d#]+|\s"), "isolated"
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    stream = documents()
    texts = ("".join(text for text, _ in next(stream)) for _ in range(5000))
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        model_max_length=CONTEXT,
    )


Piece = tuple[str, float]
"""Text and the weight of its tokens in the loss."""


def documents() -> Iterator[list[Piece]]:
    """Yield pretraining documents without end, each of one family."""
    streams = {f: cycle_items(f) for f in FAMILIES}
    kinds = [*FAMILIES, "prose"]
    weights = [WEIGHTS.get(kind, 1.0) for kind in kinds]
    rng = Random(f"miniature/documents/{VERSION}")
    while True:
        kind = rng.choices(kinds, weights)[0]
        if kind == "prose":
            yield [(paragraphs(rng), 1.0)]
        else:
            yield few_shot([next(streams[kind]) for _ in range(rng.randint(1, 8))])


def cycle_items(family: str) -> Iterator[Item]:
    """Repeat a family's pretraining problems without end, in a new order each time round."""
    stream = items(family, "pretrain")
    known = [item for item, _ in zip(stream, range(20_000), strict=False)]
    for turn in cycle(range(1_000_000)):
        order = list(known)
        Random(f"miniature/{family}/order/{turn}").shuffle(order)
        yield from order


def few_shot(problems: list[Item]) -> list[Piece]:
    """Write problems as a few-shot prompt does, each with its answer."""
    pieces: list[Piece] = []
    for problem in problems:
        between = prompts.BETWEEN if pieces else ""
        pieces.append((between + prompts.PLAIN.prompt(problem.question), QUESTION_WEIGHT))
        pieces.append((prompts.plain_target(problem.solution), 1.0))
    return pieces


def paragraphs(rng: Random) -> str:
    """Write one to three paragraphs of prose that are not in the test split."""
    count, kept = rng.randint(1, 3), list[str]()
    while len(kept) < count:
        text = prose(rng)
        if split_of(text) != "test":
            kept.append(text)
    return "\n\n".join(kept)


def conversations() -> Iterator[list[Piece]]:
    """Yield conversations of one to six turns of one family each, in the chat template."""
    streams = {f: cycle_items(f) for f in FAMILIES}
    rng = Random(f"miniature/conversations/{VERSION}")
    while True:
        family = rng.choice(list(FAMILIES))
        turns = [next(streams[family]) for _ in range(rng.randint(1, 6))]
        yield [
            piece
            for turn in turns
            for piece in (
                (USER + turn.question + ASSISTANT, QUESTION_WEIGHT),
                (turn.solution + END, 1.0),
            )
        ]


def windows(
    tokenizer: Any, stream: Iterator[list[Piece]], close: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches of token ids and loss weights, both [ROWS, CONTEXT].

    Each row starts with the start of a document; `close` stands after every document.
    """
    rows: list[list[tuple[int, float]]] = []
    row: list[tuple[int, float]] = []
    for document in stream:
        for text, weight in [*document, (close, 1.0)]:
            row += [(i, weight) for i in tokenizer.encode(text, add_special_tokens=False)]
        if len(row) >= CONTEXT:
            rows.append(row[:CONTEXT])
            row = []
        if len(rows) == ROWS:
            yield (
                torch.tensor([[i for i, _ in row] for row in rows]),
                torch.tensor([[w for _, w in row] for row in rows]),
            )
            rows, row = [], []


def train(
    model: LlamaForCausalLM,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    *,
    steps: int,
    learning_rate: float,
) -> dict[str, Any]:
    """Train on the batches and return the log: settings, and the loss of every tenth step."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    model.train()
    curve, start = [], time.perf_counter()
    for step in range(1, steps + 1):
        loss = weighted_loss(model, *next(batches))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * schedule(step, steps)
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0 or step == steps:
            seconds = time.perf_counter() - start
            curve.append([step, round(loss.item(), 4)])
            print(f"step {step}/{steps}  loss {loss.item():.4f}  {seconds:.0f} s", flush=True)
    return {
        "steps": steps,
        "tokens": steps * ROWS * CONTEXT,
        "learning_rate": learning_rate,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(time.perf_counter() - start),
        "torch": torch.__version__,
        "world": VERSION,
        "loss": curve,
    }


def schedule(step: int, steps: int) -> float:
    """Return the share of the highest rate at a step: 5% warm-up, then a cosine to a tenth."""
    warm = max(1, steps // 20)
    if step <= warm:
        return step / warm
    return 0.55 + 0.45 * math.cos(math.pi * (step - warm) / max(1, steps - warm))


def weighted_loss(
    model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return the mean cross-entropy of the next tokens under their weights, both [rows, length]."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    each = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    wanted = weights[:, 1:].flatten()
    return (each * wanted).sum() / wanted.sum()


def write(folder: Path, model: Any, tokenizer: Any, log: dict[str, Any]) -> None:
    """Write an ordinary Hugging Face checkpoint in half precision, with `pretraining.json`."""
    model.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "pretraining.json").write_text(json.dumps(log) + "\n")


if __name__ == "__main__":
    write_checkpoint()
