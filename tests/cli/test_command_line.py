"""The command line as people meet it: help, examples, exit codes, Ctrl-C, closed pipes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from finetrap.cli import CODES, VERBS, app, example, main
from finetrap.cli.options import Source
from finetrap.measure.study import reading, search
from finetrap.runs.store import Store
from finetrap.terminal.live import STOPPING
from tests.builders.cases import standing_for_all
from tests.builders.commands import answers, finetrap
from tests.builders.documents import documented
from tests.builders.runs import ZERO, run

STUDY = """
name = "toy"
models = ["toy:{plan}"]
tasks = ["market"]
strategies = ["full", "lora"]
seeds = [0]
[train]
problems = 40
batch = {batch}
epochs = 1
[limits]
test_problems = 50
"""
ROW = {"question": "What is 2 + 3?", "answer": "5"}
FILES = {
    "train.jsonl": [ROW],
    "test.jsonl": [ROW],
    "outputs.jsonl": [{"completion": "So #### 5", "gold": "5"}],
    "before.jsonl": [{"id": i, "correct": i % 2 == 0} for i in range(20)],
    "after.jsonl": [{"id": i, "correct": i % 3 == 0} for i in range(20)],
    "base.jsonl": [{"id": i, "completion": "#### 5", "gold": "5"} for i in range(20)],
    "tuned.jsonl": [{"id": i, "completion": f"#### {i}", "gold": "5"} for i in range(20)],
}
CHEAP = ("status", "report", "diagnose", "advise", "compare", "grade", "overlap", "list")
"""Verbs whose example takes a moment."""


@pytest.fixture
def folder(tmp_path):
    """A folder with the files of a user that the examples name, and one run."""
    Store(tmp_path / "runs").commit(run(ZERO, [1, 0, 1, 0]))
    for name, rows in FILES.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def written(folder: Path, plan: str = "base=0.6", batch: int = 4) -> Path:
    (folder / "toy.toml").write_text(STUDY.format(plan=plan, batch=batch))
    return folder


def test_finetrap_alone_shows_every_verb_with_its_example(tmp_path):
    done = finetrap(cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"\n{verb:9} " in done.stdout
        assert f"$ {example(verb)}\n" in done.stdout
    assert CODES in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_a_verb_is_in_its_help_and_can_be_parsed(verb, folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = shlex.split(example(verb))
    assert words[:2] == ["finetrap", verb]
    command: Any = typer.main.get_command(app)
    with command.commands[verb].make_context(verb, words[2:]) as context:
        assert context.params
        text = context.get_help()
    assert example(verb) in re.sub(r"\s+", " ", text)
    assert CODES in text
    assert not re.search(r"<[a-z]|[{]|\[\[", text), "kinds of values are no names"
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("verb", CHEAP)
def test_a_cheap_example_runs(verb, folder):
    done = finetrap(*shlex.split(example(verb))[1:], cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_done_is_0(tmp_path):
    done = finetrap("run", "toy.toml", "--workers", 1, cwd=written(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_failed_cells_are_named_with_the_command_that_runs_them_again(tmp_path, workers):
    folder = written(tmp_path, "full=crash")
    (failed,) = re.findall(r"^\[.*\] (.*-full-\S*): failed", _run(folder, workers), re.M)
    for flags in ((), ("--retry-failed",)):
        told = _run(folder, workers, *flags)
        assert f"\n  {failed}: failed: " in told
        assert "to run them once more: finetrap run toy.toml --retry-failed" in told
        assert f"3 cells, {len(flags)} remaining" in told


def _run(folder: Path, workers: int, *flags: str) -> str:
    done = finetrap("run", "toy.toml", "--workers", workers, *flags, cwd=folder)
    assert done.returncode == 1
    return done.stdout


def test_some_cells_failed_is_1_and_the_others_are_done(tmp_path):
    done = finetrap("run", "toy.toml", "--workers", 1, cwd=written(tmp_path, "full=crash"))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "failed: a planted crash" in done.stdout
    state = json.loads(finetrap("status", "toy.toml", "--json", cwd=tmp_path).stdout)
    assert (state["done"], state["failed"], state["remaining"]) == (2, 1, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "run"),
        (["run"], "STUDY"),
        (["run", "toy.toml", "--wrokers", "2"], "--wrokers; did you mean '--workers'?"),
        (["run", "smal-data"], "did you mean 'small-data'?"),
        (["advise", "mini-1n"], "did you mean 'mini-1m'?"),
        (["run", "toy.toml", "--workers", "many"], "--workers"),
        (["run", "toy.toml", "--workers", "0"], "--workers"),
        (["run", "toy.toml", "--set", "epochs"], "KEY=VALUE"),
        (["run", "nowhere.toml"], "nowhere.toml"),
        (["run", "."], "."),
        (["run", "toy.toml", "--runs", "train.jsonl"], "train.jsonl"),
        (["status", "toy.toml", "--runs", "train.jsonl"], "train.jsonl"),
        (["report", "toy.toml", "--out", "train.jsonl"], "train.jsonl"),
        (["grade", "nowhere.jsonl"], "nowhere.jsonl"),
        (["grade", "outputs.jsonl", "--out", "nowhere/graded.jsonl"], "nowhere/graded.jsonl"),
        (["compare", "before.jsonl", "nowhere.jsonl"], "nowhere.jsonl"),
        (["overlap", "--train", "nowhere.jsonl", "--test", "test.jsonl"], "nowhere.jsonl"),
        (["try", "mini-1m", "--train", "nowhere.jsonl"], "nowhere.jsonl"),
        (["try", "mini-1m", "--train", "train.jsonl", "--out", "test.jsonl"], "test.jsonl"),
        (["demo", "--out", "train.jsonl"], "train.jsonl"),
        (["diagnose", "no-such-run"], "no-such-run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_names_what_is_wrong(arguments, said, folder, monkeypatch, capsys):
    monkeypatch.chdir(written(folder))
    for flags in ([], ["--json"]):
        with pytest.raises(SystemExit) as stop:
            main([*arguments, *flags])
        err = capsys.readouterr().err
        assert stop.value.code == 2, err
        assert err.startswith("finetrap: ") or flags
        assert said in (json.loads(err)["message"] if flags else err)


def test_memory_that_is_exhausted_outside_a_cell_is_3(folder, monkeypatch, capsys):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.chdir(written(folder))
    monkeypatch.setattr("finetrap.judge.logs.read_gradable", exhausted)
    with pytest.raises(SystemExit) as stop:
        main(["grade", "outputs.jsonl"])
    assert stop.value.code == 3
    assert "the memory is exhausted; free some of it" in capsys.readouterr().err


def test_bad_input_is_2(folder):
    done = finetrap("run", "toy.toml", "--runs", "train.jsonl", cwd=written(folder))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("finetrap: ")


def started(folder: Path, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a verb in a process group of its own, which Ctrl-C reaches as in a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "finetrap.cli", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def until(process: subprocess.Popen[str], event: str, **facts: object) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        told = json.loads(line)
        if told["event"] == event and facts.items() <= told.items():
            return
    raise AssertionError(f"no event {event}")


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.full), 2])
def test_ctrl_c_ends_after_the_current_step_and_says_how_to_go_on(tmp_path, workers):
    written(tmp_path, "seconds=10")
    run = ("run", "toy.toml", "--workers", workers)
    process = started(tmp_path, *run, "--json")
    until(process, "cell-done")
    until(process, "step")
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert time.monotonic() - begun < 7, "a step takes one second, the training ten"
    assert "Traceback" not in err
    events = [json.loads(line) for line in out.splitlines()]
    (told,) = [event for event in events if event["event"] == "interrupted"]
    assert (told["saved"], told["remaining"]) == (1, 2)
    again = f"finetrap run toy.toml --workers {workers} --json"
    assert told["next"] == again
    assert f"to go on: {again}" in err
    assert list((tmp_path / "runs").glob(".tmp-*")) == []
    kept = answers(tmp_path / "runs")
    status = json.loads(finetrap("status", "toy.toml", "--json", cwd=tmp_path).stdout)
    assert (status["done"], status["remaining"]) == (1, 2)
    assert finetrap(*shlex.split(again)[1:], cwd=tmp_path).returncode == 0
    assert kept.items() < answers(tmp_path / "runs").items()


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    written(tmp_path, "seconds=60", batch=40)
    process = started(tmp_path, "run", "toy.toml", "--workers", 2)
    assert process.stdout is not None
    assert process.stderr is not None
    assert any("train" in line for line in process.stdout)  # a step of a minute: it hears nothing
    os.killpg(process.pid, signal.SIGINT)
    assert process.stderr.readline() == f"{STOPPING}\n"
    assert process.poll() is None
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - begun < 5
    assert process.returncode == 130
    assert "Traceback" not in err


def test_ctrl_c_while_a_plan_is_timed_has_no_traceback(tmp_path):
    process = started(tmp_path, "plan", "style")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("timing ")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err


def started_by(process: subprocess.Popen[str], count: int) -> None:
    """Wait until a process has started so many."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while len(listed.read_text().split()) < count:
        assert process.poll() is None
        assert time.monotonic() < deadline, f"never started {count}"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
@pytest.mark.parametrize("children", standing_for_all([1, 2, 3], 2))
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_signal_to_end_while_processes_start_has_no_traceback(tmp_path, verb, children, sent):
    process = started(written(tmp_path), verb, "toy.toml", "--workers", 2)
    started_by(process, children)
    os.killpg(process.pid, sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "leaked" not in err
    assert "interrupted" in err
    status = json.loads(finetrap("status", "toy.toml", "--json", cwd=tmp_path).stdout)
    assert (status["done"], status["failed"]) == (0, 0)


@pytest.mark.parametrize("verb", ["status style", "list", "run --help", "grade many.jsonl"])
def test_a_reader_that_has_seen_enough_is_no_error(verb, tmp_path):
    row = json.dumps({"completion": "#### 5", "gold": "5"}) + "\n"
    (tmp_path / "many.jsonl").write_text(row * 20_000)
    process = started(tmp_path, *verb.split())
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_study_whose_reader_has_gone_is_interrupted_and_keeps_what_it_has(tmp_path):
    process = started(written(tmp_path), "run", "toy.toml", "--workers", 1)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 130
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert said.startswith("finetrap: interrupted; saved in runs: ")
    assert "Traceback" not in said
    assert finetrap("run", "toy.toml", "--quiet", cwd=tmp_path).returncode == 0


def test_every_field_of_every_event_is_documented(tmp_path):
    known = documented()
    written(tmp_path, "full=diverge,lora=0.1,seconds=0.5")
    text = (tmp_path / "toy.toml").read_text()
    text = text.replace('["full", "lora"]', '["full", "lora", "lora+rewind"]')
    (tmp_path / "toy.toml").write_text(text.replace("[train]", 'probes = ["prose"]\n[train]'))
    done = finetrap("run", "toy.toml", "--workers", 2, "--json", cwd=tmp_path)
    told = finetrap("report", "toy.toml", "--json", cwd=tmp_path)
    seen: dict[str, set[str]] = {}
    for line in (done.stdout + told.stdout).splitlines():
        event = json.loads(line)
        seen.setdefault(event.pop("event"), set()).update(event)
    for event, fields in seen.items():
        assert fields == known[event], event
    assert {"round", "crew", "phase", "step", "rows", "cell-done", "cell-failed"} <= seen.keys()


def test_an_unfinished_study_is_reported_without_any_verdict(tmp_path):
    written(tmp_path, "full=-0.4,lora=0.2")
    shared = ("--set", "limits.test_problems=200")
    one = finetrap("run", "toy.toml", "--workers", 1, *shared, "--quiet", cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    more = (*shared, "--set", "seeds=[0, 1]")
    words = ("harmed", "improved", "equivalent", "inconclusive", "ship ")
    early = finetrap("report", "toy.toml", *more, cwd=tmp_path)
    assert early.returncode == 0, early.stderr
    assert "2 cells remaining" in early.stdout
    assert "not yet" in early.stdout
    assert not any(word in early.stdout for word in words)
    document = json.loads(finetrap("report", "toy.toml", *more, "--json", cwd=tmp_path).stdout)
    assert document["remaining"] == 2
    assert {effect["verdict"] for effect in document["effects"]} == {None}
    assert document["advice"] == document["outcomes"] == []
    whole = {"limits.test_problems": 200, "seeds": [0, 1]}
    study = reading.load_study(tmp_path / "toy.toml", whole)
    store = Store(tmp_path / "runs")  # as a run of both seeds that was stopped leaves it
    store.remember(study, search.named_cells(study, store)[0])
    for verb in ("advise", "diagnose"):
        told = finetrap(verb, "--runs", "runs", cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        assert "before the last run, 2 cells remaining" in told.stdout
        assert not any(word in told.stdout for word in words)
    finished = finetrap("report", "toy.toml", *shared, cwd=tmp_path)
    assert "harmed" in finished.stdout
    assert "remaining" not in finished.stdout


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        ("org/Foo-135M-Instruct", "adapters by default for aligned models"),
        ("org/Foo-135M", "whether it is aligned is not known"),
        ("smollm2-135m", ""),
    ],
)
def test_advice_knows_by_a_models_name_whether_it_is_aligned(model, rule, tmp_path):
    told = finetrap("advise", model, "--json", cwd=tmp_path)
    reasons = " ".join(json.loads(told.stdout)["reasons"])
    assert rule in reasons
    assert ("aligned" in reasons) == bool(rule)


def test_the_command_that_repeats_a_study_holds_its_overrides_and_folder():
    study, settings = Path("my study.toml"), ["train.epochs=2", 'models=["a"]']
    again = Source(Path("elsewhere"), study, settings).command
    assert shlex.split(again) == [
        *("finetrap", "run", "my study.toml", "--set", "train.epochs=2"),
        *("--set", 'models=["a"]', "--runs", "elsewhere"),
    ]
    assert Source(Path("runs"), Path("demo")).command == "finetrap run demo"
