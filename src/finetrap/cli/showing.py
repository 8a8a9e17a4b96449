"""The verb that shows what models are given, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from finetrap.cli.options import AsJson, Overrides, Quiet, StudyFile, Voice, read_study
from finetrap.text.visible import visible

if TYPE_CHECKING:
    from finetrap.measure.showing import Shown


def show(
    study: StudyFile, overrides: Overrides = None, as_json: AsJson = False, quiet: Quiet = False
) -> None:
    """Show a training row and a test prompt as text and as tokens.

    Of every model of the study. Nothing is measured, and no code of theirs is run.

    Example: finetrap show style
    """
    from finetrap.measure.permission import check_code
    from finetrap.measure.showing import shown_texts

    read = read_study(study, overrides)
    check_code(read, allowed=False)
    found = list(shown_texts(read))
    lines = [line for one in found for line in _in_words(one)]
    Voice(as_json, quiet).result([asdict(one) for one in found], "\n".join(lines))


def _in_words(one: Shown) -> Iterator[str]:
    what = "training row" if one.training else "test prompt"
    yield f"== {one.model}, {what}: {one.task}, problem {one.problem}"
    yield from (f"  | {visible(line)}" for line in one.prompt.split("\n"))
    yield f"  then {_quoted(one.target)}"
    for in_loss, name in ((False, "read"), (True, "in the loss")):
        tokens = [text for text, inside in one.tokens if inside == in_loss]
        if tokens:
            yield f"  {len(tokens)} tokens {name}: {' '.join(map(_quoted, tokens))}"
    if not one.training and one.stops:
        yield f"  an answer also ends at {', '.join(map(_quoted, one.stops))}"


def _quoted(text: str) -> str:
    """Write a text on one line, its line ends and spaces to be seen."""
    return "'" + visible(text.replace("\\", "\\\\").replace("\n", "\\n")) + "'"
