"""The only place that writes text for a model.

A base model reads plain text, `Question: …\\nAnswer:`; a model with a chat template reads its own
template. Exemplars come first, each with its worked solution, in the same form as training rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Shot = tuple[str, str]
"""A question and its worked solution."""
Chat = Callable[[Sequence[Mapping[str, str]]], str]
"""Renders messages up to where the assistant starts to write."""

STOPS = ("Question:",)
"""Where a plain completion is cut: the model has started to write the next problem."""
BETWEEN = "\n\n"


def plain_prompt(question: str, shots: Sequence[Shot] = ()) -> str:
    """Write a plain prompt that ends where the answer starts."""
    return plain_prefix(shots) + f"Question: {question}\nAnswer:"


def plain_prefix(shots: Sequence[Shot]) -> str:
    """Write the exemplars that stand before a plain question, empty without exemplars."""
    return "".join(f"Question: {q}\nAnswer:{plain_target(s)}{BETWEEN}" for q, s in shots)


def plain_target(solution: str) -> str:
    """Write a solution as it follows a plain prompt."""
    return f" {solution}"


def conversation(question: str, shots: Sequence[Shot], chat: Chat) -> str:
    """Write a prompt in the model's own template, exemplars as earlier turns."""
    messages = [
        {"role": role, "content": text}
        for q, s in shots
        for role, text in (("user", q), ("assistant", s))
    ]
    return chat([*messages, {"role": "user", "content": question}])


def prompt(question: str, shots: Sequence[Shot] = (), chat: Chat | None = None) -> str:
    """Write the prompt for a question; `chat` is the model's template, None for plain text."""
    return conversation(question, shots, chat) if chat else plain_prompt(question, shots)


def target(solution: str, chat: Chat | None = None) -> str:
    """Write what should follow `prompt`: the training target and the gold solution to score."""
    return solution if chat else plain_target(solution)


def stops(chat: Chat | None = None) -> tuple[str, ...]:
    """Return the strings that end a completion; a chat model ends its turn by itself."""
    return () if chat else STOPS
