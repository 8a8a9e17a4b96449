"""The example notebook is run from top to bottom, in a kernel of its own and an empty folder."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    pytest.importorskip("nbclient", reason="pip install 'finetrap[test]'")
    writer = runpy.run_path(str(NOTEBOOK.with_name("write_notebook.py")))
    notebook = writer["executed"](tmp_path_factory.mktemp("notebook"))
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell, kind: str) -> str:
    (output,) = [o for o in cell.outputs if o.output_type == "execute_result"]
    return output.data[kind]


def test_every_cell_runs(cells):
    assert all(cell.execution_count for cell in cells)


def test_faults_are_told_at_once(cells):
    text = cells[1].outputs[0].text
    assert "3 errors" in text
    assert "did you mean 'mini-0.3m'?" in text


def test_the_table_shows_full_fine_tuning_harmed_and_lora_not(cells):
    rows = [
        re.findall(r"<td>(.*?)</td>", row) for row in shown(cells[4], "text/html").split("<tr>")
    ]
    verdicts = {(row[1], row[2]): row[-1] for row in rows if row}
    assert verdicts["school-terse", "full"] == "harmed"
    assert verdicts["school-terse", "lora"] != "harmed"


def test_the_report_is_shown(cells):
    page = shown(cells[6], "text/html")
    assert page.startswith("<iframe srcdoc=")
    assert "Full fine-tuning" in page


def test_the_committed_notebook_shows_what_a_run_shows(cells):
    import nbformat

    committed = nbformat.read(NOTEBOOK, as_version=4).cells
    committed = [cell for cell in committed if cell.cell_type == "code"]
    assert [cell.execution_count for cell in committed] == [cell.execution_count for cell in cells]
    assert committed[1].outputs[0].text == cells[1].outputs[0].text
    assert _named(shown(committed[4], "text/html")) == _named(shown(cells[4], "text/html"))
    assert "<iframe" not in str(committed[6].outputs), "`make notebook` leaves the page out"


def _named(table: str) -> list[list[str]]:
    """Return the columns that are the same on every machine: kind, task, strategy."""
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in table.split("<tr>")]
    return [row[:3] for row in rows if row]
