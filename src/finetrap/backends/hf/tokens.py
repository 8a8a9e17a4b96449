"""Text to token ids and back, in one way for training, scoring and generating.

A prompt and what follows it are encoded apart and joined, so that the boundary between them lies at
the same place everywhere. The tokenizer is read, never changed: padding needs no pad token, because
padded places are masked or come after everything that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from finetrap.errors import BadModel, ContextTooLong

ENCODED = 4096
"""Texts whose ids are kept: the cells of a study ask the same problems, one after another."""

Render = Callable[[Sequence[Mapping[str, str]]], str]

TODAY = datetime(2024, 7, 26)
"""What templates that write the date are told: a prompt must not change from day to day. It is the
date that Llama 3.2's template falls back on."""
_DATE = "".join(f"|replace('%{c}', '{TODAY.strftime('%' + c)}')" for c in "dbBmyYaAHMS")
_PINNED_CLOCK = (
    f"{{% macro strftime_now(format) %}}{{{{ format{_DATE} }}}}{{% endmacro %}}{{{{ '' }}}}"
)
"""Put before a template, it hides the clock that transformers lends to templates."""


class Tokens:
    """A tokenizer with the rules of one model.

    `chat` renders messages up to where the assistant starts to write (None: plain prompts), `end`
    is put after a training target, and `ends` stop a completion. `vocabulary` is the number of rows
    of the embedding.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        prompt: Literal["auto", "plain", "chat"],
        context: int | None,
        vocabulary: int,
        more_ends: Sequence[int] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._encoded = lru_cache(ENCODED)(self._encode)
        self._pieces: dict[int, str] = {}
        self._head = _policy_head(tokenizer)
        self._vocabulary = vocabulary
        self.context = context
        """Tokens the model can read at once; None without a limit."""
        has_template = getattr(tokenizer, "chat_template", None) is not None
        if prompt == "chat" and not has_template:
            raise BadModel(
                "the study asks for chat prompts and the tokenizer has no chat template; "
                'say prompt = "plain" (or "auto") for this model'
            )
        self.chat: Render | None = None
        self._opening = ""
        eos: int | None = tokenizer.eos_token_id
        self.end = eos
        if prompt != "plain" and has_template:
            self.chat = lambda messages: _render(tokenizer, messages, ask=True)
            self._opening = _template_opening(tokenizer)
            self.end = _end_of_turn(tokenizer, eos)
        self.ends = frozenset(i for i in (eos, self.end, *more_ends) if i is not None)
        begin = self._head[-1:] or [i for i in (tokenizer.bos_token_id, eos) if i is not None]
        self.begin: int | None = begin[0] if begin else None
        """Token that stands before a text without a prompt: BOS, else EOS, else nothing."""
        self.filler = self.begin or 0
        """Id at padded places, where it is never read."""

    def prompt(self, text: str) -> list[int]:
        """Encode a prompt: a plain one under the tokenizer's own BOS policy, without a closing EOS.

        A prompt in the model's template already holds every special token. One that is empty stands
        for the beginning of a text.
        """
        ids = self.continuation(text)
        if self.chat is None or not text.startswith(self._opening):
            ids = self._head + ids
        if not ids and self.begin is not None:
            ids = [self.begin]
        return ids

    def continuation(self, text: str) -> list[int]:
        """Encode what follows a prompt: no special token is added.

        Raises BadModel for a token that the model has no embedding of.
        """
        return list(self._encoded(text))

    def _encode(self, text: str) -> tuple[int, ...]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        if ids and max(ids) >= self._vocabulary:
            raise BadModel(
                f"the tokenizer writes {self.piece(max(ids))!r} as token {max(ids)} and the "
                f"model's embedding has {self._vocabulary} rows; put the tokenizer that the model "
                "was trained with beside it"
            )
        return tuple(ids)

    def text(self, ids: Sequence[int]) -> str:
        """Decode generated ids, special tokens left out."""
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def piece(self, token: int) -> str:
        """Return the text of one token by itself, special tokens included."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
            self._pieces[token] = piece
        return piece

    def save(self, folder: str) -> None:
        """Write the tokenizer beside a saved model."""
        self._tokenizer.save_pretrained(folder)

    def check_fits(self, length: int, what: str, row: int, limit: int | None = None) -> None:
        """Raise ContextTooLong if `length` tokens are more than the context, or than `limit`.

        `row` is the number of the text among those that were given, from 0.
        """
        for allowed, name in ((self.context, "the model's context"), (limit, "train.max_length")):
            if allowed is not None and length > allowed:
                raise ContextTooLong(
                    f"{what} takes {length} tokens and {name} is {allowed}; nothing is cut: use "
                    "fewer shots or new tokens, shorter problems, or a model with a longer context",
                    row,
                )


def _policy_head(tokenizer: Any) -> list[int]:
    """Return the special tokens that the tokenizer itself puts before a text."""
    bare = tokenizer.encode("a", add_special_tokens=False)
    full = tokenizer.encode("a", add_special_tokens=True)
    places = (i for i in range(len(full)) if full[i : i + len(bare)] == bare)
    return list(full[: next(places, 0)])


def _render(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, ask: bool) -> str:
    """Write messages in the chat template, with the date pinned and thinking switched off.

    `ask` opens the assistant's turn. Templates that know no such settings ignore them; a reasoning
    model would otherwise spend the whole cap before its answer.
    """
    text: str = tokenizer.apply_chat_template(
        [dict(m) for m in messages],
        tokenize=False,
        add_generation_prompt=ask,
        enable_thinking=False,
        date_string=TODAY.strftime("%d %b %Y"),
        chat_template=_PINNED_CLOCK + tokenizer.get_chat_template(),
    )
    return text


def _template_opening(tokenizer: Any) -> str:
    """Return what the template puts before the first question: how a rendered prompt is known."""
    question = "QUESTION7f3a"
    rendered = _render(tokenizer, [{"role": "user", "content": question}], ask=True)
    return rendered.partition(question)[0]


def _end_of_turn(tokenizer: Any, eos: int | None) -> int | None:
    """Return the special token that the template puts after an assistant's message, else EOS."""
    answer = "ANSWER7f3a"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}]
    tail = _render(tokenizer, turns, ask=False).rpartition(answer)[2]
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special |= set(tokenizer.all_special_ids)
    for token in tokenizer.encode(tail, add_special_tokens=False):
        if token in special:
            return int(token)
        if tokenizer.decode([token]).strip():
            break
    return eos
