"""Takes the README's picture: the first screen of a report, by headless Chromium.

python docs/take_picture.py studies/results/svamp-qwen-search-q4.tar.xz docs/report.png

Packed runs are judged first; a page is taken as it stands.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from write_findings import judged

WIDTH, HEIGHT = 1180, 760
"""Pixels of the picture."""


def take(page: Path, picture: Path) -> None:
    """Write what a browser shows of the page before anyone scrolls."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no chromium on the path: install the package chromium")
    with tempfile.TemporaryDirectory() as profile:
        command = (
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}"),
            *("--blink-settings=preferredColorScheme=1", f"--screenshot={picture.resolve()}"),
            page.resolve().as_uri(),
        )
        subprocess.run(command, check=True, timeout=120, capture_output=True)


if __name__ == "__main__":
    given, out = map(Path, sys.argv[1:])
    if given.suffix == ".html":
        take(given, out)
    else:
        with tempfile.TemporaryDirectory() as folder:
            take(judged([given], Path(folder) / "room") / "report.html", out)
