"""What all tests share: where the real data sets lie, and how hypothesis draws."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every machine, and no clock: a busy machine is not a failing test.
settings.register_profile("finetrap", deadline=None, derandomize=True)
settings.load_profile("finetrap")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, `../shared/data` or $FINETRAP_DATA; skips where absent."""
    folder = Path(os.environ.get("FINETRAP_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set FINETRAP_DATA to the folder that holds it")
    return folder
