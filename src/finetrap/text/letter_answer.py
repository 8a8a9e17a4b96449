"""The option letter that a text chooses, of those that the options of a task have."""

from __future__ import annotations

import re

from finetrap.text.places import (
    LOOK_BACK,
    NOTHING,
    REACH,
    RETRACTED,
    STRICT_TEXT,
    TEXT_OFF,
    Extraction,
    in_format,
    marked_places,
)

_FILLER = re.compile(
    r"(?:[\s*_\"'“”:(\[{$\\]|(?:text\w{0,3}|math\w{2}|option|choice|letter|answer|the|is|definitely"
    r"|clearly|therefore|probably|most likely|indeed|correct|one)\b)*",
    re.IGNORECASE,
)
_AFTER_LETTER = (
    r"(?=[)\].:,;!?*_}$\"'”]|\s*$|\s*[-–—\n(/&]"
    r"|\s+(?:because|since|as|is|and|or|due|for|which|\d|\\))"
)
_CHOSEN = (
    r"\b(?:choose|select|pick|go with|answer with)\b",
    r"\b(?:is|are) (?:the )?(?:correct|right|best|true)\b",
)
_CLAIM_END = re.compile(r"[.!?\n](?=\s|$)|\n")


def letters_up_to(golds: str) -> str:
    """Return the letters that options have, given the letters of some right answers.

    From A to the highest (at least E) where they may be the usual ones, else just themselves.
    """
    if all("A" <= letter <= "J" for letter in golds):
        return "ABCDEFGHIJ"[: max(5, 1 + max((ord(c) - 65 for c in golds), default=0))]
    return "".join(sorted(set(golds)))


def find_letter(text: str, letters: str) -> Extraction:
    """Find the option letter that a text chooses, of those that options have."""
    called_wrong = re.compile(
        rf"(?:\b[{letters}]\b[)*]*(?:, (?:and )?| and | or )){{1,8}}[({{*]*[{letters}]\b[)*]* "
        r"(?:are|can be|were) (?:all )?(?:wrong|incorrect|false|eliminated|excluded|ruled out)"
    )
    text = called_wrong.sub("", TEXT_OFF.sub(r"\1", text))
    for rule, content in marked_places(text):
        found = _leading(content, letters, sure=True)
        if found:
            strict = rule == "hash" and in_format(text, STRICT_TEXT)
            return Extraction(found, rule, strict)
        if rule in ("tag", "json"):
            return NOTHING
    for rule, find in (
        ("is-correct", _said_option),
        ("opening", _opening),
        ("last-letter", _last_one),
    ):
        found = find(text, letters)
        if found:
            return Extraction(found, rule, False)
    return NOTHING


def _leading(content: str, letters: str, *, sure: bool = False) -> str | None:
    """Return the letter that opens a text; "A or B" as it stands, which is no letter.

    After a mark (`sure`) a letter alone may be small.
    """
    start = _FILLER.match(content)
    at = start.end() if start else 0
    bracketed = content[max(0, at - 1) : at] in ("(", "[", "{")
    match = re.compile(rf"([{letters}]){_AFTER_LETTER}").match(content, at)
    if match is None and (bracketed or sure):
        small = re.compile(rf"([{letters.lower()}])[)\]}}.:*$\s]*$|([{letters.lower()}])[)\]]")
        match = small.match(content, at)
    if match is None:
        return None
    other = re.compile(
        rf"[)\]*_]{{0,4}}\s*(?:and|or|/|&|,(?=\s*[(]?[{letters}][)\].]?(?:$|[,.]| and| or)))\s*"
        rf"(?:\(?[{letters}])\b"
    ).match(content, match.end())
    return content[at : other.end()] if other else (match[0][0]).upper()


def _said_option(text: str, letters: str) -> str | None:
    """Return the option that is said to be chosen or right, the last such."""
    options = rf"(?:option |choice |answer )?[*_(\[]{{0,4}}([{letters}])[*_)\]]{{0,4}}"
    patterns = (rf"{_CHOSEN[0]} (?:with )?{options}(?!\w)", rf"(?<!\w){options} {_CHOSEN[1]}")
    joined = re.compile(rf"\b[{letters}][)\]*]{{0,3}},? (?:and|or|&) ?$")
    found = [
        m
        for p in patterns
        for m in re.finditer(p, text)
        if not joined.search(text, max(0, m.start() - 12), m.start())
    ]
    return max(found, key=lambda m: m.start())[1] if found else None


def _opening(text: str, letters: str) -> str | None:
    """Return the letter that opens the text, unless the text lists the options again."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    listed = re.compile(rf"[\s*_]*\(?([{letters}])[).:][*_]*\s")
    found = [m[1] for line in lines[:30] for m in [listed.match(line)] if m]
    in_line = set(re.findall(rf"(?<!\w)\(?([{letters}])[).:][ ]*\S", lines[0][:REACH]))
    if (len(set(found)) > 1 and found[0] != found[-1]) or len(in_line) > 2:
        return None
    sure = re.fullmatch(r"\W*(?:(?:option|choice)\W+)?\w\W*", text, re.IGNORECASE) is not None
    start = _leading(lines[0], letters, sure=sure)
    bare = re.compile(rf"[\s*_(\[]*[{letters}](?:[)\].:,*_]|\s*$|\s+[-–—(])")
    alone = sure or bare.match(lines[0])
    return start if start and alone and not RETRACTED.search(text) else None


def _last_one(text: str, letters: str) -> str | None:
    """Return the only letter of the last sentence that holds one and denies none."""
    token = re.compile(
        rf"(?<![\w'’-])(?:[(\[]([{letters}])[)\]]|([{letters}])"
        rf"(?=[.,;:!?*)]|\s*$|\s+(?:is|are|or|and|nor)\b|\s+isn['’]t|\s*[/&]\s*[{letters}]\b))"
    )
    lines = [line for line in text.splitlines() if line.strip()]
    listed = re.compile(rf"[\s*_]*\(?[{letters}][).:][*_]*\s")
    if sum(bool(listed.match(line)) for line in lines) > 1:
        lines = [line for line in lines if not listed.match(line)]
    for line in reversed(lines[-LOOK_BACK:]):
        for sentence in reversed(_CLAIM_END.split(_unlisted(line[-REACH:], letters))):
            sentence = _RULED_OUT.sub(" ", sentence)
            spots = [m for m in token.finditer(sentence) if not _letter_denied(sentence, m)]
            found = {m[1] or m[2] for m in spots}
            if len(found) == 1:
                return found.pop()
            if found:
                return None
    return None


def _unlisted(line: str, letters: str) -> str:
    """Return a line without the letters of a list of options in it: "A. 1 B. 2 C. 3"."""
    spots = list(re.finditer(rf"(?<![\w'’-])\(?([{letters}])[).:][ ]*(?=\S)", line))
    begin = next((n for n, spot in enumerate(spots) if spot[1] == letters[0]), len(spots))
    listed = [
        spot for spot, letter in zip(spots[begin:], letters, strict=False) if spot[1] == letter
    ]
    if len(listed) < min(3, len(letters)) or listed != spots[begin : begin + len(listed)]:
        return line
    for spot in reversed(listed):
        line = f"{line[: spot.start()]}; {line[spot.end() :]}"
    return line


_DENIES_BEFORE = re.compile(
    r"(?:\bnot|n['’]t|\bnor|\bneither|\bcannot|\bexcept|\bthan)(?: be)?(?: option)? [*(]{0,3}$",
    re.IGNORECASE,
)
_DENIES_AFTER = re.compile(
    r"[)*]{0,3}\s+(?:is not|isn['’]t|is (?:incorrect|wrong|false|out|impossible"
    r"|a (?:\w+ )?distractor))",
)


_RULED_OUT = re.compile(
    r"\b(?:rul\w{1,4} out|eliminat\w{1,3}|exclud\w{1,3}|reject\w{0,3}|discard\w{0,3}"
    r"|cross\w{0,3} out)\b"
    r"(?:(?!\b(?:leav|so|thus|therefore|hence|but|choose|pick|select)).){1,200}",
    re.IGNORECASE,
)
"""What is said not to be the answer, up to what is left."""
_NAME_BEFORE = re.compile(
    r"\b(?:is|are|was|be|an?|the|of|in|on|has|have|gets?|takes?|called) "
    r"(?!(?:options?|choices?|letters?|answers?|either|not|just|only|still|always|indeed"
    r"|\w{1,20}ly)\b)[a-z]{3,20} $"
)
"""What makes a letter part of a name: `it is vitamin C`."""


def _letter_denied(sentence: str, match: re.Match[str]) -> bool:
    before = sentence[max(0, match.start() - 30) : match.start()]
    named = not match[1] and _NAME_BEFORE.search(before)
    return bool(
        named or _DENIES_BEFORE.search(before) or _DENIES_AFTER.match(sentence, match.end())
    )
