"""What a reader asks for: memory, retention, one file."""

from __future__ import annotations

from dataclasses import replace

from finetrap.findings import Advice
from finetrap.judge.advice.advise import Wishes, conclude
from finetrap.judge.verdicts import verdicts_on
from tests.builders.advised import MARGIN, STUDY, advised, said
from tests.builders.runs import (
    FULL,
    LORA,
    REWIND,
    SHOTS,
    runs,
)


def test_memory_bars_what_holds_more_and_what_is_not_known() -> None:
    measured = runs((LORA, 0.1), (FULL, 0.25), n=1500)
    assert str(advised(measured).ship) == "full at 3e-4"
    found = advised(measured, Wishes(max_memory=3 * 10**8))
    assert str(found.ship) == "lora at 3e-4"
    assert "it held 0.5 GB of 0.3 GB allowed" in said(found.reasons)
    assert any("full at 3e-4" in change for change in found.would_change)
    silent = [
        replace(r, costs=replace(r.costs, peak_bytes=None)) if r.cell.strategy == FULL else r
        for r in measured
    ]
    assert "its memory is not known" in said(advised(silent, Wishes(max_memory=10**9)).reasons)
    nothing = advised(measured, Wishes(max_memory=1))
    assert (nothing.ship, nothing.runner_up) == (None, None)
    assert "within the limits" in said(nothing.open_questions)


def test_retention_bars_what_kept_too_little_and_what_is_not_known() -> None:
    # Half a point lost of 50 on 3000 problems: harmless by margin, 90% of it left at the least.
    measured = runs((SHOTS, 0.0), (LORA, 0.2), n=1500, probes={"school": {}})
    found = verdicts_on(measured, MARGIN)
    kept = {"retention": 88.0, "retention_low": 80.0, "retention_high": 95.0}
    effects = [
        replace(e, verdict="inconclusive", **kept)
        if e.kind == "probe" and e.strategy == "lora"
        else e
        for e in found.effects
    ]

    def asked(least: float, lines: list) -> Advice:
        given = replace(found, effects=tuple(lines))
        (one,) = conclude(given, measured, Wishes(min_retention=least), study_command=STUDY)
        return one.advice

    assert str(asked(85, effects).ship) == "lora at 3e-4"
    assert "it may be as little as 80%" in said(asked(85, effects).open_questions)
    assert str(asked(90, effects).ship) != "lora at 3e-4"
    assert "it retains 88% on school, 90% are asked for" in said(asked(90, effects).reasons)
    blank = [replace(e, retention=None, retention_low=None) for e in effects]
    assert "its retention is not known" in said(asked(10, blank).reasons)


def test_one_file_leaves_whole_weights_and_merged_adapters() -> None:
    one_file = Wishes(must_ship_one_file=True)
    measured = runs((SHOTS, 0.2), (LORA, 0.2), (FULL, 0.2), n=1500)
    assert str(advised(measured, one_file).ship) == "full at 3e-4"
    merged = [
        replace(r, evidence={"merged": True}) if r.cell.strategy == LORA else r for r in measured
    ]
    assert str(advised(merged, one_file).ship) == "lora at 3e-4"
    apart = [
        replace(r, evidence={"merged": False}) if r.cell.strategy == LORA else r for r in measured
    ]
    found = advised(apart, one_file)
    assert str(found.ship) == "full at 3e-4"
    assert "its exemplars are shipped beside the model" in said(found.reasons)
    assert str(advised(runs((REWIND, 0.2), n=1500), one_file).ship) == "full+rewind at 3e-4"
