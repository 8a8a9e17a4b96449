"""Writes what docs/findings shows of the packed runs: tables into its pages, and the reports.

`make findings` rewrites the tables; `make docs` puts each study's report beside its page. A test
compares what this would write with what is there.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetrap.records import written_rate
from finetrap.report.wording import signed
from finetrap.text.visible import visible

HERE = Path(__file__).parent / "findings"
PACKED = Path(__file__).parents[1] / "studies" / "results"
CONTROL = "format-control-"
"""How the names of runs begin that show what the prompt alone changes."""
BEGIN, END = "<!-- begin: {} -->\n", "<!-- end: {} -->\n"
Rows = list[dict[str, str]]
Answers = dict[str, dict[str, Any]]


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
    summaries = summarised(report)
    lines = [
        "| model | task | strategy | rate | seeds | before | after | change \\[95%\\] | verdict | "
        "lost elsewhere |",
        "|---|---|---|---|--:|--:|--:|--:|---|---|",
    ]
    for row in rows(report, "effects.csv"):
        if (row["kind"], row["measure"], row["against"]) != ("task", "accuracy", "zero-shot"):
            continue
        if _is_again(_arm(row), summaries):
            continue
        told = summaries[_arm(row)]
        change, low, high = (signed(float(row[name])) for name in ("delta", "low", "high"))
        cells = [row["model"], row["task"], row["strategy"], _rate(told), row["seeds"]]
        cells += [f"{float(row[name]):.1f}" for name in ("before", "after")]
        cells += [f"{change} \\[{low}, {high}\\]", told["verdict"] or "not yet", told["forgetting"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def elsewhere(report: Path) -> str:
    """Return what every strategy changed on what it never trained on."""
    found = [row for row in rows(report, "effects.csv") if row["kind"] == "probe"]
    found = [row for row in found if row["against"] == "zero-shot"]
    told = summarised(report)
    probes = list(dict.fromkeys(row["task"] for row in found))
    lines = [
        "| model | strategy | rate | " + " | ".join(probes) + " |",
        "|---|---|---|" + "--:|" * len(probes),
    ]
    arms: dict[tuple[str, ...], Rows] = {}
    for row in found:
        names = ("model", "trained_on", "strategy", "learning_rate", "setting")
        arms.setdefault(tuple(row[name] for name in names), []).append(row)
    for arm, own in arms.items():
        if _is_again(arm, told):
            continue
        by_probe = {
            row["task"]: row for row in sorted(own, key=lambda row: row["measure"] == "accuracy")
        }
        cells = [own[0]["model"], own[0]["strategy"], _rate(told.get(arm, own[0]))]
        complete = bool(told[arm]["verdict"]) if arm in told else True
        cells += [_change(by_probe.get(probe), complete=complete) for probe in probes]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _change(row: dict[str, str] | None, *, complete: bool) -> str:
    if row is None:
        return ""
    change, low, high = (
        signed(float(row[name]), row["measure"]) for name in ("delta", "low", "high")
    )
    return f"{change} \\[{low}, {high}\\] {row['verdict'] if complete else ''}".rstrip()


def curves(report: Path) -> str:
    """Return what every learning rate of the searches did to held-out problems and to probes."""
    lines = [
        "| model | task | strategy | rate | held-out problems right | 95% | bits per byte of their "
        "solutions | left on the probes | chosen |",
        "|---|---|---|---|--:|--:|--:|--:|---|",
    ]
    for row in rows(report, "trials.csv"):
        cells = [row["model"], row["task"], row["strategy"], _rate(row)]
        if row["accuracy"]:
            level, low, high = (f"{float(row[name]):.1f}%" for name in ("accuracy", "low", "high"))
            cells += [level, f"{low} to {high}", f"{float(row['bits']):.3f}"]
        else:
            cells += [row["status"], "", ""]
        kept = f"{float(row['retention']):.0f}%" if row["retention"] else ""
        cells += [kept, "chosen" if row["chosen"] == "true" else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _rate(row: dict[str, str]) -> str:
    """Write a row's learning rate, and whether its own search chose it."""
    if not row["learning_rate"]:
        return ""
    named = {"tuned": ", tuned", "fixed+tuned": ", shared and tuned"}
    return written_rate(float(row["learning_rate"])) + named.get(row.get("setting", ""), "")


def summarised(report: Path) -> dict[tuple[str, ...], dict[str, str]]:
    """Return a line of the summary for each arm; one whose rate is shared and tuned as shared."""
    found = rows(report, "summary.csv")
    return {_arm({**row, "setting": row["setting"].split("+")[0]}): row for row in found}


def _is_again(arm: tuple[str, ...], summaries: dict[tuple[str, ...], dict[str, str]]) -> bool:
    """Whether an arm is the tuned one of a strategy whose search chose the shared rate."""
    shared = summaries.get((*arm[:-1], "fixed"))
    return arm[-1] == "tuned" and shared is not None and shared["setting"] == "fixed+tuned"


def _arm(row: dict[str, str]) -> tuple[str, ...]:
    names = ("model", "task", "strategy", "learning_rate", "setting")
    return tuple(row[name] for name in names)


def scorers(report: Path, controls: Sequence[Path]) -> str:
    """Return what scorer and prompt alone change: any answer found, or only the form asked for.

    `controls` are reports of the base models under the other prompt.
    """
    lines = [
        "| model | task | prompt | strategy | rate | right, any form | change | right, in the form "
        "asked | change |",
        "|---|---|---|---|---|--:|--:|--:|--:|",
    ]
    for place in (report, *controls):
        found = [row for row in rows(place, "summary.csv") if row["strict_accuracy"]]
        base = {(r["model"], r["task"]): r for r in found if r["base"] == "true"}
        for row in found:
            cells = [row["model"], row["task"], _prompt(place, row["model"])]
            cells += [row["strategy"], _rate(row)]
            for column in ("level", "strict_accuracy"):
                cells.append(f"{float(row[column]):.1f}")
                before = float(base[row["model"], row["task"]][column])
                change = signed(float(row[column]) - before)
                cells.append("" if row["base"] == "true" else change)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _prompt(report: Path, model: str) -> str:
    """Say whether a model was told to end with ####, as its first cell has it."""
    cell = min(report.parent.glob(f"{model}-*--*/cell.json"))
    prompt = json.loads(cell.read_text("utf-8"))["identity"]["model"]["prompt"]
    return "asks for ####" if "####" in str(prompt) else "question alone"


def broken(report: Path) -> str:
    """Return three answers that full fine-tuning broke: right at the base, wrong in every seed.

    Of all models and rates, those of the one that lost most; three problems by id, first seed.
    """
    measured = [r for r in rows(report, "cells.csv") if r["split"] == "test"]
    bases = {(r["model"], r["task"]): r for r in measured if r["strategy"] == "zero-shot"}
    arms: dict[tuple[str, ...], Rows] = {}
    for row in measured:
        if row["strategy"] == "full" and row["status"] == "done":
            arms.setdefault((row["model"], row["task"], row["learning_rate"]), []).append(row)
    most: list[str] = []
    shown = ""
    for (model, task, rate), cells in arms.items():
        before = answers(report, bases[model, task])
        seeds = [answers(report, row) for row in sorted(cells, key=lambda row: row["seed"])]
        right = [key for key, answer in before.items() if answer["correct"]]
        lost = [key for key in right if not any(seed[key]["correct"] for seed in seeds)]
        if len(lost) > len(most):
            most = lost
            wrong = [key for key in before if key not in right]
            won = sum(all(seed[key]["correct"] for seed in seeds) for key in wrong)
            shown = (
                f"{model} on {task}: of {len(right)} problems that the base model answered right, "
                f"full fine-tuning at {written_rate(float(rate))} answered {len(lost)} wrong in "
                f"each of {len(seeds)} seeds; of the other {len(wrong)}, it answered {won} right "
                "in each. Three of those that broke, whole:\n\n"
            ) + "\n".join(_pair(key, before[key], seeds[0][key]) for key in sorted(lost)[:3])
    return shown


def _pair(key: str, before: dict[str, Any], after: dict[str, Any]) -> str:
    lines = [f"**{key}**, the right answer is {before['gold']}.\n"]
    for name, answer in (("The base model", before), ("After full fine-tuning", after)):
        text = visible(answer["completion"]).strip()
        lines.append(f"{name}:\n\n~~~~text\n{text}\n~~~~\n")
    return "\n".join(lines)


def answers(report: Path, cell: dict[str, str]) -> Answers:
    """Return a cell's answers by problem."""
    (folder,) = report.parent.glob(f"*--{cell['key']}")
    lines = (folder / "answers.jsonl").read_text("utf-8").splitlines()
    return {answer["id"]: answer for answer in map(json.loads, lines)}


def claims(report: Path) -> str:
    """Return the table of the paper's claims, at the shared rate and at searched ones."""
    lines = ["| claim | rate | verdict | evidence |", "|---|---|---|---|"]
    for row in rows(report, "claims.csv"):
        statement = f"{row['id']}. {row['statement']}"
        evidence = row["evidence"].replace("|", "\\|")
        lines.append(f"| {statement} | {row['setting']} | {row['verdict']} | {evidence} |")
    return "\n".join(lines) + "\n"


_TOGETHER = {
    "bases": bases,
    "changes": changes,
    "elsewhere": elsewhere,
    "curves": curves,
    "broken": broken,
    "claims": claims,
}


def filled(text: str, name: str, block: str) -> str:
    """Return a page with what stands between the marks of this name replaced."""
    begin, end = BEGIN.format(name), END.format(name)
    before, rest = text.split(begin, 1)
    return before + begin + "\n" + block + "\n" + end + rest.split(end, 1)[1]


def reports(scratch: Path) -> dict[str, Path]:
    """Judge every packed folder by itself, and all studies together under the name "all".

    A format control has the base model of a study under another prompt: it is judged alone, and so
    is a study that is not complete, in `growing`, as verdicts on all would wait for it.
    """
    packed = {p.name.removesuffix(".tar.xz"): p for p in sorted(PACKED.rglob("*.tar.xz"))}
    each = {name: judged([one], scratch / name) for name, one in packed.items()}
    complete = [name for name, one in packed.items() if one.parent == PACKED]
    studies = [name for name in complete if not name.startswith(CONTROL)]
    if len(studies) == 1:
        return {**each, "all": each[studies[0]]}
    return {**each, "all": judged([packed[name] for name in studies], scratch / "all")}


def pages(judged_runs: dict[str, Path]) -> dict[Path, str]:
    """Return what every page of docs/findings should hold."""
    together = judged_runs["all"]
    blocks = {name: tables(report) for name, report in judged_runs.items()}
    blocks |= {f"curves of {name}": curves(report) for name, report in judged_runs.items()}
    blocks |= {name: made(together) for name, made in _TOGETHER.items()}
    controls = [report for name, report in judged_runs.items() if name.startswith(CONTROL)]
    blocks["scorers"] = scorers(together, controls)
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
