"""A checkpoint of SmolLM2-135M's shape with random weights, for timing without a download.

    python -m benchmarks.shape [--cache FOLDER]

Time and memory depend on shapes, not on what the weights say. They are stored in bfloat16, as most
published ones are. The tokenizer is a byte-level BPE of 49,152 tokens trained on GSM8K, WikiText-2
and HellaSwag (the first two have words for 40,792 only), so prompts have about the lengths that a
real one gives. Both are made once and kept in the cache folder.
"""

from __future__ import annotations

import argparse
import bz2
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetrap.errors import BadData
from finetrap.records import ModelSpec
from finetrap.references import PromptSpec

CACHE = Path("~/.cache/finetrap-benchmarks")
DATA = Path(__file__).parents[2] / "shared" / "data"
FILES = ("gsm8k/train.jsonl", "wikitext-2/valid.txt", "hellaswag/hellaswag_val_full.txt.bz2")
SEED = 20240726
END = "<|endoftext|>"
SPREAD = 1 / 24
"""Standard deviation of the weights: SmolLM2's own `initializer_range`."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama model; those of SmolLM2-135M unless told."""

    hidden: int = 576
    layers: int = 30
    heads: int = 9
    key_heads: int = 3
    intermediate: int = 1536
    vocabulary: int = 49_152
    positions: int = 2048

    @property
    def name(self) -> str:
        """Name of the folder: every size that sets this shape apart from another."""
        return "llama-bf16-" + "-".join(str(size) for size in asdict(self).values())

    @property
    def weights(self) -> int:
        """Parameters that multiply each token: layers and head, which is the embedding again."""
        wide = self.hidden // self.heads * self.key_heads
        layer = 2 * self.hidden * (self.hidden + wide) + 3 * self.hidden * self.intermediate
        return self.layers * layer + self.hidden * self.vocabulary

    def config(self) -> dict[str, Any]:
        """Return the arguments of transformers' LlamaConfig."""
        return {
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_heads,
            "intermediate_size": self.intermediate,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.positions,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "initializer_range": SPREAD,
            "bos_token_id": 0,
            "eos_token_id": 0,
        }


SMOLLM2_135M = Shape()


def data(folder: str | None = None) -> Path:
    """Return the folder of public data files: the one given, else FINETRAP_DATA, else the default.

    Raises BadData where a file is not there.
    """
    path = Path(folder or os.environ.get("FINETRAP_DATA") or DATA).expanduser()
    if missing := [name for name in FILES if not (path / name).is_file()]:
        raise BadData(
            f"the benchmarks read public data and '{path}' has no {', '.join(missing)}; name the "
            "folder that holds them by --data or the environment variable FINETRAP_DATA"
        )
    return path


def gsm8k(split: str, folder: str | None = None) -> list[dict[str, str]]:
    """Return the rows of a split, each with a `question` and an `answer`."""
    lines = (data(folder) / "gsm8k" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def prose(split: str, folder: str | None = None) -> str:
    """Return a split of WikiText-2."""
    return (data(folder) / "wikitext-2" / f"{split}.txt").read_text(encoding="utf-8")


def checkpoint(
    shape: Shape = SMOLLM2_135M, cache: str | None = None, folder: str | None = None
) -> Path:
    """Return the folder of a checkpoint with random weights, made on the first call.

    `cache` is where it is kept and `folder` where the tokenizer's texts are. Raises BadData.
    """
    kept = Path(cache or CACHE).expanduser() / shape.name
    if kept.is_dir():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".", dir=kept.parent))
    try:
        _tokenizer(shape, folder).save_pretrained(unfinished)
        _network(shape).bfloat16().save_pretrained(unfinished)
        commit(unfinished, kept)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return kept


def commit(unfinished: Path, kept: Path) -> None:
    """Give a finished folder its name, unless another process was faster."""
    try:
        unfinished.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise


def spec(path: Path) -> ModelSpec:
    """Return the checkpoint as a study would name it; its prompts are plain."""
    return ModelSpec(path.name, str(path), f"seed-{SEED}", prompt=PromptSpec("plain"))


def _network(shape: Shape) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return LlamaForCausalLM(LlamaConfig(**shape.config()))


def _tokenizer(shape: Shape, folder: str | None) -> Any:
    """Train a byte-level BPE; its end token has id 0, as SmolLM2's has.

    A vocabulary that is larger than SmolLM2's has rows in the embedding that stand for no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(shape.vocabulary, SMOLLM2_135M.vocabulary),
        min_frequency=1,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(folder), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        model_max_length=shape.positions,
        clean_up_tokenization_spaces=False,
    )


def _texts(folder: str | None) -> Iterator[str]:
    for split in ("train", "test"):
        for row in gsm8k(split, folder):
            yield f"Question: {row['question']}\nAnswer: {row['answer']}"
    for split in ("valid", "test"):
        yield from prose(split, folder).splitlines()
    yield from bz2.decompress((data(folder) / FILES[2]).read_bytes()).decode().splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", help=f"where checkpoints are kept; default {CACHE}")
    parser.add_argument("--data", help="folder of GSM8K and WikiText-2; default FINETRAP_DATA")
    parser.add_argument("--layers", type=int, default=SMOLLM2_135M.layers)
    asked = parser.parse_args()
    print(checkpoint(Shape(layers=asked.layers), asked.cache, asked.data))


if __name__ == "__main__":
    main()
