"""Open a causal language model and its tokenizer, from a folder or from the hub.

Whatever is missing is named before transformers is asked, because it would otherwise guess: a
folder without tokenizer files can yield an empty tokenizer, a checkpoint with holes random weights.
Code that comes with a model never runs: whoever hands over weights does not hand over a program.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from finetrap.errors import BadModel, NotFinite
from finetrap.records import ModelSpec

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


FAULTS = (
    *(OSError, ValueError, KeyError, ImportError, RuntimeError),
    *(SafetensorError, UnpicklingError),
)
"""What transformers raises for a model that cannot be opened."""


class Opened(NamedTuple):
    """What was found under a model's name."""

    network: Any
    """The transformers model: fp32, evaluation mode, no gradients."""
    tokenizer: Any
    stored_bytes: int
    """Bytes of one parameter in the checkpoint."""


def load_checkpoint(spec: ModelSpec, device: torch.device) -> Opened:
    """Open the model that `spec` names, in fp32.

    Raises BadModel, saying what is missing, and NotFinite for weights that hold NaN or infinity.
    """
    folder = Path(spec.source).expanduser()
    if folder.is_dir():
        _check_folder(folder)
        source, revision = str(folder), None
    elif _looks_like_a_path(spec.source):
        raise BadModel(
            f"model '{spec.name}': there is no folder '{spec.source}'; give the path of a "
            "checkpoint folder or a hub id such as 'HuggingFaceTB/SmolLM2-135M'"
        )
    else:
        source, revision = spec.source, spec.revision
    try:
        with quiet():
            return _from_pretrained(spec, source, revision, device)
    except torch.OutOfMemoryError:
        raise
    except FAULTS as error:
        raise BadModel(_explain(spec, error, on_hub=not folder.is_dir())) from error


def context_length(config: Any, tokenizer: Any) -> int | None:
    """Return the tokens a model can read at once; None where nothing states a limit."""
    text = config.get_text_config()
    stated = getattr(text, "max_position_embeddings", None)
    if stated is not None:
        return int(stated)
    limit = getattr(tokenizer, "model_max_length", None)
    return int(limit) if limit is not None and limit < 10**9 else None


def _from_pretrained(
    spec: ModelSpec, source: str, revision: str | None, device: torch.device
) -> Opened:
    pinned: dict[str, Any] = {"trust_remote_code": False}
    if revision:
        pinned["revision"] = revision
    config = AutoConfig.from_pretrained(source, **pinned)
    tokenizer = AutoTokenizer.from_pretrained(source, **pinned)
    stored = getattr(config, "dtype", None) or torch.float32
    network, report = AutoModelForCausalLM.from_pretrained(
        source,
        config=config,
        dtype=torch.float32,
        attn_implementation="sdpa",
        output_loading_info=True,
        **pinned,
    )
    if missing := sorted(report["missing_keys"]):
        raise BadModel(
            f"model '{spec.name}': its weights lack {len(missing)} tensors that the architecture "
            f"{type(network).__name__} needs, such as '{missing[0]}'; do config.json and "
            "the weights belong together?"
        )
    _check_finite(network)
    return Opened(network.eval().requires_grad_(False).to(device), tokenizer, stored.itemsize)


def _check_finite(network: torch.nn.Module) -> None:
    """Raise NotFinite naming the tensors that hold NaN or infinity.

    A sum keeps either; it may also overflow by itself, so only then is each number looked at.
    """
    suspects = [
        (name, weight)
        for name, weight in network.named_parameters()
        if not math.isfinite(weight.detach().sum().item())
    ]
    broken = [name for name, weight in suspects if not torch.isfinite(weight).all()]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise NotFinite(f"weights are not finite: {broken[0]}{more}; give another checkpoint")


def _check_folder(folder: Path) -> None:
    """Name an adapter, which transformers would put on by itself, or what a checkpoint lacks."""
    if (folder / "adapter_config.json").is_file():
        raise BadModel(
            f"model folder '{folder}' holds an adapter (adapter_config.json); finetrap opens whole "
            "models: merge it (PEFT's merge_and_unload) and save model and tokenizer in a folder"
        )
    lacks = None
    if not (folder / "config.json").is_file():
        lacks = "config.json"
    elif not any((folder / name).is_file() for name in TOKENIZER_FILES):
        lacks = "a tokenizer (tokenizer.json, tokenizer.model or vocab.json)"
    elif not any(found for pattern in WEIGHT_FILES for found in folder.glob(pattern)):
        lacks = "weights (*.safetensors or pytorch_model.bin)"
    if lacks:
        raise BadModel(
            f"model folder '{folder}' has no {lacks}; a checkpoint folder holds config.json, "
            "tokenizer files and weights, as save_pretrained of model and tokenizer write them"
        )


def _looks_like_a_path(source: str) -> bool:
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source


def _explain(spec: ModelSpec, error: Exception, *, on_hub: bool) -> str:
    cause = (str(error).strip() or type(error).__name__).splitlines()[0]
    if "trust_remote_code" in str(error):
        return (
            f"model '{spec.name}': '{spec.source}' needs Python code of its own (`auto_map` in its "
            "config.json or tokenizer_config.json), and finetrap runs no code that comes with a "
            "model; use a checkpoint whose architecture and tokenizer transformers itself knows"
        )
    if isinstance(error, UnpicklingError):
        return (
            f"model '{spec.name}': a weights file of '{spec.source}' is damaged or holds more than "
            "numbers, which would run as code; save the weights as safetensors"
        )
    if not on_hub:
        return f"model folder '{spec.source}' cannot be opened: {cause}"
    return (
        f"model '{spec.name}': '{spec.source}' at revision '{spec.revision}' cannot be had from "
        f"the hub: {cause}; either give a checkpoint folder as the model's source, or connect to "
        "the network (and log in with `hf auth login` if the model is gated)"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own progress bars and notes off the screen while it loads or saves."""
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
