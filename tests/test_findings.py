"""What docs/findings shows is what the packed answers show, judged anew without torch."""

import json
import re
import runpy
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def writing():
    return runpy.run_path(str(ROOT / "docs" / "write_findings.py"))


@pytest.fixture(scope="module")
def judged(writing, tmp_path_factory):
    """Every packed runs folder, judged where torch cannot be imported."""
    barred = tmp_path_factory.mktemp("barred")
    (barred / "torch.py").write_text("raise ImportError('reports need no torch')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{barred}:{ROOT / 'src'}")
        return writing["reports"](tmp_path_factory.mktemp("unpacked"))


def test_the_tables_of_every_page_are_those_of_the_packed_answers(writing, judged):
    pages = writing["pages"](judged)
    assert {page.name for page in pages} >= {"index.md", "svamp-smollm2-q4.md"}
    for page, text in pages.items():
        assert page.read_text("utf-8") == text, f"run {sys.executable} docs/write_findings.py"


def test_a_table_that_was_changed_by_hand_is_written_anew(writing, judged):
    page = (ROOT / "docs" / "findings" / "svamp-smollm2-q4.md").read_text("utf-8")
    block = writing["tables"](judged["svamp-smollm2-q4"])
    changed = page.replace(block, block.replace("1", "7"))
    assert changed != page
    assert writing["filled"](changed, "svamp-smollm2-q4", block) == page


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("index.md", "What came out"),
        ("svamp-gemma-q4.md", "What it shows"),
        ("svamp-qwen-q4.md", "What it shows"),
        ("svamp-qwen-search-q4.md", "What it shows"),
    ],
)
def test_every_number_of_the_answer_stands_in_a_table(name, heading):
    """What the page says in words is read off its tables, which are written from the answers."""
    page = (ROOT / "docs" / "findings" / name).read_text("utf-8")
    answer = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    tables = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    said = set(re.findall(r"\d+\.\d+", answer))
    assert len(said) > 5
    told = set(re.findall(r"\d+\.\d+", tables))
    assert said - told == set()


def packed(folder, model):
    command = [ROOT / "studies" / "pack.sh", folder / "runs", "s", model, folder / "s.tar.xz"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_packed_study_holds_its_own_runs_without_weights(tmp_path):
    for run in ("a-zero-shot--01", "a-full--02", "b-full--03"):
        own = tmp_path / "runs" / run
        (own / "model").mkdir(parents=True)
        (own / "model" / "weights").write_text("many")
        (own / "answers.jsonl").write_text("{}")
    for hidden in (".studies/s.json", ".studies/t.json", ".locks/01"):
        (tmp_path / "runs" / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / "runs" / hidden).write_text("{}")
    assert packed(tmp_path, "a").returncode == 0
    with tarfile.open(tmp_path / "s.tar.xz") as archive:
        files = {member.name for member in archive if member.isfile()}
    assert files == {
        "runs/.studies/s.json",
        "runs/a-zero-shot--01/answers.jsonl",
        "runs/a-full--02/answers.jsonl",
    }
    refused = packed(tmp_path, "c")
    assert refused.returncode == 2
    assert "no run of the model c" in refused.stderr


def zero_shot(study):
    """The base model's answers on the task, of a packed study."""
    with tarfile.open(ROOT / f"studies/results/{study}.tar.xz") as pack:
        (name,) = (
            n for n in pack.getnames() if "-zero-shot--" in n and n.endswith("/answers.jsonl")
        )
        return [json.loads(row) for row in pack.extractfile(name).read().decode().splitlines()]


def test_the_base_model_under_the_other_prompt_mostly_answers_at_once():
    """As the pages of Qwen2.5-Coder say: told to end with ####, in fewer than 16 tokens."""
    plain, told = zero_shot("svamp-qwen-q4"), zero_shot("format-control-qwen-q4")
    assert len(plain) == len(told) == 300
    assert sum(row["tokens"] < 16 for row in plain) < 15
    assert sum(row["tokens"] < 16 for row in told) == 247
    page = (ROOT / "docs/findings/format-control-qwen-q4.md").read_text("utf-8")
    assert "247 of the 300 answers have fewer than 16 tokens" in page


def test_the_answers_that_are_told_of_stand_in_the_packed_runs():
    """The tuned models' own words on the page of Qwen2.5-Coder."""
    page = (ROOT / "docs/findings/svamp-qwen-q4.md").read_text("utf-8")
    quoted = re.findall(r'"(\d+ . \d+ = \d+)"', page)
    assert quoted
    with tarfile.open(ROOT / "studies/results/svamp-qwen-q4.tar.xz") as pack:
        names = [n for n in pack.getnames() if "-full-" in n and n.endswith("/answers.jsonl")]
        text = "".join(pack.extractfile(name).read().decode() for name in names)
    for words in quoted:
        assert f'"completion": "{words}' in text or f'"completion":"{words}' in text
