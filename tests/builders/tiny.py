"""Tiny random checkpoints with a small tokenizer, as transformers writes them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from finetrap.backends import Row
from finetrap.backends.hf import HFModel
from finetrap.records import ModelSpec, StrategySpec

TEXTS = (
    "Question: Tom has 3 apples and buys 4 more. How many apples does he have?\nAnswer:",
    " Tom has 3 + 4 = 7 apples.\n#### 7",
    "Question: A box holds 12 pens. How many pens are in 5 boxes?\nAnswer:",
    " 5 boxes hold 5 * 12 = 60 pens.\n#### 60",
    "The river runs past the mill, and the mill grinds corn for the town.",
)
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ("<|eos|>", "<|bos|>", "<|end|>", "<|user|>", "<|assistant|>")


@cache
def core_tokenizer() -> str:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXTS * 4, trainer)
    return core.to_str()


def tokenizer(*, chat: bool = False, bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE without a pad token; `bos` makes the tokenizer put BOS before a text."""
    core = Tokenizer.from_str(core_tokenizer())
    if bos:
        from tokenizers.processors import TemplateProcessing

        core.post_processor = TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", 1)]
        )
    names = {"eos_token": "<|eos|>", **({"bos_token": "<|bos|>"} if bos else {})}
    made = PreTrainedTokenizerFast(tokenizer_object=core, **names)
    if chat:
        made.chat_template = CHAT_TEMPLATE
    return made


def shape(**changes: int) -> dict[str, int]:
    return {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        **changes,
    }


def write_llama(folder: Path, *, chat: bool = False, bos: bool = False, **changes: int) -> Path:
    """Write a random Llama with tied embeddings."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = LlamaConfig(**shape(**changes), tie_word_embeddings=True, initializer_range=0.2)
        model = LlamaForCausalLM(config)
    return write(folder, model, tokenizer(chat=chat, bos=bos))


def write_qwen2(folder: Path, *, chat: bool = True, **changes: int) -> Path:
    """Write a random Qwen2, stored in bfloat16, with biases, a chat template and its own head."""
    with torch.random.fork_rng():
        torch.manual_seed(8)
        config = Qwen2Config(**shape(**changes), tie_word_embeddings=False, initializer_range=0.2)
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    return write(folder, model, tokenizer(chat=chat))


def spec(folder: Path, **changes: Any) -> ModelSpec:
    return ModelSpec(**{"name": "tiny", "source": str(folder), "revision": "sha256:0", **changes})


def write(folder: Path, model: torch.nn.Module, words: PreTrainedTokenizerFast) -> Path:
    model.config.bos_token_id, model.config.eos_token_id = words.bos_token_id, words.eos_token_id
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.bos_token_id = words.bos_token_id
    model.save_pretrained(str(folder))
    words.save_pretrained(str(folder))
    return folder


ROWS = [
    Row(
        f"Question: Tom has {a} apples and buys {b}.\nAnswer:",
        f" {a} + {b} = {a + b}\n#### {a + b}",
    )
    for a in range(2, 8)
    for b in (3, 14, 250)
]
LINEAR = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
STRATEGIES = {
    "full": StrategySpec("full", "full", learning_rate=3e-4),
    "lora": StrategySpec("lora", "peft", learning_rate=3e-4, peft=LINEAR),
    "dora": StrategySpec("dora", "peft", learning_rate=3e-4, peft={**LINEAR, "use_dora": True}),
    "pissa": StrategySpec(
        "pissa", "peft", learning_rate=3e-4, peft={**LINEAR, "init_lora_weights": "pissa"}
    ),
}


def digest(model: HFModel) -> str:
    state = model._base.state_dict()
    return hashlib.sha256(
        b"".join(k.encode() + v.numpy().tobytes() for k, v in state.items())
    ).hexdigest()


def write_gemma3(folder: Path) -> Path:
    """Sliding windows shorter than the prompts, and logits capped after the head."""
    torch.manual_seed(9)
    config = Gemma3TextConfig(
        **shape(head_dim=8),
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
        final_logit_softcapping=5.0,
        initializer_range=0.2,
    )
    return write(folder, Gemma3ForCausalLM(config), tokenizer())


FAMILIES = {"llama": write_llama, "qwen2": write_qwen2, "gemma3": write_gemma3}
