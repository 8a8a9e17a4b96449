"""Which adapters go on which models, found before a study starts: no model is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from finetrap import catalog
from finetrap.backends import adapter_layers
from finetrap.errors import BadInput
from finetrap.records import Cell, content_hash


class Fits(NamedTuple):
    """What is known of one adapter on one model."""

    model: str
    strategy: str
    layers: tuple[str, ...]
    """The kinds of layers that it would be on; none where only opening the model tells."""
    refused: str
    """Why it does not go on this model; empty if it does."""


def fits(cells: Iterable[Cell], *, fetch: bool) -> list[Fits]:
    """Return what is known of each adapter of these cells, once for each model.

    A catalog adapter on a model that comes with finetrap is known to fit and left out, so that no
    time goes into it. `fetch` allows to ask the network for a model's configuration.
    """
    return list(_each(cells, fetch=fetch))


def check_fits(cells: Iterable[Cell]) -> None:
    """Raise BadInput, naming every adapter that is refused on a model of these cells."""
    refused = [one for one in fits(cells, fetch=True) if one.refused]
    if refused:
        lines = [f"{one.strategy} on {one.model}: {one.refused}" for one in refused]
        raise BadInput("\n".join(lines) + "\nnothing was run")


def _each(cells: Iterable[Cell], *, fetch: bool) -> Iterator[Fits]:
    bundled = {n for n, t in catalog.models().items() if t["source"].startswith("package:")}
    known = [table["peft"] for table in catalog.strategies().values() if "peft" in table]
    seen: set[tuple[str, str, str]] = set()
    for cell in cells:
        model, table = cell.model, cell.strategy.peft
        if table is None:
            continue
        pair = (model.name, model.revision, content_hash(dict(table)))
        if pair in seen or (model.name in bundled and dict(table) in known):
            continue
        seen.add(pair)
        try:
            layers = adapter_layers(model, cell.strategy, fetch=fetch) or ()
        except BadInput as fault:
            yield Fits(model.name, cell.strategy.name, (), str(fault))
        else:
            yield Fits(model.name, cell.strategy.name, tuple(layers), "")
