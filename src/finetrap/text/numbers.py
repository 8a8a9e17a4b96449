"""Numbers as models and people write them, read and compared exactly.

Every pattern runs in time linear in the text, and no value is ever expanded: `1e999999999` is read
and compared like any other number.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from decimal import Context, Decimal, InvalidOperation

Ratio = tuple[Decimal, Decimal]
"""Numerator and denominator; the denominator of a number that is no fraction is 1."""

LONGEST_TERM = 60
"""Digits in a numerator or denominator beyond which two fractions are not compared."""
_EXACT = Context(prec=4 * LONGEST_TERM)

THIN = "\u2009"
"""What every narrow space is read as: between digits it separates thousands or a fraction."""
_VULGAR = {
    sign: unicodedata.normalize("NFKC", sign).replace("\u2044", "/") for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
ASCII = str.maketrans(
    {
        **{chr(0xFF01 + i): chr(0x21 + i) for i in range(94)},  # full-width forms
        **dict.fromkeys("\u2212\ufe63\u2010\u2011\u2012\u2013", "-"),
        **dict.fromkeys("\u00a0\u2007\u2008\u202f\u3000", THIN),
        **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"),  # no width: left out
        **{sign: THIN + fraction for sign, fraction in _VULGAR.items()},
        "⁄": "/",
        "’": "'",
        "≈": "=",
        "。": ". ",
    }
)
"""Digits, signs and spaces of other scripts; for str.translate."""

_TERM = r"\d|\{[^{}]*\}"
"""A digit or braces, as LaTeX takes the numerator and the denominator of `\\frac`."""
_SIGNED = re.compile(r"[{ ]*(-?)[ ]?(\d[\d.,]*)[ }]*")


def _fraction(match: re.Match[str]) -> str:
    """Write `\\frac{-3}{4}` as -3/4; one whose terms are no plain numbers stays as it is."""
    top, bottom = _SIGNED.fullmatch(match[2]), _SIGNED.fullmatch(match[3])
    if top is None or bottom is None:
        return match[0]
    sign = match[1]
    if bool(top[1]) != bool(bottom[1]):
        sign = "+" if sign else THIN + "-"
    return f"{sign}{THIN}{top[2]}/{bottom[2]}"


def _power(match: re.Match[str]) -> str:
    """Write 2^{10} as 1024; one of more than 30 digits stays as it is."""
    base, exponent = int(match[1]), int(match[2] or match[3])
    return str(base**exponent) if len(match[1]) * exponent <= 30 else match[0]


def _raised(match: re.Match[str]) -> str:
    """Write the exponent of 10⁶ as ^6."""
    return "^" + match[0].translate(_RAISED)


def _with_cents(match: re.Match[str]) -> str:
    """Write `5 dollars and 5 cents` as 5.05."""
    return f"{(match[1] or match[2]).rstrip(',')}.{int(match[3]):02}"


def _with_minutes(match: re.Match[str]) -> str:
    """Write `2 hours and 30 minutes` as 2 30/60 hours."""
    parts = 12 if match[3] else 60
    whole = match.string[: match.start()][-1:] not in (*"0123456789.,/",)
    fits = whole and int(match[4]) < parts
    return f"{match[1]} {match[4]}/{parts} " if fits else match[0]


def _and_part(match: re.Match[str]) -> str:
    """Write `2 and three quarters` as 2 3/4."""
    return " " + _AND_PARTS[(match[1] or match[2] or "three").casefold()]


_AND_PARTS = {"half": "1/2", "quarter": "1/4", "two": "2/3", "three": "3/4"}


def _decimal(match: re.Match[str]) -> str:
    """Write 1.250,75 as 1250.75."""
    return match[0].replace(".", "").replace(",", ".")


def _hour(match: re.Match[str]) -> str:
    """Read 5:00 as 5; any other time of day is no number."""
    return match[1] if match[0].endswith(":00") else "…"


Replacement = str | Callable[[re.Match[str]], str]
MARKUP: tuple[tuple[str, re.Pattern[str], Replacement], ...] = (
    # GSM8K's calculator annotations
    ("<<", re.compile(r"<<[^<>]*>>(?=[-$]*[\d.])"), ""),
    ("{,}", re.compile(r"(?<=\d)\{,\}(?=\d)"), ","),
    ("\\", re.compile(r"\\([$%#&_])"), r"\1"),
    ("\\", re.compile(r"(?<=\d),?\\[,;:! ][ ]?(?=\d)"), ","),
    ("\\", re.compile(r"(?<=\d)\\[,;:! ](?=\\[dtc]?frac)"), ""),
    ("'", re.compile(r"(?<=\d)'(?=\d{3}(?!\d))"), ","),
    ("~~", re.compile(r"~~[^~\n]{1,60}~~"), ""),
    # points between thousands, and the decimal comma that follows them, a currency or a language
    (
        ".",
        re.compile(r"(?<![\d.,])\d{1,3}(?:(?:\.\d{3}){1,5},\d{1,2}|(?:\.\d{3}){2,5})(?![.,]?\d)"),
        _decimal,
    ),
    (
        ",",
        re.compile(
            r"(?<![\d.,])\d{1,9},\d{2}(?=[ \u2009]?(?:€|EUR\b|euros?\b))"
            r"|(?:€[ \u2009]?|\b(?:respuesta(?: final)? es|réponse(?: finale)? est"
            r"|antwort (?:ist|lautet)|risposta è|resposta é)[ *_:]{1,6})\d{1,9},\d{1,2}(?![.,]?\d)",
            re.IGNORECASE,
        ),
        _decimal,
    ),
    (
        " cent",
        re.compile(
            r"(?:\$(\d[\d,]{0,20})|(?<![\d.,$])(\d[\d,]{0,20}) (?:dollars?|euros?))(?: and|,)?"
            r" (\d{1,2}) cents?\b"
        ),
        _with_cents,
    ),
    (
        "in",
        re.compile(
            r"(\d{1,6}) (?:(h)(?:ou)?rs?|(f)(?:ee|oo)?t|min(?:ute)?s?),?(?: and)?"
            r" (\d{1,2}) (?(2)min(?:ute)?s?|(?(3)in(?:ch(?:es)?)?|sec(?:ond)?s?))\b"
        ),
        _with_minutes,
    ),
    (
        " and ",
        re.compile(
            r"(?<=\d) and (?:(?:a|one)[ -](half|quarter)|(two)[ -]thirds|three[ -]quarters)\b",
            re.IGNORECASE,
        ),
        _and_part,
    ),
    ("\\", re.compile(r"\\(?:text\w{0,6}|math\w{1,6}|mbox) ?\{([^{}]*)\}"), r"\1"),
    ("frac", re.compile(rf"(-?)[ ]?\\[dtc]?frac ?({_TERM}) ?({_TERM})"), _fraction),
    ("(-", re.compile(r"\((-\d{1,30}(?:\.\d{1,30})?)\)(?=[ ]?/)"), r"\1"),
    ("\\", re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "*"),
    ("", re.compile(r"(?<=\d)[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3}"), _raised),
    ("**", re.compile(r"(?<![\w.*])(\d{1,9})\*\*(?=\d{1,3}(?![\d*]))"), r"\1^"),
    (
        "^",
        re.compile(r"(?<![\w.*×·^])(?<![*×·x] )(\d{1,9})\^(?:(\d{1,3})(?!\d)|\{(\d{1,3})\})"),
        _power,
    ),
    ("\\", re.compile(r"(?<=\d)[ ]?(?:\^[ ]?\{?[ ]?\\circ\b[ ]?\}?|\\degrees?\b)"), " "),
    ("°", re.compile(r"(?<=\d)[ ]?°"), " "),
    # the exponent of a unit or of a variable: cm^{2}, s^{-1}
    ("^", re.compile(r"(?<=[A-Za-z])[ ]?\^\{[ ]?(?:(\d{1,2})|-\d{1,2})[ ]?\}"), r"^\1"),
    ("", re.compile(r"[23](?<=(?:[ \dckdm]m|ft|in|mi|yd|/s)[23])(?![\w.,]*\w)"), ""),
    ("O", re.compile(r"[234](?<=(?:CO|NO|SO|[ ]O)[234])(?!\w)"), ""),
    ("H", re.compile(r"[234](?<=(?:[ ]H|CH|NH)[234])(?!\d)"), ""),
    # the time of day: 5:00 is 5, 5:30 is no number
    (":", re.compile(r"(?<![\d:.])(\d{1,2}):(?:00|[0-5]\d)(?![\d:.]*\d)"), _hour),
    # the number of a step, and of an item that was begun and not written
    ("tep ", re.compile(r"^[#*_ ]*Step \d{1,2}\b", re.IGNORECASE | re.MULTILINE), "Step"),
    ("\\approx", re.compile(r"\\approx\b"), "="),
    ("negative ", re.compile(r"\bnegative (?=\$?\d)"), "-"),
    (
        "minus ",
        re.compile(r"(?:\A|(?<=[#:*] )|(?<=\bwas )|(?<=\b(?:is|to|at|of) ))minus (?=\$?\d)"),
        "-",
    ),
    # a sign apart from its digits, where a number must begin
    (
        "- ",
        re.compile(
            r"-[ ](?:(?<=[=({]-[ ])|(?<=[=({][ ]-[ ])|(?<=:[ ]-[ ])|(?<=####-[ ])|(?<=####[ ]-[ ])"
            r"|(?<=\bis[ ]-[ ])|(?<=\bare[ ]-[ ])|(?<=\bwas[ ]-[ ]))"
        ),
        "-",
    ),
)
"""What markup needs to be there at all, what it looks like, and what it is read as, in order."""

_DIGIT = re.compile(r"\d")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_UNDER_20 = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_WORTH = dict(zip((*_UNDER_20, *_TENS), (*range(20), *range(20, 100, 10)), strict=True))
_SPELLED = rf"(?:{'|'.join(sorted(_WORTH, reverse=True))})"
_PARTS = {"hal": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "eighth": 8, "tenth": 10}
_PART_IN_WORDS = re.compile(
    rf"(?<![\w-])({'|'.join(_UNDER_20[1:10])}|a(?=[ ]half))[ -]"
    r"(?:(hal)(?:f|ves)|(third|quarter|fourth|fifth|eighth|tenth)s?)(?![\w-])",
    re.IGNORECASE,
)


def _spelled_part(match: re.Match[str]) -> str:
    """Write `two thirds` as 2/3."""
    part = _PARTS[(match[2] or match[3]).casefold()]
    return f"{_WORTH.get(match[1].casefold(), 1)}/{part}"


_ONE = re.compile(
    r"(?:\b(?:is|are|was|there['’]s|has|have|leaves)(?: only| just| exactly)?|[:={>]|####)"
    r"[ *_\"]*\Z",
    re.IGNORECASE,
)
_WORDS = (
    rf"(?:{_SPELLED}|(?<!half )a(?=[ ](?:hundred|thousand|million|dozen)))"
    rf"(?:(?:-|[ ](?:and[ ])?)(?:{_SPELLED}|hundred|thousand)){{0,8}}(?![\w-])"
)
_IN_WORDS = re.compile(rf"(?<![\w-]){_WORDS}", re.IGNORECASE)
_HALF_A = re.compile(r"\bhalf an? (?=(?:dozen|hundred|thousand|million|billion)\b)", re.IGNORECASE)
_NONE = re.compile(
    r"\b((?:there (?:are|is|were|will be)|has|have|had|leaves) )none"
    r"(?=(?: left| remaining)?[.!\s]*\Z)",
    re.IGNORECASE,
)
_MARKED_WORDS = re.compile(
    r"((?:####|\\(?:boxed|fbox)\{|<(?:final[_ -]?)?(?:answer|ans|result|solution)>"
    r"|\b(?:answers?|ans)\b[\"' *_]{0,4}(?:is\b|are\b|was\b|[:=]))[\s*_\"'$({]{0,6}(?:\\text\{)?)"
    rf"({_WORDS}(?:[ ]and[ ](?:a|one)[ -](?:half|quarter))?)"
    r"(?=(?:[ ](?!of\b|more\b|less\b|times\b)[A-Za-z]{1,20}){0,2}[ *_$)}\"']*(?:[.!,;<}\n]|\Z))",
    re.IGNORECASE,
)
"""A number in words that a mark calls the answer, in a text that has digits elsewhere."""


_GOES_ON = re.compile(r" and (?:1/|a quarter)| (?:dozen|million|billion|trillion)\b", re.IGNORECASE)


def _out_of_words(text: str) -> str:
    """Write the numbers in words of a text that has no digits in digits."""
    text = _PART_IN_WORDS.sub(_spelled_part, _HALF_A.sub("1/2 ", text))
    return _IN_WORDS.sub(_spelled_number, text)


def _spelled_number(match: re.Match[str]) -> str:
    """Write a spelled number in digits, unless it is the pronoun one."""
    whole = part = 0
    before = match.string[max(0, match.start() - 20) : match.start()]
    alone = match.string[:20].strip(" \n.*_").casefold() == "one"
    mixed = _GOES_ON.match(match.string, match.end())
    if match[0].casefold() == "one" and not (alone or mixed or _ONE.search(before)):
        return match[0]
    for word in re.split(r"[ -](?:and )?", match[0].casefold()):
        if word == "thousand":
            whole, part = whole + 1000 * part, 0
        elif word == "hundred":
            part *= 100
        else:
            part += _WORTH.get(word, 1)
    return str(whole + part)


_APART = re.compile(r"\A(?:\+[ ]?|(-)[ ])")
_SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "k": 10**3,
    "m": 10**6,
    "million": 10**6,
    "billion": 10**9,
    "bn": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "lakh": 10**5,
    "crore": 10**7,
}
_WORD = "(?:hundred|thousand|million|billion|trillion|dozen|lakh|crore)s?"
_SCALED = re.compile(rf"(?:[ \u2009-]{{1,3}}{_WORD}(?:[ ]{_WORD})?|k|bn|(?-i:M))\b", re.IGNORECASE)

NUMBER = re.compile(
    r"""
    (?=[-$€£¥\d.\u2009])                                    # what one begins with; for speed
    (?<![\d^])                                              # an exponent is not an answer
    (?P<sign>(?<![^\W_])(?<![)\]}%])-(?=[$€£¥\d.\u2009]))?  # 10-18 ends in 18, not in -18
    (?:[$€£¥][ ]?)?\u2009?
    (?:
        (?P<whole>\d{1,9})(?:[ \u2009]{1,2}|[ ]and[ ])(?P<top>\d{1,9})/(?P<bottom>\d{1,9})(?![\d/])
      | (?P<figure>
            (?:
                \d{1,3}(?:,\d{2,3}){0,16},\d{3}(?!\d)
              | \d{1,3}(?:\u2009\d{3}){1,16}(?!\d)
              | \d+
            )(?:\.\d+)?
          | (?<![\d.])\.\d+
        )
        (?:
            [eE](?P<exponent>[+-]?\d+)(?![^\W_])
          | [ ]?[*×x][ ]?10\^\{?(?P<power>[+-]?\d+)\}?
          | [ ]?/[ ]?(?P<over>\d+(?:\.\d+)?)(?![\d/])
        )?
    )
    """,
    re.VERBOSE,
)
"""A number in plain text. Commas count only as separators of thousands, so `3,5` is two numbers."""


def ascii_digits(text: str) -> str:
    """Write digits, signs and fractions in ASCII and take the markup off numbers."""
    text = _NONE.sub(r"\g<1>0", text.translate(ASCII))
    if _DIGIT.search(text):
        text = _MARKED_WORDS.sub(lambda match: match[1] + _out_of_words(match[2]), text)
    else:
        text = _out_of_words(text)
    for sign, pattern, replacement in MARKUP:
        if sign in text:
            text = pattern.sub(replacement, text)
    return text


_SPACED = re.compile(r"(?<![\w.,])\d{1,2}(?: \d{3}){2,4}(?![\d.,]*\d)")


def joined_thousands(text: str) -> str:
    """Write 1 234 567 as 1234567; as a text of its own it may be three numbers."""
    return _SPACED.sub(lambda match: match[0].replace(" ", ""), text)


def number_text(match: re.Match[str]) -> str:
    """Write a number without currency and separators: -1450.5, 2e3, 3/4 or 1 1/2."""
    sign = "-" if match["sign"] else ""
    if match["whole"]:
        return f"{sign}{match['whole']} {match['top']}/{match['bottom']}"
    figure = match["figure"].replace(",", "").replace(THIN, "")
    power = match["exponent"] or match["power"]
    if power:
        return f"{sign}{figure}e{power}"
    return f"{sign}{figure}" + (f"/{match['over']}" if match["over"] else "")


def value(text: str) -> Ratio | None:
    """Read a text that is nothing but one number, else None.

    Signs of currency, a percent sign, markdown emphasis and a final full stop are allowed.
    """
    bare = ascii_digits(text).strip(" \t\r\n*_`$" + THIN).removesuffix(".").rstrip("%*$ \\")
    bare = _APART.sub(r"\1", bare)
    match = NUMBER.fullmatch(bare)
    return None if match is None else _ratio(number_text(match))


def also(match: re.Match[str]) -> tuple[str, Ratio] | None:
    """Return what else a number may say and by which rule: 5 million, 7 dozen, 6 factorial.

    Whether a word of scale belongs to the number or to the question ("how many dozen?") cannot be
    told from the number, nor whether `6!` is a factorial or an exclamation.
    """
    here = _ratio(number_text(match))
    if here is None or not all(map(_is_exact, here)):
        return None
    if match.string.startswith("!", match.end()):
        top = here[0]
        whole = here[1] == 1 and 0 <= top <= 100 and top == int(top)
        return ("factorial", (Decimal(math.factorial(int(top))), Decimal(1))) if whole else None
    scale = 1
    words = _SCALED.match(match.string, match.end())
    for word in words[0].replace("-", " ").split() if words else ():
        scale *= _SCALES[word.removesuffix("s").casefold()]
    return ("scaled", (_EXACT.multiply(here[0], Decimal(scale)), here[1])) if scale > 1 else None


def equal(a: Ratio, b: Ratio) -> bool:
    """Compare two numbers exactly; without multiplying unless one of them is a fraction."""
    if a[1] == b[1]:
        return a[0] == b[0]
    if not all(map(_is_exact, (*a, *b))):
        return False
    return _EXACT.multiply(a[0], b[1]) == _EXACT.multiply(b[0], a[1])


def _ratio(text: str) -> Ratio | None:
    """Return the value of a written number; None for one that has none, such as 1/0."""
    whole, _, rest = text.rpartition(" ")
    top, _, bottom = rest.partition("/")
    try:
        upper, lower = Decimal(top), Decimal(bottom or 1)
    except InvalidOperation:  # an exponent too large even for Decimal
        return None
    if not lower:
        return None
    if whole:
        upper += abs(Decimal(whole)) * lower
    return (-upper if whole.startswith("-") else upper), lower


def _is_exact(term: Decimal) -> bool:
    """Whether a product with this term is exact in `_EXACT`."""
    return len(term.as_tuple().digits) <= LONGEST_TERM and abs(term.adjusted()) <= LONGEST_TERM


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: `1 seed`, `3 seeds`, `2 families`."""
    many = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else many}"
