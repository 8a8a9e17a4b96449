"""Mathematical equality by the package math-verify, in a process of its own.

It calculates what a completion says, and `$9^{9^9}$` would never end: what takes too long is wrong.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

from finetrap.errors import BadInput, MissingPackage
from finetrap.text.side_process import NeverStarted, SideEnded, SideProcess

SECONDS = 10.0
"""Within which one completion is read and compared."""
_PROGRAM = """
import json, logging, os, resource, sys
out = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, resource.RLIM_INFINITY))
from math_verify import parse, verify
logging.disable()  # it warns of the time limits that are set here instead
out.write("ready\\n"); out.flush()
for line in sys.stdin:
    gold, texts = json.loads(line)
    said = {"found": None, "equal": False, "read": None}
    try:
        wanted = parse(f"${gold}$", parsing_timeout=None)
        said["read"] = next((str(one) for one in wanted if not isinstance(one, str)), None)
        for text in texts:
            found = parse(text, parsing_timeout=None)
            if found:
                equal = bool(wanted) and verify(wanted, found, timeout_seconds=None)
                said |= {"found": str(found[-1]), "equal": equal}
                break
    except Exception: pass  # what the package cannot read is no answer, whatever it raises
    out.write(json.dumps(said) + "\\n"); out.flush()
"""


def available() -> bool:
    """Whether math-verify is installed."""
    return find_spec("math_verify") is not None


def need() -> None:
    """Raise MissingPackage where math-verify is not installed."""
    if not available():
        raise MissingPackage(
            "scoring = \"expression\" needs math-verify: pip install 'finetrap[math]'; or leave "
            "`scoring` out: formulas are then compared in one spelling of LaTeX"
        )


def read_as(gold: str, seconds: float = SECONDS) -> str | None:
    """Return what the package reads a right answer as; None where it can only compare its text.

    Raises MissingPackage, and BadInput where the package cannot be used.
    """
    found: str | None = _package_says(gold, [], seconds).get("read")
    return found


def equals(gold: str, texts: list[str], seconds: float = SECONDS) -> tuple[str | None, bool]:
    """Return the formula of the first text that holds one, and whether it equals the gold's.

    Raises MissingPackage, and BadInput where the package cannot be used.
    """
    said = _package_says(gold, texts, seconds)
    return said.get("found"), said.get("equal", False)


def unequal_to_itself(gold: str, seconds: float = SECONDS) -> bool:
    """Whether the package cannot read a right answer, or does not call it equal to itself.

    One for which it takes too long is not known to be either. Raises MissingPackage, and BadInput
    where the package cannot be used.
    """
    said = _package_says(gold, [f"${gold}$"], seconds)
    return bool(said) and (said["read"] is None or not said["equal"])


def _package_says(gold: str, texts: list[str], seconds: float) -> dict[str, Any]:
    """Return what the package says, nothing where it does not come to an end."""
    need()
    try:
        said: dict[str, Any] = _opened(seconds).ask([gold, texts])
    except NeverStarted as fault:
        raise BadInput(f'scoring = "expression": math-verify cannot be used: it {fault}') from fault
    except SideEnded:
        return {}
    return said


@cache
def _opened(seconds: float) -> SideProcess:
    return SideProcess(_PROGRAM, (), seconds)
