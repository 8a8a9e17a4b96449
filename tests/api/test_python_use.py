"""finetrap from Python: what `import finetrap as ft` offers, checked and judged like the CLI."""

from __future__ import annotations

import ast
import csv
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import finetrap as ft
from finetrap import api, miniature, records
from finetrap.errors import BadInput, BadStudy, MissingPackage
from finetrap.measure.study import reading as studies
from finetrap.measure.study.cells import cells_of
from finetrap.measure.study.file import StudyTable

WRITTEN = {
    "models": ["toy:base=0.6,full=-0.3,lora=0.1"],
    "tasks": ["market"],
    "strategies": ["few-shot-5", "full", "lora"],
    "seeds": [0, 1],
    "limits": {"test_problems": 200},
    "train": {"problems": 32},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> ft.Runs:
    return ft.run(ft.Study(**WRITTEN), tmp_path_factory.mktemp("python") / "runs", workers=1)


def test_the_public_names_are_sorted_and_every_one_can_be_fetched():
    assert list(ft.__all__) == sorted(ft.__all__)
    for name in ft.__all__:
        assert getattr(ft, name).__doc__
        assert name in dir(ft)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ft.nothing  # noqa: B018


def test_a_type_checker_sees_the_names_that_are_fetched_lazily():
    tree = ast.parse(Path(ft.__file__).read_text("utf-8"))
    (static,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = [alias.name for node in static.body for alias in node.names]
    assert sorted(seen) == ft.__all__
    public = {
        name
        for name, found in vars(api).items()
        if getattr(found, "__module__", "") == api.__name__ and not name.startswith("_")
    }
    assert public - set(ft.__all__) == {"Written"}
    assert (Path(ft.__file__).parent / "py.typed").exists()


def test_importing_the_package_loads_hardly_anything():
    program = "import sys, finetrap; print(*(m for m in sys.modules if m.startswith('finetrap')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["finetrap"]


def test_a_study_in_python_is_the_record_that_a_study_file_gives(tmp_path):
    study = ft.Study(**WRITTEN)
    assert type(study) is records.Study
    (tmp_path / "same.toml").write_text(study.source)
    assert ft.load(tmp_path / "same.toml") == study
    keys = [cell.key for cell in cells_of(study)]
    assert keys == [cell.key for cell in cells_of(ft.load(tmp_path / "same.toml"))]


def test_python_can_write_every_key_that_a_study_file_can():
    keywords = api.Written.__annotations__
    assert list(keywords) == list(StudyTable.model_fields)


def test_all_faults_are_told_at_once_with_the_words_of_a_study_file(tmp_path):
    wrong = {
        "models": ["mini-1"],
        "strategies": ["lorra"],
        "seeds": [0, 0],
        "train": {"epoch": 2},
        "sedes": [1],
    }
    with pytest.raises(ft.BadInput) as in_python:
        ft.Study(**wrong)
    file = tmp_path / "wrong.toml"
    file.write_text(
        'name = "study"\nmodels = ["mini-1"]\nstrategies = ["lorra"]\nseeds = [0, 0]\n'
        "sedes = [1]\n[train]\nepoch = 2\n"
    )
    with pytest.raises(BadStudy) as in_a_file:
        ft.load(file)
    assert set(in_python.value.faults) == set(in_a_file.value.faults)
    assert len(in_python.value.faults) == 6


def test_values_of_python_are_taken_as_toml_would_write_them(tmp_path, monkeypatch):
    import numpy as np

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").write_text('{"question": "1 + 1?", "answer": 2}\n' * 3)
    study = ft.Study(
        models=("mini-1m",),
        tasks=("market",),
        strategies=["zero-shot"],
        seeds=range(2),
        probes=["jsonl:mine.jsonl"],
        task={"jsonl:mine.jsonl": {"test_share": np.float64(1)}},
        data={"gsm8k": tmp_path / "gsm8k"},
        search=None,
    )
    assert study.seeds == (0, 1)
    assert study.search is None
    assert study.probes[0].source == str(tmp_path / "mine.jsonl")
    with pytest.raises(ft.BadInput, match=r"seeds\[0\]: found true"):
        ft.Study(**{**WRITTEN, "seeds": [True]})
    with pytest.raises(ft.BadInput, match="limits: found"):
        ft.Study(**{**WRITTEN, "limits": object()})


def test_while_cells_remain_python_gives_no_verdict_either(runs, tmp_path):
    assert {e.verdict for e in runs.findings().effects} != {"inconclusive"}
    more = ft.Runs(runs.folder, ft.Study(**{**WRITTEN, "seeds": [0, 1, 2]}))
    found = more.findings()
    assert found.remaining == 3
    assert {(e.verdict, e.early) for e in found.effects} == {("inconclusive", True)}
    assert not found.advice
    assert not re.search(
        "harmed|improved", more.report(tmp_path).path.with_name("effects.csv").read_text()
    )


def test_an_engine_is_named_as_on_the_command_line(tmp_path):
    with pytest.raises(BadInput, match="give local, ray or slurm"):
        ft.run(ft.load("demo"), tmp_path, engine="cloud")
    assert list(tmp_path.iterdir()) == []


def test_a_shipped_study_is_named_like_on_the_command_line():
    study = ft.load("demo", {"seeds": [0], "train.epochs": 2})
    assert study.name == "demo"
    assert (study.seeds, study.train.epochs) == ((0,), 2)
    assert replace(ft.load("demo"), source="") == replace(
        studies.load_study(miniature.study("demo")), source=""
    )


def test_runs_hold_the_same_cells_as_the_command_line_runs(runs):
    done = runs.cells()
    assert len(done) == 1 + 3 * 2
    assert set(done.status) == {"done"}
    assert set(done.key) == {cell.key for cell in cells_of(runs.study)}


def test_running_again_measures_nothing_anew(runs, capsys):
    before = {p: p.stat().st_mtime_ns for p in runs.folder.glob("*/run.json")}
    ft.run(runs.study, runs.folder)
    assert "0 remaining" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in runs.folder.glob("*/run.json")} == before


def test_tables_are_those_of_the_report(runs, tmp_path):
    report = runs.report(tmp_path)
    for name, table in (("effects", runs.effects()), ("cells", runs.cells())):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        assert list(table.columns) == header
        assert len(table) == len(rows) > 0
        numbers = table["delta" if name == "effects" else "accuracy"]
        assert numbers.dtype == float
        place = header.index(numbers.name)
        assert [float(row[place]) for row in rows] == pytest.approx(list(numbers))
    assert runs.trials().empty
    assert report.path == tmp_path / "report.html"
    harmed = runs.effects().query("verdict == 'harmed' and measure == 'accuracy'")
    assert set(harmed.strategy) == {"full"}


def test_a_folder_is_judged_without_its_study(runs):
    alone = ft.Runs(runs.folder)
    assert list(alone.cells().key) == list(runs.cells().key)
    assert repr(alone).startswith("Runs('")
    assert "'study'" in repr(runs)


def test_a_report_shows_in_a_frame_that_shares_nothing_with_the_notebook(runs):
    from html.parser import HTMLParser

    report = runs.report()
    tags = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attributes):
            tags.append((tag, dict(attributes)))

    Tags().feed(report._repr_html_())
    ((tag, attributes),) = tags
    assert tag == "iframe"
    shown = attributes["srcdoc"].replace('<base href="about:srcdoc">', "", 1)
    assert shown == report.path.read_text("utf-8")
    assert "allow-same-origin" not in attributes["sandbox"]
    assert report.path.parent == runs.folder / "report"


def test_links_inside_the_frame_stay_inside_it(runs, tmp_path):
    browsers = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium on the path")
    page_around = tmp_path / "notebook.html"
    page_around.write_text(f"<!doctype html><body>{runs.report()._repr_html_()}", "utf-8")
    with browsers.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page()
        told = []
        page.on("console", lambda message: told.append(message.text))
        page.goto(page_around.as_uri())
        page.frames[1].click('nav a[href="#methods"]')
        frame = page.frames[1]
        frame.wait_for_function("scrollY > 0")
        assert frame.url == "about:srcdoc#methods"
        assert frame.evaluate("self.origin") == "null"
        opened.close()
    assert told == []


def test_a_fault_of_the_data_is_raised_after_the_other_cells_ran(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    study = ft.Study(
        models=["toy:base=0.5"],
        tasks=["market", "jsonl:bad.jsonl"],
        strategies=["zero-shot"],
        limits={"test_problems": 20},
    )
    with pytest.raises(ft.BadInput, match="none left for the test"):
        ft.run(study, workers=1, quiet=True)
    assert list(ft.Runs(study=study).cells().task) == ["market"]


def test_without_pandas_a_table_says_what_to_install(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackage, match=r"pip install 'finetrap\[notebook\]'"):
        runs.effects()
    assert issubclass(MissingPackage, ImportError)
