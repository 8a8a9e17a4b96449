"""Right answers as data files hold them: read by the rules of completions, and counted by kind.

`6 dollars`, `6 (apples)`, `\\boxed{6}`, `= 6` and `The answer is 6.` are the number 6. What most
right answers of a file are decides how a doubtful one is read, and which ones are reported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from finetrap.text import numbers
from finetrap.text.letter_answer import letters_up_to
from finetrap.text.numbers import NUMBER, THIN
from finetrap.text.places import REACH, TEXT_OFF, marked_places
from finetrap.text.turns import graded_part

GoldKind = Literal["number", "letter", "text"]

_CODES = "USD|EUR|GBP|INR|RMB|CHF|CAD|AUD|NZD|JPY|CNY|KRW|BRL|MXN|SEK|NOK|DKK|PLN"
_LEAD = re.compile(
    r"[\s=~*_`(\[{:]*(?:(?:about|approximately|roughly|around|exactly|only|a total of)\s+)?"
    rf"(?:(?:US|A|C)?(?=\$)|(?:Rs\.?|{_CODES}|₹)[ ]?)?(?:\$(?!\d))?[\s({{\[+]*",
)
_SHORT_UNIT = r"(?:[gmshlLCFKWVJN]|k[gmW]|[cm]m|m[lLgs]|[ap]m)"
_NO_UNIT = r"(?!(?:and|or|half|third|quarter|plus|minus|times|to|by)\b)"
_WORDS = (
    rf"(?:{_SHORT_UNIT}|[a-zµ€£¥][a-zé.'’/%-]{{1,30}}|{_CODES}|[KMGT]B|KG|CM|KM|[AP]M"
    r"|(?i:dollars?|euros?|pounds?|cents?|percent|hours?|minutes?|days?|weeks?|years?|miles?|meters?"
    r"|feet|inches)|[%€$£¥₹°元円원]|°?[CF])"
)
_UNIT = re.compile(
    r"[)\]}$\s*_!]*(?:[%°€$£¥₹元円원]|/[a-z]{2,12}(?![\w^])|"
    rf"(?:{_SHORT_UNIT}|lbs?|oz|hrs?|mins?|secs?|mph|km/h|kWh|GB|MB|ft|in|st|nd|rd|th)(?![\w^]))?"
    rf"(?:[ \t-]{{1,3}}(?:\([^()\d]{{0,60}}\)"
    rf"|{_NO_UNIT}{_WORDS}(?![^\W²³])(?:\^\{{?[23]\}}?|[²³])?)"
    rf"(?:[ \t-]{{1,3}}(?:\([^()\d]{{0,60}}\)|{_NO_UNIT}[A-Za-zé.'’/%-]{{1,30}}(?!\w))){{0,5}})?"
    r"(?:/-)?[)\]}$\s.*_!]*"
)
"""What may follow a number that is the whole answer: a unit, an aside, a full stop."""
_LEFT_SIDE = re.compile(r"\s*(?:\\?[$(]\s*)?(?:[A-Za-z]\w{0,3}|[\d\s.+*/()$×÷-]{1,80})\s*")
_SPACING = re.compile(r"\\[,;:! ]|(?<=\d)~")
_WIDE = re.compile(rf"{THIN}(?!\d)")
_TIME = re.compile(r"\d:\d")
_PART = re.compile(r"\d:\d|[\\^_=+<>]|\d[A-Za-z]|[A-Za-z]\d")
"""What shows that a number is part of a formula or of a name."""
_LETTER = re.compile(
    r"[\s*_(\[{$\"']*(?:option |choice )?([A-Za-z])(?:[)\]}.:*_$\"'\s]*|[):]\s+\S.*|\.\s+(\S.*))"
)


@dataclass(frozen=True)
class GoldAnswer:
    """A right answer as it is compared."""

    kind: GoldKind
    text: str
    """Without marks and markup: the number, the letter, or the text."""
    value: numbers.Ratio | None = None
    also: numbers.Ratio | None = None
    """What else a number says: `1.5 million` is 1.5 and 1,500,000."""


@dataclass(frozen=True)
class GoldCount:
    """What the right answers of a file or task are."""

    number: int
    letter: int
    text: int
    mostly: GoldKind | None
    """The kind of more than half of them."""
    letters: str
    """The letters that options have; empty without letters."""
    examples: tuple[str, ...]
    """Three different right answers, as written."""
    odd: tuple[int, ...]
    """Places, from 0, of those that are no number where most are."""


def read_gold(gold: str, mostly: GoldKind | None = None) -> GoldAnswer:
    """Read a right answer, or a worked solution that ends in `#### answer`.

    Where most right answers of a file are numbers (`mostly`), any that holds exactly one number is
    that number; where most are letters, a small letter is one too.
    """
    text = graded_part(gold.rpartition("####")[2], cut=False).text.strip()
    found = _number(text)
    if found is None:
        for _, content in marked_places(text):
            text = content.strip()
            found = _number(text)
            break
    if found is None and mostly == "number":
        found = _only_number(text)
    if found is not None:
        return found
    letter = _LETTER.fullmatch(TEXT_OFF.sub(r"\1", text))
    if letter and (mostly == "letter" or (letter[1].isupper() and not letter[2])):
        return GoldAnswer("letter", letter[1].upper())
    return GoldAnswer("text", text)


def count_golds(golds: Iterable[str]) -> GoldCount:
    """Count the right answers of a file or a task by kind."""
    golds = list(golds)
    kinds = Counter(read_gold(gold).kind for gold in golds)
    most, times = kinds.most_common(1)[0] if kinds else ("text", 0)
    mostly = most if 2 * times > len(golds) else None
    kinds, letters, odd = Counter(), set(), []
    for i, gold in enumerate(golds):  # of millions, the readings themselves are not kept
        found = read_gold(gold, mostly)
        kinds[found.kind] += 1
        if found.kind == "letter":
            letters.add(found.text)
        if mostly == "number" and found.kind != "number":
            odd.append(i)
    return GoldCount(
        number=kinds["number"],
        letter=kinds["letter"],
        text=kinds["text"],
        mostly=mostly,
        letters=letters_up_to("".join(sorted(letters))) if letters else "",
        examples=tuple(dict.fromkeys(gold.rpartition("####")[2].strip() for gold in golds))[:3],
        odd=tuple(odd),
    )


def described_golds(count: GoldCount) -> str:
    """Say what the right answers are: "377 numbers, 1 option letter; such as '5', '2/3', 'C'"."""
    named = {"number": count.number, "option letter": count.letter, "text": count.text}
    parts = [f"{n:,} {kind}{'s' * (n != 1)}" for kind, n in named.items() if n]
    shown = ", ".join(repr(example[:40]) for example in count.examples)
    return f"{', '.join(parts) or 'none'}" + (f"; such as {shown}" if shown else "")


def doubtful_gold(gold: str, count: GoldCount) -> str | None:
    """Return what a gold must be written as, where only most others of its file tell its kind."""
    there = read_gold(gold, count.mostly)
    return there.text if read_gold(gold).kind != there.kind else None


def _number(text: str) -> GoldAnswer | None:
    """Read a text that is one number, with its unit and as the result of an equation."""
    value = numbers.value(text)
    if value is not None:
        return GoldAnswer("number", text, value)
    if len(text) > REACH or not any(map(str.isdigit, text)) or _TIME.search(text):
        return None
    body = _WIDE.sub(" ", numbers.ascii_digits(_SPACING.sub(_thousands_joined, text)))
    left, equals, right = body.rpartition("=")
    if equals and (not left.strip(" $*_") or _LEFT_SIDE.fullmatch(left)):
        body = right
    start = _LEAD.match(body)
    body = body[start.end() if start else 0 :]
    match = NUMBER.match(_APART.sub("-", body))
    if match is None:
        return None
    money = _MONEY.match(match.string, match.end()) if _CURRENCY.search(text) else None
    if not _UNIT.fullmatch(match.string, money.end() if money else match.end()):
        return None
    return _as_gold(match)


_CURRENCY = re.compile("[$€£¥₹]")
_MONEY = re.compile(r"(?:k|bn)\b")
"""What stands for a scale right after an amount of money; elsewhere `2k` is a formula."""
_APART = re.compile(r"\A-[ ]")


def _thousands_joined(match: re.Match[str]) -> str:
    """Keep a thin space between digits, which separates thousands; any other is a space."""
    before = match.string[: match.start()][-1:]
    after = match.string[match.end() : match.end() + 1]
    return match[0] if before == "," or (before.isdigit() and after.isdigit()) else " "


def _only_number(text: str) -> GoldAnswer | None:
    """Read the one number that a text holds, unless it is part of a formula."""
    body = numbers.joined_thousands(numbers.ascii_digits(text))
    spots = list(NUMBER.finditer(body[: 2 * REACH]))
    return _as_gold(spots[0]) if len(spots) == 1 and not _PART.search(text) else None


def _as_gold(match: re.Match[str]) -> GoldAnswer | None:
    value = numbers.value(numbers.number_text(match))
    if value is None:
        return None
    also = numbers.also(match)
    if also and also[0] == "factorial":
        return GoldAnswer("number", numbers.number_text(match) + "!", also[1])
    return GoldAnswer("number", numbers.number_text(match), value, also[1] if also else None)
