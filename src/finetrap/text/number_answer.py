"""The number that a text gives as its answer.

The number pattern is that of docs/protocol.md: a minus counts only if no digit or bracket stands
before it, commas only as separators of thousands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

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
    corrected,
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
    r"|plausible|clear|obvious|unknown|rounded|expressed|less|greater|larger|smaller"
    r"|an? (?:\w{1,12} ){0,2}(?:number|integer|multiple|factor|fraction|decimal|prime))\b(?!\s*$)",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"(\b(?:is|are|was|were|be) not|\b(?:is|are|was|were)n['’]t|[,(;] ?not|\b(?:can)?not(?: be)?"
    r"|n['’]t be) "
    r"(?:exactly |just )?[$*({\\]{0,4}-?\d[\d,]{0,40}(?:\.\d{1,40})?(?!\d|[.,]\d|[ ]?[-+*/=×÷])",
    re.IGNORECASE,
)
_CALLED_WRONG = re.compile(
    r"(?<![\w.,])\$?\d[\d,]{0,20}(?:\.\d{1,9})?(?= (?:is|was|are) (?:wrong|incorrect|too \w"
    r"|not (?:the |a )?(?:right|correct|valid|possible|final|answer)))",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"\bbetween \$?\d[\d,]{0,20}(?:\.\d{1,9})?(?: \w{1,12})? and \$?\d[\d,]{0,20}(?:\.\d{1,9})?",
    re.IGNORECASE,
)
_CALCULATION = re.compile(
    r"\d(?:[ ][a-z]{1,20}(?=[ ][-+*×÷·x][ ]))?(?:[ ]?[+*×÷·][ ]?|[ ][-x][ ])"
    r"\(?\$?\d[\d,.]{0,20}(?:[ ][a-z]{1,20})?[\s.$*})\\]*$"
)
_UNIT_AT_END = re.compile(r"(?:[ ][a-z]{1,20})?")
_OPEN_END = re.compile(r"[\s?_.…$*\\]*")
_OPERATOR_BEFORE = re.compile(r"[-+*/×÷·][ ]?[$(]{0,2}$")
_NAMED = r"[A-Za-z][ ]?=[ ]?"
_OR = re.compile(rf"[ ]{{1,3}}or[ ]{{1,3}}|[ $]{{1,3}}or[ $]{{1,3}}{_NAMED}")
_JOINED = re.compile(rf"[,;][ ]*|,?[ ]{{1,3}}(?:and|or)[ ]{{1,3}}|[ $]{{1,3}}or[ $]{{1,3}}{_NAMED}")
_NAME = re.compile(_NAMED)
_DECORATION = re.compile(r"[\s*_`\"'“”(\[{:=+\\]*(?:\$(?!\d))?[\s*_({\\]*(?:\\?boxed\{)?")
_HEADING = re.compile(r"\d+[.):]\**[ ]+[^\W\d]")
_OPERATOR = re.compile(r"!?[ ]?[-+*/×÷·^][ ]?[$€£]?\(?\d")
_ASIDE = re.compile(r"(?<=[^\s=])[ ]\([^()]*\)(?![ ]?[-+*/=×÷])")
_CLAUSE = re.compile(
    r"[.!?](?!\d)(?=.)|[,;:\n<>]"
    r"|\b(?:is|are|was|were|be|so|then|thus|and|or|has|have|makes?|leaves?|gives?)\b"
)
_ITEM = re.compile(r"^[ \t>*_]{0,8}(\d{1,2})[.)](?=[\s*]|\Z)", re.MULTILINE)
"""The number of a list item, at the start of a line."""
_CHECK = re.compile(
    r"(?:\n|[.!?] )[\s*_#]{0,6}(?:(?:to )?(?:double-?|re-?)?check|verification|to verify|proof)"
    r"(?:(?: (?:the|our|my|this))? (?:answer|result|solution|work))?[*_]{0,3}[:,]",
    re.IGNORECASE,
)
_FIGURE = re.compile(r"\d+(?:\.\d+)?")
_CHECK_END = re.compile(r"[ $*({\\]{0,4}\d[\d,.]{0,30}[^\d.!?\n]{0,30}[\s.!)}✓✔$*]*")
"""What follows the last `=` of a check that concludes nothing."""
_SHORT = r"\$?-?\d[\d,.]{0,20}%?(?:[ ][a-z]{1,12}){0,2}"
_LISTED = re.compile(
    rf"(?<!\w)(?:[A-J][).][ *]{{0,3}}{_SHORT}[,;]?[ ]{{1,3}}\(?){{1,9}}[B-J][).][ *]{{0,3}}{_SHORT}"
    rf"[\s.*]*\Z|\b[Oo]ptions[*_]{{0,3}}:[*_]{{0,3}}[ ](?:{_SHORT}(?:, (?:or )?| or )){{1,9}}"
    rf"{_SHORT}[\s.*]*\Z"
)
"""Options in one line at the end of a text: none of them is chosen."""
_PLUS_MINUS = re.compile(r"(?:±|\\pm\b)[ ]?\Z")
_EXPLAINED = re.compile(
    r"(?:[ ][A-Za-z]{1,20}){0,3}[.*_ ]*\n\s*[#*_]{0,4}[ ]?(?:explanation|reasoning|rationale"
    r"|justification|calculation|because|this is because|here['’]s|here is)\b",
    re.IGNORECASE,
)
"""What follows a number that is the whole first line, where it is then explained."""
_EXPLANATION = re.compile(
    r"\n[#*_]{0,4}[ ]?(?:explanation|rationale|justification)\b", re.IGNORECASE
)
"""What explains a first line of any length, where that holds one number."""
_FUNCTION = r"\\(?:pi|sqrt|log|ln|sin|cos|tan)(?![a-z])|[π√]"
_IRRATIONAL = re.compile(
    rf"{_FUNCTION}|\^\{{?(?!o\b)[a-z]|(?<=[\d}})])[ ]?[inxyz](?![A-Za-z])|\d_\{{?\d|±"
    r"|\\(?:pm|mp|binom|[tdc]?frac)(?![a-z])"
)
"""What a formula has that is no number."""
_INEQUALITY = re.compile(r"(?<![-=])[<>](?=[ =]?[\w\\-])|[≤≥≠]|\\(?:leq?|geq?|lt|gt|neq?)(?![a-z])")
_FORMULA = re.compile(
    rf"[ ]?(?:{_FUNCTION})|\^\{{?(?!o\b)[a-z]|_\{{?\d{{1,2}}(?!\d)"
    r"|[ ]?[inxyz](?![\w'’]|[ ]?[$€£({\\]{0,3}\w)"
)
"""What follows a number that is the factor of a formula, or written to another base."""
_FORMULA_BEFORE = re.compile(
    r"(?:\\?\b(?:sqrt|log|ln|sin|cos|tan|binom|pm)\b[ ]?[{(]{0,2}|[√±≤≥≠][ ]?|\w [<>]=? )\$?\Z"
)
_SENTENCE_END = re.compile(r"(?<=[.?;])(?=\s|$)|(?<=!)(?=\s|$)(?!\s*[-+*/=×÷\\)}])")


def find_number(text: str) -> Extraction:
    """Find the numeric answer in the graded part of a completion.

    The number pattern is that of docs/protocol.md: a minus counts only if no digit or bracket
    stands before it, commas only as separators of thousands.
    """
    body = _unlabelled(corrected(numbers.joined_thousands(numbers.ascii_digits(text))))
    if "not" in body or "n't" in body or "n’t" in body:
        body = _NEGATED.sub(r"\1 ", body)
    if any(word in body for word in ("wrong", "correct", " too ", " not ")):
        body = _CALLED_WRONG.sub("…", body)
    if "etween" in body:
        body = _RANGE.sub("between", body)
    for rule, found in _NUMBER_FINDERS:
        stated, match = found(body)
        if match is not None:
            return _as_number(match, rule, strict=rule == "hash" and in_format(text, STRICT_NUMBER))
        if stated:
            return NOTHING
    body = _before_check(body)
    spots = list(NUMBER.finditer(body))
    if not spots or _LISTED.search(body) or _PLUS_MINUS.search(body[: spots[-1].start()]):
        return NOTHING
    if _is_explained(body, spots):
        return _as_number(spots[0], "opening")
    if _several(body.strip()):
        return NOTHING
    either = len(spots) > 1 and _OR.fullmatch(body, spots[-2].end(), spots[-1].start())
    last_two = body[spots[-2].start() : spots[-1].end()] if either else ""
    if last_two and not numbers.also(spots[-1]) and _several(last_two):
        return NOTHING
    unworked, result = _unworked(body)
    if unworked:
        return _as_number(result, "equation") if result else NOTHING
    result = _concluded(body, spots)
    if result is not None:
        return _as_number(result, "equation")
    return _as_number(spots[-1], "last-number")


def _unlabelled(body: str) -> str:
    """Leave out the numbers of list items: those of which a neighbour stands there too."""
    items = {int(item[1]) for item in _ITEM.finditer(body)}
    if len(items) < 2:
        return body

    def mark(item: re.Match[str]) -> str:
        return "" if items & {int(item[1]) - 1, int(item[1]) + 1} else item[0]

    return _ITEM.sub(mark, body)


def _before_check(body: str) -> str:
    """Leave out a check at the end that only calculates with the number before it."""
    checks = last_places(_CHECK, body)
    if not checks:
        return body
    start = checks[-1].start() + 1
    before, tail = list(NUMBER.finditer(body, 0, start)), body[start:]
    if not before or "=" not in tail or not _CHECK_END.fullmatch(tail.rpartition("=")[2]):
        return body
    wanted = numbers.number_text(before[-1])
    return body[:start] if wanted in _FIGURE.findall(tail.replace(",", "")) else body


def _is_explained(body: str, spots: Sequence[re.Match[str]]) -> bool:
    """Whether the first number is that of a first line that is then explained."""
    first = spots[0]
    if _EXPLAINED.match(body, first.end()) and not _bare(body[: first.start()]).strip():
        return True
    after = _EXPLANATION.search(body, first.end())
    alone = after and "\n" not in body[: after.start()].strip()
    return bool(after and alone and (len(spots) == 1 or spots[1].start() > after.start()))


def _several(line: str) -> bool:
    """Whether a line gives several numbers that differ, and nothing more: `3, 4`, `10 or 18`."""
    line = _bare(line[:REACH])
    named = _NAME.match(line)
    line = line[named.end() :] if named else line
    if not NUMBER.match(line):
        return False
    spots = list(NUMBER.finditer(line))
    if len(spots) < 2 or numbers.also(spots[-1]):
        return False
    gaps = [line[a.end() : b.start()] for a, b in pairwise(spots)]
    rest = line[spots[-1].end() :].strip(" .$)}]!*_\\")
    if not all(map(_JOINED.fullmatch, gaps)) or (rest and (gaps[-1][0] in ",;" or " " in rest)):
        return False
    first, *others = (numbers.value(numbers.number_text(spot)) for spot in spots)
    return any(not (first and other and numbers.equal(first, other)) for other in others)


def _unworked(body: str) -> Found:
    """Read a text that ends on a calculation without its result: `24 = 4 * 6` gives 24, `4 * 6 =`
    nothing."""
    *lefts, last = _ASIDE.sub("", body.rstrip().rpartition("\n")[2]).split("=")
    if not _CALCULATION.search(last) and not (lefts and _OPEN_END.fullmatch(last)):
        return False, None
    for side in reversed(lefts):
        spots = list(NUMBER.finditer(side.rstrip()))
        at_end = spots and _UNIT_AT_END.fullmatch(side.rstrip(), spots[-1].end())
        if at_end and not _OPERATOR_BEFORE.search(side[: spots[-1].start()]):
            return True, spots[-1]
    return True, None


def _as_number(match: re.Match[str], rule: str, *, strict: bool = False) -> Extraction:
    return Extraction(numbers.number_text(match), rule, strict, numbers.also(match))


Found = tuple[bool, re.Match[str] | None]
"""Whether the place of an answer was found, and the number in it."""


def _hashed(body: str) -> Found:
    """Read the number after the last `####` that is not a markdown heading."""
    for match in last_places(HASHES, body):
        line = _bare(first_line(body[match.end() : match.end() + REACH]))
        if _unsettled(line):
            return True, None
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
        line = _bare(content)
        return None if _unsettled(line) else _stated(line)
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
        if _several(line) or _unsettled(line):
            return True, None
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
        if _IRRATIONAL.search(content.rpartition("=")[2]) or _INEQUALITY.search(content):
            return True, None
        if _several(content):
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


def _unsettled(line: str) -> bool:
    """Whether a line states a formula or a range: `4\\pi`, `x = \\pm 5`, `24-25`."""
    line = _EQUALS.split(_SENTENCE_END.split(line[:REACH], maxsplit=1)[0])[-1]
    first = NUMBER.search(line)
    if first is None or _WORD.search(line, 0, first.start()):
        return False
    return bool(
        _FORMULA.match(line, first.end())
        or _RANGE_END.match(line, first.end())
        or _FORMULA_BEFORE.search(line[: first.start()])
    )


_WORD = re.compile(r"(?<![\\A-Za-z])(?!(?:sqrt|log|ln|sin|cos|tan|binom|pm)\b)[A-Za-z]{2,}")
_EQUALS = re.compile(r"(?<![<>])=")
_RANGE_END = re.compile(r"-\$?\d[\d,.]{0,20}[^-+*/=×÷·\n]*\Z")


def _stated(line: str) -> re.Match[str] | None:
    """Read the number a line states: the result of its last equation, else its first number.

    `18 (10 + 8)`, `10 + 8 = 18` and `18 = 10 + 8` all state 18.
    """
    if _several(line):
        return None
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
        return None if _CALCULATION.match(sentence, spots[0].end() - 1) else spots[0]
    return None


def _bare(line: str) -> str:
    """Drop emphasis, brackets, quotes and math delimiters before an answer."""
    match = _DECORATION.match(line)
    return line[match.end() :] if match else line
