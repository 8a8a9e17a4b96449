"""The page: what it shows is what was judged, and nothing a model wrote changes it."""

from __future__ import annotations

import base64
import csv
import gc
import hashlib
import html
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from finetrap import report
from finetrap.errors import StoreError
from finetrap.findings import Claim, Effect, Findings, Missing, Trial
from finetrap.judge.tables import columns
from finetrap.levels import CellRow
from finetrap.records import Run, StrategySpec
from finetrap.report import wording
from finetrap.report.together import NAMES
from tests.builders.reported import HOSTILE, diverged, grid, judged, read, run, searched, written


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Two models; full fine-tuning's answers are hostile, and a failure's message."""
    found = grid(("mini-0.3m", "mini-1m"), n=200)
    for index, done in enumerate(found):
        if done.cell.strategy.name == "full" and done.status == "done":
            bad = tuple(replace(a, completion=HOSTILE, extracted=HOSTILE) for a in done.answers)
            found[index] = replace(done, answers=bad)
    found.append(diverged("mini-1m", "school", 3, message=HOSTILE + "\nTraceback"))
    return found


@pytest.fixture(scope="module")
def findings(runs: list[Run]) -> Findings:
    return judged(runs)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, runs: list[Run], findings: Findings) -> Path:
    return written(tmp_path_factory.mktemp("page"), runs, findings)


def test_the_page_is_whole_and_every_element_is_closed(page: Path) -> None:
    reader = read(page)
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [a["href"] or "" for t, a in reader.tags if t == "a"]
    within = [link[1:] for link in links if link.startswith("#")]
    assert set(within) <= set(ids)
    beside = {link for link in links if not link.startswith("#")}
    assert beside == {"effects.csv", "report.md"}
    assert all((page.parent / link).is_file() for link in beside)
    sections = ("answer", "forgetting", "cost", "why", "answers", "methods", "failures")
    assert set(sections) < set(ids)


def test_only_the_pages_own_script_may_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    allowed = re.search(r"script-src ([^;]+);", html.unescape(policy[1]))
    assert allowed is not None
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert allowed[1] == f"'sha256-{digest}'"


def test_nothing_is_loaded_from_elsewhere(page: Path) -> None:
    reader = read(page)
    for tag, attrs in reader.tags:
        assert tag not in ("link", "img", "iframe", "object", "base")
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "href", "srcset", "data", "action"):
            given = attrs.get(name) or "#"
            assert given.startswith("#") or given in ("effects.csv", "report.md")
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"url\((?!#)|@import|https?:", text)


def test_hostile_answers_are_inert_and_visible(page: Path, findings: Findings) -> None:
    text = page.read_text(encoding="utf-8")
    for char in "\u202e\u202c\x1b\x00":
        assert char not in text
    assert "⟨U+202E⟩" in text
    assert "⟨U+D800⟩" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{ 7*7 }}" in text, "a completion is not a template"
    assert text.count("</style>") == 1
    assert "a\u0301\u0301\u0301⟨U+0301⟩" in text, "no tower of combining marks"


def test_hostile_names_do_not_change_the_page(tmp_path: Path) -> None:
    name = '$x$ <em>|`*--> #d55e00 id="q" \u202e'
    reader = read(written(tmp_path, grid((name,), ("a/../../b\n# heading",), n=40)))
    assert "em" not in [tag for tag, _ in reader.tags]
    said = [text for parents, text in reader.texts if parents[-1:] in (("h1",), ("desc",))]
    assert any('$x$ <em>|`*--> #d55e00 id="q" ⟨U+202E⟩ on a/../../b # heading' in t for t in said)
    markdown = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "\n# heading" not in markdown
    assert "<em>" not in markdown


def test_every_number_of_an_effect_is_that_of_effects_csv(page: Path) -> None:
    with (page.parent / "effects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shown = read(page).numbers
    assert set(shown) == set(range(len(rows))), "every effect is on the page"
    for line, numbers in shown.items():
        row = rows[line]
        measure = row["measure"]
        assert numbers["before"] == wording.number(float(row["before"]), measure)
        assert numbers["after"] == wording.number(float(row["after"]), measure)
        assert numbers["delta"] == wording.signed(float(row["delta"]), measure)
        assert numbers["p_adjusted"] == wording.probability(float(row["p_adjusted"]))
        if row["kind"] != "probe" and measure == "accuracy":
            assert numbers["n"] == row["n"]
            assert numbers["seeds"] == row["seeds"]
            assert numbers["lost"] == wording.count(int(row["lost"]))


def test_every_table_reads_back_whole(page: Path, findings: Findings, runs: list[Run]) -> None:
    for name, names, count in (
        ("effects.csv", columns(Effect), len(findings.effects)),
        ("cells.csv", columns(CellRow), len(runs)),
        ("trials.csv", columns(Trial), 0),
        ("claims.csv", columns(Claim), 16),
    ):
        with (page.parent / name).open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            assert tuple(table.fieldnames or ()) == names
            assert len(list(table)) == count


def test_a_report_consists_of_the_files_that_are_put_in_place_together(page: Path) -> None:
    assert {file.name for file in page.parent.iterdir()} == NAMES


def test_figures_are_small_and_described(page: Path) -> None:
    figures = sorted((page.parent / "figures").glob("*.svg"))
    assert {f.name.partition("-")[0] for f in figures} == {
        "gain",
        "cost",
        "loss",
    }
    for figure in figures:
        text = figure.read_text(encoding="utf-8")
        assert len(text.encode()) < 60_000
        assert "var(" not in text, "colours of its own"
        assert "<title>" in text
        assert "<desc>" in text
        assert "<metadata" not in text


def test_figures_of_an_earlier_report_go(tmp_path: Path) -> None:
    page = written(tmp_path, [], Findings((), ()))
    (page.parent / "figures" / "gain-9.svg").write_text("<svg/>")
    written(tmp_path, [], Findings((), ()))
    assert not list((page.parent / "figures").glob("*.svg"))


def test_the_page_is_the_same_when_written_again(tmp_path: Path) -> None:
    found = grid(n=40)
    first = written(tmp_path / "a", found).read_bytes()
    assert written(tmp_path / "b", found).read_bytes() == first


@pytest.mark.parametrize("count", [0, 1])
def test_a_study_that_has_hardly_begun_says_so(tmp_path: Path, count: int) -> None:
    few = grid()[:count]
    begun = replace(
        judged(few), missing=(Missing("cell", cell="mini-1m-school-full-3e-4-s0", remaining=1),)
    )
    page = written(tmp_path, few, begun)
    read(page)
    text = page.read_text(encoding="utf-8")
    assert "mini-1m-school-full-3e-4-s0 has not run yet" in text
    assert ("Nothing has been measured" in text) == (count == 0)
    assert 'class="badge ship"' not in text, "nothing is advised before the last run"
    assert ("Only the base model has been measured" in text) == (count == 1)


def test_a_strategy_that_only_diverged_is_on_the_page_with_its_step(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    rows = re.findall(r"<tr>.*?</tr>", text, re.DOTALL)
    row = next(row for row in rows if " full fine-tuning 3e-2</th>" in row)
    assert '<span class="verdict failed">diverged</span>' in row
    assert "loss nan at step 7" in text


def test_a_folder_that_cannot_be_written_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="name another folder with --out"):
        report.write_report(tmp_path / "file" / "out", Findings((), ()), [], study=None, command="")


def test_namesakes_with_other_settings_keep_rows_of_their_own(tmp_path: Path) -> None:
    found = grid(n=40)
    for rank in (4, 8):
        lora = StrategySpec(
            "lora", "peft", learning_rate=1e-3, peft={"peft_type": "LORA", "r": rank}
        )
        found.append(run("mini-1m", "school", lora, 0, 40))
    text = written(tmp_path, found).read_text(encoding="utf-8")
    assert "LoRA [" in text
    assert "r=4" in text
    assert "r=8" in text


def test_the_report_needs_no_torch_and_starts_light(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from finetrap import report\n"
        "from finetrap.findings import Findings\n"
        "assert not {'jinja2', 'rich', 'pandas', 'scipy.stats'} & set(sys.modules)\n"
        f"report.write_report(Path({str(tmp_path)!r}), Findings((), ()), [],"
        " study=None, command='')\n"
        "assert not {'torch', 'transformers', 'pandas', 'scipy.stats'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_demo_is_drawn_within_seconds(tmp_path: Path) -> None:
    found = searched()
    result = judged(found)
    gc.freeze()  # a program that draws has not the objects of a thousand tests to look through
    try:
        start = time.thread_time()
        written(tmp_path, found, result)
        assert time.thread_time() - start < 4
    finally:
        gc.unfreeze()


def test_while_runs_remain_no_table_tells_a_verdict(tmp_path: Path) -> None:
    runs = grid()
    whole = judged(runs)
    assert {e.verdict for e in whole.effects} > {"inconclusive"}
    folder = written(tmp_path, runs, replace(whole, remaining=3).withheld()).parent
    told = "".join(
        path.read_text("utf-8") for path in [*folder.glob("*.csv"), folder / "report.md"]
    )
    assert "the study is not complete" in told
    assert not re.search(r"improved|harmed|,equivalent|contradicted|supported|detectably", told)
    assert whole.withheld() is whole
