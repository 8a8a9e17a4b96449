"""What people install: a wheel, in an environment of its own, far from the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from finetrap import __version__
from finetrap.runs.store import Store
from tests.builders.commands import finetrap
from tests.builders.documents import REPOSITORY
from tests.builders.runs import FULL, LORA, runs

NOT_SOURCES = shutil.ignore_patterns("__pycache__", "*.egg-info")


def command(folder: Path, *arguments: object) -> str:
    """Run a program in a folder, without this process's paths, and return what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, arguments)),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel, and borrows its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    copy = folder / "copy"  # building leaves folders beside the sources
    shutil.copytree(REPOSITORY / "src", copy / "src", ignore=NOT_SOURCES)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy / name)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    command(copy, *pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ".")
    (wheel,) = folder.glob("finetrap-*.whl")
    shutil.rmtree(copy)
    command(folder, sys.executable, "-m", "venv", "--without-pip", "environment")
    python = folder / "environment" / "bin" / "python"
    command(folder, *pip, "--python", python, "install", "--no-deps", "--no-index", wheel)
    own = command(folder, python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    # A path in a .pth file lends the packages there, but not the editable finetrap beside them.
    Path(own.strip(), "borrowed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return python.parent


def test_the_installed_package_is_what_runs(installed: Path, tmp_path: Path) -> None:
    where = "import finetrap; print(finetrap.__file__)"
    place = command(tmp_path, installed / "python", "-c", where)
    assert Path(place.strip()).is_relative_to(installed.parent)
    told = command(tmp_path, installed / "finetrap", "--version")
    assert told == f"finetrap {__version__}\n"


def test_the_installed_registry_has_what_the_sources_have(installed: Path, tmp_path: Path) -> None:
    listed = command(tmp_path, installed / "finetrap", "list")
    assert listed == finetrap("list").stdout
    assert "mini-1m" in listed


def test_the_installed_report_has_its_style_and_its_script(installed: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for run in runs((FULL, -0.2), (LORA, 0.1), n=60):
        store.commit(run)
    command(tmp_path, installed / "finetrap", "report", "--runs", "runs", "--out", "report")
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "<style" in page
    assert "<script" in page
    assert (tmp_path / "report" / "cells.csv").exists()
