"""The embedded default: tiny pretrained models, their own world of problems, and studies of it.

It shows how the measurement works, with real training and real effects, in minutes on two cores.
Its verdicts are about these tiny models, not about real ones.
"""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from finetrap.errors import BadInput, nearest

FOLDER = Path(__file__).parent


def studies() -> tuple[str, ...]:
    """Return the names of the shipped studies."""
    return tuple(sorted(p.stem for p in (FOLDER / "studies").glob("*.toml")))


def about(name: str) -> str:
    """Return what a shipped study is about, as its file says at the top."""
    lines = study(name).read_text(encoding="utf-8").splitlines()
    return " ".join(line[2:] for line in takewhile(lambda line: line.startswith("# "), lines))


def study(name: str) -> Path:
    """Return the file of a shipped study. Raises BadInput for an unknown name."""
    if name not in studies():
        raise BadInput(
            f"{name}: no such file and no shipped study{nearest(name, studies())}; "
            "`finetrap list` shows all"
        )
    return FOLDER / "studies" / f"{name}.toml"
