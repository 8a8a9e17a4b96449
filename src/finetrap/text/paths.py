"""Where a file lies that a person has named."""

from __future__ import annotations

import os
from pathlib import Path

from finetrap.errors import BadInput
from finetrap.text.visible import clip


def place_of(text: str, base: Path = Path()) -> Path:
    """Return the path that was written, seen from `base`, with `~` put in full.

    Raises BadInput for one that no file system holds, for a user that is not there, and for links
    that lead in a circle.
    """
    if "\0" in text:
        raise BadInput(f"{clip(text)!r} is no path: it holds the character NUL")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as fault:
        raise BadInput(f"{clip(text)!r} is no path: it holds half a character") from fault
    try:
        place = base / Path(text).expanduser()
        place.resolve()
    except RuntimeError as fault:  # as pathlib says both
        raise BadInput(f"{clip(text)}: {str(fault).rstrip('.')}; give another path") from fault
    return place
