"""Model folders of strangers: what hypothesis damages is opened, or refused as a bad model."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetrap import miniature
from finetrap.backends.hf.load import load_checkpoint, tokens_of
from finetrap.errors import BadInput, NotFinite, out_of_memory
from finetrap.records import ModelSpec

MINIATURE = Path(miniature.__file__).parent / "checkpoints" / "mini-0.1m"
FEW = settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
ODD = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1,
        2**40,
        1.5,
        "",
        "x",
        "F64",
        "../x",
        [],
        {},
        [0, 8],
        [-1, 8],
        [8, 0],
        [[]],
    ]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(MINIATURE, tmp_path_factory.mktemp("model") / "mini"))


def opened(folder: Path, name: str, content: bytes) -> bool:
    """Put a file in place of another, and open the model; whether it could be opened."""
    (folder / name).write_bytes(content)
    spec = ModelSpec("mini", str(folder), "sha256:0")
    try:
        words = tokens_of(load_checkpoint(spec, torch.device("cpu")), "auto")
        words.pair("Tom has 3 apples.", " 15")
        return True
    except (BadInput, NotFinite):
        return False
    except Exception as fault:
        if not out_of_memory(fault):  # as where a configuration asks for more than there is
            raise
        return False
    finally:
        shutil.copy(MINIATURE / name, folder / name)


def changed(table: Any, data: st.DataObject, depth: int) -> Any:
    """Return a JSON value with another value somewhere, at most so deep."""
    if not isinstance(table, dict | list) or not table or depth == 0:
        return data.draw(ODD)
    keys = list(table) if isinstance(table, dict) else range(min(len(table), 3))
    key = data.draw(st.sampled_from(keys))
    inner = changed(table[key], data, depth - 1)
    if isinstance(table, dict):
        return {**table, key: inner}
    return [*table[:key], inner, *table[key + 1 :]]


@FEW
@given(data=st.data())
def test_weights_with_a_damaged_header_are_opened_or_refused(
    data: st.DataObject, folder: Path
) -> None:
    whole = (MINIATURE / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    written = json.dumps(changed(header, data, 3)).encode()
    stated = data.draw(st.sampled_from([len(written)] * 3 + [0, len(written) - 1, 2**62]))
    tensors = whole[8 + size :][: data.draw(st.sampled_from([None, None, 0, 100]))]
    opened(folder, "model.safetensors", struct.pack("<Q", stated) + written + tensors)


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
)
@FEW
@given(data=st.data())
def test_a_damaged_file_of_a_model_is_opened_or_refused(
    name: str, data: st.DataObject, folder: Path
) -> None:
    table = json.loads((MINIATURE / name).read_text("utf-8"))
    opened(folder, name, json.dumps(changed(table, data, data.draw(st.integers(1, 3)))).encode())


def test_the_folder_is_opened_where_nothing_is_damaged(folder: Path) -> None:
    assert opened(folder, "config.json", (MINIATURE / "config.json").read_bytes())
    assert not opened(folder, "model.safetensors", b"")


def test_what_the_libraries_raise_of_a_damaged_file_is_told_in_one_line(folder: Path) -> None:
    config = json.loads((MINIATURE / "config.json").read_text())
    for change in ({"hidden_size": True}, {"dtype": True}, {"hidden_size": -1}):
        assert not opened(folder, "config.json", json.dumps({**config, **change}).encode())
