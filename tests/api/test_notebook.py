"""The example notebook is run from top to bottom, in a kernel of its own and an empty folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    nbclient = pytest.importorskip("nbclient", reason="pip install 'finetrap[test]'")
    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    source = Path(__file__).parents[2] / "src"
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=240, resources={"metadata": {"path": str(folder)}}
    )
    environment = {**os.environ, "PYTHONPATH": str(source), "IPYTHONDIR": str(folder / ".ipython")}
    with client.setup_kernel(env=environment):
        for place, cell in enumerate(notebook.cells):
            client.execute_cell(cell, place)
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


def test_the_committed_notebook_holds_no_outputs():
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
