"""The only place that writes text for a model.

A base model reads plain text, `Question: …\\nAnswer:`; a model with a chat template reads its own
template. Exemplars come first, each with its worked solution, in the same form as training rows. A
study's `[prompt]` puts its own text around questions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from string import ascii_uppercase
from typing import NamedTuple

from finetrap.errors import BadModel
from finetrap.references import PromptSpec

Chat = Callable[[Sequence[Mapping[str, str]]], str]
"""Renders messages up to where the assistant starts to write."""

_PLAIN = "Question: {question}\nAnswer:"
BETWEEN = "\n\n"
QUESTION, OPTIONS = "{question}", "{options}"
_MARK = "7f3a"
"""What no template has of its own: where it is missing, the template has left it out."""
_PLACE = re.compile(r"\{(question|options)\}")
_OPTIONS_LINE = re.compile(r"\n?[^\n]*\{options\}[^\n]*")


class Shot(NamedTuple):
    """A problem that is shown with its worked solution."""

    question: str
    solution: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """Writes what a model reads, and what should follow, as its prompt's settings say.

    `chat` is the model's template, None for plain text. A problem with choices is asked in
    finetrap's own form unless the template shows its options; then their letters are the answers.
    Raises BadModel if the model's template leaves out the system message, the question, or the
    exemplars where there are some.
    """

    spec: PromptSpec = field(default_factory=PromptSpec)
    chat: Chat | None = None

    def __post_init__(self) -> None:
        """Refuse a template that would drop the question or the system message."""
        system = self.spec.system.strip()
        if self.chat and _MARK not in self.prompt(_MARK):
            raise BadModel(
                "the model's chat template leaves the question out: it may expect messages of "
                'another shape; give the model another template, or write prompt = "plain" under '
                "[model.NAME]"
            )
        if self.chat and system and system not in self.prompt("a"):
            raise BadModel(
                "the model's chat template leaves the system message out; put that text into "
                f"`template`, before {QUESTION}"
            )

    def prompt(self, question: str, shots: Sequence[Shot] = (), choices: Sequence[str] = ()) -> str:
        """Write the prompt for a question, exemplars first; it ends where the answer starts."""
        system, prefix = self.spec.system, self._prefix(choices)
        if self.chat is None:
            shown = "".join(
                self._turn(s.question, s.choices)
                + self._follow(s.choices)
                + self.target(s.solution, s.choices)
                + BETWEEN
                for s in shots
            )
            head = f"{system}{BETWEEN}" if system else ""
            return head + shown + self._turn(question, choices) + self._follow(choices)
        if shots and not self._shows_exemplars:
            raise BadModel(
                "the model's chat template shows the last message alone and leaves exemplars out; "
                'write prompt = "plain" under [model.NAME], or leave out the few-shot strategies'
            )
        messages = [{"role": "system", "content": system}] if system else []
        for shot in shots:
            answer = self._prefix(shot.choices) + self.target(shot.solution, shot.choices)
            messages += [
                {"role": "user", "content": self._turn(shot.question, shot.choices)},
                {"role": "assistant", "content": answer},
            ]
        return self.chat([*messages, _user(self._turn(question, choices))]) + prefix

    @cached_property
    def _shows_exemplars(self) -> bool:
        """Whether the template writes the turns before the last."""
        asked, answered = f"ASKED{_MARK}", f"ANSWERED{_MARK}"
        turns = [_user(asked), {"role": "assistant", "content": answered}, _user(_MARK)]
        shown = self.chat(turns) if self.chat else asked + answered
        return asked in shown and answered in shown

    def target(self, solution: str, choices: Sequence[str] = ()) -> str:
        """Write what should follow `prompt`: the training target and the gold solution to score."""
        before = self._prefix(choices) or ("" if self.chat else self._template(choices))
        return _gap(before) + self.answer(solution, choices)

    def answer(self, solution: str, choices: Sequence[str] = ()) -> str:
        """Return a solution, or the letter of a choice where the options are shown."""
        if solution not in choices or OPTIONS not in self._template(choices):
            return solution
        return ascii_uppercase[list(choices).index(solution)]

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a completion: with them a plain prompt's next problem would begin.

        A chat model ends its turn by itself.
        """
        if self.spec.stops is not None:
            return self.spec.stops
        if self.chat:
            return ()
        head = self._template(()).partition(QUESTION)[0].strip()
        return (head.splitlines()[-1],) if head else ()

    def _own(self, choices: Sequence[str]) -> bool:
        """Whether a problem is asked in finetrap's own form."""
        return bool(choices) and OPTIONS not in (self.spec.template or "")

    def _template(self, choices: Sequence[str]) -> str:
        default = QUESTION if self.chat else _PLAIN
        return default if self._own(choices) else self.spec.template or default

    def _prefix(self, choices: Sequence[str]) -> str:
        return "" if self._own(choices) else self.spec.answer_prefix

    def _follow(self, choices: Sequence[str]) -> str:
        """Return the answer's prefix as it follows a plain question."""
        prefix = self._prefix(choices)
        apart = not prefix or prefix[0].isspace()
        return prefix if apart else _gap(self._template(choices)) + prefix

    def _turn(self, question: str, choices: Sequence[str]) -> str:
        """Fill the template; without options their line is left out."""
        template = self._template(choices)
        if not choices:
            template = _OPTIONS_LINE.sub(_without_options, template)
        filled = {"question": question, "options": lettered(choices)}
        return _PLACE.sub(lambda place: filled[place[1]], template)


PLAIN = Form()
"""How a model without a chat template is asked where a study says nothing."""


def lettered(choices: Sequence[str]) -> str:
    """Write choices as a template shows them, a line each: `A. red`."""
    lines = zip(ascii_uppercase, choices, strict=False)
    return "\n".join(f"{letter}. {choice}" for letter, choice in lines)


def plain_prefix(shots: Sequence[Shot]) -> str:
    """Write the exemplars that stand before prose or a text to be continued; empty without any."""
    return "".join(PLAIN.prompt(s.question) + PLAIN.target(s.solution) + BETWEEN for s in shots)


def plain_target(text: str) -> str:
    """Write what follows a plain prompt or a text that is continued."""
    return f" {text}"


def _gap(before: str) -> str:
    """Return the space between a text and what follows it."""
    return " " if before and not before[-1].isspace() else ""


def _user(text: str) -> Mapping[str, str]:
    return {"role": "user", "content": text}


def _without_options(line: re.Match[str]) -> str:
    return line[0].replace(OPTIONS, "") if QUESTION in line[0] else ""
