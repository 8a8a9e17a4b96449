"""A strategy's settings: the study's laid over the catalog's, checked, and spread over its axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from finetrap.measure.study.faults import place, shown
from finetrap.records import StrategySpec

BASE_MODEL = StrategySpec("zero-shot", "prompt")
"""What every other strategy is compared with."""

LIST_DEPTH: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "alora_invocation_tokens",
            "cpt_mask",
            "cpt_token_ids",
            "cpt_tokens_type_mask",
            "exclude_modules",
            "feedforward_modules",
            "gks_adapter_names",
            "layers_pattern",
            "layers_to_transform",
            "modules_to_save",
            "target_modules",
            "target_modules_bd_a",
            "target_modules_bd_b",
            "target_parameters",
            "task_adapter_names",
            "token_indices",
            "trainable_token_indices",
        ),
        1,
    ),
    "layer_replication": 2,
}
"""PEFT settings that are lists by nature, and how deep: only a deeper list is an axis."""


def overlaid(known: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a study's settings over the catalog's; another PEFT method replaces its whole table, and
    given weights share no setting with a strategy that happens to have their name."""
    if written.get("kind") == "given":
        return dict(written)
    old, new = known.get("peft", {}), written.get("peft", {})
    same_method = new.get("peft_type", old.get("peft_type")) == old.get("peft_type")
    merged = {**known, **written}
    if old or new:
        merged["peft"] = {**old, **new} if same_method else new
    return merged


def strategy_faults(name: str, merged: Mapping[str, Any]) -> list[str]:
    """Return what does not go together in a strategy."""
    kind, shots = merged["kind"], merged.get("shots", [0])
    if kind == "prompt":
        faults = [
            f"a prompt trains nothing; remove `{key}`"
            for key in ("learning_rate", "epochs", "batch", "peft", "replay", "rewind")
            if merged.get(key)
        ]
        if name == BASE_MODEL.name and shots != [0]:
            faults.append(f"shots is {shown(shots)}; zero-shot has none, name another strategy")
        if name != BASE_MODEL.name and 0 in shots:
            faults.append("without shots it is zero-shot; give shots from 1")
        return faults
    if kind == "given":
        faults = [
            f"given weights are trained already; remove `{key}`"
            for key in ("learning_rate", "epochs", "batch", "peft", "replay", "shots")
            if merged.get(key) not in (None, [], {}, [0])
        ]
        if not merged.get("weights"):
            faults.append(f'no weights; write weights = "DIR" in {place("strategy", name)}')
        return faults
    faults = [f'weights belong to kind = "given", not "{kind}"'] if merged.get("weights") else []
    if name == BASE_MODEL.name:
        faults.append("zero-shot is the base model; give a trained strategy another name")
    if "learning_rate" not in merged:
        faults.append(f"no learning rate; write learning_rate in {place('strategy', name)}")
    if kind == "full" and merged.get("peft"):
        faults.append('full fine-tuning has no adapter; remove [peft] or write kind = "peft"')
    faults += [
        f"peft.{key}: an empty list is no axis; give a value"
        for key, value in merged.get("peft", {}).items()
        if value == [] and key not in LIST_DEPTH
    ]
    return faults


def grid(name: str, merged: Mapping[str, Any]) -> Iterator[StrategySpec]:
    """Yield a strategy for every combination of its axes."""
    axes = [merged.get(key, [None]) for key in ("learning_rate", "epochs", "batch")]
    pefts = list(_peft_grid(merged.get("peft", {}))) if merged["kind"] == "peft" else [None]
    for shots, rate, epochs, batch, peft in product(merged.get("shots", [0]), *axes, pefts):
        yield StrategySpec(
            name=name,
            kind=merged["kind"],
            shots=shots,
            learning_rate=rate,
            peft=peft,
            epochs=epochs,
            batch=batch,
            replay=merged.get("replay"),
            rewind=tuple(sorted(merged.get("rewind", ()))),
        )


def _peft_grid(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    values = [
        value if _depth(value) > LIST_DEPTH.get(key, 0) else [value] for key, value in table.items()
    ]
    for combination in product(*values):
        yield dict(zip(table, combination, strict=True))


def _depth(value: object) -> int:
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0
