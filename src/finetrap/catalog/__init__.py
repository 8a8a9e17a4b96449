"""Models, strategies and prompts as data: one TOML file each, and the folder is the registry.

Which PEFT methods can be trained from their configuration alone is decided here, without torch, so
that a study is refused before anything runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent

NEEDS_MORE: Mapping[str, str] = {
    "ADALORA": "it moves its ranks along a schedule (total_step) and adds a loss of its own",
    "CARTRIDGE": "its keys and values are distilled from a text",
    "CPT": "it starts from tokenised examples and weighs the loss by their positions",
    "MULTITASK_PROMPT_TUNING": "it needs the task of every row",
    "POLY": "it needs the task of every row",
    "SHADOW": "it trains a second model with a loss of its own",
    "XLORA": "it mixes other adapters that are already trained",
}
"""PEFT types that need data, a schedule, another loss or other adapters, and what they need."""

NEEDS_MORE_INIT: Mapping[str, str] = {
    "corda": "its initialisation reads activations on sample data",
    "eva": "its initialisation reads activations on sample data",
    "loftq": "its initialisation compensates a quantised base model",
    "lora_ga": "its initialisation reads gradients on sample data",
}
"""Values of LoRA's `init_lora_weights` that need more than the configuration."""

NEEDS_MORE_KEY: Mapping[str, str] = {
    "alora_invocation_tokens": "every prompt must hold the invocation tokens",
    "arrow_config": "it routes between other adapters that are already trained",
    "corda_config": NEEDS_MORE_INIT["corda"],
    "eva_config": NEEDS_MORE_INIT["eva"],
    "kasa_config": "it adds a loss of its own",
    "loftq_config": NEEDS_MORE_INIT["loftq"],
    "lora_ga_config": NEEDS_MORE_INIT["lora_ga"],
    "monteclora_config": "it adds a loss of its own",
    "use_asa": "it moves its ranks along a schedule",
    "use_qalora": "it needs a quantised base model",
}
"""Settings that, where they are set, ask for more than the configuration."""

MOVES_BASE_WEIGHTS = ("pissa", "olora")
"""What `init_lora_weights` starts with where it takes LoRA's first value out of the base weights.

Such an adapter is saved as the change from the base weights, a plain LoRA of twice its rank."""

WITH_MOVED_WEIGHTS = (
    *("peft_type", "init_lora_weights", "r", "lora_alpha", "rank_pattern", "alpha_pattern"),
    *("use_rslora", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform"),
    *("layers_pattern", "fan_in_fan_out"),
)
"""Settings that this change can be told with; PEFT would leave others out of what it saves."""

OWN_KEYS: Mapping[str, str] = {
    "task_type": "it is always CAUSAL_LM",
    "inference_mode": "it would freeze the adapter",
    "base_model_name_or_path": "the study names the model",
    "revision": "the study names the model's revision",
}
"""Keys of PEFT's that finetrap fills in itself."""


IN_BF16 = (
    *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_dora", "use_rslora"),
    *("init_lora_weights", "target_modules", "exclude_modules"),
    *("layers_to_transform", "layers_pattern"),
)
"""Settings of LoRA with which training passes can be computed in bfloat16 (hf/training/lowrank.py):
with any other PEFT's own layers compute, and those of most methods do so in fp32 alone."""


def strategies() -> dict[str, dict[str, Any]]:
    """Return every strategy file's table, by name."""
    return {name: dict(table) for name, table in _tables("strategies").items()}


def models() -> dict[str, dict[str, Any]]:
    """Return every model file's table, by name."""
    return {name: dict(table) for name, table in _tables("models").items()}


def presets() -> dict[str, dict[str, Any]]:
    """Return every prompt file's table, by name."""
    return {name: dict(table) for name, table in _tables("prompts").items()}


def check_peft(table: Mapping[str, Any]) -> list[str]:
    """Return why a `[peft]` table cannot be trained, a line for each reason; empty if it can.

    Keys that PEFT does not know are found when the adapter is built: naming them takes PEFT itself.
    """
    method = table.get("peft_type")
    if not isinstance(method, str) or not method:
        return ['a [peft] table needs peft_type, such as peft_type = "LORA"']
    faults = []
    if reason := NEEDS_MORE.get(method.upper()):
        faults.append(_refusal(f"PEFT method '{method}'", reason))
    start = table.get("init_lora_weights")
    if isinstance(start, str) and (reason := NEEDS_MORE_INIT.get(start.lower())):
        faults.append(_refusal(f"init_lora_weights = '{start}'", reason))
    if moves_base_weights(start):
        faults += _untold(str(start), table)
    for key, reason in NEEDS_MORE_KEY.items():
        if table.get(key) not in (None, False):  # an empty table switches a method on too
            faults.append(_refusal(f"'{key}'", reason))
    if method.upper() == "TRAINABLE_TOKENS" and not table.get("token_indices"):
        faults.append("PEFT method 'TRAINABLE_TOKENS' needs token_indices, the ids it may train")
    faults += [f"'{key}' cannot be set: {why}" for key, why in OWN_KEYS.items() if key in table]
    return faults


def moves_base_weights(start: object) -> bool:
    """Say whether a value of `init_lora_weights` takes the adapter out of the base weights."""
    return isinstance(start, str) and start.lower().startswith(MOVES_BASE_WEIGHTS)


def _untold(start: str, table: Mapping[str, Any]) -> list[str]:
    """Return what of a table would be missing from the adapter that is saved."""
    found = [
        f"'{key}' cannot be combined with init_lora_weights = '{start}': it would be lost from the "
        "saved adapter, which would not be what was measured; leave one of the two out"
        for key, value in table.items()
        if key not in WITH_MOVED_WEIGHTS and value not in _OFF
    ]
    patterns = [key for key in ("rank_pattern", "alpha_pattern") if table.get(key)]
    if table.get("use_rslora") and patterns:
        found.append(
            f"'{patterns[0]}' and use_rslora cannot both be combined with init_lora_weights = "
            f"'{start}': PEFT cannot save such an adapter; leave one of the three out"
        )
    return found


def check_bf16(table: Mapping[str, Any]) -> list[str]:
    """Return why a `[peft]` table cannot be trained with passes in bfloat16; empty if it can.

    What the model's own layers decide, such as a convolution, is found when the adapter is built.
    """
    method = str(table.get("peft_type", ""))
    if method.upper() != "LORA":
        return [f"PEFT method '{method}' {_FP32_ALONE}"]
    others = [key for key, value in table.items() if key not in IN_BF16 and value not in _OFF]
    return [f"'{key}' {_FP32_ALONE}" for key in others]


_FP32_ALONE = 'trains in fp32 alone; write [train] dtype = "fp32", or leave it out'
_OFF: tuple[Any, ...] = (None, False, 0, "none", [], {})


def _refusal(what: str, reason: str) -> str:
    return f"{what} needs more than its configuration: {reason}; nothing is trained in its place"


@cache
def _tables(kind: str) -> Mapping[str, dict[str, Any]]:
    return {
        path.stem: tomllib.loads(path.read_text(encoding="utf-8"))
        for path in sorted((FOLDER / kind).glob("*.toml"))
    }
