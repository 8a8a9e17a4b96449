"""What people read is said in the field's own terms: docs, and the strings that are shown."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src" / "finetrap"
BETTER = {
    "untouched": "base",
    "undecided": "inconclusive",
    "cannot (yet )?tell (yet )?which": "no clear winner",
    "owed": "remaining",
    "owes": "remain",
    "guilty": "likely cause",
    "cleared": "ruled out",
    "not testable": "not enough data",
    "way back": "rewind",
    "going back (to|from)": "rewind",
    "drawn (over|together)": "corrected for",
    "judged together": "corrected for",
    "dies at": "fails at",
    "(?<!page )(?<!segmentation )faults?": "errors, failure",
    "rests? on": "based on",
    "stands? on the": "based on",
    "whole or not at all": "written atomically",
    "steadiest": "least variable",
    "left to choose from": "remaining candidates",
    "what it traded": "gain, forgetting and cost",
    "to repeat it": "reproduce",
    "in whatever dress": "exact or near duplicate",
    "cannot be had": "could not be downloaded",
    "what else the model could do": "forgetting on other tasks",
}
"""Words that a reader stumbles over, as patterns, each with a better one."""
SHOWN = ("report", "cli", "terminal", "judge")
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "docs/how-to").glob("*.md")),
    *sorted((SOURCE / "report/templates").glob("*.jinja")),
]
LOG = REPOSITORY / "docs/log.md"
"""A record of what was tried, for developers: named by no other page of the site's front."""
CODE = [
    *(file for folder in SHOWN for file in sorted((SOURCE / folder).rglob("*.py"))),
    *(SOURCE / name for name in ("levels.py", "findings.py")),
]


def banned(text: str) -> list[str]:
    """Return each banned word of a text with the better one; code in backticks is no prose."""
    prose = re.sub(r"```.*?```|`[^`\n]*`|\{[%#].*?[%#]\}|\{\{.*?\}\}", " ", text, flags=re.DOTALL)
    flat = re.sub(r"\s+", " ", prose)
    return [
        f"{found.group()}: say {better}"
        for pattern, better in BETTER.items()
        for found in re.finditer(rf"\b{pattern}\b", flat, flags=re.IGNORECASE)
    ]


def strings(source: str) -> list[str]:
    """Return the string literals of a module that hold words; docstrings are for developers."""
    tree = ast.parse(source)
    bare = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare
        if not re.fullmatch(r"\w+", node.value)  # a key, not a sentence
    ]


@pytest.mark.parametrize("page", [p for p in PAGES if p != LOG], ids=lambda p: p.name)
def test_pages_use_plain_words(page: Path) -> None:
    assert banned(page.read_text("utf-8")) == []


def test_strings_that_are_shown_use_plain_words() -> None:
    found = {
        str(file.relative_to(SOURCE)): words
        for file in CODE
        if (words := [w for s in strings(file.read_text("utf-8")) for w in banned(s)])
    }
    assert found == {}


@pytest.mark.parametrize("planted", ["the untouched model", "it Rests\non 3 seeds", "2 faults"])
def test_a_planted_word_is_found_in_prose_and_in_strings(planted: str) -> None:
    assert banned(f"Here is {planted}.")
    module = f'def f():\n    """{planted}"""\n    return f"x{{1}} {planted!r}"\n'
    assert [w for s in strings(module) for w in banned(s)]


def test_names_in_code_are_no_prose() -> None:
    assert banned("`untouched_loss` and\n```\nuntouched\n```") == []
    assert strings('"""the untouched model"""\nkey = "untouched"\n') == []
