"""Training rows as token ids in flat arrays: many of them on disk, encoded once for all cells.

    CACHE/<key>/ids      the ids of all rows, one row after another: 4 bytes each
    CACHE/<key>/ends     where each row ends: 8 bytes each
    CACHE/<key>/starts   how many ids of each row stand before its target: 8 bytes each
    CACHE/<key>/apart    how many rows by themselves would begin with other tokens: 8 bytes

The key is of the rows' texts, the tokenizer, the code and the versions that encode them.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from finetrap.backends import Row
from finetrap.backends.hf import tokens as tokens_file
from finetrap.backends.hf.layout import Span
from finetrap.backends.hf.tokens import ENCODED, Tokens
from finetrap.records import content_hash
from finetrap.runs.prepared import Lazy, cache_folder, make_whole

FROM = ENCODED + 1
"""Rows from which they are put on disk: of fewer the tokenizer's own memory holds all."""


class Encoded(Lazy[Span]):
    """The ids of training rows; a row is made when it is asked for."""

    def __init__(self, ids: Any, ends: Any, starts: Any, apart: int) -> None:
        super().__init__(len(ends), self._row)
        self._ids, self._ends, self._starts = ids, ends, starts
        self.apart = apart
        """Rows whose whole text would begin with other tokens than their prompt has."""

    @property
    def lengths(self) -> Any:
        """Tokens of each row, as an array [rows]."""
        return np.diff(self._ends, prepend=0)

    def _row(self, place: int) -> Span:
        before = self._ends[place - 1] if place else 0
        return Span(self._ids[before : self._ends[place]].tolist(), int(self._starts[place]))


def encode(rows: Sequence[Row], tokens: Tokens) -> Encoded:
    """Encode training rows: prompt, target, end token. Raises BadModel."""
    if len(rows) >= FROM and tokens.identity is not None:
        folder = cache_folder("rows") / _key(rows, tokens)
        if not folder.exists():
            make_whole(folder, lambda draft: _write(rows, tokens, draft))
        with suppress(OSError, ValueError):
            if len(found := _rows_in(folder)) == len(rows):
                return found
    ids, ends, starts, apart = array("i"), array("q"), array("q"), 0
    for span, other in _spans(rows, tokens):
        ids.extend(span.ids)
        ends.append(len(ids))
        starts.append(span.start)
        apart += other
    flat, until, heads = (np.frombuffer(part, part.typecode) for part in (ids, ends, starts))
    return Encoded(flat, until, heads, apart)


def _spans(rows: Sequence[Row], tokens: Tokens) -> Iterator[tuple[Span, bool]]:
    end = [] if tokens.end is None else [tokens.end]
    for row in rows:
        head, target, apart = tokens.pair(row.prompt, row.target)
        yield Span([*head, *target, *end], max(1, len(head))), apart


def _write(rows: Sequence[Row], tokens: Tokens, folder: Path) -> None:
    ends, starts, apart, written = array("q"), array("q"), 0, 0
    with (folder / "ids").open("wb") as file:
        for span, other in _spans(rows, tokens):
            file.write(array("i", span.ids).tobytes())
            written += len(span.ids)
            ends.append(written)
            starts.append(span.start)
            apart += other
    for name, values in (("ends", ends), ("starts", starts), ("apart", array("q", [apart]))):
        (folder / name).write_bytes(values.tobytes())


def _rows_in(folder: Path) -> Encoded:
    """Raises OSError or ValueError where it is not there, or torn."""
    ends, starts, apart = (np.fromfile(folder / n, "q") for n in ("ends", "starts", "apart"))
    ids = np.memmap(folder / "ids", "i", "r")
    if len(ends) != len(starts) or len(apart) != 1 or ends[-1] != len(ids):
        raise ValueError(f"{folder} is torn")
    return Encoded(ids, ends, starts, int(apart[0]))


def _key(rows: Sequence[Row], tokens: Tokens) -> str:
    made = hashlib.sha256(f"{tokens.identity} {_encoded_by()}".encode())
    for row in rows:
        for text in (row.prompt, row.target):
            written = text.encode("utf-8", "surrogatepass")
            made.update(len(written).to_bytes(8, "big") + written)
    return made.hexdigest()


@cache
def _encoded_by() -> str:
    """Name what turns texts into ids beside the tokenizer's own files."""
    files = (Path(__file__), Path(str(tokens_file.__file__)))
    code = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return content_hash([*code, version("transformers"), version("tokenizers")])
