"""The option letter that a text chooses, of those that the options of a task have."""

from __future__ import annotations

import re

from finetrap.text.numbers import ASCII
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
    r"(?:[\s*_\"'“”`:(\[{$\\]|(?:text\w{0,3}|math\w{2}|rm|bf|option|choice|letter|answer|the|is"
    r"|definitely|clearly|therefore|thus|hence|then|probably|most likely|indeed|correct|one)\b)*",
    re.IGNORECASE,
)
_AFTER_LETTER = (
    r"(?=\\?[)\].:,;!?*_}$\"'”`]|\s*$|\s*[-–—\n(/&]"
    r"|\s+(?:because|since|as|is|and|or|due|for|which|\d|\\))"
)
_CHOSEN = (
    r"\b(?:choose|select|pick|go with|answer with)\b",
    r"(?:\b(?:is|are|must be|has to be|should be|seems?(?: to be)?|appears(?: to be)?|looks)"
    r" (?:the )?(?:correct|right|best|true)|\b(?:makes the most sense|fits best|works best))\b"
    r"(?!,? but (?:it )?(?:is|does)(?: not|n['’]t))",
)
_NAMED = r"(?:答案(?:选|選)?|选择?|選擇?)[是为為]?[ :*(]{0,4}"
_TAKES_BACK = (
    r"(?:no\b(?=[,.:!])|(?:wait|hm+|actually|correction|sorry|on second thought)\b)[\s,.:;!—-]{0,4}"
)
_IT_IS = (
    r"(?:(?:it|that)['’]s|it|that|the|correct|right|answer|option|choice|is|should|must|be|i|mean|meant"
    r"|choose|pick)\b[\s,:]{0,3}"
)
_CLAIM_END = re.compile(r"(?<=\?)(?=\s|$)|[.!\n](?=\s|$)|\n")
_ASKS = re.compile(
    r"\W*(?:(?:is|are|was|could|would|can|might|does|do|did|should|what|which|why|how|who)\b)"
    r"[^?]*\?",
    re.IGNORECASE,
)


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
    text = TEXT_OFF.sub(r"\1", text.translate(ASCII))
    text = called_wrong.sub("", text)
    instead = _instead(text, letters)
    if instead:
        return find_letter(instead, letters)
    for rule, content in marked_places(text):
        found = _leading(content, letters, sure=True)
        if found:
            strict = rule == "hash" and in_format(text, STRICT_TEXT)
            return Extraction(found, rule, strict)
        if rule in ("tag", "json"):
            return NOTHING
    for rule, find in (
        ("is-correct", _said_option),
        ("is-correct", _only_true),
        ("opening", _opening),
        ("last-letter", _last_one),
    ):
        found = find(text, letters)
        if found:
            return Extraction(found, rule, False)
    return NOTHING


def _instead(text: str, letters: str) -> str | None:
    """Return the text from a letter that replaces another: `The answer is B. No, D.`"""
    end = rf"\W*$|[.;!]|,(?! *(?:and\b|or\b|[{letters}]\b))|\s+(?:because|since)\b"
    again = re.compile(
        rf"(?<=[.!?\n]) *{_TAKES_BACK}(?:{_TAKES_BACK}|{_IT_IS}){{0,9}}"
        rf"(?P<letter>[*_(]{{0,4}}[{letters}](?![\w'])(?=[)*_]{{0,4}}"
        rf"(?:{end}|\s+is (?:the )?(?:correct|right|best)\b)))",
        re.IGNORECASE | re.MULTILINE,
    )
    found = [m for m in again.finditer(text) if m["letter"][-1].isupper()]
    return text[found[-1].start("letter") :] if found else None


def _only_true(text: str, letters: str) -> str | None:
    """Return the one option that is called true where each has a line: `A: false\nB: true`."""
    line = re.compile(
        rf"^[ *_(]{{0,9}}([{letters}])[).:*_]{{0,5}}[ :–—-]{{0,4}}(?:is )?"
        r"(?:(true|correct|right|yes)"
        r"|false|incorrect|wrong|no)[.!*_ ]{0,9}$",
        re.IGNORECASE | re.MULTILINE,
    )
    said = line.findall(text)
    true = [letter.upper() for letter, verdict in said if verdict]
    return true[0] if len(said) > 1 and len(true) == 1 else None


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
    patterns = (
        rf"{_CHOSEN[0]} (?:with )?{options}(?!\w)",
        rf"(?<!\w){options} {_CHOSEN[1]}",
        rf"{_NAMED}{options}(?!\w)",
    )
    joined = re.compile(rf"\b[{letters}][)\]*]{{0,3}},? (?:and|or|&) ?$")
    found = [
        m
        for p in patterns
        for m in re.finditer(p, text)
        if not joined.search(text, max(0, m.start() - 12), m.start())
        and not _DOUBTS_BEFORE.search(text[max(0, m.start() - 60) : m.start()])
    ]
    return max(found, key=lambda m: m.start())[1] if found else None


def _opening(text: str, letters: str) -> str | None:
    """Return the letter that opens the text, unless the text lists the options again."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    small = letters.lower()
    listed = re.compile(rf"[\s*_]*\(?(?:([{letters}])[).:]|([{small}])\))[*_]*\s")
    found = [(m[1] or m[2]).upper() for line in lines[:30] for m in [listed.match(line)] if m]
    either = rf"[{letters}](?=[).:])|[{small}](?=\))"
    in_line = set(re.findall(rf"(?<!\w)\(?({either})[).:][ ]*\S", lines[0][:REACH]))
    if (len(set(found)) > 1 and found[0] != found[-1]) or len(in_line) > 2:
        return None
    alone = rf"\W*(?:(?:option|choice)\W+)?\w\W*\Z|[\s*_]*[{small}]\)\s"
    sure = re.match(alone, text, re.IGNORECASE) is not None
    bare = re.compile(
        rf"[\s*_(\[`]*(?:[{letters}](?:[)\].:,*_`]|\s*$|\s+[-–—(]|\s+(?:because|since)\b)"
        rf"|[{small}]\)\s)"
    )
    start = _leading(lines[0], letters, sure=sure)
    opens = sure or bare.match(lines[0])
    return start if start and opens and not RETRACTED.search(text) else None


def _last_one(text: str, letters: str) -> str | None:
    """Return the only letter of the last sentence that holds one and denies none."""
    token = re.compile(
        rf"(?<![\w'’-])(?:[(\[]([{letters}])[)\]]|([{letters}])"
        rf"(?=[.,;:!?*)`]|\s*$|\s+(?:is|are|or|and|nor|does|works|makes|must|seems)\b|\s+isn['’]t|\s*[/&]\s*[{letters}]\b))"
    )
    lines = [line for line in text.splitlines() if line.strip()]
    listed = re.compile(rf"[\s*_]*\(?[{letters}][).:][*_]*\s")
    if sum(bool(listed.match(line)) for line in lines) > 1:
        lines = [line for line in lines if not listed.match(line)]
    for line in reversed(lines[-LOOK_BACK:]):
        for sentence in reversed(_CLAIM_END.split(_unlisted(line[-REACH:], letters))):
            if _ASKS.match(sentence):
                continue
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
    r"[)*]{0,3}\s+(?:(?:is|does|do|can|would)(?: not|n['’]t)\b"
    r"|is (?:(?:the |an? )?(?:incorrect|wrong|false)|out|impossible|a (?:\w+ )?distractor)"
    r"|is (?:true|correct|right),? but )",
)
_DOUBTS_BEFORE = re.compile(
    r"(?:\b(?:whether|if|unless|except(?: for)?|other than|apart from|all but)"
    r"|(?:\bnot|n['’]t) (?:think|believe|say)\b[^.!?;,\n]{0,20}) [*(]{0,3}$",
    re.IGNORECASE,
)


_RULED_OUT = re.compile(
    r"\b(?:rul\w{1,4} out|(?<!\b[Bb]y )(?<! of )eliminat\w{1,3}|exclud\w{1,3}|reject\w{0,3}"
    r"|discard\w{0,3}|cross\w{0,3} out)\b"
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
        named
        or _DENIES_BEFORE.search(before)
        or _DOUBTS_BEFORE.search(before)
        or _DENIES_AFTER.match(sentence, match.end())
    )
