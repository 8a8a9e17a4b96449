"""What tests of the transformers backend share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from finetrap.backends.hf.kernels import private


@pytest.fixture
def operators_anew() -> Iterator[None]:
    """What was looked up in one environment is forgotten before and after a test."""
    private.operator.cache_clear()
    yield
    private.operator.cache_clear()


@pytest.fixture
def switch_operators_off(monkeypatch, operators_anew) -> Callable[[], None]:
    """Return what turns torch's private operators off for the rest of a test."""

    def switch_off() -> None:
        monkeypatch.setenv(private.SWITCH, "1")
        private.operator.cache_clear()

    return switch_off
