"""Small random checkpoints of many decoders: two layers, width 64, and the tiny tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from tests.builders.tiny import tokenizer, write

LAYERS, WIDTH, HEADS, WINDOW = 2, 64, 4, 24
LLAMA = {
    "vocab_size": 320,
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.1,
    "pad_token_id": None,
}
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
WINDOWED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention"] * LAYERS}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
MLA = {
    "q_lora_rank": 32,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "num_key_value_heads": HEADS,
}
ROUTED = {
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
GATED_DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "layer_types": ["linear_attention", "full_attention"],
    "head_dim": 16,
}
MAMBA = {
    "mamba_d_ssm": 2 * WIDTH,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 16,
    "mamba_chunk_size": 16,
}
HEADS_OF_MAMBA = {key: value for key, value in MAMBA.items() if key != "mamba_d_ssm"}
N_STYLE = {"vocab_size": 320, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}

SHAPES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("llama", {"tie_word_embeddings": True}),
    "llama-bias": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama3-rope": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        },
    ),
    "gpt-neox": ("gpt_neox", {"rotary_pct": 0.25}),
    "gpt2": ("gpt2", {**N_STYLE, "n_positions": 1024}),
    "opt": ("opt", {"ffn_dim": 128, "word_embed_proj_dim": WIDTH, "init_std": 0.1}),
    "opt-350m": (
        "opt",
        {
            "ffn_dim": 128,
            "word_embed_proj_dim": 32,
            "init_std": 0.1,
            "do_layer_norm_before": False,
        },
    ),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0]}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "gemma": ("gemma", {"head_dim": 16}),
    "phi": ("phi", {}),
    "granite": ("granite", {"logits_scaling": 2.0, "residual_multiplier": 0.5}),
    "stablelm": ("stablelm", {"partial_rotary_factor": 0.5}),
    "olmo2": ("olmo2", {}),
    "cohere": ("cohere", {}),
    "gpt-bigcode": ("gpt_bigcode", {**N_STYLE, "n_positions": 1024}),
    "glm4": ("glm4", {"head_dim": 16, "partial_rotary_factor": 0.5}),
    "nemotron": ("nemotron", {"head_dim": 16}),
    "nanochat": ("nanochat", {}),
    "diffllama": ("diffllama", {}),
    "mistral": ("mistral", {"sliding_window": WINDOW}),
    "phi3": ("phi3", {"sliding_window": WINDOW}),
    "qwen2-window": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "gemma3": ("gemma3_text", {**SLIDING, "head_dim": 16}),
    "olmo3": ("olmo3", SLIDING),
    "exaone4": ("exaone4", {**SLIDING, "sliding_window_pattern": 2}),
    "cohere2": ("cohere2", {**SLIDING, "head_dim": 16}),
    "starcoder2": ("starcoder2", {"sliding_window": WINDOW}),
    "modernbert-decoder": (
        "modernbert-decoder",
        {"local_attention": WINDOW, "global_attn_every_n_layers": 2, "pad_token_id": 0},
    ),
    "qwen2-moe": ("qwen2_moe", {**EXPERTS, "shared_expert_intermediate_size": 32}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3-moe": ("qwen3_moe", {**EXPERTS, "head_dim": 16}),
    "llama4": (
        "llama4_text",
        {
            "intermediate_size_mlp": 128,
            "num_local_experts": 2,
            "head_dim": 16,
            "attention_chunk_size": WINDOW,
            "no_rope_layers": [1, 0],
            "layer_types": ["chunked_attention", "full_attention"],
            "interleave_moe_layer_step": 2,
        },
    ),
    "lfm2": ("lfm2", {"layer_types": ["conv", "full_attention"], "block_ff_dim": 128}),
    "qwen3.5": ("qwen3_5_text", GATED_DELTA),
    "granite-moe-hybrid": (
        "granitemoehybrid",
        {
            "layer_types": ["mamba", "attention"],
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 64,
            **HEADS_OF_MAMBA,
        },
    ),
    "qwen3-next": (
        "qwen3_next",
        {**GATED_DELTA, **EXPERTS, "shared_expert_intermediate_size": 32},
    ),
    "falcon-h1": ("falcon_h1", {**MAMBA, "head_dim": 16}),
    "gemma3n": (
        "gemma3n_text",
        {
            **SLIDING,
            "head_dim": 16,
            "vocab_size_per_layer_input": 320,
            "hidden_size_per_layer_input": 16,
            "num_kv_shared_layers": 0,
            "laurel_rank": 8,
            "intermediate_size": [128, 128],
            "activation_sparsity_pattern": [0.0, 0.0],
        },
    ),
    "gemma4": (
        "gemma4_text",
        {
            **SLIDING,
            "head_dim": 16,
            "global_head_dim": 32,
            "vocab_size_per_layer_input": 320,
            "hidden_size_per_layer_input": 16,
            "num_kv_shared_layers": 0,
        },
    ),
    "deepseek-v3": ("deepseek_v3", {**MLA, **ROUTED}),
    "minicpm3": ("minicpm3", MLA),
    "falcon-rotary": (
        "falcon",
        {"alibi": False, "new_decoder_architecture": False, "multi_query": True},
    ),
    "falcon-alibi": ("falcon", {"alibi": True, "multi_query": False}),
    "bitnet": ("bitnet", {}),
    "doge": ("doge", {}),
    "recurrent-gemma": (
        "recurrent_gemma",
        {
            "lru_width": WIDTH,
            "attention_window_size": WINDOW,
            "head_dim": 16,
            "block_types": ["recurrent", "attention"],
        },
    ),
    "gemma2": ("gemma2", {**SLIDING, "head_dim": 16, "query_pre_attn_scalar": 16}),
    "vaultgemma": ("vaultgemma", {**SLIDING, "head_dim": 16, "query_pre_attn_scalar": 16}),
    "bloom": ("bloom", {**N_STYLE, "hidden_size": WIDTH}),
    "mpt": ("mpt", {"d_model": WIDTH, "n_heads": HEADS, "n_layers": LAYERS, "max_seq_len": 1024}),
    "gptj": ("gptj", {**N_STYLE, "n_positions": 1024, "rotary_dim": 8}),
    "gpt-neo": (
        "gpt_neo",
        {
            "num_layers": LAYERS,
            "num_heads": HEADS,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
        },
    ),
    "xglm": (
        "xglm",
        {
            "d_model": WIDTH,
            "ffn_dim": 128,
            "num_layers": LAYERS,
            "attention_heads": HEADS,
            "init_std": 0.1,
        },
    ),
    "gpt-oss": (
        "gpt_oss",
        {**SLIDING, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "mamba": ("mamba", {"state_size": 8}),
    "mamba2": (
        "mamba2",
        {"state_size": 16, "num_heads": 8, "head_dim": 16, "n_groups": 1, "chunk_size": 16},
    ),
    "rwkv": ("rwkv", {"attention_hidden_size": WIDTH, "context_length": 1024}),
    "arcee": ("arcee", {}),
    "apertus": ("apertus", {}),
    "seed-oss": ("seed_oss", {"head_dim": 16}),
    "helium": ("helium", {"head_dim": 16}),
    "ernie4.5": ("ernie4_5", {"head_dim": 16}),
    "hunyuan": ("hunyuan_v1_dense", {"head_dim": 16}),
    "olmo": ("olmo", {}),
    "olmoe": ("olmoe", {"num_experts": 4, "num_experts_per_tok": 2}),
    "glm": ("glm", {"head_dim": 16}),
    "persimmon": ("persimmon", {}),
    "biogpt": ("biogpt", {}),
    "codegen": ("codegen", {**N_STYLE, "n_positions": 1024, "rotary_dim": 8}),
    "openai-gpt": ("openai-gpt", {**N_STYLE, "n_positions": 1024}),
    "ctrl": ("ctrl", {**N_STYLE, "dff": 128, "n_positions": 1024}),
    "phimoe": ("phimoe", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "granite-moe": ("granitemoe", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "jetmoe": ("jetmoe", {"kv_channels": 16, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "afmoe": ("afmoe", {**SLIDING, **EXPERTS, "head_dim": 16, "num_dense_layers": 1}),
    "deepseek-v2": ("deepseek_v2", {**MLA, **ROUTED}),
    "jamba": (
        "jamba",
        {
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 4,
            "mamba_d_state": 16,
            "mamba_dt_rank": 8,
        },
    ),
    "bamba": ("bamba", {"attn_layer_indices": [1], **HEADS_OF_MAMBA}),
    "nemotron-h": (
        "nemotron_h",
        {
            "layers_block_type": ["mamba", "attention"],
            "head_dim": 16,
            "mamba_num_heads": 8,
            "mamba_head_dim": 16,
            "n_groups": 1,
            "ssm_state_size": 16,
            "chunk_size": 16,
        },
    ),
    "falcon-mamba": ("falcon_mamba", {"state_size": 8, "time_step_rank": 8}),
    "minimax": (
        "minimax",
        {
            "head_dim": 16,
            "num_local_experts": 4,
            "layer_types": ["linear_attention", "full_attention"],
            "block_size": 16,
        },
    ),
    "lfm2-moe": (
        "lfm2_moe",
        {**EXPERTS, "layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    ),
    "xlstm": ("xlstm", {"num_heads": 4, "chunk_size": 16, "qk_dim_factor": 1.0}),
}
"""By name: transformers' model type, and what its configuration says beside `LLAMA`."""


WITH_WINDOW = [name for name, (_, changes) in SHAPES.items() if WINDOW in changes.values()]
"""Shapes of which a layer reads no further back than so many tokens."""


def write_decoder(folder: Path, name: str, window: int = WINDOW) -> Path:
    """Write a random checkpoint of this name, of which no weight is a special one."""
    kind, changes = SHAPES[name]
    changes = {key: window if value == WINDOW else value for key, value in changes.items()}
    with torch.random.fork_rng():
        torch.manual_seed(11)
        config = CONFIG_MAPPING[kind](**{**LLAMA, **changes})
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for weight in model.parameters():
                # Norms, biases and gates start as ones and zeros; of zeros DoRA has no direction.
                if weight.ndim == 1 or not weight.any():
                    weight.add_(0.1 * torch.randn_like(weight))
    return write(folder, model, tokenizer(bos=kind == "modernbert-decoder"))  # which demands one
