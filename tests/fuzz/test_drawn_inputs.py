"""Inputs that hypothesis draws: each is read, or refused as bad input."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetrap.backends.hf.source import ADAPTER, adapter_settings
from finetrap.errors import BadData, BadModel, BadStudy
from finetrap.measure.study import reading
from finetrap.runs.unfinished import Checkpoint, Journal
from finetrap.text.files import read_rows

FEW = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
NAMES = st.sampled_from(
    ["name", "models", "tasks", "strategies", "seeds", "probes", "train", "limits", "keep", "x"]
) | st.text(max_size=4)
SETTINGS = st.sampled_from(["epochs", "problems", "batch", "dtype", "weights", "max_new_tokens"])
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("full")
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SETTINGS, inner, max_size=3),
    max_leaves=8,
)
MARKS = [b"", b"{", b"[", b"PAR1", b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\x00", b"\xff\xfe", b"a,b\n"]
STUDY = {"name": "x", "models": ["toy:base=0.6"], "tasks": ["market"], "strategies": ["full"]}


@FEW
@given(table=st.dictionaries(NAMES, VALUES, max_size=4))
def test_a_study_is_read_or_refused(table: dict[str, object]) -> None:
    with suppress(BadStudy):
        assert reading.check({**STUDY, **table}, at="drawn", base=Path()).name


@FEW
@given(mark=st.sampled_from(MARKS), data=st.binary(max_size=60))
def test_a_data_file_is_read_or_refused(mark: bytes, data: bytes, tmp_path: Path) -> None:
    place = tmp_path / "rows"
    place.write_bytes(mark + data)
    with suppress(BadData):
        assert isinstance(read_rows(place), list)


@FEW
@given(data=st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_an_adapters_configuration_is_read_or_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / ADAPTER).write_bytes(data)
    with suppress(BadModel):
        assert isinstance(adapter_settings(tmp_path), dict)


@FEW
@given(at=st.integers(0, 10_000), noise=st.binary(max_size=9))
def test_a_journal_gives_back_only_rows_that_were_added(
    at: int, noise: bytes, tmp_path: Path
) -> None:
    place = tmp_path / "answers"
    place.unlink(missing_ok=True)
    journal, rows = Journal(place, "this"), [[number, "text"] for number in range(6)]
    for row in rows:
        journal.add("call", row)
    journal.close()
    data = place.read_bytes()
    at %= len(data)
    place.write_bytes(data[:at] + noise + data[at + len(noise) :])
    found = Journal(place, "this").rows("call")
    assert found == rows[: len(found)]


@FEW
@given(data=st.binary(max_size=80))
def test_a_checkpoint_that_is_none_counts_for_nothing(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "training").write_bytes(data)
    assert Checkpoint(tmp_path / "training", "this", 1.0).step == 0


def test_what_is_drawn_is_refused_with_all_of_its_errors() -> None:
    with pytest.raises(BadStudy, match="2 errors"):
        reading.check({**STUDY, "seeds": [-1], "x": 1}, at="drawn", base=Path())
