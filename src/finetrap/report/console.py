"""The verdicts for a terminal, in ASCII: it may have any encoding, and its output may be a file."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from finetrap.findings import Advice, Effect, Findings
from finetrap.judge.summary import first_measure
from finetrap.levels import Summary
from finetrap.report import wording
from finetrap.text.visible import ascii_line

if TYPE_CHECKING:
    from rich.table import Table

_RIGHT = {"rate", "before", "after", "change"}
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
    worst_probe: str


COLUMNS = tuple(field.replace("_", " ") for field in VerdictRow._fields)


def verdict_rows(findings: Findings) -> list[VerdictRow]:
    """Return a row for every model × task × strategy × learning rate that was compared."""
    effects = first_measure([e for e in findings.effects if e.against == "zero-shot"])
    rows = [_as_row(e, _worst(e, effects, findings.summary)) for e in effects if e.kind != "probe"]
    if findings.remaining:
        return [row._replace(change="", verdict="not yet", worst_probe="") for row in rows]
    return rows


def verdict_tables(findings: Findings) -> list[Table]:
    """Return a rich table for each model and task; names are plain text there, never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    tables = []
    for (model, task), rows in groupby(verdict_rows(findings), key=lambda row: row[:2]):
        title = Text(f"{model} on {task}: change in points [95% interval]")
        table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
        for column in COLUMNS[2:]:
            table.add_column(column, justify="right" if column in _RIGHT else "left")
        for row in rows:
            cells = [Text(value) for value in row[2:]]
            style = _STYLES.get(row.verdict.split()[0], "")
            cells[COLUMNS[2:].index("verdict")].stylize(style)
            table.add_row(*cells)
        tables.append(table)
    return tables


def verdict_text(findings: Findings) -> str:
    """Return the verdicts as plain aligned lines."""
    rows: list[tuple[str, ...]] = [COLUMNS, *verdict_rows(findings)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(
            value.rjust(width) if column in _RIGHT else value.ljust(width)
            for column, value, width in zip(COLUMNS, row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines) + "\n"


MOST_BULLETS = 4


def advice_text(advice: Advice, *, verbose: bool = False) -> str:
    """Return the advice as a line and at most four bullets; `verbose` adds what it is based on."""
    where = f"{advice.model} on {advice.task}" if advice.task else advice.model
    reasons = list(advice.reasons)
    last = [f"open: {advice.still_open}"] * bool(advice.still_open)
    last += [f"next: {advice.next_command}"] * bool(advice.next_command)
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
    lines = [f"{where}: {wording.advised(advice)}", *(f"  - {bullet}" for bullet in bullets)]
    return _ascii("\n".join(ascii_line(line, 2000) for line in map(_ascii, lines)))


def remarks(findings: Findings) -> list[str]:
    """Return a line for what the prompt alone changes, and for each verdict of the table that its
    one word does not tell in full."""
    effects = first_measure([e for e in findings.effects if e.against == "zero-shot"])
    found = [ascii_line(_ascii(wording.prompt_spread(p)), 1000) for p in findings.prompts]
    for e in effects if not findings.remaining else ():
        if e.kind != "probe" and (e.remark or e.opposed):
            who = f"{e.strategy} {wording.rate(e.learning_rate)}".rstrip()
            change = f"{wording.signed(e.delta, e.measure)} {wording.unit(e.measure)}"
            meaning = e.note.rpartition("; ")[2] if e.opposed else ""
            told = "; ".join(filter(None, (e.remark, meaning)))
            found.append(ascii_line(_ascii(f"{e.model} on {e.task}, {who}: {change}, {told}"), 400))
    return list(dict.fromkeys(found))


def _as_row(effect: Effect, worst: Effect | None) -> VerdictRow:
    verdict = effect.verdict + (" (small)" if effect.small else "")
    probe = ""
    if worst is not None:
        change = wording.signed(worst.delta, worst.measure)
        probe = f"{ascii_line(worst.task, 20)} {change} {worst.verdict}"
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
        worst_probe=_ascii(probe),
    )


def _worst(effect: Effect, effects: Iterable[Effect], summary: Iterable[Summary]) -> Effect | None:
    """Return the change on the probe that the same solver harmed most."""
    trained_on = effect.trained_on or effect.task
    solver = (effect.model, trained_on, effect.strategy, effect.learning_rate)
    names = [
        line.worst_probe
        for line in summary
        if (line.model, line.trained_on, line.strategy, line.learning_rate) == solver
        and line.task == effect.task
    ]
    own = (
        e
        for e in effects
        if e.kind == "probe"
        and (e.model, e.trained_on, e.strategy, e.learning_rate) == solver
        and e.setting == effect.setting
        and e.task in names
    )
    return next(own, None)


def _ascii(text: str) -> str:
    return text.replace("\u2212", "-").replace("\u00a0", " ").replace("\u2192", "->")
