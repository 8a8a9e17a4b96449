"""Where a text says that an answer stands: marks such as `####`, `<answer>`, "the answer is".

Every pattern runs in time linear in the text: a model that loops must not stop the measurement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from finetrap.text import numbers

REACH = 300
"""Characters after a mark in which its answer must stand."""
LOOK_BACK = 16
"""Marks of one kind that are tried, from the last backwards."""


@dataclass(frozen=True)
class Extraction:
    """The answer found in a text."""

    value: str | None
    """As written, without signs of currency and thousands; None if there is none."""
    rule: str
    """The name of the rule that found it; none if no answer was found."""
    strict: bool
    """Whether it stands in the asked format: a line ends in `#### n`."""
    also: tuple[str, numbers.Ratio] | None = None
    """What else a number may say, and by which rule: `7 dozen` is 7 and, scaled, 84."""
    forms: tuple[str, ...] = ()
    """The forms of a text answer, from the whole line to its shortest cut."""


NOTHING = Extraction(None, "none", False)

HASHES = re.compile(r"(?<!#)####(?!#)")
_IS = "(?:is|are|was|(?:will|would|should|must) be)"
ANSWER = re.compile(
    rf"(?=[arjо答คউస])(?:\b(?:answers?|ans)\b[ *_]{{0,4}}(?P<verb>{_IS}\b[ *_]{{0,4}}:?|[:=])"
    r"|\b(?:respuesta(?: final)? es|réponse(?: finale)? est|antwort (?:ist|lautet)"
    r"|ответ|jibu(?: ni)?|risposta è|resposta é)\b[ *_]{0,4}[:—-]?"
    r"|(?:答案|答え|คำตอบ|উত্তর|సమాధానం)[ *_]{0,4}(?:是|为|為|は|คือ|হল)?[ *_]{0,4}:?)",
    re.IGNORECASE,
)
"""Where an answer is stated, also in the languages of MGSM."""
_LABEL = re.compile(
    r"\b(?:answers?|ans|label|class|category|sentiment|verdict|conclusion|prediction|option|choice)\b"
    rf"[ *_]{{0,4}}(?P<verb>{_IS}\b[ *_]{{0,4}}:?|[:=])"
    r"|\b(?:statement|claim|hypothesis|assertion) is(?= (?:true|false)\b)",
    re.IGNORECASE,
)
"""The same for answers that are no numbers, which are also called otherwise."""
_CHECKED = re.compile(
    r"\b(?:(?:re|double-)?check|verif|confirm|test)\w{0,5}(?: (?:of|that|if|our|the|this|my|your))*"
    r"[ ]$",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|suppose|assum\w{1,3}|is it (?:so|true))(?: that)?"
    r"(?: (?:the|our|this|my|your))?(?: (?:final|correct))?[ ]$",
    re.IGNORECASE,
)
_DENIED = re.compile(r"[\s*_:]{0,4}(?:not\b|n['’]t\b)", re.IGNORECASE)
_DOUBTED = re.compile(r"[ *_:$]{0,4}[^\s?]{1,20}(?: \w{1,12})?[ ]?\?(?=\s*\S)")
_BUT = re.compile(r"[\s*_:]{0,4}not [^.!?\n]{1,60}?,? but ", re.IGNORECASE)
BOXED = re.compile(r"\\(?:boxed|fbox)\b[ ]?")
_TAG = re.compile(
    r"(?=[<\[])(?:<(?P<shut>/?)(?:final[_ -]?)?(?:answer|ans|solution|result|final)>"
    r"|\[(?P<bar>/?)ANSWER\])",
    re.IGNORECASE,
)
_KEY = re.compile(r"[\"'](?:final[_ -]?)?answer[\"']\s{0,4}:\s{0,4}", re.IGNORECASE)
_LABEL_KEY = re.compile(
    r"[\"'](?:label|class|category|sentiment|verdict|prediction|option|choice|result|output)[\"']"
    r"\s{0,4}:\s{0,4}",
    re.IGNORECASE,
)
_JSON_VALUE = re.compile(r"\"((?:[^\"\\]|\\.){0,300})|'([^']{0,300})|([^\n}]{0,300})")
RETRACTED = re.compile(r"\b(?:wait|actually|instead|correction|no, )\b|(?<=[.!] )no,", re.I)
_TAKEN_BACK = re.compile(
    r"\bI(?: have|['’]ve)? made an? (?:\w{1,12} )?(?:mistake|error)"
    r"|\bI was wrong\b|\bI meant?\b(?! that)"
    r"|\bthat(?:['’]s| is| was) (?:wrong|incorrect|not (?:right|correct))\b|\bcorrection:",
    re.IGNORECASE,
)
"""What takes back an answer that stands before it, where another follows."""
_SIGN = (
    r"(?:wait|actually|sorry|oops|hold on|hmm|no(?=[,.:;!…-])|nope|scratch that|correction|rather"
    r"|apologies|my mistake)"
)
_SECOND_THOUGHT = re.compile(rf"(?:(?<=\W[ ])|(?<=[\n(*.…-])){_SIGN}\b", re.IGNORECASE)
_FIGURE = r"[ *_$({\\]{0,4}(?:boxed\{)?-?[$€£]?\d[\d,]{0,30}(?:\.\d{1,30})?"
_THE_ANSWER = r"(?:it|that|this|the (?:\w{1,10} )?(?:answer|total|result|number|value))"
_FIGURE_ALONE = (
    rf"(?P<figure>{_FIGURE})(?:[ ](?!(?:is|are|was|were|would|has|have|can|and|or|more|less|than"
    r"|of|times)\b)[A-Za-z]{1,20}){0,2}[ *_$)}\\]*(?:[.!](?!\d)|,[ ]not\b|\n|\Z)"
)
_CORRECTION = re.compile(
    rf"{_SIGN}(?:[,.:;!…-]{{0,3}}\s{{1,2}}{_SIGN}){{0,3}}[,.:;!…-]{{0,3}}\s{{1,2}}"
    rf"(?:(?:so |then )?{_THE_ANSWER}(?:['’]s| is| was| (?:should|must|would)(?: be| have been))"
    rf"(?: actually| really| in fact)?|make (?:that|it))?{_FIGURE_ALONE}"
    rf"|{_SIGN}\b.{{0,{REACH}}}?\b{_THE_ANSWER} should(?: actually| really)?(?: be| have been)"
    rf"{_FIGURE_ALONE.replace('figure', 'instead')}",
    re.IGNORECASE | re.DOTALL,
)
"""A second thought that puts another number in place of one."""
_STATED = re.compile(ANSWER.pattern + _FIGURE, re.IGNORECASE)
_NUMBER_MARKS = (HASHES, BOXED, _TAG, _KEY, _STATED)
TEXT_OFF = re.compile(r"\\(?:text\w{0,6}|math\w{1,6}|mbox) ?\{([^{}]*)\}")
STRICT_NUMBER = re.compile(
    r"#### -?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?\s*?$", re.MULTILINE
)
STRICT_TEXT = re.compile(r"#### [^\s#]")


def marked_places(text: str) -> Iterator[tuple[str, str]]:
    """Yield the places of an answer that is no number, each with its rule, in their order."""
    for match in last_places(HASHES, text):
        yield "hash", first_line(text[match.end() : match.end() + REACH])
    value = json_answer(text)
    value = json_answer(text, _LABEL_KEY) if value is None else value
    for rule, content in (("tag", in_tag(text)), ("json", value)):
        if content is not None:
            inner = next(marked_places(content), None) if len(content) < len(text) else None
            yield rule, inner[1] if inner else content
    for match in last_places(_LABEL, text):
        tail = text[match.end() : match.end() + REACH]
        instead = _BUT.match(tail)
        if instead:
            yield "answer-is", first_line(tail[instead.end() :])
        elif not states_nothing(text, match, tail):
            line = first_line(tail)
            box = BOXED.search(line)
            yield "answer-is", braced(tail[tail.find(line) + box.end() :]) if box else line
    for match in last_places(BOXED, text):
        yield "boxed", braced(text[match.end() : match.end() + REACH])


def after_retraction(text: str) -> str:
    """Return what follows the last "I made a mistake" or its kin; empty if there is none."""
    signs = ("mistake", "error", "wrong", "orrect", "not right", "mean")
    found = last_places(_TAKEN_BACK, text) if any(sign in text for sign in signs) else []
    return text[found[0].end() :].lstrip(" .,;:!-—") if found else ""


def corrected(text: str) -> str:
    """Return a text from where a marked number is replaced: `The answer is 25. Wait, no, 24.`"""
    for sign in last_places(_SECOND_THOUGHT, text):
        found = _CORRECTION.match(text, sign.start())
        if found and any(mark.search(text, 0, sign.start()) for mark in _NUMBER_MARKS):
            rest = text[found.start(found.lastgroup or 0) :].lstrip()
            return rest if "boxed{" in rest[:12] else f"The answer is {rest}"
    return text


def states_nothing(body: str, match: re.Match[str], tail: str) -> bool:
    """Whether "answer is" does not state the answer: a check, a condition, a denial, a doubt."""
    before = body[max(0, match.start() - 40) : match.start()]
    check = match["verb"] in (":", "=") and _CHECKED.search(before)
    denied = _DENIED.match(tail) or _DOUBTED.match(tail)
    return bool(check or _SUPPOSED.search(before) or denied)


def denied_label(text: str) -> str | None:
    """Return what the last label says not to be so: `not enough information` is one itself."""
    for match in last_places(_LABEL, text)[:1]:
        tail = text[match.end() : match.end() + REACH]
        return first_line(tail) if _DENIED.match(tail) and not _BUT.match(tail) else None
    return None


def last_places(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """Return the last places of a marker, from the end backwards."""
    return list(pattern.finditer(text))[-LOOK_BACK:][::-1]


def in_tag(text: str) -> str | None:
    """Return what stands in the last answer tag that holds something, empty if none does."""
    if "<" not in text and "[" not in text:
        return None
    tags = list(_TAG.finditer(text))[-2 * LOOK_BACK :]
    found = None
    for i in range(len(tags) - 1, -1, -1):
        if tags[i]["shut"] or tags[i]["bar"]:
            continue
        end = tags[i + 1].start() if i + 1 < len(tags) else len(text)
        content = text[tags[i].end() : end].strip()
        if content and content not in ("and", "or", "…", "..."):
            return content
        found = "" if content == "" or found is not None else None
    return found


def json_answer(text: str, key: re.Pattern[str] = _KEY) -> str | None:
    """Return the value of the last answer key."""
    keys = last_places(key, text)
    if not keys:
        return None
    value = _JSON_VALUE.match(text, keys[0].end())
    if value is None:
        return ""
    written = value[1] or value[2] or value[3] or ""
    if value[3] is None:
        return written
    return "" if written.startswith("null") else re.split(r",\s*[\"']", written, maxsplit=1)[0]


def first_line(tail: str) -> str:
    """Return the first line that holds more than emphasis."""
    return next((line for line in tail.splitlines() if line.strip(" \t*_:`$")), "")


def last_line(text: str) -> str:
    """Return the last line that holds more than emphasis."""
    return next((line for line in reversed(text.splitlines()) if line.strip(" \t*_:`$")), "")


def braced(tail: str) -> str:
    """Return what stands in the braces that open a text, or its first word without braces."""
    if not tail.startswith("{"):
        return (tail.split(maxsplit=1) or [""])[0].rstrip("$.")
    depth = 0
    for i, character in enumerate(tail[:REACH]):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return tail[1:i]
    return tail[1:REACH]


def in_format(text: str, pattern: re.Pattern[str]) -> bool:
    """Whether the last `####` of a text is followed as the asked format says."""
    return pattern.match(text, text.rfind("####")) is not None
