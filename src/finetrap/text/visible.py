"""Text that others wrote (completions, names, messages) made safe to show.

Escaping for HTML is jinja's; what is done here is what escaping leaves alone: characters that are
invisible, reorder their neighbours or cannot be encoded, and length.
"""

from __future__ import annotations

import json
import re
import unicodedata

_PLAIN = re.compile(r"[\n\t\x20-\x7e]*")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})
"""Unicode categories shown by their code: controls, direction marks, surrogates, unassigned."""


_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """Return the text with every character that cannot be seen written as `⟨U+202E⟩`.

    Newlines and tabs stay. Combining marks beyond the third on one character are shown too: a tall
    pile of them would cover the lines around it.
    """
    if _PLAIN.fullmatch(text):
        return text
    shown: list[str] = []
    piled = 0
    for char in text:
        category = unicodedata.category(char)
        piled = piled + 1 if category in ("Mn", "Me") else 0
        hidden = category in _HIDDEN and char not in "\n\t"
        shown.append(f"⟨U+{ord(char):04X}⟩" if hidden or piled > 3 else char)
    return "".join(shown)


def json_visible(line: str) -> str:
    """Return a line of JSON with every character that cannot be seen in JSON's own notation."""
    if line.isascii():
        return line
    return "".join(
        json.dumps(c)[1:-1] if unicodedata.category(c) in _HIDDEN and c not in "\n\t" else c
        for c in line
    )


def stands_on_a_line(name: str) -> bool:
    """Whether a name holds no line end and nothing else that controls a terminal."""
    return not any(unicodedata.category(c) in _CONTROLS for c in name)


def clip(text: str, most: int = 600) -> str:
    """Return at most about `most` characters, keeping the end, where an answer stands.

    What was left out is counted in its place. Clip before `visible`, which makes text longer.
    """
    if len(text) <= most:
        return text
    head, tail = most * 2 // 3, most // 3
    return f"{text[:head]} … ⟨{len(text) - head - tail:,} characters not shown⟩ … {text[-tail:]}"


def one_line(text: str, most: int = 60) -> str:
    """Return the text on one line of at most `most` characters, for labels."""
    line = " ".join(visible(text[: 4 * most]).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def ascii_line(text: str, most: int = 40) -> str:
    """Return the text on one line in ASCII, for a terminal of any encoding."""
    line = text if text.isascii() and text.isprintable() else one_line(text, 2 * most)
    plain = line.encode("ascii", "backslashreplace").decode("ascii")
    return plain if len(plain) <= most else plain[: most - 3] + "..."
