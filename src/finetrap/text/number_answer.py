"""The number that a text gives as its answer.

The number pattern is that of docs/protocol.md: a minus counts only if no digit or bracket stands
before it, commas only as separators of thousands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

from finetrap.text import numbers
from finetrap.text.numbers import NUMBER
from finetrap.text.places import (
    ANSWER,
    BOXED,
    HASHES,
    LOOK_BACK,
    NOTHING,
    REACH,
    STRICT_NUMBER,
    Extraction,
    braced,
    first_line,
    in_format,
    in_tag,
    json_answer,
    last_places,
    states_nothing,
)

_SPACED_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?: \d{3})+)(?![\d.,]*\d)")
_NO_ANSWER = re.compile(
    r"[\s*_:]{0,4}(?:correct|right|wrong|incorrect|consistent|reasonable|valid|verified|confirmed"
    r"|plausible|clear|obvious|unknown)\b(?!\s*$)",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"(\b(?:is|are|was|were|be) not|\b(?:is|are|was|were)n['’]t|[,(;] ?not|\bnot) "
    r"(?:exactly |just )?[$*({\\]{0,4}\d[\d,]{0,40}(?:\.\d{1,40})?(?!\d|[.,]\d|[ ]?[-+*/=×÷])",
    re.IGNORECASE,
)
_DECORATION = re.compile(r"[\s*_`\"'“”(\[{:=+\\]*(?:\$(?!\d))?[\s*_({\\]*(?:\\?boxed\{)?")
_HEADING = re.compile(r"\d+[.):]\**[ ]+[^\W\d]")
_OPERATOR = re.compile(r"!?[ ]?[-+*/×÷·^][ ]?[$€£]?\(?\d")
_ASIDE = re.compile(r"(?<=[^\s=])[ ]\([^()]*\)(?![ ]?[-+*/=×÷])")
_CLAUSE = re.compile(
    r"[.!?](?!\d)(?=.)|[,;:\n<>]"
    r"|\b(?:is|are|was|were|be|so|then|thus|and|or|has|have|makes?|leaves?|gives?)\b"
)
_ITEM_BEGUN = re.compile(r"\n[ ]*([1-9]\d?)[.)]\s*\Z")
_EXPLAINED = re.compile(
    r"(?:[ ][A-Za-z]{1,20}){0,3}[.*_ ]*\n\s*[#*_]{0,4}[ ]?(?:explanation|reasoning|rationale"
    r"|justification|calculation|because|this is because|here['’]s|here is)\b",
    re.IGNORECASE,
)
"""What follows a number that is the whole first line, where it is then explained."""
_IRRATIONAL = re.compile(r"\\(?:pi|sqrt)(?![a-z])|[π√]")
_SENTENCE_END = re.compile(r"(?<=[.?;])(?=\s|$)|(?<=!)(?=\s|$)(?!\s*[-+*/=×÷\\)}])")


def find_number(text: str) -> Extraction:
    """Find the numeric answer in the graded part of a completion.

    The number pattern is that of docs/protocol.md: a minus counts only if no digit or bracket
    stands before it, commas only as separators of thousands.
    """
    body = numbers.ascii_digits(text)
    if "not" in body or "n't" in body or "n’t" in body:
        body = _NEGATED.sub(r"\1 ", body)
    for rule, found in _NUMBER_FINDERS:
        stated, match = found(body)
        if match is not None:
            return _as_number(match, rule, strict=rule == "hash" and in_format(text, STRICT_NUMBER))
        if stated:
            return NOTHING
    begun = _ITEM_BEGUN.search(body)
    if begun and re.search(rf"^[ ]*{int(begun[1]) - 1}[.)]", body, re.MULTILINE):
        body = body[: begun.start()]
    spots = list(NUMBER.finditer(body))
    if not spots:
        return NOTHING
    if _EXPLAINED.match(body, spots[0].end()) and not _bare(body[: spots[0].start()]).strip():
        return _as_number(spots[0], "opening")
    result = _concluded(body, spots)
    if result is not None:
        return _as_number(result, "equation")
    return _as_number(spots[-1], "last-number")


def _as_number(match: re.Match[str], rule: str, *, strict: bool = False) -> Extraction:
    return Extraction(numbers.number_text(match), rule, strict, numbers.also(match))


Found = tuple[bool, re.Match[str] | None]
"""Whether the place of an answer was found, and the number in it."""


def _hashed(body: str) -> Found:
    """Read the number after the last `####` that is not a markdown heading."""
    for match in last_places(HASHES, body):
        line = _bare(first_line(body[match.end() : match.end() + REACH]))
        if NUMBER.match(line) and not _HEADING.match(line):
            return True, _stated(line)
    return False, None


def _only_in(place: Callable[[str], str | None], body: str) -> Found:
    """Read the number in the last answer tag or answer key."""
    content = place(body)
    return content is not None, None if content is None else _inside(content)


def _inside(content: str) -> re.Match[str] | None:
    """Read the number in a place that holds nothing but the answer, in whatever words."""
    for found in (_hashed, _declared, _boxed):
        match = found(content)[1]
        if match is not None:
            return match
    if "\n" not in content.strip():
        return _stated(_bare(content))
    spots = list(NUMBER.finditer(content))
    return (_concluded(content, spots) or spots[-1]) if spots else None


def _declared(body: str) -> Found:
    """Read the number after the last "answer is" or "answer:" that states one.

    Where words come first and numbers follow on later lines, the marker opened a worked solution
    and stated nothing.
    """
    for match in last_places(ANSWER, body):
        tail = body[match.end() : match.end() + REACH]
        if states_nothing(body, match, tail) or _NO_ANSWER.match(tail):
            continue
        found = first_line(tail)
        box = BOXED.search(found)
        if box:
            value = _stated(_bare(braced(tail[tail.find(found) + box.end() :])))
            if value is not None:
                return True, value
        line = _bare(found)
        start = NUMBER.match(line)
        value = _stated(line)
        if value is None:
            continue
        expression = start is not None and _OPERATOR.match(line, start.end())
        direct = start is not None and not (expression and match["verb"] == ":")
        if direct or not NUMBER.search(tail.lstrip().partition("\n")[2]):
            return True, value
    return False, None


def _boxed(body: str) -> Found:
    """Read the number in the last `\\boxed` that holds one."""
    for match in last_places(BOXED, body):
        content = braced(body[match.end() : match.end() + REACH])
        if _IRRATIONAL.search(content.rpartition("=")[2]):
            return True, None
        value = _stated(_bare(content))
        if value is not None:
            return True, value
    return False, None


_NUMBER_FINDERS: tuple[tuple[str, Callable[[str], Found]], ...] = (
    ("hash", _hashed),
    ("tag", partial(_only_in, in_tag)),
    ("json", partial(_only_in, json_answer)),
    ("answer-is", _declared),
    ("boxed", _boxed),
)


def _concluded(body: str, spots: Sequence[re.Match[str]]) -> re.Match[str] | None:
    """Return the result of an equation that ends the text but for an adverbial with numbers.

    In "so he makes 60 * 2 = $120 in 2 weeks" the last number is not the answer; in "x = 3, so it is
    12" it is.
    """
    equals = body.rfind("=")
    start = max(equals + 1, 0)
    result = next((n for n in spots[-LOOK_BACK:] if n.start() >= start), None)
    if equals < 0 or result is None or result is spots[-1]:
        return None
    rest = body[result.end() :].rstrip()
    direct = not _bare(body[start : result.start()]).strip(" $")
    if not direct or len(rest) > REACH or _OPERATOR.match(rest) or _CLAUSE.search(rest):
        return None
    return result


def _stated(line: str) -> re.Match[str] | None:
    """Read the number a line states: the result of its last equation, else its first number.

    `18 (10 + 8)`, `10 + 8 = 18` and `18 = 10 + 8` all state 18.
    """
    line = _SPACED_THOUSANDS.sub(lambda m: m[1] + m[2].replace(" ", ""), _ASIDE.sub("", line))
    for sentence in _SENTENCE_END.split(line):
        spots = list(NUMBER.finditer(sentence))
        if not spots:
            continue
        for side in reversed(sentence.split("=")):
            side = _bare(side)
            start = NUMBER.match(side)
            if start and not _OPERATOR.match(side, start.end()):
                return start
        return spots[0]
    return None


def _bare(line: str) -> str:
    """Drop emphasis, brackets, quotes and math delimiters before an answer."""
    match = _DECORATION.match(line)
    return line[match.end() :] if match else line
