"""A user's own scorer, `python:FILE.py:FUNCTION`: run in a process of its own, with a time limit.

The function is `score(completion: str, row: dict) -> bool`; the row is the data file's. Its process
has no part in what finetrap holds, and is ended where it does not answer in time.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from finetrap.errors import BadInput

PREFIX = "python:"
SECONDS = 10.0
"""Within which one completion is scored."""
_CHILD = """
import importlib.util, json, os, sys
out = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
spec = importlib.util.spec_from_file_location("scorer", sys.argv[1])
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
score = getattr(module, sys.argv[2])
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
        self._named, self._seconds = f"{file}:{function}", seconds
        if not Path(file).is_file():
            raise BadInput(f"{file}: no such file; `scoring` names a Python file beside the data")
        self._command = [sys.executable, "-c", _CHILD, str(Path(file).resolve()), function]
        self._child: subprocess.Popen[str] | None = None

    def correct(self, completion: str, row: str) -> bool:
        """Say whether a completion is right. Raises BadInput where the function does not say it."""
        child = self._child
        if child is None or child.poll() is not None:
            pipe = subprocess.PIPE
            child = self._child = subprocess.Popen(
                self._command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8"
            )
        if child.stdin is None or child.stdout is None:
            raise BadInput(f"{self._named} has no pipes")
        try:
            child.stdin.write(json.dumps([completion, json.loads(row)]) + "\n")
            child.stdin.flush()
        except BrokenPipeError as error:
            raise BadInput(f"{self._named} ended by itself; see what it printed") from error
        ready, _, _ = select.select([child.stdout], [], [], self._seconds)
        line = child.stdout.readline() if ready else ""
        if not line:
            child.kill()
            why = "ended by itself" if ready else f"took longer than {self._seconds:g} seconds"
            raise BadInput(f"{self._named} {why} on the completion {completion[:60]!r}")
        said = json.loads(line)
        if said.get("score") not in (0.0, 1.0):
            found = said.get("error") or f"returned {said.get('no', said.get('score'))}"
            raise BadInput(
                f"{self._named} {found} on the completion {completion[:60]!r}; it must return true "
                "or false (or 1 or 0)"
            )
        return bool(said["score"])
