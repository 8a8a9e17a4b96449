"""Train-test overlap: which test questions stand in a training set, word for word or nearly.

Texts are compared as words: case, punctuation and spacing do not count; numbers do, and so do the
signs of a calculation. A test question is

- exact, if a training text has the same words;
- near, if a training text shares 13 words in a row with it (Brown et al. 2020, appendix C) and also
  has at least 95% of its words and all of its numbers, in their order; or if the text holds the
  whole of a question that is shorter than 13 words.

The second half of that rule is ours. Problems written from one template share long runs of words
that hold no number, or by chance the same one; they are other problems. 13 shared words alone flag
all test questions of three of the miniature's templates, and 117 of the 300 of SVAMP, whose
problems are variations on each other.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finetrap.errors import BadData
from finetrap.text.files import read_rows
from finetrap.text.numbers import counted
from finetrap.text.rows import Row, described
from finetrap.text.visible import one_line

Kind = Literal["exact", "near"]
Words = tuple[str, ...]

WINDOW = 13
"""Words in a row that two texts must share."""
SHORTEST = 4
"""Words from which a whole question inside a longer text is evidence; shorter ones are phrases."""
EDITED = 0.05
"""Share of a question's words that a near training text may lack."""
FREQUENT = 10
"""Test questions that share a window from which it is their template's, not theirs."""
EXAMPLES = 20
"""Pairs that are shown."""
COLUMNS = ("question", "problem", "prompt", "instruction", "input", "text")
"""Where a row may hold its question; what stands in several of them is joined."""

_INSIDE_WORD = re.compile(r"(?<=\w)['’`](?=\w)|(?<=\d)[.,](?=\d)")
"""Marks that join: `Janet's` is one word and `1,450.50` one number, with or without them."""
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
"""Japanese and Chinese put no space between words: every character counts as one."""
_TOKEN = re.compile(r"(?<![\w)])(?<!\d )-(?=\d)|\d+|[^\W\d_]+|[-+*^=<>×÷]")
"""A minus sign, a number, a word, or what may be the sign of a calculation."""
_SIGNS = frozenset("-+*^=<>×÷")


@dataclass(frozen=True)
class Overlap:
    """What a training set holds of a test set."""

    train: int
    """Training texts."""
    test: int
    """Test questions."""
    exact: int
    """Test questions that are a training text."""
    near: int
    """Further test questions that are near one."""
    pairs: tuple[tuple[str, str, Kind], ...] = ()
    """Examples: id of the training text, id of the test question, and which."""


def find(train: Iterable[tuple[str, str]], test: Iterable[tuple[str, str]]) -> Overlap:
    """Look for every test question in the training texts; both are (id, text).

    Linear in the training texts, of which one is held at a time.
    """
    names: list[str] = []
    asked: list[Words] = []
    known: dict[str, str] = {}
    for name, text in test:
        names.append(name)
        asked.append(tuple(known.setdefault(word, word) for word in words(text)))
    index = _Index(asked)
    found: dict[int, tuple[str, Kind]] = {}
    texts = 0
    for name, text in train:
        texts += 1
        held = words(text)
        for i in index.equal(held):
            if found.get(i, ("", "near"))[1] == "near":
                found[i] = (name, "exact")
        alike = (i for i in index.sharing(held) if i not in found and _nearly_all(asked[i], held))
        for i in (*alike, *index.within(held)):
            found.setdefault(i, (name, "near"))
    ranked = sorted(found.items(), key=lambda item: (item[1][1], item[0]))
    pairs = tuple((name, names[i], kind) for i, (name, kind) in ranked)
    exact = sum(kind == "exact" for *_, kind in pairs)
    return Overlap(texts, len(asked), exact, len(pairs) - exact, pairs[:EXAMPLES])


def words(text: str) -> Words:
    """Return the words, numbers and signs of calculation of a text, in lower case."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\u2212", "-")
        text = _UNSPACED.sub(r" \g<0> ", text)
    tokens = _TOKEN.findall(_INSIDE_WORD.sub("", text.casefold()))
    if _SIGNS.isdisjoint(tokens):
        return tuple(tokens)
    return tuple(t for i, t in enumerate(tokens) if t not in _SIGNS or _calculates(tokens, i))


def _calculates(tokens: Sequence[str], i: int) -> bool:
    """Whether a sign stands between numbers, single letters or signs: not a dash, not emphasis."""
    before = tokens[i - 1] if i else ""
    after = tokens[i + 1] if i + 1 < len(tokens) else ""
    negative = tokens[i] == "-" and after[:1].isdigit()
    return _term(after) and (_term(before) or (negative and not before.isdigit()))


def _term(token: str) -> bool:
    return token in _SIGNS or token[:1].isdigit() or len(token) == 1


class _Index:
    """Which test questions a training text may hold."""

    def __init__(self, asked: Sequence[Words]) -> None:
        self.texts: dict[str, list[int]] = defaultdict(list)
        """Questions by their whole text."""
        self.windows: dict[int, tuple[int, ...]] = {}
        """Questions by the runs of 13 words that are their own."""
        self.short: dict[Words, list[int]] = defaultdict(list)
        """Questions that are too short to have one."""
        self.starts: dict[Words, set[int]] = defaultdict(set)
        """Lengths of the short questions that start with these words."""
        for i, question in enumerate(asked):
            if question:
                self.texts["".join(question)].append(i)
            if SHORTEST <= len(question) < WINDOW:
                self.short[question].append(i)
                self.starts[question[:SHORTEST]].add(len(question))
        self.windows = _own_windows(asked)

    def equal(self, held: Words) -> Sequence[int]:
        """Return the questions that are this text, wherever its spaces stand."""
        return self.texts.get("".join(held), ())

    def sharing(self, held: Words) -> set[int]:
        """Return the questions that share a window with this text."""
        return {i for w in self.windows.keys() & set(_runs(held)) for i in self.windows[w]}

    def within(self, held: Words) -> Iterator[int]:
        """Yield the short questions that stand in this text as a whole."""
        if not self.starts:
            return
        for k in range(len(held) - SHORTEST + 1):
            for length in self.starts.get(held[k : k + SHORTEST], ()):
                question = held[k : k + length]
                if question in self.short and not _goes_on(question, held[k + length :][:1]):
                    yield from self.short[question]


def _own_windows(asked: Sequence[Words]) -> dict[int, tuple[int, ...]]:
    """Index questions by runs of 13 words, but for runs that many share if it has any other.

    Brown et al. ignore runs that more than ten documents share; here each would also cost a
    comparison of every test question with every training text of a template.
    """
    same: dict[Words, list[int]] = defaultdict(list)
    for i, question in enumerate(asked):
        same[question].append(i)
    count = Counter(window for question in same for window in set(_runs(question)))
    windows: dict[int, tuple[int, ...]] = {}
    for question, places in same.items():
        own = set(_runs(question))
        rare = [window for window in own if count[window] <= FREQUENT]
        for window in rare or _rarest(question, count):
            windows[window] = (*windows.get(window, ()), *places)
    return windows


def _rarest(question: Words, count: Mapping[int, int]) -> list[int]:
    """Return the run that the fewest questions share, the first by its words among equals."""
    runs = zip(*(question[k:] for k in range(WINDOW)), strict=False)
    return (
        [hash(min(runs, key=lambda run: (count[hash(run)], run)))]
        if len(question) >= WINDOW
        else []
    )


def _runs(text: Words) -> Iterator[int]:
    """Yield every run of 13 words, as its hash: whatever shares one, all its words are compared in
    the end."""
    return map(hash, zip(*(text[k:] for k in range(WINDOW)), strict=False))


def _goes_on(question: Words, after: Words) -> bool:
    """Whether a short question, found in a text, is only the start of a longer one there.

    `What is 3 + 4` goes on in `What is 3 + 4 * 2`, and a list of numbers or letters in a longer.
    """
    if not after or not _term(after[0]):
        return False
    listed = all(_term(t) and t.isdigit() == after[0].isdigit() for t in question[-2:])
    return after[0] in _SIGNS or listed


def _nearly_all(question: Words, held: Words) -> bool:
    """Whether a text has nearly all words of a question, and its numbers one after the other.

    Digits are compared as one string, so that `1.50` is found where a cleaner wrote `1 50`.
    """
    lacking = Counter(question) - Counter(held)
    if sum(n for word, n in lacking.items() if word not in _SIGNS) > EDITED * len(question):
        return False
    return _digits(question) in _digits(held)


def _digits(text: Words) -> str:
    return "".join(word for word in text if word[0].isdigit())


def read_questions(path: str | Path) -> list[tuple[str, str]]:
    """Read (id, question text) from a file of rows. Raises BadData.

    The text stands under question, problem, prompt, instruction, input or text, or in the user's
    `messages`. A row without an `id` is named by its place, counted from 1.
    """
    found = enumerate(read_rows(Path(path)), start=1)
    return [(str(row[1].get("id", n)), _question_of(row)) for n, row in found]


def _question_of(row: Row) -> str:
    place, values = row
    if "messages" in values:
        return _said(place, values["messages"])
    parts = [values[name] for name in COLUMNS if values.get(name) not in (None, "")]
    if not parts:
        raise BadData(
            f"{place}: no question; found {', '.join(f'`{c}`' for c in values) or 'no columns'}, "
            f"expected text under one of {', '.join(f'`{c}`' for c in COLUMNS)}, or `messages`"
        )
    for part in parts:
        if not isinstance(part, str):
            raise BadData(f"{place}: the question is {described(part)}; it must be text")
    return "\n".join(parts)


def _said(place: str, messages: object) -> str:
    """Return what the user says in a conversation."""
    turns = messages if isinstance(messages, list) else []
    asked = [t.get("content") for t in turns if isinstance(t, Mapping) and t.get("role") == "user"]
    said = [text for text in asked if isinstance(text, str)]
    if not said or len(said) < len(asked):
        raise BadData(
            f"{place}: `messages` holds no question; it must be a list of objects with `role` and "
            "`content`, and `content` of the role `user` text"
        )
    return "\n".join(said)


def overlap_counts(overlap: Overlap) -> dict[str, int]:
    """Return the counts, as `finetrap overlap --json` prints them."""
    return {
        "train": overlap.train,
        "test": overlap.test,
        "exact": overlap.exact,
        "near": overlap.near,
    }


def overlap_sentence(overlap: Overlap) -> str:
    """Say what was found, for a person."""
    total = overlap.exact + overlap.near
    asked = counted(overlap.test, "test question")
    held = counted(overlap.train, "training text")
    if not total:
        return f"none of {asked} stands in {held}, word for word or nearly"
    examples = "".join(
        f"\n  {kind}: test {one_line(b, 200)}, training {one_line(a, 200)}"
        for a, b, kind in overlap.pairs[:3]
    )
    verb = "stands" if total == 1 else "stand"
    return (
        f"{total:,} of {asked} {verb} in {held}: {overlap.exact:,} word for word, "
        f"{overlap.near:,} nearly{examples}"
    )
