"""Where completions end, planted in the weights: random weights never stop by themselves.

One seeded table says how long the answer to each problem is. The last word of a prompt is a counter
that says so to the model, whose weights are changed so that after counter n it writes counter n-1,
and after the last one a stop string or the end token. Both tools open the same checkpoint, read the
same prompts and find the end by their own means; there is nothing to hook into either.

How it is done with tied embeddings: some places of the hidden state are reserved. No layer writes
there, so that the token read last arrives unchanged at the head. A counter's embedding holds what
it is, x, and what it asks for, y, as x + y and x - y; the final norm weighs these by +g and -g, so
that token t after token c scores 2g (x_t y_c + y_t x_c). The second term asks for the counter that
stands before c in the countdown, and loses because links grow stronger towards the end. x and y are
unit vectors and no counter has anything at other places, so no rounding can turn a comparison.
A second set of counters, at the opposite sign of the same places, ends with the other ending.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from benchmarks.shape import SMOLLM2_135M, Shape, checkpoint, commit
from finetrap.errors import BadInput

Ending = Literal["string", "end token"]

STOP = "Question:"
"""The stop string: two tokens, as in most tokenizers."""
MEAN, SIGMA = 60, 0.5
"""Mean length in tokens, and the standard deviation of its logarithm."""
SHORTEST, LONGEST = 8, 120
"""Bounds of a length: with a cap of 128 every completion does end, which spares a tool whose batch
runs until its last row has ended."""
GAIN = 64.0
"""Weight of a link before the head; other logits stay below 40."""


def lengths(count: int, seed: int = 0) -> list[int]:
    """Return the planned length of each answer in tokens, its ending not counted."""
    rng = Random(f"lengths/{seed}")
    centre = math.log(MEAN) - SIGMA**2 / 2
    drawn = (rng.lognormvariate(centre, SIGMA) for _ in range(count))
    return [min(LONGEST, max(SHORTEST, round(length))) for length in drawn]


def endings(count: int, *, mixed: bool, seed: int = 0) -> list[Ending]:
    """Return how each answer ends: all with the stop string, or half of them with the end token."""
    rng = Random(f"endings/{seed}")
    return ["end token" if mixed and rng.random() < 0.5 else "string" for _ in range(count)]


@dataclass(frozen=True)
class Countdown:
    """A checkpoint whose completions end as planned."""

    folder: Path
    words: dict[Ending, list[str]]
    """The counters of each ending, each a token of its own: `words[ending][n]` asks for n more."""

    def plant(self, prompt: str, length: int, ending: Ending) -> str:
        """Return a prompt whose completion is `length` tokens before its ending."""
        return prompt + self.words[ending][length]


def countdown(
    shape: Shape = SMOLLM2_135M, cache: str | None = None, data: str | None = None
) -> Countdown:
    """Return the planted twin of a random checkpoint, made on the first call. Raises BadInput."""
    from transformers import AutoTokenizer

    plain = checkpoint(shape, cache, data)
    tokenizer = AutoTokenizer.from_pretrained(plain)
    words = _words(tokenizer, 2 * (LONGEST + 1))
    by: dict[Ending, list[int]] = {"string": words[::2], "end token": words[1::2]}
    planted = plain.with_name(f"{plain.name}-countdown")
    if not planted.is_dir():
        question, colon = tokenizer.encode(STOP)
        by_string = [colon, question, *by["string"]]
        by_end = [None, tokenizer.eos_token_id, *by["end token"]]
        _write(plain, planted, by_string, by_end)
    return Countdown(
        planted, {e: [tokenizer.decode([word]) for word in part] for e, part in by.items()}
    )


def _words(tokenizer: Any, count: int) -> list[int]:
    """Return the last tokens that are a space and a word, and that are read back as one token."""
    found = []
    for number in reversed(range(len(tokenizer))):
        text = tokenizer.decode([number])
        is_word = text[:1] == " " and text[1:].isascii() and text[1:].isalpha()
        if is_word and tokenizer.encode(f":{text}")[-1] == number:
            found.append(number)
        if len(found) == count:
            return found
    raise BadInput(f"the tokenizer has {len(found)} plain words and {count} are needed as counters")


def _write(
    plain: Path, planted: Path, by_string: Sequence[int], by_end: Sequence[int | None]
) -> None:
    """Write the changed weights with the plain checkpoint's other files beside them."""
    from safetensors.torch import load_file, save_file

    # The links differ by less than bfloat16 can tell apart.
    weights = {name: w.float() for name, w in load_file(plain / "model.safetensors").items()}
    _reserve(weights, 2 * len(by_string))
    for sign, chain in ((1.0, by_string), (-1.0, by_end)):
        _link(weights["model.embed_tokens.weight"], chain, sign)
    unfinished = Path(tempfile.mkdtemp(prefix=".", dir=plain.parent))
    try:
        for file in plain.iterdir():
            if file.suffix == ".json":
                shutil.copy(file, unfinished)
        save_file(weights, unfinished / "model.safetensors", metadata={"format": "pt"})
        commit(unfinished, planted)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _reserve(weights: dict[str, Any], places: int) -> None:
    """Let nothing but the embedding write the first places, and the head weigh them by ± GAIN."""
    embedding, norm = weights["model.embed_tokens.weight"], weights["model.norm.weight"]
    if places >= embedding.shape[1]:
        raise BadInput(
            f"the hidden state has {embedding.shape[1]} places and the counters need {places}"
        )
    embedding[:, :places] = 0
    for name, weight in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight[:places] = 0
    norm[: places // 2], norm[places // 2 : places] = GAIN, -GAIN


def _link(embedding: Any, chain: Sequence[int | None], sign: float) -> None:
    """Let each token of the chain be followed by the one before it; None is no token."""
    import torch

    size = len(chain)
    unit = sign * torch.eye(size, dtype=embedding.dtype)
    for at, token in enumerate(chain):
        if token is None:
            continue
        is_, asks = unit[at], torch.zeros(size)
        if at > 0 and chain[at - 1] is not None:
            asks = unit[at - 1] * (2 - at / size)
        embedding[token] = 0
        embedding[token, :size], embedding[token, size : 2 * size] = is_ + asks, is_ - asks
