"""What all tests share: where the real data sets lie, and how hypothesis draws."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every machine, and no clock: a busy machine is not a failing test.
settings.register_profile("finetrap", deadline=None, derandomize=True)
settings.load_profile("finetrap")


def pytest_sessionstart() -> None:
    """Keep each of pytest-xdist's workers to a core of its own where it has no more than that.

    What a test starts then finds one core, as a user of a small machine does: a study takes one
    worker, and imports torch once, where two would only wait for each other.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker.startswith("gw") and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if int(os.environ["PYTEST_XDIST_WORKER_COUNT"]) >= len(cores):
            os.sched_setaffinity(0, {cores[int(worker[2:]) % len(cores)]})


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the documents' code first: begun last, it would keep one worker alone at the end."""
    items.sort(key=lambda item: "test_every_code_block_runs" not in item.nodeid)


REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, `../shared/data` or $FINETRAP_DATA; skips where absent."""
    folder = Path(os.environ.get("FINETRAP_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set FINETRAP_DATA to the folder that holds it")
    return folder
