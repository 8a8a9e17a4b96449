"""A real browser on reports of made-up studies; skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.builders.pages import demo, wide
from tests.builders.reported import written

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """Debian's Chromium; of each test module its own, because its event loop disturbs others."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no Chromium on the path (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page, and what it said and asked for while it was looked at."""

    page: object
    said: list[str] = field(default_factory=list)
    """Console messages and uncaught errors."""
    asked: list[str] = field(default_factory=list)
    """URLs of its requests."""


@pytest.fixture
def look(chromium) -> Iterator[Callable[..., Watched]]:
    """Opens files; every page that a test looked at said nothing and asked for nothing else."""
    contexts, seen = [], []

    def open_file(path: Path, width: int = 1400, scheme: str = "light", *, script=True) -> Watched:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            reduced_motion="reduce",
            java_script_enabled=script,
        )
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.set_default_timeout(20_000)
        watched.page.on("console", lambda message: watched.said.append(message.text))
        watched.page.on("pageerror", lambda error: watched.said.append(str(error)))
        context.on("request", lambda request: watched.asked.append(request.url))
        watched.page.goto(path.as_uri())
        seen.append((watched, path))
        return watched

    yield open_file
    for watched, path in seen:
        assert watched.said == []
        assert watched.asked == [path.as_uri()]
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def demo_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A searched study of two models with every kind of probe, some answers hostile."""
    return written(tmp_path_factory.mktemp("demo"), demo())


@pytest.fixture(scope="session")
def wide_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of forty cells, every one finished."""
    return written(tmp_path_factory.mktemp("wide"), wide())
