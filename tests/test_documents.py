"""What the documentation says holds: its code runs, its links lead somewhere, its reference is the
code's, and its site builds."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

import finetrap
from finetrap import miniature, tasks
from finetrap.measure.study import reading
from finetrap.records import FORMAT, PROTOCOL
from finetrap.text.scoring import GRADING
from tests.builders.documents import REPOSITORY, blocks, run

DOCS = REPOSITORY / "docs"
RUN = [REPOSITORY / "README.md", DOCS / "tutorial.md", *sorted(DOCS.glob("how-to/*.md"))]
"""Documents whose code blocks are run."""
NOT_RUN = [
    (
        "README.md",
        "the first installs and runs a study of 16 cells in minutes, the second is this suite",
    ),
    ("README.md", "an hour's plan; docs/tutorial.md runs the same command with a small budget"),
    (
        "docs/tutorial.md",
        "a study of 16 cells, minutes on two cores; tests/cli/test_walk.py runs a smaller one",
    ),
    *[("docs/how-to/cluster.md", "needs a cluster")] * 6,
    ("docs/how-to/judge-your-own.md", "needs a model of your own"),
    ("docs/how-to/judge-your-own.md", "needs TRL and a model of your own"),
    ("docs/how-to/judge-your-own.md", "needs a model of your own"),
]
"""Every block that is not run, with the reason that stands above it."""
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(p for p in DOCS.glob("**/*.md") if p.parent.name != "example"),  # `make docs` writes it
]


def name(document: Path) -> str:
    return str(document.relative_to(REPOSITORY))


@pytest.fixture
def folder(tmp_path):
    """An empty folder but for what a document says that its reader has."""
    (tmp_path / "data").mkdir()
    shutil.copytree(miniature.FOLDER / "checkpoints" / "mini-0.1m", tmp_path / "my-model")
    shutil.copytree(REPOSITORY / "tests/data/arc_easy", tmp_path / "data/arc_easy")
    shutil.copytree(REPOSITORY / "tests/data/prose", tmp_path / "data/wikitext-2")
    problems = tasks.load(tasks.reference("market")).train[:60]
    for file, columns in (("train", ("question", "answer")), ("rows", ("prompt", "target"))):
        pairs = [dict(zip(columns, (p.question, p.solution), strict=True)) for p in problems]
        lines = "".join(json.dumps(pair) + "\n" for pair in pairs)
        (tmp_path / f"{file}.jsonl").write_text(lines)
        with (tmp_path / f"{file}.csv").open("w", newline="") as table:
            writer = csv.DictWriter(table, columns)
            writer.writeheader()
            writer.writerows(pairs)
    labels = [{"question": f"Is {n} even?", "answer": "no" if n % 2 else "yes"} for n in range(9)]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    (tmp_path / "reviews").mkdir()
    for side, place in (("train", "town"), ("test", "port")):
        rows = [{"text": f"A {word} {place}.", "label": word} for word in ("good", "bad")]
        file = tmp_path / "reviews" / f"{side}-00000-of-00001.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return tmp_path


@pytest.mark.parametrize("document", RUN, ids=name)
def test_every_code_block_runs(document, folder):
    for block in blocks(document):
        if not block.reason:
            run(block, folder)
    for file in folder.glob("*.toml"):
        if "models =" in file.read_text("utf-8"):
            reading.load_study(file)


def test_a_block_that_is_not_run_says_why():
    told = [(name(d), block.reason) for d in RUN for block in blocks(d) if block.reason]
    assert told == NOT_RUN


def test_the_readme_is_short_and_gives_two_commands_and_own_data_in_five_lines():
    text = (REPOSITORY / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 120
    commands, own, *_ = [b for b in blocks(REPOSITORY / "README.md") if b.language == "sh"]
    assert [line.split("#")[0].split() for line in commands.text.splitlines()] == [
        ["make", "demo"],
        ["make", "test"],
    ]
    assert len(own.text.splitlines()) <= 5


@pytest.mark.parametrize("document", PAGES, ids=name)
def test_links_lead_somewhere(document):
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{name(document)}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{name(document)}: {target}"


def anchors(document: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", ["reference", "events"])
def test_a_page_that_is_written_from_the_code_says_what_the_code_says(page):
    done = subprocess.run(
        [sys.executable, "-c", f"import write_{page}; print(write_{page}.page(), end='')"],
        cwd=DOCS,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{REPOSITORY / 'src'}:{DOCS}", "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (DOCS / f"{page}.md").read_text("utf-8"), "run `make reference`"


def test_the_protocol_names_the_versions_of_the_code():
    told = (DOCS / "protocol.md").read_text("utf-8").splitlines()[2]
    assert told.endswith(f"protocol {PROTOCOL}, grading {GRADING}, file format {FORMAT}.")


def test_the_glossary_is_sorted_and_defines_the_words_of_the_verdicts():
    text = (DOCS / "glossary.md").read_text("utf-8")
    terms = re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE)
    assert terms == sorted(terms, key=str.lower)
    assert {"Harmed", "Improved", "Equivalent", "Inconclusive", "Margin", "Probe"} <= set(terms)


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="pip install 'finetrap[docs]'")
    pytest.importorskip("material", reason="pip install 'finetrap[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert not re.search(r"WARNING|ERROR", done.stderr), done.stderr
    home = (tmp_path / "index.html").read_text("utf-8")
    fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', home)
    assert fetched == [], "the site works without a network"
    assert (tmp_path / "tutorial" / "index.html").exists()


def test_the_citation_names_this_version():
    text = (REPOSITORY / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^cff-version: 1\.2\.0$", text, re.MULTILINE)
    assert re.search(rf"^version: {re.escape(finetrap.__version__)}$", text, re.MULTILINE)
    assert re.search(r"^license: Apache-2\.0$", text, re.MULTILINE)


def test_the_picture_of_the_report_is_small():
    picture = DOCS / "report.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 300_000
