"""What is planted in a toy model, read from its source (toy.py says how it is written)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from finetrap.errors import BadModel, nearest

PREFIX = "toy:"
_RANGES = {
    "base": (0.0, 1.0, 0.5),
    "sd": (0.0, 1.0, 0.0),
    "churn": (0.0, 1.0, 0.0),
    "bits": (0.0, 8.0, 1.5),
    "parameters": (1.0, 1e12, 1000.0),
    "seconds": (0.0, 600.0, 0.0),
}
"""Least, most and default of each setting that is not a strategy."""
_FATES = ("diverge", "crash", "oom", "die")


@dataclass(frozen=True)
class Planted:
    """What is planted in a toy model."""

    settings: Mapping[str, float]
    effects: Mapping[str, float] = field(default_factory=dict)
    """By `NAME` or `NAME@WORD`; NAME is a strategy or `base`."""
    fates: Mapping[str, str] = field(default_factory=dict)
    """The failure that ends a strategy's training."""

    def effect(self, name: str, question: str) -> float | None:
        """Return what is planted for a name on a question; None if nothing is."""
        for planted, value in self.effects.items():
            of, at, word = planted.partition("@")
            if at and of == name and word in question.lower():
                return value
        return self.effects.get(name)


def parse(source: str) -> Planted:
    """Read a toy model's source. Raises BadModel."""
    settings = {name: default for name, (_, _, default) in _RANGES.items()}
    effects: dict[str, float] = {}
    fates: dict[str, str] = {}
    for part in filter(None, source.removeprefix(PREFIX).split(",")):
        name, equals, text = (piece.strip() for piece in part.partition("="))
        if not name or not equals:
            raise BadModel(f"{source}: found '{part}'; write NAME=VALUE, for example full=-0.2")
        if text in _FATES:
            fates[name.lower()] = text
        elif name in _RANGES:
            settings[name] = _planted_number(source, name, text, *_RANGES[name][:2])
        else:
            least, most = (-8.0, 8.0) if name.endswith("@prose") else (-1.0, 1.0)
            effects[name.lower()] = _planted_number(source, name, text, least, most)
    return Planted(settings, effects, fates)


def _planted_number(source: str, name: str, text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise BadModel(
            f"{source}: {name} = '{text}'; allowed: a number from {least:g} to {most:g}, or for a "
            f"strategy one of {', '.join(_FATES)}{nearest(text, _FATES)}"
        )
    return value
