"""The command line: each verb parses, calls one function, prints, and returns an exit code.

Exit codes: 0 done, 1 cells failed, 2 bad input, 3 machine failure, 130 stopped.
"""

from __future__ import annotations

import atexit
import inspect
import json
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
import typer.core

from finetrap import __version__
from finetrap.cli import checking, doing, given, judging, listing, planned, regrading, showing
from finetrap.cli.interruption import Interrupted, listen
from finetrap.errors import AGAIN, FinetrapError, MachineFault, nearest
from finetrap.events import ErrorMet
from finetrap.terminal.progress import close_stdout
from finetrap.text.visible import clip, visible

CODES = "Exit: 0 done, 1 cells failed, 2 bad input, 3 machine failure, 130 stopped"
LONGEST = 2000
"""Characters of a message: what was given stands in it, of whatever length."""
VERBS: dict[str, Callable[..., None]] = {
    "demo": doing.demo,
    "try": doing.try_strategies,
    "judge": given.judge,
    "plan": planned.plan,
    "show": showing.show,
    "run": doing.run,
    "status": doing.status,
    "report": judging.report,
    "diagnose": judging.diagnose,
    "advise": judging.advise,
    "compare": judging.compare,
    "grade": judging.grade,
    "regrade": regrading.regrade,
    "fsck": checking.fsck,
    "overlap": judging.overlap,
    "list": listing.list_names,
}
_EXAMPLE = "Example: "
_WRONGLY_TYPED: Any = typer.BadParameter.__mro__[2]
"""Base of what click raises for wrong flags; typer may have a click of its own."""


class VerbHelp(typer.core.TyperCommand):
    """A verb whose usage line has brackets around what may be left out, and no others."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments by their names, without the kind of what they take."""
        plain = formatter.write_dl

        def write_names(rows: Sequence[tuple[str, str]], **settings: Any) -> None:
            plain([(re.sub(r" <[a-z ]+>$", "", name), said) for name, said in rows], **settings)

        formatter.write_dl = write_names
        super().format_options(ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the usage line's parts; only what may be left out stands in brackets."""
        pieces = (piece.strip("{}") for piece in super().collect_usage_pieces(ctx))
        return [piece.replace("[[", "[").replace("]]", "]") for piece in pieces]


app = typer.Typer(
    name="finetrap",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog=CODES,
)
for _name, _verb in VERBS.items():
    app.command(_name, cls=VerbHelp, epilog=CODES)(_verb)


def example(verb: str) -> str:
    """Return a verb's example, as its help has it."""
    lines = inspect.cleandoc(VERBS[verb].__doc__ or "").splitlines()
    return next(line.removeprefix(_EXAMPLE) for line in lines if line.startswith(_EXAMPLE))


@app.callback(invoke_without_command=True)
def overview(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Measure what each fine-tuning strategy does to a small language model."""
    if version:
        print(f"finetrap {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is not None:
        return
    print("finetrap measures what each fine-tuning strategy does to a small language model.\n")
    for name, verb in VERBS.items():
        purpose = inspect.cleandoc(verb.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        print(f"{name:9} {purpose}\n          $ {example(name)}")
    print(f"\nfinetrap VERB --help says more. {CODES}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, or these arguments, and exit with its code."""
    arguments, code = sys.argv[1:] if arguments is None else arguments, 0
    command = typer.main.get_command(app)
    listen()
    try:
        # Not command.main(), which has codes of its own for an interruption and a closed pipe.
        with command.make_context("finetrap", list(arguments)) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as stop:
        code = stop.exit_code
    except (_WRONGLY_TYPED, FinetrapError, OSError, MemoryError, KeyboardInterrupt) as fault:
        code = _tell(fault, arguments)
    # All is said: no signal while the process winds up changes how it ended.
    for number in (signal.SIGINT, signal.SIGTERM):
        atexit.register(signal.signal, number, signal.SIG_IGN)
    sys.exit(code)


def _tell(fault: BaseException, arguments: Sequence[str]) -> int:
    """Say what went wrong, and return the exit code."""
    if isinstance(fault, BrokenPipeError):
        close_stdout()  # whoever read this has seen enough
        return 0
    as_json, code = "--json" in arguments, 2
    if isinstance(fault, KeyboardInterrupt):
        code = 130
        message = str(fault) or "interrupted; what was finished is kept"
        as_json = as_json and not isinstance(fault, Interrupted)  # which is told as an event
    elif isinstance(fault, _WRONGLY_TYPED):
        verb = next((f"{name} " for name in arguments if name in VERBS), "")
        message = fault.format_message()
        if wrong := re.match(r"(No such option: (\S+)) \(Possible options: (.*)\)", message):
            message = wrong[1] + nearest(wrong[2], wrong[3].split(", "))
        message = f"{message}\nsee finetrap {verb}--help"
    elif isinstance(fault, OSError):
        place = f"{fault.filename}: " if fault.filename else ""
        message = f"{place}{fault.strerror or fault}; choose another place, or make this one usable"
    elif isinstance(fault, MemoryError):
        message, code = f"the memory is exhausted; free some of it, {AGAIN}", 3
    else:
        message = str(fault)
        code = 3 if isinstance(fault, MachineFault) else 2
    # A line end in a name that was given starts no message of its own.
    message = clip(message, LONGEST).replace("\nfinetrap:", "\n finetrap:")
    line = json.dumps(ErrorMet(message).as_json()) if as_json else f"finetrap: {visible(message)}"
    print(line, file=sys.stderr)
    return code
