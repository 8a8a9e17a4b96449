"""Completion → value → correct: one extractor for every strategy, and for any tool's output.

The order of the rules is fixed: the last `####`, the last "answer is" or "answer:", the last
`\\boxed`, the last number. Which rule fired is recorded with every answer, so that a change of
format is never mistaken for a change of ability. Numbers are compared as exact decimals and
fractions, never as strings and never as floats. A percentage equals its number of points (18% is
18, not 0.18).

Every pattern runs in time linear in the text: a model that loops must not stop the measurement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrap.errors import BadData
from finetrap.text import numbers, rows
from finetrap.text.numbers import NUMBER

GRADING = 1
"""Version of extraction and grading. It is in no key: completions are kept, and graded anew when
they are judged under another version."""
REACH = 300
"""Characters after a marker in which its answer must stand."""
LOOK_BACK = 16
"""Markers of one kind that are tried, from the last backwards."""


@dataclass(frozen=True)
class Extraction:
    """The answer found in a text."""

    value: str | None
    """As written, without signs of currency and thousands; None if there is none."""
    rule: str
    """hash, answer-is, boxed, equation, last-number or last-line; none if no answer was found."""
    strict: bool
    """Whether it stands in the asked format: a line ends in `#### n`."""


@dataclass(frozen=True)
class Grade:
    """What was found in a completion and whether it is the gold answer."""

    extracted: str | None
    rule: str
    correct: bool
    strict: bool


# --- reading a text ---------------------------------------------------------------------------

_SPACED_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?: \d{3})+)(?![\d.,]*\d)")
_HASHES = re.compile(r"(?<!#)####(?!#)")
_ANSWER = re.compile(
    r"\banswers?\b[ *_]{0,4}(?P<verb>(?:is|are|was)\b[ *_]{0,4}:?|[:=])", re.IGNORECASE
)
_BOXED = re.compile(r"\\(?:boxed|fbox)\b[ ]?")
_DECORATION = re.compile(r"[\s*_`\"'“”(\[{:=\\]*(?:\$(?!\d))?[\s*_({\\]*(?:\\?boxed\{)?")
_HEADING = re.compile(r"\d+[.):]\**[ ]+[^\W\d]")
_OPERATOR = re.compile(r"[ ]?[-+*/×÷·^][ ]?[$€£]?\(?\d")
_ASIDE = re.compile(r"(?<=[^\s=])[ ]\([^()]*\)(?![ ]?[-+*/=×÷])")
_CLAUSE = re.compile(
    r"[.!?](?!\d)(?=.)|[,;:\n<>]"
    r"|\b(?:is|are|was|were|be|so|then|thus|and|or|has|have|makes?|leaves?|gives?)\b"
)
_SENTENCE_END = re.compile(r"[.!?;](?=\s|$)")
_STRICT = re.compile(r"#### -?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?\s*?$", re.MULTILINE)
_STRICT_TEXT = re.compile(r"#### [^\s#]")


def extract(text: str) -> Extraction:
    """Find the numeric answer in a completion that has been cut at its stop strings.

    The number pattern is that of docs/protocol.md: a minus counts only if no digit or bracket
    stands before it, commas only as separators of thousands.
    """
    body = numbers.plain(text)
    for rule, found in (("hash", _hashed), ("answer-is", _declared), ("boxed", _boxed)):
        value = found(body)
        if value is not None:
            return Extraction(value, rule, rule == "hash" and _in_format(text, _STRICT))
    spots = list(NUMBER.finditer(body))
    if not spots:
        return Extraction(None, "none", False)
    result = _concluded(body, spots)
    if result is not None:
        return Extraction(numbers.written(result), "equation", False)
    return Extraction(numbers.written(spots[-1]), "last-number", False)


def extract_text(text: str) -> Extraction:
    """Find an answer that need not be a number: what follows the last marker, or the last line."""
    for rule, marker in (("hash", _HASHES), ("answer-is", _ANSWER), ("boxed", _BOXED)):
        for match in reversed(list(marker.finditer(text))[-LOOK_BACK:]):
            tail = text[match.end() : match.end() + REACH]
            content = _braced(tail) if rule == "boxed" else _first_line(tail)
            value = _normal(content)
            if value:
                strict = rule == "hash" and _in_format(text, _STRICT_TEXT)
                return Extraction(value, rule, strict)
    value = _normal(_last_line(text))
    return Extraction(value, "last-line", False) if value else Extraction(None, "none", False)


def grade(completion: str, gold: str) -> Grade:
    """Compare a completion with the gold answer, as a number if the gold is one, else as text.

    The gold may be a worked solution that ends in `#### answer`. As text, case, spacing, commas
    between items and enclosing punctuation do not count.
    """
    gold = gold.rpartition("####")[2]
    expected = numbers.value(gold)
    if expected is None:
        found = extract_text(completion)
        correct = found.value is not None and found.value == _normal(gold)
    else:
        found = extract(completion)
        actual = None if found.value is None else numbers.value(found.value)
        correct = actual is not None and numbers.equal(actual, expected)
    return Grade(found.value, found.rule, correct, found.strict)


def gradable(gold: str) -> bool:
    """Whether an answer written exactly as asked for would be found and accepted."""
    return grade(f"#### {gold.rpartition('####')[2].strip()}", gold).correct


def cut(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first stop string that occurs in it."""
    ends = [text.find(stop) for stop in stops if stop]
    return text[: min((e for e in ends if e >= 0), default=len(text))]


# --- the rules --------------------------------------------------------------------------------


def _hashed(body: str) -> str | None:
    """Read the number after the last `####` that is not a markdown heading."""
    for match in reversed(list(_HASHES.finditer(body))[-LOOK_BACK:]):
        line = _bare(_first_line(body[match.end() : match.end() + REACH]))
        if NUMBER.match(line) and not _HEADING.match(line):
            return _stated(line)
    return None


def _declared(body: str) -> str | None:
    """Read the number after the last "answer is" or "answer:" that states one.

    Where words come first and numbers follow on later lines, the marker opened a worked solution
    and stated nothing.
    """
    for match in reversed(list(_ANSWER.finditer(body))[-LOOK_BACK:]):
        tail = body[match.end() : match.end() + REACH]
        line = _bare(_first_line(tail))
        start = NUMBER.match(line)
        value = _stated(line)
        if value is None:
            continue
        expression = start is not None and _OPERATOR.match(line, start.end())
        direct = start is not None and not (expression and match["verb"] == ":")
        if direct or not NUMBER.search(tail.lstrip().partition("\n")[2]):
            return value
    return None


def _boxed(body: str) -> str | None:
    """Read the number in the last `\\boxed` that holds one."""
    for match in reversed(list(_BOXED.finditer(body))[-LOOK_BACK:]):
        value = _stated(_bare(_braced(body[match.end() : match.end() + REACH])))
        if value is not None:
            return value
    return None


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


def _stated(line: str) -> str | None:
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
                return numbers.written(start)
        return numbers.written(spots[0])
    return None


# --- pieces of text ---------------------------------------------------------------------------


def _bare(line: str) -> str:
    """Drop emphasis, brackets, quotes and math delimiters before an answer."""
    match = _DECORATION.match(line)
    return line[match.end() :] if match else line


def _first_line(tail: str) -> str:
    """Return the first line that holds more than emphasis."""
    return next((line for line in tail.splitlines() if line.strip(" \t*_:`$")), "")


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip(" \t*_:`$")), "")


def _braced(tail: str) -> str:
    """Return what stands in the braces that open a text, or its first word without braces."""
    if not tail.startswith("{"):
        return (tail.split(maxsplit=1) or [""])[0].rstrip("$.")
    depth = 0
    for i, character in enumerate(tail):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return tail[1:i]
    return tail[1:]


def _normal(text: str) -> str:
    """Write a text answer in its comparable form."""
    text = text.translate(numbers.ASCII).casefold().replace(",", " ").replace(";", " ")
    return " ".join(text.split()).strip(" .:!?*_`\"'“”()[]{}$\\")


def _in_format(text: str, pattern: re.Pattern[str]) -> bool:
    """Whether the last `####` of a text is followed as the asked format says."""
    return pattern.match(text, text.rfind("####")) is not None


# --- files of predictions ---------------------------------------------------------------------


def grade_file(path: str | Path, stops: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Grade JSON lines with `completion` and `gold`; yield each row with its grade added.

    Each completion is first cut at `stops`. Added: extracted, rule, correct, strict. Raises BadData
    naming the line.
    """
    for row in rows.json_lines(path):
        result = _graded(row, stops)
        yield {
            **row[1],
            "extracted": result.extracted,
            "rule": result.rule,
            "correct": result.correct,
            "strict": result.strict,
        }


def _graded(row: rows.Row, stops: Sequence[str]) -> Grade:
    place, columns = row
    gold, completion = rows.column(row, "gold"), columns.get("completion")
    if not isinstance(completion, str):
        found = rows.described(completion) if "completion" in columns else "missing"
        raise BadData(f"{place}: `completion` is {found}; it must be a string")
    if not gradable(gold):
        raise BadData(
            f"{place}: `gold` {gold[:40]!r} states no answer; it must be a number, one line of "
            "text, or a solution that ends in `#### answer`"
        )
    return grade(cut(completion, stops), gold)
