"""Data named without a file of finetrap's own: a data set of the hub, or a file by its ending."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

from finetrap import tasks
from finetrap.errors import BadData, BadInput
from finetrap.measure import trying
from tests.builders.studies import load, small, write_rows

TEST = "question,answer\nWhat is 5 + 5?,10\n"


@pytest.fixture
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that `datasets` takes for one of the hub: it looks beside itself first."""
    folder = tmp_path / "org" / "sums"
    folder.mkdir(parents=True)
    lines = "".join(f"What is {n} + 1?,{n + 1}\n" for n in range(20))
    (folder / "train.csv").write_text(f"question,answer\n{lines}")
    (folder / "test.csv").write_text(TEST)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_data_set_of_the_hub_is_a_task_with_the_splits_that_are_named(data_set: Path) -> None:
    found = tasks.load(tasks.reference("hf:org/sums", None, {"test": "test"}))
    assert (len(found.train), [p.answer for p in found.test]) == (20, ["10"])
    split = tasks.load(tasks.reference("hf:org/sums"))
    assert len(split.train) + len(split.test) == 20
    assert split.test


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("hf", {}, "write hf:ORG/NAME"),
        ("hf:sums", {}, "hf:ORG/NAME:CONFIG or hf:ORG/NAME@REVISION"),
        ("hf:org/sums", {"split": 3}, "option split is 3; it must be a string"),
        ("hf:org/sums", {"scoring": "python:a.py:b"}, "download the data set"),
    ],
)
def test_a_name_or_an_option_that_cannot_be_is_refused(name, options, told) -> None:
    with pytest.raises(BadInput, match=told):
        tasks.reference(name, None, options)


def test_the_revision_of_a_data_set_is_the_commit_that_is_named_or_that_its_branch_is_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef" * 2 + "01234567"
    assert tasks.reference(f"hf:org/sums:main@{commit}").revision == commit
    assert tasks.reference("hf:org/sums").revision == "main"
    refs = tmp_path / "datasets--org--sums" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(commit)
    assert tasks.reference("hf:org/sums").revision == commit


def test_a_hub_that_refuses_without_a_word_is_named_by_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise ValueError

    monkeypatch.setattr("datasets.load_dataset", refused)
    with pytest.raises(BadData, match=r"\(ValueError\)"):
        tasks.load(tasks.reference("hf:org/sums"))


def test_a_branch_is_the_commit_that_the_hub_says() -> None:
    """A hub on this machine answers; its address is the one that the libraries are told."""
    commit = "89abcdef" * 5

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"_id": "1", "id": "org/sums", "sha": commit}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *said: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        code = "from finetrap import tasks; print(tasks.reference('hf:org/sums').revision)"
        quiet = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "NO_PROXY": "*", "no_proxy": "*"}
        said = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **quiet},
            capture_output=True,
            text=True,
            check=False,
        )
        server.shutdown()
    assert said.stdout.strip() == commit, said.stderr


@pytest.mark.parametrize("file", ["rows.jsonl", "rows.json.gz", "sub/rows.csv", "rows.parquet"])
def test_a_file_is_a_task_by_its_ending(file: str) -> None:
    assert tasks.as_named(file) == f"jsonl:{file}"


def test_a_study_names_a_file_as_it_stands(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", *({"q": f"{n} + 1?", "a": n + 1} for n in range(9)))
    own = '[task."rows.jsonl"]\nquestion = "q"\nanswer = "a"'
    (task,) = load(tmp_path, small(tasks='["rows.jsonl"]', own=own)).tasks
    assert task.name == "rows.jsonl"
    assert tasks.load(task).test


@pytest.mark.parametrize("name", ["market", "hf:org/sums"])
def test_a_task_can_be_tried_by_its_name(name: str) -> None:
    wanted = trying.Wanted("toy:", Path(name))
    assert trying.as_task(wanted).name == name
    with pytest.raises(BadInput, match="has test problems of its own"):
        trying.as_task(trying.Wanted("toy:", Path(name), Path("test.jsonl")))
