"""The tables that leave finetrap, in CSV (docs/protocol.md)."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from finetrap.judge.arms import (
    learning_rate,
    rate_settings,
    self_flips,
    strategy_labels,
    tuned_for,
)
from finetrap.levels import CellRow
from finetrap.records import UNENDED, Answer, Run
from finetrap.runs.held import noted
from finetrap.stats.likelihood import gold_bits
from finetrap.stats.retention import percent_of, percent_right, right_interval
from finetrap.text.visible import visible

_NOT_IN_TABLES = ("per_seed", "cells", "name")
"""Fields that hold more than one value, or a part of another."""


def cell_rows(runs: Sequence[Run]) -> tuple[CellRow, ...]:
    """Return one row for each run, failed ones too."""
    labels, settings = strategy_labels(runs), rate_settings(runs)
    return tuple(
        _cell_row(run, labels[run.cell.key], "+".join(settings.get(run.cell.key, ("trial",))))
        for run in runs
    )


def _cell_row(run: Run, label: str, setting: str) -> CellRow:
    cell, costs, again = run.cell, run.costs, self_flips(run)
    levels, (reverse, forward) = noted(run.answers, levels_of), noted(run.evidence, divergence_of)
    return CellRow(
        key=cell.key,
        model=cell.model.shown,
        parameters=costs.parameters or cell.model.parameters,
        task=cell.task.name,
        trained_on=tuned_for(cell) or None,
        strategy=label,
        learning_rate=learning_rate(cell),
        setting=setting,
        seed=cell.seed,
        status=run.status,
        n=len(run.answers),
        **levels,
        load_s=costs.load_s,
        train_s=costs.train_s,
        eval_s=costs.eval_s,
        peak_bytes=costs.peak_bytes,
        train_tokens=costs.train_tokens,
        trainable=costs.trainable,
        ship_bytes=costs.ship_bytes,
        split=cell.split,
        self_flips=None if again is None else 100 * again,
        kl_forward=forward,
        kl_reverse=reverse,
        train_dtype=cell.precision or None,
    )


def levels_of(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the columns of cells.csv that are made of answers."""
    low, high = right_interval(answers)
    return {
        "accuracy": percent_right(answers),
        "low": low,
        "high": high,
        "strict_rate": percent_of(a.strict for a in answers),
        "strict_accuracy": percent_of(a.strict and a.correct for a in answers),
        "no_answer_rate": percent_of(_if_written(a, a.rule == "none") for a in answers),
        "truncated_rate": percent_of(_if_written(a, a.stop in UNENDED) for a in answers),
        "cut_rate": percent_of(_if_written(a, a.cut is not None) for a in answers),
        "bits_per_byte": gold_bits(answers),
    }


def divergence_of(evidence: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the means over problems of KL(tuned ‖ base) and KL(base ‖ tuned), in nats per token.

    Evidence has [id, the one, the other] for each problem.
    """
    rows = evidence.get("divergence") or ()
    first, second = ([row[column] for row in rows] for column in (1, 2))
    return _mean_of_all(first), _mean_of_all(second)


def _mean_of_all(found: Sequence[float | None]) -> float | None:
    known = [value for value in found if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(found) else None


def _if_written(answer: Answer, value: bool) -> bool | None:
    """None for an answer that was scored by likelihood: nothing was written."""
    return None if answer.stop == "none" else value


def columns(kind: type) -> tuple[str, ...]:
    """Return the columns of the table that holds records of this kind."""
    return tuple(field.name for field in fields(kind) if field.name not in _NOT_IN_TABLES)


def write_csv(path: str | Path, kind: type, records: Iterable[object]) -> None:
    """Write records of one kind as a table: effects.csv holds Effect, cells.csv CellRow, …"""
    names = columns(kind)
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(names)
        table.writerows([_csv_text(getattr(record, name)) for name in names] for record in records)


def _csv_text(value: object) -> str:
    """Return a value as it stands in a CSV file: empty if missing, ten digits if measured."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    text = visible(str(value))
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULAS) else text


_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet run a cell as a formula (OWASP, CSV injection); a quote prevents it."""
