"""Code blocks of Markdown documents, and how they are run: in order, in one folder a document.

`sh` blocks are run by bash with `finetrap` on the path, `python` blocks as scripts; a `toml` block
with a title is written to that file. A block that is not run has a comment right above it:
<!-- not run: the reason -->
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^>]+) -->\n)?"
    r"```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One fenced block."""

    place: str
    """File and line, for whoever has to mend it."""
    language: str
    title: str
    text: str
    reason: str
    """Why it is not run; empty for a block that is."""


def blocks(document: Path) -> Iterator[Block]:
    """Yield a document's code blocks in order."""
    text = document.read_text("utf-8")
    found = list(_BLOCK.finditer(text))
    fences = len(re.findall(r"^ *```", text, re.MULTILINE))
    assert fences == 2 * len(found), f"{document.name}: a fence without a language, or indented"
    for match in found:
        line = text.count("\n", 0, match.start("text"))
        place = f"{document.relative_to(REPOSITORY)}:{line}"
        reason, title = match["reason"] or "", match["title"] or ""
        yield Block(place, match["language"], title, match["text"], reason.strip())


def run(block: Block, folder: Path) -> str:
    """Run one block in the folder, and return what it printed; fails with it otherwise."""
    if block.title:
        (folder / block.title).write_text(block.text, encoding="utf-8")
    command = {
        "sh": ["bash", "-euo", "pipefail", "-c", block.text],
        "python": [sys.executable, "-c", block.text],
    }.get(block.language)
    if command is None:
        return ""
    done = subprocess.run(
        command,
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{block.place}\n{done.stdout[-3000:]}"
    return done.stdout


def _environment(folder: Path) -> dict[str, str]:
    """Put a `finetrap` on the path that is the source beside these tests."""
    tools = folder.parent / f"{folder.name}-bin"
    tools.mkdir(exist_ok=True)
    program = tools / "finetrap"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m finetrap.cli "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join((str(tools), os.environ["PATH"]))
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY / "src")}


DOCUMENTED = Path(__file__).parents[2] / "docs" / "events.md"


def documented() -> dict[str, set[str]]:
    """Return the fields of each event that docs/events.md lists."""
    found: dict[str, set[str]] = {}
    for section in DOCUMENTED.read_text("utf-8").split("\n## ")[1:]:
        head, _, body = section.partition("\n")
        fields = set(re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE))
        found.update(dict.fromkeys(re.findall(r"`([\w-]+)`", head), fields))
    return found
