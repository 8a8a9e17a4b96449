"""Rows of a file that a person hands in, read by what it holds and never by its ending.

    bytes → unpacked (gzip, bz2, xz, zstd) → Parquet, or text → a JSON list, JSON lines, or a table

A table is CSV or TSV: its first line names the columns, separated by a tab, comma or semicolon.
Text is UTF-8, or UTF-16 and UTF-32 with their mark; any newline ends a line.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import json
import lzma
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from finetrap.errors import BadData, opening
from finetrap.text.rows import Row, as_object, json_value, not_json, refuse_constant

_PARQUET = b"PAR1"
_REFUSED = {
    b"PK\x03\x04": "a zip archive or an Excel file; unpack it, or save the sheet as CSV",
    b"ARROW1": "an Arrow file; write it with `to_parquet` or `to_json` of `datasets`",
    b"\xff\xff\xff\xff": "an Arrow stream; write it with `to_parquet` or `to_json` of `datasets`",
}
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""The mark that a text starts with; the longer ones first, as one begins like another."""
_SEPARATORS = "\t,;"
_SPACE = " \t\n"
_LONGEST_FIELD = 2**31 - 1


def read_rows(path: Path) -> list[Row]:
    """Read every row with its place: the line on which it starts, or its number from 1.

    Raises BadData for what cannot be read, naming the file and the line or byte.
    """
    return list(each_row(path))


def each_row(path: Path) -> Iterator[Row]:
    """Yield the rows of `read_rows` one at a time, of which no list is made."""
    data = unpacked(path)
    if data.startswith(_PARQUET):
        rows = _parquet(path, data)
    else:
        text = decoded(path, data)
        del data  # two copies of a large file are enough
        rows = _text_rows(path, text)
    first = next(rows, None)
    if first is None:
        raise BadData(f"{path}: no rows; give a file that holds some")
    yield first
    yield from rows


def read_text(path: Path) -> str:
    """Read a text, unpacked, with `\\n` at the end of its lines. Raises BadData."""
    return decoded(path, unpacked(path))


def unpacked(path: Path) -> bytes:
    """Return a file's bytes, unpacked where they are compressed. Raises BadData."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path}: {error.strerror}; give a file that can be read") from error
    for magic, unpack in _PACKED.items():
        if data.startswith(magic):
            try:
                data = unpack(data)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise BadData(f"{path}: cannot be unpacked ({error}); give another copy") from error
            break
    refused = next((what for magic, what in _REFUSED.items() if data.startswith(magic)), None)
    if data[257:262] == b"ustar":
        refused = "a tar archive; unpack it and give the file inside"
    if refused and not data.startswith(codecs.BOM_UTF32_LE):
        raise BadData(f"{path}: {refused}")
    return data


def decoded(path: Path, data: bytes) -> str:
    """Return the text of a file, its lines ended by `\\n`. Raises BadData naming the byte."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadData(
            f"{path}: byte {error.start} (line {line}) is 0x{data[error.start]:02x}, which is not "
            f"{encoding.removesuffix('-sig').upper()} text; save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise BadData(
            f"{path}: byte {len(text[: text.index(chr(0))].encode())} is 0: no text, or UTF-16 "
            "without the mark it should start with; save the file as UTF-8"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _zstd(data: bytes) -> bytes:
    import pyarrow  # heavy, and only for this format

    unpacked: bytes = pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd").read()
    return unpacked


_PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
    b"\x28\xb5\x2f\xfd": _zstd,
}
"""What each sort of compressed file starts with, and what unpacks it."""


def _parquet(path: Path, data: bytes) -> Iterator[Row]:
    import pyarrow.parquet  # heavy, and only for this format

    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data)).iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", values
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        raise BadData(f"{path}: not Parquet ({error}); give another copy") from error


def _text_rows(path: Path, text: str) -> Iterator[Row]:
    start = text.lstrip()[:1] if text[:1].isspace() else text[:1]
    if start == "[":
        return _json_list(path, text)
    if start == "{":
        return _json_lines(path, text)
    return _delimited_rows(path, text)


def _json_lines(path: Path, text: str) -> Iterator[Row]:
    """Read an object from each line that is not blank."""
    first = True
    for number, line in enumerate(_each_line(text), 1):
        line = line.lstrip("\ufeff")  # files that were put together keep each other's mark
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        if first and not _is_json(line) and _is_json(text):
            raise BadData(
                f"{path}: one JSON object over several lines; give its rows as a list of objects, "
                "or as one object a line"
            )
        first = False
        yield place, as_object(place, json_value(place, line))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _each_line(text: str) -> Iterator[str]:
    """Yield lines with their newline; one at a time, which takes half the memory of a copy."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _json_list(path: Path, text: str) -> Iterator[Row]:
    """Read the objects of one list, each by itself: so a fault has a line."""
    decoder = json.JSONDecoder(parse_constant=refuse_constant)
    at, line, number, counted = text.index("[") + 1, 1, 0, 0
    many = "\n" in text.strip()
    while True:
        at = _next(text, at)
        line, counted = line + text.count("\n", counted, at), at
        place = f"{path}, row {number + 1}" + (f", line {line}" if many else "")
        if text[at : at + 1] == "]" and not number:
            break
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise not_json(place, error) from error
        number += 1
        yield place, as_object(place, value)
        at = _next(text, at)
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1] == "]":
            break
        else:
            raise BadData(f"{place}: not JSON (no comma or `]` after it)")
    if rest := text[at + 1 :].strip():
        raise BadData(f"{path}: the list ends and {opening(rest)} follows; give one list")


def _next(text: str, at: int) -> int:
    """Return the place of the next character that is no space."""
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _delimited_rows(path: Path, text: str) -> Iterator[Row]:
    """Read CSV or TSV; a row that has not as many fields as the first line is refused."""
    head = next((line for line in _each_line(text) if line.strip()), "")
    separator = max(_SEPARATORS, key=lambda s: len(next(csv.reader([head], delimiter=s), [])))
    if separator not in head:
        raise BadData(
            f"{path}, line 1: {opening(head)} is neither a JSON object or list nor names of "
            "columns; give JSON lines, a JSON list, CSV, TSV or Parquet"
            if head
            else f"{path}: no rows; give a file that holds some"
        )
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield from _table_rows(path, text, separator)
    finally:
        csv.field_size_limit(limit)


def _table_rows(path: Path, text: str, separator: str) -> Iterator[Row]:
    reader = csv.reader(_each_line(text), delimiter=separator, strict=True)
    names: list[str] = []
    while True:
        place = f"{path}, line {reader.line_num + 1}"
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadData(
                f"{place}: not a table ({error}); a field with quotes, separators or newlines "
                "stands in double quotes, and a quote inside it is doubled"
            ) from error
        if not any(field.strip() for field in fields):
            continue
        if not names:
            names = [field.strip() for field in fields]
            repeated = [n for n, times in Counter(names).items() if n and times > 1]
            if repeated:
                raise BadData(f"{place}: two columns are called `{repeated[0]}`; rename one")
            continue
        if len(fields) != len(names):
            raise BadData(
                f"{place}: {len(fields)} fields, and the first line names {len(names)} columns; a "
                "field that holds the separator must stand in double quotes"
            )
        if separator == "\t" and any("\t" in field and "\n" in field for field in fields):
            raise BadData(
                f"{place}: a field that begins with a quote holds tabs and whole lines; double the "
                "quotes of a text, and put it in quotes"
            )
        yield place, {name: f for name, f in zip(names, fields, strict=True) if name}
