"""Training rows as token ids: on disk and in memory the same, and encoded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetrap.backends import Row
from finetrap.backends.hf import open_model
from finetrap.backends.hf.training import encoded
from finetrap.backends.hf.training.encoded import Encoded, encode
from finetrap.backends.hf.training.member import examples
from finetrap.errors import ContextTooLong
from finetrap.records import Limits, TrainSpec
from tests.builders import tiny
from tests.builders.tiny import ROWS, STRATEGIES


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the rows on disk, where even few rows are put."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(encoded, "FROM", 1)
    return tmp_path / "cache" / "finetrap" / "rows"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_llama(tmp_path / "llama")


def whole(rows: Encoded) -> tuple[object, ...]:
    return list(rows), rows[1:3], rows[-1], rows.lengths.tolist(), rows.apart


def test_rows_on_disk_are_those_in_memory(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = open_model(tiny.spec(folder), Limits()).tokens
    first, again = encode(ROWS, tokens), encode(ROWS, tokens)
    monkeypatch.setattr(encoded, "FROM", len(ROWS) + 1)
    held = encode(ROWS, tokens)
    assert whole(first) == whole(again) == whole(held)
    assert len([*cache.iterdir()]) == 1
    assert [len(span.ids) for span in held] == held.lengths.tolist()


def test_rows_are_encoded_once_for_every_model_with_the_same_tokenizer(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = whole(encode(ROWS, open_model(tiny.spec(folder), Limits()).tokens))
    monkeypatch.setattr(encoded, "_spans", lambda rows, tokens: iter(()))
    assert whole(encode(ROWS, open_model(tiny.spec(folder), Limits()).tokens)) == expected
    assert (
        len(
            encode(
                [*ROWS[:-1], Row("other", " text")], open_model(tiny.spec(folder), Limits()).tokens
            )
        )
        == 0
    )


def test_other_tokens_are_other_rows(folder: Path, cache: Path) -> None:
    tokens = open_model(tiny.spec(folder), Limits()).tokens
    encode(ROWS, tokens)
    other = open_model(tiny.spec(folder), Limits()).tokens
    other._tokenizer.eos_token = "a"
    other._tokenizer.add_tokens(["unheard-of"])
    assert other.identity != tokens.identity
    encode(ROWS, other)
    assert len([*cache.iterdir()]) == 2


@pytest.mark.parametrize("name", ["ids", "ends", "apart"])
def test_torn_rows_are_encoded_anew(folder: Path, cache: Path, name: str) -> None:
    tokens = open_model(tiny.spec(folder), Limits()).tokens
    expected = whole(encode(ROWS, tokens))
    [kept] = cache.iterdir()
    (kept / name).write_bytes((kept / name).read_bytes()[:-4])
    assert whole(encode(ROWS, tokens)) == expected


def test_a_disk_that_takes_nothing_is_let_be(folder: Path, cache: Path) -> None:
    tokens = open_model(tiny.spec(folder), Limits()).tokens
    cache.parent.parent.write_text("a file, no folder")
    assert [span.ids[-1] for span in encode(ROWS, tokens)] == [tokens.end] * len(ROWS)


def test_a_row_that_does_not_fit_is_named(folder: Path, cache: Path) -> None:
    tokens = open_model(tiny.spec(folder), Limits()).tokens
    rows = [Row("a", " b"), Row("a", " b" * 99), Row("a", " b" * 999)]
    for _ in range(2):
        with pytest.raises(ContextTooLong, match=r"train\.max_length is 50") as fault:
            examples(rows, tokens, virtual=2, max_length=50)
        assert fault.value.row == 1


def test_a_training_from_disk_has_the_losses_of_one_from_memory(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = []
    for least in (1, 1, 10**6):
        monkeypatch.setattr(encoded, "FROM", least)
        model = open_model(tiny.spec(folder), Limits())
        trained = model.train(ROWS, STRATEGIES["full"], TrainSpec(epochs=1, batch=6), 0)
        losses.append((trained.evidence, trained.tokens))
    assert losses[0] == losses[1] == losses[2]
