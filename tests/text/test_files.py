"""Files that people hand in: read by what they hold, and refused by file, line and byte."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import pyarrow
import pyarrow.parquet
import pytest

from finetrap.errors import BadData
from finetrap.text.files import read_rows, read_text
from finetrap.text.rows import column, json_line

ROWS = [
    {"question": "What is 1 + 1?", "answer": "2"},
    {"question": 'She says "two, or three":\nwhich?', "answer": "zwölf\u2028 und, ja"},
    {"question": "Tabs\tand; semicolons", "answer": "3"},
]


def table(separator, newline="\n"):
    text = io.StringIO()
    writer = csv.DictWriter(text, ROWS[0], delimiter=separator, lineterminator=newline)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def parquet():
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


def zstd(data):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
FORMATS = {
    "JSON lines": LINES,
    "JSON lines without an end": LINES.rstrip(),
    "JSON lines after blank ones": b"\n \n" + LINES.replace(b"\n", b"\n\n"),
    "JSON lines of Windows": LINES.replace(b"\n", b"\r\n"),
    "JSON lines of old Macs": LINES.replace(b"\n", b"\r"),
    "JSON lines with a mark": codecs.BOM_UTF8 + LINES,
    "two files with a mark, joined": codecs.BOM_UTF8
    + LINES[: LINES.index(b"\n") + 1]
    + codecs.BOM_UTF8
    + LINES[LINES.index(b"\n") + 1 :],
    "a JSON list": json.dumps(ROWS).encode(),
    "a JSON list over lines": json.dumps(ROWS, indent=2).encode(),
    "a JSON list with a mark": codecs.BOM_UTF8 + json.dumps(ROWS, indent=2).encode() + b"\n",
    "CSV": table(","),
    "CSV of Excel": codecs.BOM_UTF8 + table(",", "\r\n"),
    "CSV with semicolons": table(";"),
    "TSV": table("\t"),
    "Excel's Unicode text": table("\t", "\r\n").decode().encode("utf-16"),
    "UTF-16, the other way": codecs.BOM_UTF16_BE + LINES.decode().encode("utf-16-be"),
    "UTF-32": LINES.decode().encode("utf-32"),
    "Parquet": parquet(),
    "gzip": gzip.compress(LINES),
    "gzip in two parts": gzip.compress(LINES[:40]) + gzip.compress(LINES[40:]),
    "bz2": bz2.compress(table(",")),
    "xz": lzma.compress(json.dumps(ROWS).encode()),
    "zstd": zstd(table("\t")),
    "Parquet in gzip": gzip.compress(parquet()),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ""])
def test_a_file_is_read_by_what_it_holds_and_not_by_its_ending(tmp_path, name, ending):
    path = tmp_path / f"rows{ending}"
    path.write_bytes(FORMATS[name])
    assert [values for _, values in read_rows(path)] == ROWS


PLACES = {
    "JSON lines": ("line 1", "line 2", "line 3"),
    "JSON lines after blank ones": ("line 3", "line 5", "line 7"),
    "a JSON list": ("row 1", "row 2", "row 3"),
    "a JSON list over lines": ("row 1, line 2", "row 2, line 6", "row 3, line 10"),
    "CSV": ("line 2", "line 3", "line 5"),
    "CSV of Excel": ("line 2", "line 3", "line 5"),
    "Parquet": ("row 1", "row 2", "row 3"),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_place_of_a_row_is_where_it_starts(tmp_path, name):
    path = tmp_path / "rows"
    path.write_bytes(FORMATS[name])
    assert [place for place, _ in read_rows(path)] == [f"{path}, {p}" for p in PLACES[name]]


def packed(kind):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("rows.jsonl", LINES)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            info = tarfile.TarInfo("rows.jsonl")
            info.size = len(LINES)
            archive.addfile(info, io.BytesIO(LINES))
    return buffer.getvalue()


def arrow():
    sink = io.BytesIO()
    with pyarrow.ipc.new_stream(sink, pyarrow.Table.from_pylist(ROWS).schema) as writer:
        writer.write_table(pyarrow.Table.from_pylist(ROWS))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no rows"),
        (b" \n\n", "no rows"),
        (b"[]", "no rows"),
        (b"question,answer\n", "no rows"),
        (LINES[:40] + b"\xe9" + LINES[40:], r": byte 40 \(line 1\) is 0xe9, which is not UTF-8"),
        (LINES + b'{"question": "caf\xe9"}', rf"byte {len(LINES) + 17} \(line 4\) is 0xe9"),
        ("What,1\n".encode("utf-16-le"), "byte 1 is 0: no text, or UTF-16 without the mark"),
        (codecs.BOM_UTF16_LE + b"abc", "which is not UTF-16 text"),
        (packed("zip"), "a zip archive or an Excel file; unpack it"),
        (packed("tar"), "a tar archive; unpack it"),
        (arrow(), "an Arrow stream; write it with `to_parquet`"),
        (gzip.compress(LINES, mtime=0)[:50], "cannot be unpacked"),
        (lzma.compress(LINES)[:40], "cannot be unpacked"),
        (zstd(LINES * 100)[:40], "cannot be unpacked"),
        (parquet()[:200], "not Parquet"),
        (LINES + b"{", r"line 4: not JSON \(Expecting .* at column 2\)"),
        (LINES + b'{"a": NaN}', "line 4: not JSON .NaN is not a JSON value"),
        (LINES + b"[1]", "line 4: a list; it must be a JSON object"),
        (json.dumps({"data": ROWS}, indent=1).encode(), "one JSON object over several lines"),
        (b'[\n{"a": 1},\n{"a": }\n]', "row 2, line 3: not JSON"),
        (b'[\n{"a": 1},\n{"a": 2', "row 2, line 3: not JSON"),
        (b'[\n{"a": 1}\n{"a": 2}]', "row 1, line 2: not JSON .no comma or `]` after it"),
        (b'[\n{"a": 1},\n7]', "row 2, line 3: a number; it must be a JSON object"),
        (b'[{"a": 1}]\n[{"a": 2}]', "the list ends and '.*' follows"),
        (b"Just some prose.\nMore of it.\n", "line 1: 'Just some prose.' is neither"),
        (b"question,answer\nOne, two?,2\n", "line 2: 3 fields, and the first line names 2 columns"),
        (b"question,answer\nWhat?\n", "line 2: 1 fields, and the first line names 2"),
        (b'question,answer\nWhat?,1\n"What,2\n', "line 3: not a table"),
        (b'question,answer\n"What?"!,2\n', "line 2: not a table .* doubled"),
        (b'q\ta\nx\t1\n"oh\t2\ny\t3\nsaid "we"\t4\nhe said "oh"\t5\n', "line 3: "),
        (b'q\ta\nx\t1\n"oh\t2\ny\t3\nz she said"\t4\n', "line 3: a field that begins with a quote"),
        (b"a,a\n1,2\n", "line 1: two columns are called `a`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # an archive holds its time
)
def test_a_file_that_cannot_be_read_says_where_and_what_to_do(tmp_path, data, said):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(BadData, match=said) as error:
        read_rows(path)
    assert str(error.value).startswith(str(path))


def test_a_long_field_is_read_and_the_csv_modules_own_limit_is_left_as_it_was(tmp_path):
    path, limit = tmp_path / "rows.csv", csv.field_size_limit()
    path.write_text(f'question,answer\n"{"long " * 100_000}",1\n')
    assert len(read_rows(path)[0][1]["question"]) == 500_000
    assert csv.field_size_limit() == limit


def test_an_index_that_pandas_wrote_without_a_name_is_no_column(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(",question,answer\n0,What?,1\n")
    assert read_rows(path)[0][1] == {"question": "What?", "answer": "1"}


def test_texts_are_unpacked_too(tmp_path):
    path = tmp_path / "prose.txt"
    path.write_bytes(gzip.compress(b"One.\r\nTwo.\r"))
    assert read_text(path) == "One.\nTwo.\n"


def test_the_byte_of_a_bad_line_is_counted_from_the_start_of_the_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "\xe9"}\n')
    with pytest.raises(BadData, match=r"byte 16 \(line 2\) is 0xe9, which is not UTF-8 text"):
        read_rows(path)


def test_parquet_that_holds_other_bytes_than_text_is_named(tmp_path):
    path = tmp_path / "rows.parquet"
    text = pyarrow.py_buffer(b"caf\xe9")
    column = pyarrow.StringArray.from_buffers(1, pyarrow.py_buffer(b"\0\0\0\0\4\0\0\0"), text)
    pyarrow.parquet.write_table(pyarrow.table({"question": column}), path)
    with pytest.raises(BadData, match=r"rows.parquet: not Parquet \('utf-8' codec"):
        read_rows(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (7.0, "7"),
        (1e16, "10000000000000000"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (-2.50, "-2.5"),
        (" 7 ", "7"),
        (10**30, "1" + "0" * 30),
    ],
)
def test_a_number_is_written_in_digits(value, text):
    assert column(("row 1", {"a": value}), "a") == text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_is_refused(value):
    with pytest.raises(BadData, match=r"row 1: `a` is .*, no finite number"):
        column(("row 1", {"a": value}), "a")


@pytest.mark.parametrize("text", ["\ud83d", "half \udc00 of it"])
def test_half_of_a_character_is_refused_by_its_row(tmp_path, text):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": text}))
    (row,) = read_rows(path)
    with pytest.raises(BadData, match=r"line 1: `question` holds \\ud[8c][03][0d], half of a char"):
        column(row, "question")


def test_a_score_that_is_no_number_is_written_as_null():
    row = {"f1": float("nan"), "parts": [float("inf"), 1.5], "said": "é"}
    assert json_line(row) == '{"f1": null, "parts": [null, 1.5], "said": "é"}\n'
