"""What `status` says of how models were read, from the runs that are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from finetrap.records import Cell

if TYPE_CHECKING:
    from finetrap.measure.fitting import Fits

_COMPLETIONS = {
    "padded": "shares nothing between prompts; they are padded and completed in batches",
    "plain": "completes prompts by transformers' own generate: slower, the same answers",
}
_WINDOW = "shares what prompts start with as long as they and their answers fit {tokens} tokens"


def how_read(cells: Iterable[Cell], environments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a line for each model that is not read in the fastest way, and for adapted layers."""
    found: dict[str, None] = {}
    for cell in cells:
        read = environments.get(cell.key, {}).get("read", {})
        if tokens := read.get("window"):
            found[f"{cell.model.name} {_WINDOW.format(tokens=tokens)}"] = None
        elif way := _COMPLETIONS.get(read.get("completions", "")):
            found[f"{cell.model.name} {way}"] = None
        if read.get("attention") == "eager":
            found[f"{cell.model.name} attends by transformers' own code: it has no sdpa"] = None
        if drops := read.get("drops"):
            found[f"{cell.model.name} reads and writes text without {drops}: its tokenizer"] = None
        if layers := read.get("adapted"):
            found[_adapts(cell.strategy.name, cell.model.name, layers)] = None
    return list(found)


def expected_layers(found: Iterable[Fits]) -> list[str]:
    """Return a line for each adapter of which it is known on what layers it will be."""
    return [_adapts(one.strategy, one.model, ", ".join(one.layers)) for one in found if one.layers]


def _adapts(strategy: str, model: str, layers: str) -> str:
    return f"{strategy} on {model} adapts {layers}"
