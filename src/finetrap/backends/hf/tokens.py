"""Text to token ids and back, in one way for training, scoring and generating.

A prompt has the tokens that `generate` is given, everywhere; what follows it has those that the
whole text has after them. Tokenizers in SentencePiece's way put a mark for a space before a text,
which must not stand in the middle of one. The tokenizer is read, never changed: padding needs no
pad token, because padded places are masked or come after everything that is read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from finetrap.errors import (
    BadModel,
    ContextTooLong,
    FinetrapError,
    in_a_line,
    opening,
    out_of_memory,
)
from finetrap.records import content_hash
from finetrap.references import Format
from finetrap.text.turns import opens_reasoning

ENCODED = 4096
"""Texts whose ids are kept: the cells of a study ask the same problems, one after another."""

PARTS = 8
"""Tokens that one piece of text may be cut into; a character has at most four bytes."""

MARKS = (":", "\n", ".", "a", "0")
"""Texts after which another is encoded as in the middle of a text, unless the two melt together."""

DROPPED = {
    "capital letters": ("A", "a"),
    "accents": ("\u00e9", "e"),
    "compatibility characters": ("\ufb01", "fi"),
}
"""What a normaliser can drop, with a text that shows it and what that becomes."""

Render = Callable[[Sequence[Mapping[str, str]]], str]

TODAY = datetime(2024, 7, 26)
"""What templates that write the date are told: a prompt must not change from day to day. It is the
date that Llama 3.2's template falls back on."""
_DATE = "".join(f"|replace('%{c}', '{TODAY.strftime('%' + c)}')" for c in "dbBmyYaAHMS")
_PINNED_CLOCK = (
    f"{{% macro strftime_now(format) %}}{{{{ format{_DATE} }}}}{{% endmacro %}}{{{{ '' }}}}"
)
"""Put before a template, it hides the clock that transformers lends to templates."""

_PANIC = "PanicException"
"""What a library in Rust raises where it has a fault itself: no Exception, and in no module."""


@contextmanager
def usable(at: str = "", through: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raise BadModel for what a tokenizer raises, whose library has no exception of its own; what
    is to be told elsewhere goes `through`."""
    try:
        yield
    except BaseException as error:
        where = f" ({at})" if at else ""
        known = isinstance(error, (FinetrapError, *through)) or out_of_memory(error)
        if not known and (isinstance(error, Exception) or type(error).__name__ == _PANIC):
            raise BadModel(
                f"the model's tokenizer cannot be used{where}: {in_a_line(error)}; put the "
                "tokenizer files that the model was trained with beside it, as save_pretrained "
                "writes them"
            ) from error
        raise


class Pair(NamedTuple):
    """A prompt's ids and those of what follows it."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    apart: bool
    """Whether the whole text would begin with other tokens than the prompt has by itself."""


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
        form: Format,
        context: int | None,
        vocabulary: int,
        more_ends: Sequence[int] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._encoded = lru_cache(ENCODED)(self._encode)
        self._paired = lru_cache(ENCODED)(self._pair)
        self._pieces: dict[tuple[int, bool], str] = {}
        self._added = frozenset(tokenizer.added_tokens_decoder)
        self._head = _policy_head(tokenizer)
        self._vocabulary = vocabulary
        self._begins = any(
            after is not None and after != self._encoded(text)
            for text in ("7", "a")
            for after in (self._after(mark, text) for mark in MARKS)
        )
        """Whether a text by itself begins with other tokens than in the middle of another."""
        inside = self._tokenizer.decode(list(self._inside(" 7")))
        self._before = "" if inside == " 7" else MARKS[0]
        """What has to stand before ids for their first space to be seen."""
        self.context = context
        """Tokens the model can read at once; None without a limit."""
        has_template = getattr(tokenizer, "chat_template", None) is not None
        if form == "chat" and not has_template:
            raise BadModel(
                "the study asks for chat prompts and the tokenizer has no chat template; "
                'say prompt = "plain" (or "auto") for this model'
            )
        self.chat: Render | None = None
        self.template_faults: tuple[str, ...] = ()
        """What is wrong with the chat template, as far as prompts show it."""
        self._openings: tuple[str, ...] = ("",)
        eos: int | None = tokenizer.eos_token_id
        self.end = eos
        if form != "plain" and has_template:
            self.chat = lambda messages: _render(tokenizer, messages, ask=True)
            self.template_faults = tuple(_template_faults(tokenizer))
            self._openings = tuple(_template_openings(tokenizer))
            self.end = _end_of_turn(tokenizer, eos)
        self.ends = frozenset(i for i in (eos, self.end, *more_ends) if i is not None)
        begin = self._head[-1:] or [i for i in (tokenizer.bos_token_id, eos) if i is not None]
        self.begin: int | None = begin[0] if begin else None
        """Token that stands before a text without a prompt: BOS, else EOS, else nothing."""
        self.filler = self.begin or 0
        """Id at padded places, where it is never read."""

    @cached_property
    def identity(self) -> str | None:
        """Name what decides the ids of every text; None of a tokenizer that is no known code's."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        own = type(self._tokenizer)
        if backend is None or not own.__module__.startswith("transformers."):
            return None
        given = {k: str(v) for k, v in self._tokenizer.init_kwargs.items() if k != "name_or_path"}
        ids = [self._head, self._vocabulary, self.end, self.begin]
        openings = self._openings if self.chat else None
        return content_hash([own.__qualname__, backend.to_str(), given, ids, openings])

    def prompt(self, text: str) -> list[int]:
        """Encode a prompt: a plain one under the tokenizer's own BOS policy, without a closing EOS.

        A prompt in the model's template already holds every special token. One that is empty stands
        for the beginning of a text.
        """
        ids = self.continuation(text)
        if self.chat is None or not text.startswith(self._openings):
            ids = self._head + ids
        if not ids and self.begin is not None:
            ids = [self.begin]
        return ids

    def pair(self, prompt: str, text: str) -> Pair:
        """Encode a prompt and what follows it: the two decode to the whole text.

        The prompt's ids are those of `prompt`; the text's are those that the whole text has after
        them, without any special token. Raises BadModel.
        """
        return self._paired(prompt, text)

    def _pair(self, prompt: str, text: str) -> Pair:
        head = tuple(self.prompt(prompt))
        if not prompt:
            return Pair(head, self._encoded(text), False)
        after = self._after(prompt, text)
        return Pair(head, self._inside(text) if after is None else after, after is None)

    def _after(self, prompt: str, text: str) -> tuple[int, ...] | None:
        """Return the ids of a text after a prompt, None where those of the prompt change."""
        own = self._encoded(prompt)
        whole = self._encode(prompt + text)
        return whole[len(own) :] if whole[: len(own)] == own else None

    def _inside(self, text: str) -> tuple[int, ...]:
        """Encode a text as it would stand in the middle of another, whatever that may be."""
        found = (self._after(mark, text) for mark in MARKS) if self._begins else iter(())
        return next((ids for ids in found if ids is not None), self._encoded(text))

    def continuation(self, text: str) -> list[int]:
        """Encode a text by itself: no special token is added.

        Raises BadModel for a token that the model has no embedding of.
        """
        return list(self._encoded(text))

    def _encode(self, text: str) -> tuple[int, ...]:
        with usable(f"on {opening(text)}"):
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        if ids and max(ids) >= self._vocabulary:
            raise BadModel(
                f"the tokenizer writes {self.piece(max(ids))!r} as token {max(ids)} and the "
                f"model's embedding has {self._vocabulary} rows; put the tokenizer that the model "
                "was trained with beside it"
            )
        return tuple(ids)

    def text(self, ids: Sequence[int], after: int | None = None) -> str:
        """Decode generated ids, special tokens left out.

        With the token `after` which they stand, a space before the first of them is kept.
        """
        inside = after is not None and bool(self._before) and not self._opens(after)
        return self._decode(ids, inside=inside, special=False)

    def piece(self, token: int, *, inside: bool = False) -> str:
        """Return the text of one token, special tokens included: by itself, or `inside` a text."""
        inside = inside and bool(self._before)
        piece = self._pieces.get((token, inside))
        if piece is None:
            piece = self._pieces[token, inside] = self._decode([token], inside=inside, special=True)
        return piece

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return what each token of a text stands for in it; together they are the text.

        Of tokens that are parts of one character the last stands for all.
        """
        found: list[str] = []
        begins, parts = True, 0
        for at, token in enumerate(ids):
            piece = self.piece(token, inside=not begins)
            begins = (begins or self._opens(token)) if token in self._added else False
            parts = parts + 1 if "\ufffd" in piece else 0
            if 1 < parts <= PARTS:
                whole = self._decode(ids[at + 1 - parts : at + 1], inside=True, special=True)
                if "\ufffd" not in whole:
                    found[1 - parts :] = [""] * (parts - 1)
                    piece, parts = whole, 0
            found.append(piece)
        return found

    def _decode(self, ids: Sequence[int], *, inside: bool, special: bool) -> str:
        def decoded(ids: list[int]) -> str:
            text: str = self._tokenizer.decode(
                ids, skip_special_tokens=not special, clean_up_tokenization_spaces=False
            )
            return text

        if inside:
            before = self.continuation(self._before)
            shown, whole = decoded(before), decoded([*before, *ids])
            if whole.startswith(shown):
                return whole[len(shown) :]
        return decoded(list(ids))

    def _opens(self, token: int) -> bool:
        """Whether what follows a token is encoded as at the beginning of a text."""
        if token not in self._added:
            return False
        return self._encoded(self.piece(token) + "7")[1:] == self._encoded("7")

    def as_written(self, text: str) -> str:
        """Return a text as the model writes it amid another: its tokenizer may drop capital letters
        or accents, or put other spaces. The text itself where more than that would be lost."""
        ids = self._inside(text)
        written = self._decode(ids, inside=bool(self._before), special=False)
        return written if _letters_of(written) == _letters_of(text) else text

    @property
    def drops(self) -> tuple[str, ...]:
        """What the tokenizer leaves out of every text."""
        return tuple(
            name for name, (was, now) in DROPPED.items() if self.text(self._encoded(was)) == now
        )

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


def _letters_of(text: str) -> str:
    """Return a text without what normalisers change: case, accents, forms of letters, spaces."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in letters if not (unicodedata.combining(c) or c.isspace()))


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
    try:
        text: str = tokenizer.apply_chat_template(
            [dict(m) for m in messages],
            tokenize=False,
            add_generation_prompt=ask,
            enable_thinking=False,
            date_string=TODAY.strftime("%d %b %Y"),
            chat_template=_PINNED_CLOCK + tokenizer.get_chat_template(),
        )
    except Exception as error:  # whatever the template does
        roles = ", ".join(m["role"] for m in messages)
        if not out_of_memory(error):
            raise BadModel(
                f"the model's chat template refuses the messages {roles}: {error}; put the text of "
                'a system message into `template`, or use format = "plain"'
            ) from error
        raise
    return text


def _template_openings(tokenizer: Any) -> Iterator[str]:
    """Yield what the template puts before the first message, of the user or of the system: how a
    rendered prompt is known."""
    user, system = ({"role": r, "content": f"{r}7f3a"} for r in ("user", "system"))
    yield _render(tokenizer, [user], ask=True).partition(user["content"])[0]
    with suppress(BadModel):
        before, found, _ = _render(tokenizer, [system, user], ask=True).partition(system["content"])
        if found:
            yield before


def _template_faults(tokenizer: Any) -> Iterator[str]:
    """Say how prompts in the template differ from what an answer follows in it."""
    question, answer = "QUESTION7f3a", "ANSWER7f3a"
    user = {"role": "user", "content": question}
    asked = _render(tokenizer, [user], ask=True)
    answered = _render(tokenizer, [user, {"role": "assistant", "content": answer}], ask=False)
    before = answered.partition(answer)[0]
    lacks = before.removeprefix(asked).strip() if before.startswith(asked) else ""
    if lacks and asked == _render(tokenizer, [user], ask=False):
        yield (
            "the chat template ignores add_generation_prompt: prompts end without "
            f"{lacks!r}, which opens the assistant's turn"
        )
    if opens_reasoning(asked.rpartition(question)[2]):
        yield (
            "the chat template opens a block of reasoning: answers are written inside "
            f"{asked.rpartition(question)[2].split()[-1]!r}"
        )


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
