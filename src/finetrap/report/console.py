"""The verdicts for a terminal, in ASCII: it may have any encoding, and its output may be a file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from finetrap.findings import Advice, Effect, Findings
from finetrap.judge.forgetting import telling
from finetrap.judge.summary import first_measure
from finetrap.levels import Summary
from finetrap.report import wording
from finetrap.text.visible import ascii_line

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 80
_HEADS = {"change": "change [95%]"}
_RIGHT = {"rate", "after", "change"}
_STYLES = {
    "harmed": "bold red",
    "improved": "bold blue",
    "equivalent": "green",
    "inconclusive": "dim",
}


class VerdictRow(NamedTuple):
    """One comparison with the base model as ASCII text; accuracies and changes in points.

    While cells of the study remain, change, verdict and probe are left empty.
    """

    model: str
    task: str
    strategy: str
    rate: str
    before: str
    after: str
    change: str
    verdict: str
    forgets: str
    """The worst probe: with its change where it is harmed, else what is shown."""


COLUMNS = ("strategy", "rate", "after", "change", "verdict", "forgets")
"""What is printed of a row below the name of its model and task and the base model's level."""


def verdict_rows(findings: Findings) -> list[VerdictRow]:
    """Return a row for every model × task × strategy × learning rate that was compared.

    A strategy whose search chose the rate that all share has one row, which is called tuned.
    """
    every = [e for e in findings.effects if e.against == "zero-shot"]
    tasks = [e for e in first_measure(every) if e.kind != "probe"]
    tuned = {(e.task, _solver(e)) for e in tasks if e.setting == "tuned"}
    shown = [e for e in tasks if e.setting == "tuned" or (e.task, _solver(e)) not in tuned]
    rows = [_as_row(e, _worst(e, every, findings.summary)) for e in shown]
    if findings.remaining:
        return [row._replace(change="", verdict="not yet", forgets="") for row in rows]
    return rows


def verdict_tables(findings: Findings) -> list[Table]:
    """Return a rich table for each model and task; names are plain text there, never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    tables = []
    for title, rows in _grouped(findings):
        table = Table(title=Text(title), title_justify="left", box=box.SIMPLE, pad_edge=False)
        for column in _shown_columns(rows):
            table.add_column(
                _HEADS.get(column, column), justify="right" if column in _RIGHT else "left"
            )
        for row in rows:
            cells = {column: Text(getattr(row, column)) for column in _shown_columns(rows)}
            cells["verdict"].stylize(_STYLES.get(row.verdict.split()[0], ""))
            table.add_row(*cells.values())
        tables.append(table)
    return tables


def verdict_text(findings: Findings) -> str:
    """Return the verdicts as plain aligned lines, of no more than 80 columns where they fit."""
    lines = []
    for title, rows in _grouped(findings):
        columns = _shown_columns(rows)
        widths = _widths(rows, columns)
        heads = [_HEADS.get(column, column) for column in columns]
        cells = [heads, *([getattr(row, column) for column in columns] for row in rows)]
        lines.append(title)
        lines += [
            "  ".join(
                value.rjust(width) if column in _RIGHT else value.ljust(width)
                for column, value, width in zip(columns, own, widths, strict=True)
            ).rstrip()
            for own in cells
        ]
    return "".join(f"{line}\n" for line in lines)


def _grouped(findings: Findings) -> list[tuple[str, list[VerdictRow]]]:
    """Return the rows of each model and task, below a title that tells where the base model is."""
    found = []
    for (model, task), own in groupby(verdict_rows(findings), key=lambda row: row[:2]):
        rows = list(own)
        levels = dict.fromkeys(row.before for row in rows)
        found.append((f"{model} on {task}: base model {', '.join(levels)}", rows))
    return found


def _shown_columns(rows: Sequence[VerdictRow]) -> Sequence[str]:
    """Leave out what is forgotten where the line would be too long; the outcomes tell it too."""
    return COLUMNS if sum(_widths(rows, COLUMNS)) + 2 * 5 <= WIDTH else COLUMNS[:-1]


def _widths(rows: Sequence[VerdictRow], columns: Sequence[str]) -> list[int]:
    return [
        max(len(_HEADS.get(name, name)), *(len(getattr(row, name)) for row in rows))
        for name in columns
    ]


MOST_BULLETS = 4


def advice_text(
    advice: Advice, *, where: str | None = None, verbose: bool = False, following: bool = True
) -> str:
    """Return the advice as a line and at most four bullets; `verbose` adds what it is based on.

    `where` opens the line, by default model and task; `following` adds the command to run next.
    """
    if where is None:
        where = f"{advice.model} on {advice.task}: " if advice.task else f"{advice.model}: "
    reasons = list(advice.reasons)
    last = [f"open: {advice.still_open}"] * bool(advice.still_open)
    last += [f"next: {advice.next_command}"] * bool(advice.next_command and following)
    if not verbose:
        bullets = [*reasons[: MOST_BULLETS - len(last)], *last]
    else:
        role = "runner-up" if advice.ship else "leading"
        bullets = [
            *reasons,
            *([f"{role}: {advice.runner_up}"] if advice.runner_up else ()),
            *last[:1],
            *(f"would change it: {change}" for change in advice.would_change),
            *last[1:],
            *(f"source: {source}" for source in advice.sources),
            *(f"run: {key}" for key in advice.keys),
        ]
    lines = [wrapped(f"{where}{wording.advised(advice)}", "  ")]
    lines += [wrapped(f"  - {bullet}", "    ") for bullet in bullets]
    return "\n".join(lines)


def wrapped(line: str, indent: str) -> str:
    """Return a line as ASCII in 80 columns; one that holds a command stays whole, to be copied."""
    text = ascii_line(_ascii(line), 2000)
    if text.lstrip().startswith(("next:", "- next:")):
        return text
    return "\n".join(
        textwrap.wrap(
            text,
            WIDTH,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def remarks(findings: Findings) -> list[str]:
    """Return a line for what the prompt alone changes, and for each thing that the one word of
    verdicts of the table does not tell, with the strategies that it is true of."""
    effects = first_measure([e for e in findings.effects if e.against == "zero-shot"])
    found = [ascii_line(_ascii(wording.prompt_spread(p)), 1000) for p in findings.prompts]
    told: dict[tuple[str, str], list[str]] = {}
    for e in effects if not findings.remaining else ():
        if e.kind != "probe" and (e.remark or e.opposed):
            change = f"{wording.signed(e.delta, e.measure)} {wording.unit(e.measure)}"
            who = f"{e.strategy} {wording.rate(e.learning_rate)}".rstrip()
            where = line_start(findings, e.model, e.task)
            told.setdefault((where, "; ".join(filter(None, (e.remark, e.opposition)))), []).append(
                f"{who} ({change})"
            )
    for (where, text), own in told.items():
        said = f"{', '.join(dict.fromkeys(own))}: {text}"
        found.append(ascii_line(_ascii(f"{where}{said}"), 400))
    return list(dict.fromkeys(found))


def line_start(findings: Findings, model: str, task: str) -> str:
    """Return what opens a line about a model on a task; nothing where the table names the one."""
    one = len({(e.model, e.trained_on or e.task) for e in findings.effects}) == 1
    return "" if one else f"{model} on {task}: " if task else f"{model}: "


def _as_row(effect: Effect, worst: Effect | None) -> VerdictRow:
    verdict = effect.verdict + (" (small)" if effect.small else "")
    unit = " b/B" if effect.measure == "bits_per_byte" else ""
    tuned = " (tuned)" if effect.setting == "tuned" else ""
    return VerdictRow(
        model=ascii_line(effect.model),
        task=ascii_line(effect.task),
        strategy=ascii_line(effect.strategy) + tuned,
        rate=wording.rate(effect.learning_rate),
        before=wording.number(effect.before, effect.measure),
        after=wording.number(effect.after, effect.measure),
        change=_ascii(
            f"{wording.signed(effect.delta, effect.measure)}{unit} {wording.interval(effect)}"
        ),
        verdict=verdict,
        forgets=_ascii(_forgets(effect, worst)),
    )


def _forgets(effect: Effect, worst: Effect | None) -> str:
    """Say what the worst probe shows; nothing of a prompt, which changes no weights."""
    if worst is None or effect.learning_rate is None:
        return ""
    if worst.verdict == "harmed":
        return f"{ascii_line(worst.task, 20)} {wording.signed(worst.delta, worst.measure)}"
    return "inconclusive" if worst.verdict == "inconclusive" else "nothing shown"


def _solver(effect: Effect) -> tuple[str, str, str, float | None]:
    trained_on = effect.trained_on or effect.task
    return effect.model, trained_on, effect.strategy, effect.learning_rate


def _worst(effect: Effect, effects: Iterable[Effect], summary: Iterable[Summary]) -> Effect | None:
    """Return the change on the probe that the same solver harmed most."""
    solver = _solver(effect)
    names = [
        line.worst_probe
        for line in summary
        if (line.model, line.trained_on, line.strategy, line.learning_rate) == solver
        and line.task == effect.task
    ]
    own = [
        e
        for e in effects
        if e.kind == "probe"
        and _solver(e) == solver
        and e.setting == effect.setting
        and e.task in names
    ]
    return next(iter(telling(own)), None)


def _ascii(text: str) -> str:
    return text.replace("\u2212", "-").replace("\u00a0", " ").replace("\u2192", "->")
