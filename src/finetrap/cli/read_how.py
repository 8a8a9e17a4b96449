"""What `status` says of how models were read, from the runs that are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from finetrap.records import Cell

_COMPLETIONS = {
    "padded": "shares nothing between prompts; they are padded and completed in batches",
    "plain": "completes prompts by transformers' own generate: slower, the same answers",
}


def how_read(cells: Iterable[Cell], environments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a line for each model that is not read in the fastest way, and for adapted layers."""
    found: dict[str, None] = {}
    for cell in cells:
        read = environments.get(cell.key, {}).get("read", {})
        if way := _COMPLETIONS.get(read.get("completions", "")):
            found[f"{cell.model.name} {way}"] = None
        if read.get("attention") == "eager":
            found[f"{cell.model.name} attends by transformers' own code: it has no sdpa"] = None
        if layers := read.get("adapted"):
            found[f"{cell.strategy.name} on {cell.model.name} adapts {layers}"] = None
    return list(found)
