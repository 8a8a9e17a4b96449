"""Tiny models as GGUF files, with the tensors of a checkpoint that transformers wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from tests.builders.tiny import CHAT_TEMPLATE, tokenizer, write_llama

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""What GGUF calls the parts of a layer."""


def write_gguf(
    file: Path, checkpoint: Path, *, blocks: str | None = None, chat: bool = True
) -> Path:
    """Write the Llama of `checkpoint` as one file: fp32 tensors, or matrices in blocks."""
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    config = model.config
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(gguf, writer, chat)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":  # tied
            _add_tensor(gguf, writer, name, tensor.numpy(), config, blocks)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def write_llama_gguf(folder: Path, *, blocks: str | None = None) -> Path:
    """Write a random Llama and return its GGUF file; the checkpoint lies in `checkpoint` there."""
    checkpoint = write_llama(folder / "checkpoint", chat=True)
    return write_gguf(folder / "tiny.gguf", checkpoint, blocks=blocks)


def _add_tokenizer(gguf, writer, chat: bool) -> None:
    words = tokenizer()
    core = words.backend_tokenizer
    texts = [core.id_to_token(i) for i in range(core.get_vocab_size())]
    special = set(words.all_special_ids) | {i for i, t in enumerate(texts) if t.startswith("<|")}
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(texts)
    writer.add_token_types(
        [kinds.CONTROL if i in special else kinds.NORMAL for i in range(len(texts))]
    )
    import json

    merges = json.loads(core.to_str())["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_eos_token_id(words.eos_token_id)
    writer.add_add_bos_token(False)
    if chat:
        writer.add_chat_template(CHAT_TEMPLATE)


def _add_tensor(gguf, writer, name: str, weights: np.ndarray, config, blocks: str | None) -> None:
    if name.startswith("model.layers."):
        number, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
        place = f"blk.{number}.{NAMES[part]}.weight"
        if part in ("self_attn.q_proj", "self_attn.k_proj"):
            own = part == "self_attn.q_proj"
            weights = _permuted(
                weights, config.num_attention_heads if own else config.num_key_value_heads
            )
    else:
        place = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}[
            name.removesuffix(".weight")
        ] + ".weight"
    if blocks and weights.ndim == 2:
        kind = gguf.GGMLQuantizationType[blocks]
        writer.add_tensor(place, gguf.quants.quantize(weights, kind), raw_dtype=kind)
    else:
        writer.add_tensor(place, weights)


def _permuted(weights: np.ndarray, heads: int) -> np.ndarray:
    """Order rows as llama.cpp's conversion does (convert_hf_to_gguf.py, LlamaModel.permute)."""
    shape = (heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return np.ascontiguousarray(weights.reshape(shape).swapaxes(1, 2).reshape(weights.shape))
