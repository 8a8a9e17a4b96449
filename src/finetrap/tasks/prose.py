"""Prose: held-out text whose bits per byte show what happens to general language ability. A probe.

By default WikiText-2's raw test split (Merity et al., arXiv 1609.07843); locally a text file, a
folder with WikiText's test.txt, or a folder of text files, each a document. Text is kept as it is:
the older WikiText files have `<unk>` and spaces around punctuation, which models of raw text find
odd, so bits per byte on them compare with each other and not with the raw split's.

The source `miniature` is prose of the world that the miniature models know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from finetrap.errors import BadData
from finetrap.records import Problem, TaskKind, TaskRef
from finetrap.tasks import Task
from finetrap.tasks._sources import Hub, file_revision
from finetrap.text.files import read_text

NAMES: dict[str, TaskKind] = {"prose": "prose"}
TOPICS = {"prose": "How well it predicts ordinary text."}
HUB = Hub("Salesforce/wikitext", "wikitext-2-raw-v1", "b08601e04326c79dfdd32d625aee71d232d685c3")
PIECE = 1000
"""Characters after which a piece ends at the next boundary, at most twice as many."""
MINIATURE = "miniature"
MINIATURE_PIECES = 500

_ARTICLE = re.compile(r"^ = (?!=)(.+?) = ?$", re.MULTILINE)
_BOUNDARIES = tuple(map(re.compile, (r"\n\s*\n\s*", r"\n", r"(?<=[.!?])\s+", r"\s+")))
Document = tuple[str, str]
"""A title, empty if there is only one document, and its text."""


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return the hub's commit, the generator's version, or a hash over the local files."""
    if source is None:
        return HUB.revision
    if source == MINIATURE:
        from finetrap.miniature import world

        return world.VERSION
    return file_revision(*_text_files(name, source))


def load(ref: TaskRef) -> Task:
    """Cut the text into pieces; a piece's family is the document it comes from."""
    if ref.source == MINIATURE:
        texts = [("", text) for text in _miniature()]
    else:
        texts = [(title, p) for title, text in _documents(ref) for p in pieces(text)]
    if not texts:
        raise BadData(f"{ref.name}: no text in {ref.source}; give a file with prose")
    test = [Problem(f"piece-{i:05d}", "", text, family=f) for i, (f, text) in enumerate(texts)]
    return Task(ref.name, "prose", (), tuple(test))


def pieces(text: str) -> list[str]:
    """Cut a document at paragraphs into pieces of 1,000 to 2,000 characters.

    Where no paragraph ends in time a piece ends with a line, else a sentence, else a word. A rest
    of less than half a piece stays with the piece before it.
    """
    cut, start = [], 0
    while start < len(text):
        end = len(text)
        if end - start > PIECE + PIECE // 2:
            found = (b.search(text, start + PIECE, start + 2 * PIECE) for b in _BOUNDARIES)
            first = next((match for match in found if match), None)
            end = first.end() if first else start + 2 * PIECE
            end = end if len(text) - end >= PIECE // 2 else len(text)
        cut.append(text[start:end].strip())
        start = end
    return [piece for piece in cut if piece]


def _documents(ref: TaskRef) -> list[Document]:
    if ref.source is None:
        lines = [str(row["text"]) for _, row in HUB.rows(ref.name, "test")]
        return list(_articles("".join(lines)))
    files = _text_files(ref.name, ref.source)
    if len(files) == 1:
        return list(_articles(read_text(files[0])))
    return [(path.name, read_text(path)) for path in files]


def _articles(text: str) -> Iterator[Document]:
    """Split WikiText at its titles, ` = Title = `; any other text is one document."""
    title, start = "", 0
    for match in _ARTICLE.finditer(text):
        yield title, text[start : match.start()]
        title, start = match[1], match.start()
    yield title, text[start:]


def _text_files(name: str, source: str) -> list[Path]:
    """Return the text files of a source: itself, WikiText's test.txt, or every .txt of a folder."""
    place = Path(source)
    if place.is_file():
        return [place]
    if (place / "test.txt").is_file():
        return [place / "test.txt"]
    found = sorted(place.glob("*.txt")) if place.is_dir() else []
    if not found:
        raise BadData(
            f"{name}: no text at {place}; give a text file or a folder of .txt files: "
            f'[data] {name} = "path"'
        )
    return found


def _miniature() -> list[str]:
    """Write paragraphs that neither pretraining nor training has seen."""
    from finetrap.miniature import world

    texts: dict[str, None] = {}
    for index in count():
        text = world.prose(Random(f"miniature/prose/test/0/{index}"))
        if world.split_of(text) == "test":
            texts[text] = None
        if len(texts) == MINIATURE_PIECES:
            break
    return list(texts)
