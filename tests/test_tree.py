"""The tree that CONTRIBUTING.md prints and the walk of docs/architecture.md name what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src" / "finetrap"


def printed() -> list[str]:
    """Return the paths below src/finetrap that CONTRIBUTING.md prints, by their indentation."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    lines = text.partition("src/finetrap/\n")[2].partition("\ntests/")[0].splitlines()
    found: list[str] = []
    parents: list[str] = []
    for line in filter(str.strip, lines):
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        parents[depth - 1 :] = [name]
        found.append("".join(parents))
    return found


@pytest.mark.parametrize("path", printed())
def test_what_the_tree_prints_is_there(path: str) -> None:
    place = SOURCE / path
    assert place.is_dir() if path.endswith("/") else place.is_file()


def test_the_tree_prints_every_folder_of_code() -> None:
    folders = {file.parent.relative_to(SOURCE) for file in SOURCE.rglob("*.py")} - {Path()}
    assert {f"{folder}/" for folder in folders} <= set(printed())


def walked() -> list[str]:
    """Return the files and folders below src/finetrap that the walk names."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
    named = re.findall(r"`((?:[a-z_]+/)*(?:[a-z_]+\.py|[a-z_]+/))`", text)
    return sorted({path for path in named if not path.startswith("tests/")})


@pytest.mark.parametrize("path", walked())
def test_what_the_walk_names_is_there(path: str) -> None:
    inside = (SOURCE, SOURCE / "backends" / "hf", SOURCE / "backends" / "hf" / "training")
    assert any((folder / path).exists() for folder in inside)
