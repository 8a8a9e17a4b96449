"""What a cell was asked: kept in groups, read up to the first torn line, and never of another."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from finetrap.runs.unfinished import GROUP, Journal

ROWS = [["nats", n, 0.1 + n, 2.5] for n in range(6)]
TEXT = ["text", 7, "half a pair \ud800, a line\u2028end\r\n", 3, "eos", 0.5]


def kept(place: Path, rows=(*ROWS, TEXT), made: str = "this") -> bytes:
    journal = Journal(place, made)
    for row in rows:
        journal.add("call", row)
    journal.close()
    return place.read_bytes()


def rows(place: Path, made: str = "this") -> list[list[object]]:
    return Journal(place, made).rows("call")


def test_rows_are_read_as_they_were_added(tmp_path: Path) -> None:
    kept(tmp_path / "answers")
    assert rows(tmp_path / "answers") == [*ROWS, TEXT]
    assert Journal(tmp_path / "answers", "this").rows("other") == []


def test_infinite_nats_come_back(tmp_path: Path) -> None:
    kept(tmp_path / "answers", [["nats", 0, float("inf"), 1.0]])
    assert rows(tmp_path / "answers") == [["nats", 0, float("inf"), 1.0]]


def test_at_whatever_byte_a_file_ends_whole_lines_count_and_more_can_be_added(tmp_path) -> None:
    place = tmp_path / "answers"
    whole = kept(place)
    for size in range(len(whole)):
        place.write_bytes(whole[:size])
        found = rows(place)
        assert found == [*ROWS, TEXT][: len(found)]
        assert len(found) == max(0, whole[:size].count(b"\n") - 1)
        kept(place, [["more"]])
        assert rows(place) == [*found, ["more"]]


def test_a_wrong_byte_ends_what_is_read(tmp_path: Path) -> None:
    place = tmp_path / "answers"
    data = bytearray(kept(place))
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    assert rows(place) == ROWS[: len(rows(place))]
    assert len(rows(place)) < len(ROWS)


def test_what_another_made_is_dropped(tmp_path: Path) -> None:
    place = tmp_path / "answers"
    kept(place, made="another")
    assert rows(place) == []
    kept(place, [["new"]])
    assert rows(place) == [["new"]]
    assert rows(place, "another") == []


def test_rows_reach_the_disk_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, now, synced = tmp_path / "answers", [0.0], []
    monkeypatch.setattr(os, "fsync", synced.append)
    journal = Journal(place, "this", clock=lambda: now[0])
    for second in range(1, 10):
        now[0] = second * GROUP / 3
        journal.add("call", [second])
        assert len(synced) == second // 3
        assert rows(place) == [[n] for n in range(1, second - second % 3 + 1)]
    journal.close()


def test_where_nothing_can_be_written_a_cell_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "answers", "this")
    for row in ROWS:
        journal.add("call", row)
        journal.flush()
    journal.close()


def test_a_disk_that_is_full_ends_what_is_kept_and_raises_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers", "this")
    journal.add("call", ["short"])
    journal.flush()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, hard))
    try:
        journal.add("call", ["x" * 1000])
        journal.close()
        journal.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert rows(tmp_path / "answers") == [["short"]]
