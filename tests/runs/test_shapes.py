"""A run that is valid JSON of another shape, its hashes right: named, and nothing else is read."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from finetrap.errors import StoreError
from finetrap.runs.current import read_run
from finetrap.runs.shapes import is_of_type
from finetrap.runs.store import Store
from tests.builders.runs import FULL, run

SCORED = {"nats": 1.0, "bytes": 4}


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ([], "evidence.json"),
        ({"loss": [1.0, "2"]}, "loss"),
        ({"loss": [10**400]}, "loss"),
        ({"base_loss": [SCORED, {"nats": 1.0}]}, "base_loss"),
        ({"base_loss": [SCORED, 3]}, "base_loss"),
        ({"divergence": [["p0", 0.1, None], ["p1", 0.1]]}, "divergence"),
        ({"divergence": {"p0": 0.1}}, "divergence"),
        ({"problems": {"market": {"p0": {"choices": "ab"}}}}, "problems"),
        ({"available": {"market": True}}, "available"),
        ({"self_flips": {"n": 3}}, "self_flips"),
    ],
)
def test_evidence_of_another_shape_is_named(tmp_path: Path, evidence: Any, said: str) -> None:
    folder = Store(tmp_path).commit(run(FULL, [1, 0], 0, evidence=evidence))
    with pytest.raises(StoreError, match=f"{said} is not as finetrap writes it"):
        read_run(folder)


def test_evidence_that_judging_does_not_read_may_have_any_shape(tmp_path: Path) -> None:
    kept = {"mine": [1, "a"], "loss": [1, 2.5, None], "merged": None, "base_loss": [SCORED]}
    assert read_run(Store(tmp_path).commit(run(FULL, [1], 0, evidence=kept))).evidence == kept


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"costs": {"train_s": [3]}}, "costs: train_s"),
        ({"costs": {"flops": float("inf")}}, "costs: flops"),
        ({"environment": [1]}, "environment"),
        ({"failure": {"cause": 3, "message": "x"}}, "failure: cause"),
        ({"answers": None}, "run.json says None"),
    ],
)
def test_a_manifest_of_another_shape_is_named(tmp_path: Path, change: Any, said: str) -> None:
    folder = Store(tmp_path).commit(run(FULL, [1, 0], 0))
    manifest = json.loads((folder / "run.json").read_bytes())
    (folder / "run.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(StoreError, match=said):
        read_run(folder)


@pytest.mark.parametrize(("field", "value"), [("nats", "1"), ("stop", "later"), ("id", 3)])
def test_answers_of_another_shape_are_named(tmp_path: Path, field: str, value: object) -> None:
    folder = Store(tmp_path).commit(run(FULL, [1, 0], 0))
    first, second = (folder / "answers.jsonl").read_text().splitlines()
    data = f"{first}\n{json.dumps({**json.loads(second), field: value})}\n".encode()
    listed(folder, "answers.jsonl", data, folder / "answers.jsonl")
    with pytest.raises(StoreError, match=f"answers: {field} is not as finetrap writes it"):
        read_run(folder)


def listed(folder: Path, name: str, data: bytes, place: Path) -> None:
    """Write a file, and put it into the manifest under a name."""
    place.write_bytes(data)
    manifest = json.loads((folder / "run.json").read_bytes())
    manifest["files"][name] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    (folder / "run.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["../other", "/dev/zero"])
def test_a_manifest_names_files_of_its_folder_alone(tmp_path: Path, name: str) -> None:
    folder = Store(tmp_path / "runs").commit(run(FULL, [1, 0], 0))
    listed(folder, name, b"", tmp_path / "runs" / "other")
    with pytest.raises(StoreError, match=f"{name} cannot be read"):
        read_run(folder)


@pytest.mark.parametrize(
    ("value", "kind", "right"),
    [(True, int, False), (3, float, True), (float("nan"), float, False), ("a", int | None, False)],
)
def test_numbers_are_finite_and_no_truth_values(value: object, kind: Any, right: bool) -> None:
    assert is_of_type(value, kind) is right
