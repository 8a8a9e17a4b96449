"""Weights that others trained, beside the base model that they are judged against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from finetrap.backends.hf.load import Opened
from finetrap.backends.hf.weights import tensors
from finetrap.records import ModelSpec

SHOWN = 3
"""Names that a difference is shown with."""
SAMPLE = "Tom has 3 apples, buys 12 more and pays $4.50.\n\nHow many? #### 15"
"""A text that tokenizers which differ mostly cut differently."""


def differences(base: Any, words: Any, given: Opened) -> dict[str, str]:
    """Return how a given model differs from its base in more than the values of its weights.

    By what differs (`tensors`, `vocabulary`, `tokenizer`, `template`), in words; `words` is the
    base's tokenizer. Nothing here is a fault: it is named, and the model is judged as it is.
    """
    pairs = (
        ("tensors", _shapes(base, given.network)),
        ("vocabulary", _vocabulary(words, given.tokenizer)),
        ("tokenizer", _cuts(words, given.tokenizer)),
        ("template", _templates(words, given.tokenizer)),
    )
    return {name: said for name, said in pairs if said}


def taken(base: Any, words: Any, given: Opened) -> dict[str, str]:
    """Write the tensors of a given model into the base model, and return the differences.

    Where some are of another shape nothing is written.
    """
    found = differences(base, words, given)
    if "tensors" not in found:
        own = dict(tensors(given.network))
        with torch.no_grad():
            for name, tensor in tensors(base):
                tensor.copy_(own[name])
    return found


def told(given: ModelSpec, differs: Mapping[str, str]) -> dict[str, str]:
    """Say for people what was trained elsewhere, and how it differs from its base."""
    named = {name: f"another than the base model's: {said}" for name, said in differs.items()}
    return {"trained elsewhere": given.source, **named}


def _shapes(base: Any, given: Any) -> str:
    ours, theirs = ({name: tuple(t.shape) for name, t in tensors(one)} for one in (base, given))
    changed = [
        f"{name} {list(theirs[name])} for {list(ours[name])}"
        for name in ours.keys() & theirs.keys()
        if ours[name] != theirs[name]
    ]
    alone = [f"{name} in one alone" for name in ours.keys() ^ theirs.keys()]
    return _listed(sorted(changed) + sorted(alone))


def _vocabulary(ours: Any, theirs: Any) -> str:
    known, other = ours.get_vocab(), theirs.get_vocab()
    if known == other:
        return ""
    added = sorted(other.keys() - known.keys(), key=other.__getitem__)
    lost = sorted(known.keys() - other.keys(), key=known.__getitem__)
    moved = [token for token in known.keys() & other.keys() if known[token] != other[token]]
    parts = [
        f"{len(names)} tokens {what} ({_listed(list(map(repr, names)))})"
        for names, what in ((added, "added"), (lost, "missing"), (sorted(moved), "renumbered"))
        if names
    ]
    return ", ".join(parts)


def _cuts(ours: Any, theirs: Any) -> str:
    one, other = (list(words(SAMPLE)["input_ids"]) for words in (ours, theirs))
    if one == other:
        return ""
    return f"cuts a sample into {len(other)} tokens, the base model's into {len(one)}"


def _templates(ours: Any, theirs: Any) -> str:
    one, other = (getattr(words, "chat_template", None) for words in (ours, theirs))
    if one == other:
        return ""
    if not one or not other:
        return f"{'the base model' if one else 'the given model'} alone has a chat template"
    return "the chat templates differ"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
