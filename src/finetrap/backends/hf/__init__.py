"""Real models: transformers for the network, PEFT for adapters, loops of our own around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetrap.backends.hf.source import PREFIX, named, spec

if TYPE_CHECKING:
    from finetrap.backends.hf.model import HFModel
    from finetrap.backends.hf.opening import open_model
    from finetrap.backends.hf.skeleton import adapted, open_reader

__all__ = ["PREFIX", "HFModel", "adapted", "named", "open_model", "open_reader", "spec"]


def __getattr__(name: str) -> Any:
    """Import what needs torch once it is asked for: reading a study takes none of it."""
    if name not in ("HFModel", "adapted", "open_model", "open_reader"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from finetrap.backends.hf import opening, skeleton

    return getattr(skeleton if name in ("adapted", "open_reader") else opening, name)
