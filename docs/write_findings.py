"""Writes what docs/findings shows of the packed runs: tables into its pages, and the reports.

`make findings` rewrites the tables; `make docs` puts each study's report beside its page. A test
compares what this would write with what is there.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from finetrap.report.wording import signed

HERE = Path(__file__).parent / "findings"
PACKED = Path(__file__).parents[1] / "studies" / "results"
BEGIN, END = "<!-- begin: {} -->\n", "<!-- end: {} -->\n"
Rows = list[dict[str, str]]


def judged(packed: Sequence[Path], room: Path) -> Path:
    """Unpack runs into a new folder and judge them together; return the folder of the report."""
    room.mkdir()
    for one in packed:
        with tarfile.open(one) as archive:
            archive.extractall(room, filter="data")
    command = [sys.executable, "-m", "finetrap.cli", "report", "--runs", "runs", "--quiet"]
    subprocess.run(command, cwd=room, check=True)
    return room / "runs" / "report"


def tables(report: Path) -> str:
    """Return what report.md shows under its headings, byte for byte."""
    text = (report / "report.md").read_text("utf-8")
    start, end = text.index("## "), text.rindex("\n\nReasons, costs")
    return text[start:end].replace("\n## ", "\n### ").replace("## ", "### ", 1) + "\n"


def rows(report: Path, name: str) -> Rows:
    """Return the rows of one of a report's tables."""
    with (report / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def bases(report: Path) -> str:
    """Return the table of what each base model did before any training, and how it wrote."""
    lines = [
        "| model | task | problems right | 95% | answers in the form asked for | no answer | still "
        "writing at the limit |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows(report, "summary.csv"):
        if row["base"] == "true" and row["measure"] == "accuracy":
            names = ("level", "low", "high", "strict_rate", "no_answer_rate", "truncated_rate")
            level, low, high, *shares = (f"{float(row[name]):.1f}%" for name in names)
            cells = [row["model"], row["task"], level, f"{low} to {high}", *shares]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def changes(report: Path) -> str:
    """Return the table of every strategy of every model: what it learned and what it lost."""
    worst = {_arm(row): row["forgetting"] for row in rows(report, "summary.csv")}
    lines = [
        "| model | task | strategy | rate | seeds | before | after | change \\[95%\\] | verdict | "
        "lost elsewhere |",
        "|---|---|---|---|--:|--:|--:|--:|---|---|",
    ]
    for row in rows(report, "effects.csv"):
        if (row["kind"], row["measure"], row["against"]) != ("task", "accuracy", "zero-shot"):
            continue
        change, low, high = (signed(float(row[name])) for name in ("delta", "low", "high"))
        cells = [row["model"], row["task"], row["strategy"], row["learning_rate"], row["seeds"]]
        cells += [f"{float(row[name]):.1f}" for name in ("before", "after")]
        cells += [f"{change} \\[{low}, {high}\\]", row["verdict"] or "not yet", worst[_arm(row)]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _arm(row: dict[str, str]) -> tuple[str, ...]:
    names = ("model", "task", "strategy", "learning_rate", "setting")
    return tuple(row[name] for name in names)


def claims(report: Path) -> str:
    """Return the table of the paper's claims, at the shared rate and at searched ones."""
    lines = ["| claim | rate | verdict | evidence |", "|---|---|---|---|"]
    for row in rows(report, "claims.csv"):
        statement = f"{row['id']}. {row['statement']}"
        evidence = row["evidence"].replace("|", "\\|")
        lines.append(f"| {statement} | {row['setting']} | {row['verdict']} | {evidence} |")
    return "\n".join(lines) + "\n"


_TOGETHER = {"bases": bases, "changes": changes, "claims": claims}


def filled(text: str, name: str, block: str) -> str:
    """Return a page with what stands between the marks of this name replaced."""
    begin, end = BEGIN.format(name), END.format(name)
    before, rest = text.split(begin, 1)
    return before + begin + "\n" + block + "\n" + end + rest.split(end, 1)[1]


def reports(scratch: Path) -> dict[str, Path]:
    """Judge every packed folder by itself, and all of them together under the name "all"."""
    packed = sorted(PACKED.glob("*.tar.xz"))
    names = [one.name.removesuffix(".tar.xz") for one in packed]
    each = {name: judged([one], scratch / name) for name, one in zip(names, packed, strict=True)}
    return {**each, "all": judged(packed, scratch / "all") if len(packed) > 1 else each[names[0]]}


def pages(judged_runs: dict[str, Path]) -> dict[Path, str]:
    """Return what every page of docs/findings should hold."""
    together = judged_runs["all"]
    blocks = {name: tables(report) for name, report in judged_runs.items()}
    blocks |= {name: made(together) for name, made in _TOGETHER.items()}
    found = {}
    for page in sorted(HERE.glob("*.md")):
        text = page.read_text("utf-8")
        for name, block in blocks.items():
            if BEGIN.format(name) in text:
                text = filled(text, name, block)
        found[page] = text
    return found


def main(*, beside: bool) -> None:
    """Rewrite the pages; or, with `beside`, put each study's report beside its page."""
    with tempfile.TemporaryDirectory() as scratch:
        found = reports(Path(scratch))
        for page, text in pages(found).items() if not beside else ():
            page.write_text(text, "utf-8")
        for name, report in found.items() if beside else ():
            target = HERE / name / "report.html"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(report / "report.html", target)


if __name__ == "__main__":
    main(beside="--reports" in sys.argv[1:])
