"""The command line: each verb parses, calls one function, prints, and returns an exit code.

Exit codes: 0 done, 1 some cells failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import typer

from finetrap.cli import doing, judging, planned
from finetrap.errors import FinetrapError

app = typer.Typer(
    name="finetrap",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measures what each fine-tuning strategy does to a small language model.",
)
VERBS: dict[str, Callable[..., None]] = {
    "demo": doing.demo,
    "try": doing.try_strategies,
    "plan": planned.plan,
    "run": doing.run,
    "status": doing.status,
    "report": judging.report,
    "diagnose": judging.diagnose,
    "advise": judging.advise,
    "compare": judging.compare,
    "grade": judging.grade,
    "overlap": judging.overlap,
    "list": judging.list_names,
}
for _name, _verb in VERBS.items():
    app.command(_name)(_verb)


def _tell(fault: FinetrapError, arguments: list[str]) -> None:
    if "--json" in arguments:
        print(json.dumps({"event": "error", "message": str(fault)}), file=sys.stderr)
    else:
        print(f"finetrap: {fault}", file=sys.stderr)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app()
    except FinetrapError as fault:
        _tell(fault, sys.argv)
        sys.exit(2)
    except KeyboardInterrupt:
        print(
            "finetrap: interrupted; what is committed is kept, run again to go on", file=sys.stderr
        )
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
