"""From a study file to a report on a real, tiny model; killed half-way, and on a copied folder."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.commands import answers, finetrap

STUDY = """
name = "walk"
models = ["mini-0.1m"]
tasks = ["market"]
probes = ["sorting", "prose"]
strategies = ["zero-shot", "few-shot-5", "full", "lora", "dora"]
seeds = [0, 1]
[train]
problems = 48
epochs = 1
[strategy.full]
learning_rate = [3e-5, 3e-3]
[limits]
test_problems = 60
probe_problems = 20
max_new_tokens = 40
"""
CELLS = 1 + 2 * (1 + 2 + 1 + 1)


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """A folder with the study, run undisturbed, and its report."""
    folder = tmp_path_factory.mktemp("walk")
    (folder / "walk.toml").write_text(STUDY)
    run = finetrap("run", "walk.toml", cwd=folder)
    assert run.returncode == 0, run.stderr
    report = finetrap("report", "walk.toml", cwd=folder)
    assert report.returncode == 0, report.stderr
    return folder


def test_the_base_model_keeps_what_everyone_was_asked(walk):
    (base,) = (walk / "runs").glob("*zero-shot*")
    problems = json.loads((base / "evidence.json").read_text())["problems"]
    assert {task: len(asked) for task, asked in problems.items()} == {
        task: len((base / file).read_text().splitlines())
        for task, file in (
            ("market", "answers.jsonl"),
            ("sorting", "probe-sorting.jsonl"),
            ("prose", "probe-prose.jsonl"),
        )
    }
    asked = [problem["question"] for problem in problems["market"].values()]
    assert all(question.endswith("?") for question in asked)
    others = [f for f in (walk / "runs").glob("*/evidence.json") if f.parent != base]
    assert not any("problems" in json.loads(file.read_text()) for file in others)


def test_every_cell_of_the_study_is_done(walk):
    shown = finetrap("status", "walk.toml", "--json", cwd=walk)
    status = json.loads(shown.stdout)
    assert (status["cells"], status["done"], status["remaining"]) == (CELLS, CELLS, 0)


def test_a_second_run_has_nothing_to_do(walk):
    before = answers(walk / "runs")
    again = finetrap("run", "walk.toml", "--json", cwd=walk)
    events = [json.loads(line)["event"] for line in again.stdout.splitlines()]
    assert events == ["round", "study-end"]
    assert answers(walk / "runs") == before


def test_a_killed_study_ends_with_the_same_answers(walk, tmp_path):
    """Its cells are those of one seed, which the undisturbed study has too."""
    cells = (CELLS + 1) // 2
    (tmp_path / "walk.toml").write_text(STUDY.replace("[0, 1]", "[0]"))
    command = [sys.executable, "-m", "finetrap.cli", "run", "walk.toml", "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if json.loads(line)["event"] == "cell-done":
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)  # its workers hold the other end of the pipe until they end
    done = len(list((tmp_path / "runs").glob("*/run.json")))
    assert 0 < done < cells
    resumed = finetrap("run", "walk.toml", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    ended, undisturbed = answers(tmp_path / "runs"), answers(walk / "runs")
    assert len({Path(file).parent for file in ended}) == cells
    assert ended == {file: undisturbed[file] for file in ended}


def test_the_report_counts_what_is_on_disk(walk):
    rows = list(csv.DictReader((walk / "runs/report/cells.csv").open()))
    assert len(rows) == CELLS
    for row in rows:
        (folder,) = (walk / "runs").glob(f"*--{row['key']}")
        lines = [json.loads(line) for line in (folder / "answers.jsonl").open()]
        right = sum(line["correct"] for line in lines)
        assert float(row["accuracy"]) == pytest.approx(100 * right / len(lines), abs=0.01)
        assert int(row["n"]) == len(lines) == 60


def test_an_effect_is_the_mean_of_its_paired_answers(walk):
    cells = list(csv.DictReader((walk / "runs/report/cells.csv").open()))
    effects = list(csv.DictReader((walk / "runs/report/effects.csv").open()))

    def lines(row) -> dict[str, dict]:
        (folder,) = (walk / "runs").glob(f"*--{row['key']}")
        found = [json.loads(line) for line in (folder / "answers.jsonl").open()]
        return {line["id"]: line for line in found}

    def level(answers: dict[str, dict], measure: str) -> float:
        if measure == "accuracy":
            return 100 * sum(a["correct"] for a in answers.values()) / len(answers)
        nats = sum(a["nats"] for a in answers.values())
        return nats / sum(a["bytes"] for a in answers.values()) / math.log(2)

    (base,) = (lines(c) for c in cells if c["strategy"] == "zero-shot")
    checked = {"accuracy": 0, "bits_per_byte": 0}
    for effect in effects:
        if effect["kind"] != "task" or effect["against"] != "zero-shot":
            continue
        same, measure = ("strategy", "learning_rate"), effect["measure"]
        arms = [lines(c) for c in cells if all(c[k] == effect[k] for k in same)]
        assert len(arms) == int(effect["seeds"]) == 2
        assert all(arm.keys() == base.keys() for arm in arms)
        after = sum(level(arm, measure) for arm in arms) / len(arms)
        expected = after - level(base, measure)
        assert float(effect["delta"]) == pytest.approx(expected, abs=0.01)
        checked[measure] += 1
    assert checked["accuracy"] == checked["bits_per_byte"] > 0


def test_a_copied_folder_is_judged_without_torch(walk, tmp_path):
    shutil.copytree(walk / "runs", tmp_path / "elsewhere")
    program = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "sys.argv = ['finetrap', 'report', '--runs', 'elsewhere', '--out', 'out']\n"
        "from finetrap.cli import main; main()"
    )
    judged = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert judged.returncode == 0, judged.stderr
    for name in ("cells.csv", "effects.csv"):
        here, there = walk / "runs/report" / name, tmp_path / "out" / name
        assert here.read_text() == there.read_text()


def test_adapters_are_kept_in_the_format_of_peft(walk):
    from peft import PeftConfig

    kept = sorted(p.parent.name.split("--")[0] for p in (walk / "runs").glob("*/adapter"))
    assert len(kept) == 4
    assert all("lora" in name or "dora" in name for name in kept)
    for folder in (walk / "runs").glob("*/adapter"):
        assert PeftConfig.from_pretrained(folder).peft_type == "LORA"


def test_the_evidence_names_what_a_diagnosis_needs(walk):
    (folder, *_) = sorted((walk / "runs").glob("*-full-*"))
    evidence = json.loads((folder / "evidence.json").read_text())
    assert evidence["train_template"]["sha256"] == evidence["test_template"]["sha256"]
    assert evidence["eos_share"] == 1.0
    assert len(evidence["train_rows"]) == len(evidence["base_loss"]) == 48
    assert len(evidence["loss"]) == len(evidence["gradient_norm"]) == evidence["steps"] == 3
    tokens = evidence["rows"][0]
    assert {masked for _, masked in tokens} == {True, False}
