"""An answer that is neither a number nor an option letter: a word, a label, a list, a formula."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from finetrap.text import numbers
from finetrap.text.places import (
    NOTHING,
    REACH,
    RETRACTED,
    STRICT_TEXT,
    TEXT_OFF,
    Extraction,
    denied_label,
    first_line,
    in_format,
    last_line,
    marked_places,
)

_FIRST_SENTENCE = re.compile(r"[.!?;](?=[*_]{0,3}(?:\s|$))")
_BECAUSE = re.compile(
    r"[,;:]? (?:because|since|due to)\b|, (?:as|so|which|who|where|for|given|but)\b"
    r"|[ ]\((?=[^()]*(?:[a-z]{3}|\d{4}))[^()\\]*\)[ .]*$"
    r"|\s[–—]\s|\s-\s(?=[a-z]{3})",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"(yes|no|true|false)(?=[*_]{0,3}(?:,|$))", re.IGNORECASE)
_SO_YES_NO = re.compile(
    r"(?:^\s*|[,;:] )(?:so|thus|therefore|hence),? (yes|no|true|false)\W*$", re.IGNORECASE
)
_NAMED = re.compile(
    r"\A[*_]{0,3}(?:A|(?:final )?answer|output|response|result)[*_]{0,3}:[*_]{0,3} ?(?=\S)",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^[ ]*[-•] ", re.MULTILINE)
_FENCE = re.compile(
    r"^[ ]*```[\w+-]{0,20}[ ]*\n(.*?)(?:\n[ ]*```[ ]*$|\Z)", re.MULTILINE | re.DOTALL
)
"""A block of code that stands on lines of its own."""
_SO = re.compile(r"(?:so|therefore|thus|hence|then|it is|it['’]s)\b,?\s*", re.IGNORECASE)
_IS = re.compile(r".*\b(?:is|are|was|were|equals):?((?: the)? (.+))", re.IGNORECASE)
_DOUBT = (
    r"(?:not|never|neither|whether|if|may(?:be)?|perhaps|might|could|can"
    r"|who|what|which|where|how)\b"
)
_UNSURE = re.compile(rf"\b{_DOUBT}|(?i:^\W*{_DOUBT})|n['’]t\b|\?")
"""What makes `… is Paris` no statement that it is; in it, `May` and `Who` are names."""
_RELATIVE = re.compile(r", (?:which|who|where)\b")
_EXPLAINS = re.compile(r"\W*(?:it|he|she|they|this)\b", re.IGNORECASE)
_GREETING = re.compile(r"(?:sure|okay|ok|certainly|of course|great|alright|well|hm+)\b", re.I)
SHORT = 3
"""Words of a sentence that may be an answer by itself."""


def find_text(text: str) -> Extraction:
    """Find an answer that need not be a number: what follows the last marker, or the last line."""
    found = _found(text)
    denied = denied_label(text)
    return replace(found, forms=(*found.forms, *_forms(denied))) if denied else found


def _found(text: str) -> Extraction:
    for rule, content in marked_places(text):
        forms = _forms(content)
        if forms:
            strict = rule == "hash" and in_format(text, STRICT_TEXT)
            return Extraction(normal(forms[0]), rule, strict, forms=forms)
        if rule in ("tag", "json"):
            return NOTHING
    blocks = _FENCE.findall(text)
    text = _FENCE.sub(r"\1", text) if blocks else text
    block = tuple(blocks) if len(blocks) == 1 else ()
    line = last_line(text)
    sentences = [one for one in _FIRST_SENTENCE.split(line) if one.strip()] or [""]
    last = _NAMED.sub("", sentences[-1])
    concluded = _SO_YES_NO.search(last)
    opening = _opening_words(text)
    yes_no = opening and _YES_NO.fullmatch(opening)
    if opening and (len(last.split()) > SHORT or yes_no) and not (yes_no and concluded):
        return Extraction(normal(opening), "opening", False, forms=(opening, *block))
    forms = (line.strip(), *_forms(last), *_forms(_SO.sub("", last, count=1)))
    forms += (*_said_last(sentences), *block, *((concluded[1],) if concluded else ()))
    bullet = _BULLET.match(line)
    if bullet and len(_BULLET.findall(text)) == 1:
        forms += _forms(line[bullet.end() :])
    forms = tuple(dict.fromkeys(form for form in forms if normal(form)))
    return Extraction(normal(forms[0]), "last-line", False, forms=forms) if forms else NOTHING


def _said_last(sentences: Sequence[str]) -> tuple[str, ...]:
    """Return what the last sentence says that something is, or the one that it explains.

    `The capital of France is Paris. It lies on the Seine.`
    """
    for sentence in reversed(sentences):
        unsure = _UNSURE.search(_RELATIVE.sub(" ", sentence))
        said = None if unsure else _IS.match((_forms(sentence) or ("",))[-1])
        if said:
            return (*_forms(said[2]), *_forms(said[1]))
        if unsure or not _EXPLAINS.match(sentence):
            break
    return ()


def _forms(content: str) -> tuple[str, ...]:
    """Return a text answer as written, cut at the end of its sentence and before its reasons."""
    content = content.strip()
    named = _NAMED.match(content)
    found: list[str] = []
    for text in (content, content[named.end() :]) if named else (content,):
        sentence = _FIRST_SENTENCE.split(text, maxsplit=1)[0]
        yes_no = _YES_NO.match(sentence.strip(" *_"))
        found += (text, sentence, _BECAUSE.split(sentence, maxsplit=1)[0])
        found += (yes_no[1],) if yes_no else ()
    return tuple(dict.fromkeys(form for form in found if normal(form)))


def _opening_words(text: str) -> str | None:
    """Return a first sentence of a few words that is neither a greeting nor taken back."""
    line = _NAMED.sub("", first_line(text[:REACH]).strip(" *_"))
    form = _forms(line)[-1:]
    sentence = form[0] if form and len(form[0]) < len(_NAMED.sub("", text.strip())) else ""
    short = 0 < len(sentence.split()) <= SHORT and not sentence.endswith(":")
    asked = line.startswith("?", len(sentence))
    rest = text.find(sentence) + len(sentence)
    taken_back = asked or _GREETING.match(sentence) or RETRACTED.search(text, rest)
    return sentence if short and not taken_back else None


def normal(text: str) -> str:
    """Write a text answer in its comparable form."""
    text = (
        unicodedata.normalize("NFC", TEXT_OFF.sub(r"\1", text)).translate(numbers.ASCII).casefold()
    )
    text = text.replace(",", " ").replace(";", " ")
    return " ".join(text.split()).strip(" .:!?*_`\"'“”()[]{}$\\")


_FORMULA = re.compile(r"[\\^_=√π()\[\]{}<>+*/-]")
_SPACING = re.compile(r"\\(?:left|right|displaystyle)(?![a-z])|\\[,;:! ]|[\s$~]")
_TIDIED = (
    (re.compile(r"\\[dtc]frac"), r"\\frac"),
    (re.compile(r"([_^])\{(\w)\}"), r"\1\2"),
    (re.compile(r"\\sqrt(\w)"), r"\\sqrt{\1}"),
    (re.compile(r"^\(?[a-z](?:\\in|=)"), ""),
)


def same_text(found: str, gold: str) -> bool:
    """Whether two texts are the same answer, but for case, spacing and enclosing punctuation.

    Formulas are compared without spaces and in one spelling of LaTeX; brackets are part of an
    interval, a point or a set, so where both sides have them they must be the same.
    """
    if _FORMULA.search(gold):
        a, b = _formula(found), _formula(gold)
        if a == b:
            return bool(a)
        if _brackets(a) and _brackets(b):
            return False
    return normal(found) == normal(gold) != ""


def _formula(text: str) -> str:
    text = numbers.ascii_digits(TEXT_OFF.sub(r"\1", text).replace("π", "\\pi"))
    text = _SPACING.sub("", text).casefold().strip(".")
    for pattern, replacement in _TIDIED:
        text = pattern.sub(replacement, text)
    return text.replace(numbers.THIN, "")


def _brackets(text: str) -> bool:
    return text[:1] in ("(", "[", "\\") and text[-1:] in (")", "]", "}")
