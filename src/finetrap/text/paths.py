"""Where a file lies that a person has named, and how two folders exchange their names."""

from __future__ import annotations

import errno
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
        place.is_dir()
    except RuntimeError as fault:  # as pathlib says both
        raise BadInput(f"{clip(text)}: {str(fault).rstrip('.')}; give another path") from fault
    except OSError as fault:  # what else is refused is told by whoever opens it
        if fault.errno == errno.ENAMETOOLONG:
            raise BadInput(f"{clip(text)!r} is no path: a name in it is too long") from fault
    return place


def exchanged(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; False where the system cannot."""
    import ctypes  # renameat2(2), of Linux

    here, exchange = -100, 2
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(one), os.fsencode(other)
    return call is not None and call(here, names[0], here, names[1], exchange) == 0
