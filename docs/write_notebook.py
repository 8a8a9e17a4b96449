"""Runs docs/notebook.ipynb from top to bottom and keeps what it shows: `make notebook`.

The copy of the report's page, which would make the file ten times as long, is left out.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbclient
import nbformat

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")


def executed(folder: Path) -> nbformat.NotebookNode:
    """Return the notebook after a run in an empty folder, by this source tree."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    source = str(NOTEBOOK.parents[1] / "src")
    settings = {**os.environ, "PYTHONPATH": source, "IPYTHONDIR": str(folder / ".ipython")}
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    with client.setup_kernel(env=settings):
        for place, cell in enumerate(notebook.cells):
            client.execute_cell(cell, place)
    return notebook


def main() -> None:
    """Write the notebook."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(Path(folder))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "<iframe" in output.get("data", {}).get("text/html", ""):
                del output.data["text/html"]
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
