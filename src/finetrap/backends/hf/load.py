"""Open a causal language model and its tokenizer: a folder, a .gguf file, an adapter, a hub id.

Whatever is missing is named before transformers is asked, because it would otherwise guess: a
folder without tokenizer files can yield an empty tokenizer, a checkpoint with holes random weights.
Code that comes with a model runs only where the study says so and the command line allows it:
whoever hands over weights does not hand over a program.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import is_gguf_available, logging

from finetrap.backends.hf import gguf_files, hub, source
from finetrap.backends.hf.tokens import Tokens, usable
from finetrap.backends.hf.training.adapters import merged_into
from finetrap.errors import (
    BadModel,
    FinetrapError,
    MissingPackage,
    NotFinite,
    in_a_line,
    opening,
    out_of_memory,
)
from finetrap.records import ModelSpec
from finetrap.references import Format
from finetrap.text.paths import place_of

FAULTS = (
    *(OSError, ValueError, LookupError, ImportError, RuntimeError, TypeError, AttributeError),
    *(ArithmeticError, AssertionError, SafetensorError, UnpicklingError, StrictDataclassError),
)
"""What the libraries raise of a model that cannot be opened, or of a damaged file."""


class Opened(NamedTuple):
    """What was found under a model's name."""

    network: Any
    """The transformers model: fp32, evaluation mode, no gradients."""
    tokenizer: Any
    stored_bytes: int
    """Bytes of one parameter in the checkpoint."""
    made_from: Mapping[str, str] = {}
    """What the weights came from, where that is more than a checkpoint: for people to read."""


def load_checkpoint(spec: ModelSpec, device: torch.device) -> Opened:
    """Open the model that `spec` names, in fp32; an adapter is merged into its base.

    Raises BadModel, saying what is missing, NotFinite for weights that hold NaN or infinity, and
    MissingPackage for a .gguf file without the package that reads it.
    """
    place = place_of(spec.source)
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(place)}
    facts: dict[str, str] = {}
    if source.is_gguf(place):
        where = _in_gguf(place)
    elif (place / source.ADAPTER).is_file():
        where = {"adapter": place}
    elif place.is_dir():
        source.check_folder(place, pickles=spec.allow_pickle)
    elif found := source.in_repository(spec.source):
        where = {"revision": spec.revision, "repository": found}
    elif _looks_like_a_path(spec.source):
        raise BadModel(
            f"model '{spec.name}': there is no folder '{spec.source}'; give the path of a "
            "checkpoint folder or a hub id such as 'HuggingFaceTB/SmolLM2-135M'"
        )
    else:
        where = {"pretrained_model_name_or_path": spec.source, "revision": spec.revision}
    try:
        if "adapter" in where:
            return _with_adapter(spec, place, device)
        with quiet():
            if "repository" in where:
                file, facts = hub.gguf_file(spec, *where["repository"])
                return _from_pretrained(spec, _in_gguf(file), device, facts)
            if "revision" in where:
                if folder := hub.adapter_folder(spec):
                    return _with_adapter(spec, folder, device)
                facts = hub.commit_facts(spec)
            return _from_pretrained(spec, where, device, facts)
    except FAULTS as error:
        if isinstance(error, FinetrapError) or out_of_memory(error):
            raise
        raise BadModel(_explain(spec, error, on_hub="revision" in where)) from error


def _in_gguf(file: Path) -> dict[str, Any]:
    """Return where transformers finds a model in one file. Raises MissingPackage."""
    if not is_gguf_available():
        raise MissingPackage(
            f"{file.name} is read with the package gguf, which is not installed: "
            "pip install 'finetrap[gguf]'"
        )
    return {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}


def _with_adapter(spec: ModelSpec, folder: Path, device: torch.device) -> Opened:
    """Open an adapter's base and merge the adapter into it; its own tokenizer goes first."""
    base = ModelSpec(spec.base, spec.base, spec.base_revision) if spec.base else None
    base = base or source.stated_base(folder)
    opened = load_checkpoint(
        replace(spec, source=base.source, revision=base.revision, base="", base_revision=""), device
    )
    with quiet():
        network = merged_into(opened.network, folder)
        tokenizer = opened.tokenizer
        if any((folder / name).is_file() for name in source.TOKENIZER_FILES):
            found = {"pretrained_model_name_or_path": str(folder), "trust_remote_code": False}
            tokenizer = tokenizer_at(**found)
    _check_finite(network)
    method = source.adapter_settings(folder).get("peft_type", "")
    facts = {**opened.made_from, "adapter": f"{method}, merged into {base.source}"}
    return Opened(network.eval().requires_grad_(False), tokenizer, opened.stored_bytes, facts)


def tokenizer_at(**where: Any) -> Any:
    """Open a tokenizer. Raises BadModel, and what transformers raises of one that is not there."""
    with usable(f"in {where['pretrained_model_name_or_path']}", through=FAULTS):
        return AutoTokenizer.from_pretrained(**where)


def tokens_of(opened: Opened, form: Format) -> Tokens:
    """Return the tokenizer of an opened model with the rules of that model. Raises BadModel."""
    generation = getattr(opened.network, "generation_config", None)
    ends = getattr(generation, "eos_token_id", None)
    more_ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if not all(type(end) is int for end in more_ends):
        raise BadModel(
            f"{opened.network.name_or_path}/generation_config.json: found eos_token_id = "
            f"{opening(str(ends))}; give the number of a token, or a list of such numbers"
        )
    length = getattr(opened.tokenizer, "model_max_length", None)
    if length is not None and type(length) not in (int, float):
        raise BadModel(
            f"{opened.tokenizer.name_or_path}/tokenizer_config.json: found model_max_length = "
            f"{opening(str(length))}; give a number of tokens, or leave it out"
        )
    with usable():
        return Tokens(
            opened.tokenizer,
            form=form,
            context=context_length(opened.network.config, opened.tokenizer),
            vocabulary=opened.network.get_input_embeddings().weight.shape[0],
            more_ends=more_ends,
        )


def context_length(config: Any, tokenizer: Any) -> int | None:
    """Return the tokens a model can read at once; None where nothing states a limit.

    Beyond its original context "longrope" (Phi-3) turns every position by other factors, those of
    other texts in the batch and of prompts read before too: no answer there is the text's own.
    """
    text = config.get_text_config()
    stated = getattr(text, "max_position_embeddings", None)
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        own = getattr(text, "original_max_position_embeddings", None)
        stated = rope.get("original_max_position_embeddings") or own or stated
    if stated is not None and stated > 0:  # XLNet says -1
        return int(stated)
    limit = getattr(tokenizer, "model_max_length", None)
    return int(limit) if limit is not None and limit < 10**9 else None


def _from_pretrained(
    spec: ModelSpec, where: Mapping[str, Any], device: torch.device, facts: Mapping[str, str]
) -> Opened:
    pinned: dict[str, Any] = {**where, "trust_remote_code": spec.trust_remote_code}
    with gguf_files.reading() if "gguf_file" in where else nullcontext():
        config = AutoConfig.from_pretrained(**pinned)
        tokenizer = tokenizer_at(**pinned)
        stored = getattr(config, "dtype", None) or torch.float32
        safe = None if spec.allow_pickle or "gguf_file" in where else True
        network, report = _with_weights(config=config, use_safetensors=safe, **pinned)
    if missing := sorted(report["missing_keys"]):
        raise BadModel(
            f"model '{spec.name}': its weights lack {len(missing)} tensors that the architecture "
            f"{type(network).__name__} needs, such as '{missing[0]}'; do config.json and "
            "the weights belong together?"
        )
    _check_finite(network)
    if "gguf_file" in where:
        file = Path(where["pretrained_model_name_or_path"]) / where["gguf_file"]
        facts = {**facts, **_unpacked(network, file)}
    network = network.eval().requires_grad_(False).to(device)
    return Opened(network, tokenizer, stored.itemsize, facts)


def _unpacked(network: Any, file: Path) -> dict[str, str]:
    """Make what came from a .gguf file an ordinary model, and say how the file holds it.

    transformers marks it as quantised although its weights are plain fp32 by now, so that it could
    be neither trained nor saved.
    """
    from gguf import GGMLQuantizationType
    from transformers.integrations.gguf.reader import GgufHeader

    for mark in ("hf_quantizer", "is_quantized", "quantization_method"):
        network.__dict__.pop(mark, None)
    network.config.__dict__.pop("quantization_config", None)
    types = GgufHeader.from_file(str(file)).ggml_types.values()
    counts = Counter(GGMLQuantizationType(number).name for number in types)
    held = ", ".join(f"{name} ({count} tensors)" for name, count in counts.most_common())
    return {"weights": f"GGUF: {held}"}


def _with_weights(**settings: Any) -> tuple[Any, Any]:
    """Load a model and what was found of its weights, with torch's attention if it knows of it.

    torch's caps no scores: with it, transformers 5.20 leaves out Gemma 2's cap and says nothing.
    """
    capped = getattr(settings["config"].get_text_config(), "attn_logit_softcapping", None)
    attention = "eager" if capped else "sdpa"
    settings = {**settings, "dtype": torch.float32, "output_loading_info": True}
    loads: Any = AutoModelForCausalLM.from_pretrained
    try:
        found: tuple[Any, Any] = loads(attn_implementation=attention, **settings)
    except ValueError as fault:
        if "attn_implementation" not in str(fault):
            raise
        found = loads(attn_implementation="eager", **settings)
    return found


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


def _looks_like_a_path(source: str) -> bool:
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source


def _explain(spec: ModelSpec, error: Exception, *, on_hub: bool) -> str:
    if "trust_remote_code" in str(error):
        return (
            f"model '{spec.name}': '{spec.source}' needs Python code of its own (`auto_map` in its "
            "config.json or tokenizer_config.json); use a checkpoint whose architecture and "
            "tokenizer transformers itself knows, or, if you trust that code, write "
            "trust_remote_code = true under [model.NAME] and run with --allow-code"
        )
    if isinstance(error, UnpicklingError):
        return (
            f"model '{spec.name}': a weights file of '{spec.source}' is damaged or holds more than "
            "numbers, which would run as code; save the weights as safetensors"
        )
    if on_hub:
        return hub.missing_model(spec, error)
    return f"model '{spec.source}' cannot be opened: {in_a_line(error)}"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars and notes of libraries off the screen while they load or save."""
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):  # reading a .gguf file has a bar without a switch
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
