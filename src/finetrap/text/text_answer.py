"""An answer that is neither a number nor an option letter: a word, a label, a list, a formula."""

from __future__ import annotations

import re
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

_FIRST_SENTENCE = re.compile(r"[.!?;](?=\s|$)")
_BECAUSE = re.compile(
    r"[,;:]? (?:because|since|due to)\b|, (?:as|so|which|for|given|but)\b"
    r"|[ ]\((?=[^()]*(?:[a-z]{3}|\d{4}))[^()\\]*\)[ .]*$"
    r"|\s[–—]\s|\s-\s(?=[a-z]{3})",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"(yes|no|true|false)(?=,|$)", re.IGNORECASE)
_SO = re.compile(r"(?:so|therefore|thus|hence|then|it is|it['’]s)\b,?\s*", re.IGNORECASE)
_IS = re.compile(r".*\b(?:is|are|was|were|equals)(?: the)? (.+)", re.IGNORECASE)
_UNSURE = re.compile(
    r"\b(?:not|never|neither|whether|if|may(?:be)?|perhaps|might|could|can|who|what|which|where|how)\b"
    r"|n['’]t\b|\?",
    re.IGNORECASE,
)
"""What makes `… is Paris` no statement that it is."""
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
    line = last_line(text)
    last = next((s for s in reversed(_FIRST_SENTENCE.split(line)) if s.strip()), "")
    opening = _opening_words(text)
    if opening and (len(last.split()) > SHORT or _YES_NO.fullmatch(opening)):
        return Extraction(normal(opening), "opening", False, forms=(opening,))
    stated = None if _UNSURE.search(last) else _IS.match((_forms(last) or ("",))[-1])
    forms = (line.strip(), *_forms(last), *_forms(_SO.sub("", last, count=1)))
    forms += _forms(stated[1]) if stated else ()
    forms = tuple(dict.fromkeys(form for form in forms if normal(form)))
    return Extraction(normal(forms[0]), "last-line", False, forms=forms) if forms else NOTHING


def _forms(content: str) -> tuple[str, ...]:
    """Return a text answer as written, cut at the end of its sentence and before its reasons."""
    content = content.strip()
    sentence = _FIRST_SENTENCE.split(content, maxsplit=1)[0]
    cuts = (content, sentence, _BECAUSE.split(sentence, maxsplit=1)[0])
    yes_no = _YES_NO.match(sentence.strip(" *_"))
    found = (*cuts, yes_no[1]) if yes_no else cuts
    return tuple(dict.fromkeys(form for form in found if normal(form)))


def _opening_words(text: str) -> str | None:
    """Return a first sentence of a few words that is neither a greeting nor taken back."""
    line = first_line(text[:REACH]).strip(" *_")
    form = _forms(line)[-1:]
    sentence = form[0] if form and len(form[0]) < len(text.strip()) else ""
    short = 0 < len(sentence.split()) <= SHORT and not sentence.endswith(":")
    asked = line.startswith("?", len(sentence))
    taken_back = asked or _GREETING.match(sentence) or RETRACTED.search(text)
    return sentence if short and not taken_back else None


def normal(text: str) -> str:
    """Write a text answer in its comparable form."""
    text = TEXT_OFF.sub(r"\1", text).translate(numbers.ASCII).casefold()
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
