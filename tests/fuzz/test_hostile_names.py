"""Names and texts of strangers do nothing in a terminal, a spreadsheet, a browser or a log.

Every verb is given them as models, strategies, tasks, columns, metrics, files and data.
"""

from __future__ import annotations

import csv
import json
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from finetrap import miniature
from finetrap.cli import main
from finetrap.records import ModelSpec, StrategySpec
from finetrap.runs.store import Store
from tests.builders.cases import standing_for_all
from tests.builders.runs import ZERO, answers, failed, on_dev, prose, run

FORGED = "finetrap: all is well"
"""What would stand at the start of a line if a line end in a name came through."""
PIECES = (
    f"<img src=x onerror=alert(1)>\x1b[31m\x1b]0;t\x07\u202e\u2066\u200b\x00\x85|`*\r\n{FORGED}"
)
STARTS = ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")
SHOWN = "<img src=x onerror=alert(1)>\u202e\u2066\u200b|`*"
"""Those of them that a name may hold: nothing that controls a terminal."""
PRINTED = "<img src=x onerror=alert(1)>|`*[a](b)"
"""Hostile characters that the name of a file and a study may have."""

MINIATURE = Path(miniature.__file__).parent / "checkpoints" / "mini-0.1m"

Said = Callable[..., str]


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Said:
    """Return what runs a command and returns what it said, once that was found harmless."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str, code: int = 0) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        told = capfd.readouterr()
        everything = told.out + told.err
        assert ended.value.code == code, everything[-2000:]
        assert_plain(everything)
        assert not any(line.startswith(FORGED) for line in everything.splitlines()), everything
        return everything

    return command


def assert_plain(text: str) -> None:
    """Nothing in it steers a terminal or turns the direction of its neighbours."""
    found = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert found <= set("\n\t"), [hex(ord(c)) for c in found]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


def assert_report(folder: Path) -> Iterator[str]:
    """Hold every file of a report; yield the tables that have rows."""
    for place in sorted(folder.rglob("*.*")):
        text = place.read_bytes().decode("utf-8")
        assert_plain(text)
        if place.suffix == ".csv":
            with place.open(newline="", encoding="utf-8") as file:
                first, *rows = csv.reader(file)
            for value in (value for row in (first, *rows) for value in row):
                assert not value.startswith(("=", "@", "\t", "\r"))
                if value.startswith(("+", "-")):
                    float(value)
            if rows:
                yield place.stem
        elif place.suffix in (".html", ".svg"):
            tags = Tags()
            tags.feed(text)
            assert "img" not in tags.found
        else:
            assert "<img" not in text.replace("\\<", "")
            assert not any(line.startswith(FORGED) for line in text.splitlines())


def stored(store: Store, bad: str, text: str) -> str:
    """Commit a study whose names and texts are hostile; return the key of a trained run."""
    model = ModelSpec(bad, bad, bad, parameters=1000)
    given = tuple(
        replace(a, completion=text, extracted=text, family=text) for a in answers([1, 0] * 40)
    )
    lora = StrategySpec(bad, "peft", learning_rate=1e-3, peft={"peft_type": "LORA", "r": 8})
    probes = {bad: prose([1.0, 2.0] * 20)}
    named: dict[str, Any] = {"model": model, "task": bad, "trained_on": bad, "probes": probes}
    worse = tuple(replace(a, correct=False, rule=text) for a in given)
    store.commit(run(ZERO, given, **named))
    key = ""
    for seed in (0, 1):
        done = run(lora, worse, seed, **named)
        store.commit(done)
        key = done.cell.key
        store.commit(on_dev(done))
    store.commit(failed(replace(lora, name=f"{bad}x"), 0, "failed", text, **named))
    return key


@pytest.mark.parametrize("start", standing_for_all(STARTS[:4], *STARTS[:1]))
def test_a_runs_folder_of_a_stranger(start: str, said: Said, tmp_path: Path) -> None:
    key = stored(Store(tmp_path / "runs"), start + SHOWN, start + PIECES)
    said("report", "--runs", "runs", "--out", "out")
    assert set(assert_report(tmp_path / "out")) >= {"effects", "cells", "summary"}
    said("report", "--runs", "runs", "--out", "out", "--json")
    said("diagnose", key[:12], "--runs", "runs")
    said("advise", "--runs", "runs", "--", start + SHOWN)
    said("fsck", "runs")
    said("regrade", "runs")


@pytest.mark.parametrize(
    "control", standing_for_all(["\n", "\r", "\x1b", "\x85", "\x9b", "\u2028"], "\n")
)
def test_a_run_whose_name_controls_a_terminal_is_named_as_damaged(
    control: str, said: Said, tmp_path: Path
) -> None:
    stored(Store(tmp_path / "runs"), f"a{control}{FORGED}", "text")
    assert "a name holds control characters" in said("fsck", "runs", code=1)
    said("report", "--runs", "runs", "--out", "out")
    list(assert_report(tmp_path / "out"))


@pytest.mark.parametrize("start", standing_for_all(STARTS, *STARTS[:1]))
def test_data_and_logs_of_a_stranger(start: str, said: Said, tmp_path: Path) -> None:
    bad = start + PIECES
    name = (start + PIECES).replace("/", "").replace("\0", "")[:200] + ".jsonl"
    file = f"./{name}"
    row = {"id": bad, "completion": bad, "gold": "2", "question": bad, "answer": "2", bad: 1}
    rows = [
        {**row, "id": f"{bad}{i}", "completion": f"{bad} #### {i}", "correct": i == 2}
        for i in range(30)
    ]
    Path(name).write_text("".join(json.dumps(r) + "\n" for r in rows))
    Path("plain.jsonl").write_text(
        "".join(json.dumps({**r, "completion": "2"}) + "\n" for r in rows)
    )
    said("grade", file)
    said("grade", file, "--out", file + "x")
    said("grade", file, "--explain", bad.replace("\0", "") + "0", code=2)
    said("compare", file, "plain.jsonl")
    said("compare", file, "plain.jsonl", "--metric", bad.replace("\0", ""))
    said("diagnose", "--before", "plain.jsonl", "--after", file)
    said("overlap", "--train", file, "--test", "plain.jsonl")
    said("overlap", "--train", file, "--test", file + "missing", code=2)
    for verb in ("run", "plan", "status", "report", "show"):
        said(verb, file, code=2)
    said("list", bad.replace("\0", ""), code=2)
    Path(name).write_text(f'{{"{start.strip()}": \n')
    said("grade", file, code=2)


def test_a_study_with_hostile_names_is_measured_and_shown(said: Said, tmp_path: Path) -> None:
    for file, data in ((f"={PRINTED}.jsonl", 60), (f"@{PRINTED}.jsonl", 60)):
        rows = ({PRINTED: f"What is {i} + 2? {PIECES}", "=gold": str(i + 2)} for i in range(data))
        Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("study.toml").write_text(
        f"""
name = "={PRINTED}"
models = ["toy:base=0.6"]
tasks = ["jsonl:={PRINTED}.jsonl"]
strategies = ["full", "={PRINTED}"]
seeds = [0]
[task."jsonl:={PRINTED}.jsonl"]
question = "{PRINTED}"
answer = "=gold"
[strategy."={PRINTED}"]
kind = "full"
learning_rate = 1e-4
[train]
problems = 20
[limits]
test_problems = 10
"""
    )
    for verb in ("plan", "show", "status", "run", "status", "report"):
        said(verb, "study.toml", *(("--workers", "1") if verb == "run" else ()))
    assert set(assert_report(tmp_path / "runs" / "report")) >= {"effects", "cells", "summary"}


def hostile_problems(file: str, count: int, question: str = PRINTED, gold: str = "=gold") -> None:
    rows = ({question: f"What is {i} + 2? {PIECES}", gold: str(i + 2)} for i in range(count))
    Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_try_with_hostile_data_columns_and_folders(said: Said, tmp_path: Path) -> None:
    file, out = f"={PRINTED}.jsonl", f"@{PRINTED}"
    hostile_problems(file, 60)
    data = ("--train", file, "--column", f"question={PRINTED}", "--column", "answer==gold")
    asked = (*data, "--budget", "0", "--workers", "1", "--out", out)
    said("try", "toy:base=0.4,lora=0.5,parameters=1000", *asked)
    said("report", "--runs", f"{out}/runs", "--out", "again")
    assert set(assert_report(tmp_path / "again")) >= {"effects", "cells", "summary"}
    assert "has no option" in said(
        "try", "toy:base=0.4", "--train", file, "--column", "a=\x1b", code=2
    )
    for model in (f"={PRINTED}", PIECES.replace("\0", "")):
        said("try", model, "--train", file, "--out", "other", code=2)


def test_judge_with_hostile_models_data_and_folders(said: Said, tmp_path: Path) -> None:
    file, base, tuned, out = (f"{start}{PRINTED}" for start in "=@+_")
    hostile_problems(f"{file}.jsonl", 8, "question", "answer")
    for place in (base, tuned):
        shutil.copytree(MINIATURE, place)
    task = ("--task", f"{file}.jsonl")
    few = ("--problems", "4", "--max-new-tokens", "4", "--workers", "1", "--out", out)
    said("judge", "--base", f"./{base}", "--tuned", f"./{tuned}", *task, *few)
    said("report", "--runs", f"{out}/runs", "--out", "again")
    assert set(assert_report(tmp_path / "again")) >= {"effects", "cells", "summary"}
    for wrong in (f"./{base}x", "./" + PIECES.replace("\0", "")):
        said("judge", "--base", wrong, "--tuned", f"./{tuned}", *task, *few, code=2)
        said("judge", "--base", f"./{base}", "--tuned", wrong, *task, *few, code=2)


def test_a_demo_into_a_hostile_place_is_refused(said: Said) -> None:
    name = f"={PIECES}".replace("/", "").replace("\0", "")
    Path(name).write_text("")
    for option in ("--out", "--runs"):
        said("demo", option, name, "--workers", "1", code=2)
