"""The rows of a file that some tool wrote: those of text/files.py, and logs that are no rows.

an `.eval` archive of inspect    → its samples, each a member of its own
one JSON object                  → the rows in it, or what it is and which file to give instead
anything else                    → rows
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from finetrap.errors import BadData
from finetrap.text.files import read_rows, read_text
from finetrap.text.rows import Row, as_object
from finetrap.text.visible import one_line

_ZIP = b"PK\x03\x04"
_ZSTD = 93
"""The method by which newer versions of inspect pack; zipfile knows it from Python 3.14 on."""
_LARGEST_SAMPLE = 2**27
"""Bytes of one unpacked sample."""
_LARGEST_LOG = 2**32
"""Bytes of all of them."""
_KEPT = ("id", "epoch", "target", "output", "scores", "choices", "attachments", "error")
"""What is kept of a sample: its events can be a thousand times as long."""
_AVERAGES = {
    "_evaluate_version": "`evaluate.save` writes averages; give rows of `id`, `prediction` and "
    "`reference`, or `completion` and `gold`, one a problem",
    "total_time_in_seconds": "an evaluator of `evaluate` returns averages; give rows of `id`, "
    "`prediction` and `reference`, one a problem",
    "config_general": "a results file of lighteval holds averages; give the `details_*.parquet` "
    "that --save-details writes",
    "results": "a results file of lm-eval holds averages; give the `samples_*.jsonl` that "
    "--log_samples writes",
}
"""Files without rows, by a key that each has, and what to give instead."""


def read_any(path: Path) -> list[Row]:
    """Read the rows of a tool's file with their places. Raises BadData."""
    start = _first_bytes(path)
    if start.startswith(_ZIP):
        samples = list(_archived(path))
        return samples or read_rows(path)  # which says what other archives are
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        whole = _one_object(read_text(path))
        if whole is not None:
            found = _rows_inside(path, whole)
            if found == []:
                raise BadData(f"{path}: no rows; give a file that holds some")
            if found is not None:
                return found
    return read_rows(path)


def _first_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(100)
    except OSError as error:
        raise BadData(f"{path}: {error.strerror}; give a file that can be read") from error


def _one_object(text: str) -> dict[str, Any] | None:
    """Return the object that a text consists of; None for JSON lines and what is no JSON.

    NaN is read: inspect writes it for what was not scored.
    """
    text = text.strip()
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and end == len(text) else None


def _rows_inside(path: Path, whole: dict[str, Any]) -> list[Row] | None:
    """Return the rows that one object holds, None where it may be a row itself."""
    if whole.keys() & {"id", "doc_id", "completion"}:
        return None
    predicted, right = whole.get("predictions"), whole.get("references")
    if isinstance(predicted, list) and isinstance(right, list):
        if len(predicted) != len(right):
            raise BadData(
                f"{path}: {len(predicted)} `predictions` and {len(right)} `references`; give as "
                "many of both"
            )
        pairs = enumerate(zip(predicted, right, strict=True), 1)
        return [(f"{path}, row {i}", {"prediction": p, "reference": r}) for i, (p, r) in pairs]
    samples = whole.get("samples")
    if isinstance(samples, dict) and samples:  # what lm-eval's `simple_evaluate` returns
        if len(samples) > 1:
            raise BadData(
                f"{path}: samples of {len(samples)} tasks; write the list of each to a file"
            )
        samples = next(iter(samples.values()))
    if isinstance(samples, list) and samples and ("eval" in whole or "results" in whole):
        places = [f"{path}, sample {number}" for number in range(1, len(samples) + 1)]
        return [(p, as_object(p, one)) for p, one in zip(places, samples, strict=True)]
    if "eval" in whole and "status" in whole:
        raise BadData(f"{path}: a log of inspect without samples; run it with --log-samples")
    for key, what in _AVERAGES.items():
        if key in whole:
            raise BadData(f"{path}: {what}")
    return None


# --- archives of inspect ------------------------------------------------------------------------


def _archived(path: Path) -> Iterator[Row]:
    """Yield the samples of an archive; nothing is written, and a member's name is only shown.

    Raises BadData for an archive that is broken, locked, or unpacks to more than a log holds.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            members = [
                one
                for one in archive.infolist()
                if one.filename.startswith("samples/") and one.filename.endswith(".json")
            ]
            names = {one.filename for one in archive.infolist()}
            if not members and names & {"header.json", "_journal/start.json"}:
                raise BadData(
                    f"{path}: a log of inspect without samples; run it with --log-samples"
                )
            _refuse_bomb(path, members)
            for member in members:
                place = f"{path}, {one_line(member.filename)}"
                yield place, _inspect_sample(place, _member(file, archive, member))
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, ValueError) as error:
        raise BadData(f"{path}: cannot be unpacked ({error}); give another copy") from error
    except (RuntimeError, NotImplementedError) as error:  # a password, an unknown method
        raise BadData(f"{path}: cannot be unpacked ({error}); unpack and pack it again") from error


def _refuse_bomb(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raise BadData where members say that they unpack to more than a log holds."""
    large = next((one for one in members if one.file_size > _LARGEST_SAMPLE), None)
    total = sum(one.file_size for one in members)
    if large is not None or total > _LARGEST_LOG:
        what = f"{one_line(large.filename)} unpacks" if large else "its samples unpack"
        size, most = (large.file_size, _LARGEST_SAMPLE) if large else (total, _LARGEST_LOG)
        raise BadData(
            f"{path}: {what} to {size:,} bytes, and at most {most:,} are read; write the samples "
            "without their events, or rows of `id`, `completion` and `gold`"
        )


def _member(file: IO[bytes], archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return a member's bytes, never more than it said."""
    if member.compress_type != _ZSTD:
        with archive.open(member) as opened:
            return opened.read(member.file_size)
    import pyarrow  # heavy, and only for this format

    file.seek(member.header_offset + 26)  # lengths of the name and of the extra field
    name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
    file.seek(name + extra, 1)
    packed = pyarrow.BufferReader(file.read(member.compress_size))
    data: bytes = pyarrow.CompressedInputStream(packed, "zstd").read(member.file_size)
    if zlib.crc32(data) != member.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {member.filename!r}")
    return data


def _inspect_sample(place: str, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadData(f"{place}: not JSON ({error})") from error
    columns = as_object(place, value)
    return {key: columns[key] for key in _KEPT if key in columns}
