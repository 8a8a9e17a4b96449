"""A user's own scorer, `python:FILE.py:FUNCTION`: run in a process of its own, with a time limit.

The function is `score(completion: str, row: dict) -> bool | float`; the row is the data file's, and
a float is between 0 (wrong) and 1 (right). Its process has no part in what finetrap holds, and is
ended where it does not answer in time.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from finetrap.errors import BadInput
from finetrap.text.side_process import SideEnded, SideProcess

PREFIX = "python:"
SECONDS = 10.0
"""Within which one completion is scored."""
_PROGRAM = """
import importlib.util, json, os, sys
out = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
spec = importlib.util.spec_from_file_location("scorer", sys.argv[1])
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
score = getattr(module, sys.argv[2])
out.write("ready\\n"); out.flush()
for line in sys.stdin:
    try:
        found = score(*json.loads(line))
        plain = isinstance(found, (bool, int, float))
        said = {"score": float(found)} if plain else {"no": repr(found)}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    out.write(json.dumps(said) + "\\n"); out.flush()
"""


def parts(how: str) -> tuple[str, str]:
    """Return the file and the function that a scorer names. Raises BadInput."""
    file, _, function = how.removeprefix(PREFIX).rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise BadInput(f'scoring is "{how}"; write "python:FILE.py:FUNCTION"')
    return file, function


@lru_cache(maxsize=8)
def opened(how: str) -> OwnScorer:
    """Return the scorer, whose process stays open for the next completion."""
    return OwnScorer(*parts(how))


class OwnScorer:
    """A function in another process."""

    def __init__(self, file: str, function: str, seconds: float = SECONDS) -> None:
        self._named = f"{file}:{function}"
        if not Path(file).is_file():
            raise BadInput(f"{file}: no such file; `scoring` names a Python file beside the data")
        self._child = SideProcess(_PROGRAM, (str(Path(file).resolve()), function), seconds)

    def score(self, completion: str, row: str) -> float:
        """Return how right a completion is, 0 to 1. Raises BadInput where it is not told."""
        try:
            said = self._child.ask([completion, json.loads(row)])
        except SideEnded as ended:
            raise BadInput(f"{self._named} {ended} on the completion {completion[:60]!r}") from None
        if not 0 <= said.get("score", -1) <= 1:  # nan is neither
            found = said.get("error") or f"returned {said.get('no', said.get('score'))}"
            raise BadInput(
                f"{self._named} {found} on the completion {completion[:60]!r}; it must return true "
                "or false, or a number from 0 (wrong) to 1 (right)"
            )
        return float(said["score"])
