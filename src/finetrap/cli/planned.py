"""The verb that plans: what a study will take and what it can show, before anything runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from finetrap.cli.options import (
    AsJson,
    Device,
    Overrides,
    PerGpu,
    Quiet,
    RunsFolder,
    StudyFile,
    Workers,
    read_study,
)
from finetrap.terminal.words import duration
from finetrap.text.numbers import counted
from finetrap.text.visible import ascii_line

if TYPE_CHECKING:
    from rich.table import Table

    from finetrap.levels import Detectable
    from finetrap.measure.plan import StudyPlan
    from finetrap.measure.plan.forecast import CellForecast

MOST = 1000
"""Characters of a line that is shown."""


def plan(
    study: StudyFile,
    runs: RunsFolder = Path("runs"),
    workers: Workers = None,
    device: Device = None,
    per_gpu: PerGpu = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Forecast what a study takes and the smallest effect it shows.

    Its models are opened and a few of its calls are timed; nothing is measured or kept.

    Example: finetrap plan style --workers 2
    """
    from finetrap import tasks
    from finetrap.judge import detectable
    from finetrap.measure.plan import plan_study
    from finetrap.runs.store import Store

    read, store = read_study(study, overrides), Store(runs)
    say = silently if as_json or quiet else show_timing
    found = plan_study(read, store, workers=workers, say=say)
    effects = detectable.smallest_effects(found.cells, found.asked, store.runs(set(found.statuses)))
    warnings = [*found.warnings(), *detectable.warnings(effects, read.judge.margin)]
    if as_json:
        document = {**found.as_json(), "detectable": list(map(asdict, effects))}
        print(json.dumps({**document, "warnings": warnings}))
    elif not quiet:
        print_plan(found, effects, warnings)
        for line in tasks.held_data(tasks.local_data(found.cells)[0]):
            print(ascii_line(line, MOST))


def silently(text: str) -> None:
    """Say nothing."""


def show_timing(text: str) -> None:
    """Show what is being timed, on one line of a terminal."""
    line = ascii_line(f"timing {text}", 78)
    end = "\r" if sys.stderr.isatty() else "\n"
    print(f"{line:78}" if end == "\r" else line, end=end, file=sys.stderr, flush=True)


def print_plan(found: StudyPlan, effects: list[Detectable], warnings: list[str]) -> None:
    """Print costs and effects as tables, then what they come to."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    if found.remaining:
        console.print(_strategy_costs(found))
    if effects:
        console.print(_effects(effects))
    for line in [_sentence(found), *found.notes(), *(f"warning: {text}" for text in warnings)]:
        console.print(ascii_line(line, MOST), markup=False, highlight=False, soft_wrap=True)


def _costs_table(title: str, names: Iterable[str], left: int) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.ASCII2)
    for number, name in enumerate(names):
        justify: Literal["left", "right"] = "left" if number < left else "right"
        table.add_column(name, justify=justify, overflow="fold")
    return table


def _strategy_costs(found: StudyPlan) -> Table:
    """Return a row for each strategy of each model: what its remaining cells take together."""
    names = ("model", "strategy", "cells", "tokens", "FLOP", "peak GB", "worker s")
    table = _costs_table("Remaining work", names, left=2)
    order = sorted(found.remaining, key=_cell_in_words)
    for (model, strategy), members in groupby(order, key=_cell_in_words):
        cells = list(members)
        table.add_row(ascii_line(model), ascii_line(strategy), *_sums(cells))
    table.add_section()
    table.add_row("all", "", *_sums(found.remaining))
    return table


def _cell_in_words(told: CellForecast) -> tuple[str, str]:
    trial = " (search)" if told.cell.split == "dev" else ""
    return told.cell.model.name, told.cell.strategy.name + trial


def _sums(cells: Iterable[CellForecast]) -> tuple[str, ...]:
    told = list(cells)
    tokens = sum(t.eval_tokens + (t.train_tokens if t.trains else 0) for t in told)
    held = max((t.bytes or 0 for t in told), default=0)
    return (
        f"{len(told)}",
        f"{tokens:,}",
        f"{sum(t.flops for t in told):.2e}",
        f"{held / 1e9:.2f}" if held else "unknown",
        f"{sum(t.parts.total for t in told):,.0f}",
    )


def _effects(effects: Iterable[Detectable]) -> Table:
    names = (
        "model",
        "test",
        "problems",
        "seeds",
        "strategies",
        "smallest effect",
        "answers that flip",
    )
    table = _costs_table("Minimum detectable effect (power .8)", names, left=2)
    for one in effects:
        table.add_row(
            ascii_line(one.model),
            ascii_line(one.test) + (" (probe)" if one.probe else ""),
            f"{one.problems:,}",
            f"{one.seeds}",
            f"{one.strategies}",
            "none" if one.points is None else f"{one.points:.1f} points",
            f"{one.flips:.0f}% {'measured' if one.measured else 'assumed'}",
        )
    return table


def _sentence(found: StudyPlan) -> str:
    failed = f", {found.failed} failed" if found.failed else ""
    done = f"{len(found.statuses) - found.failed} done{failed}"
    text = f"{len(found.cells)} cells, {done}, {len(found.remaining)} remaining"
    most = found.dominates()
    if most is None:
        return text
    workers = max(r.at_once for r in found.rounds)
    return (
        f"{text}: about {duration(found.seconds)} with {counted(workers, 'worker')}, "
        f"{found.disk_bytes / 1e9:.2f} GB on the disk; "
        f"{most['part']} takes "
        f"{100 * most['part_share']:.0f}%, the strategy {most['strategy']} "
        f"{100 * most['strategy_share']:.0f}%"
    )
