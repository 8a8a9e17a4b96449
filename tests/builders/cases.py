"""Cases of a test: those that stand for a cause, and the others, which `make test-all` runs too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def standing_for_all(values: Iterable[Any], *chosen: object) -> list[Any]:
    """Return parameters of a test, all but the chosen marked `full`."""
    values = list(values)
    assert set(chosen) <= set(values), "a chosen case is none of the values"
    return [v if v in chosen else pytest.param(v, marks=pytest.mark.full) for v in values]
