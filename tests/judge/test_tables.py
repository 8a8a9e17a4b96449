from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest

from finetrap.errors import BadInput
from finetrap.findings import Effect, Trial
from finetrap.judge.tables import columns, write_csv
from finetrap.judge.verdicts import verdicts_on
from finetrap.levels import CellRow
from finetrap.records import Costs, checked_margin
from finetrap.report import verdict_rows
from finetrap.stats.changes import wilson
from tests.builders.runs import FULL, ZERO, failed, run, simulated, trial


def test_cells_carry_rates_intervals_and_costs(tmp_path):
    right = run(
        ZERO, [1, 1, 1, 0], nats=[10] * 4, costs=Costs(load_s=0.5, eval_s=2.0, parameters=920_000)
    )
    changed = (
        replace(right.answers[0], stop="cap"),
        replace(right.answers[1], rule="none", strict=False),
        *right.answers[2:],
    )
    findings = verdicts_on([replace(right, answers=changed), failed(FULL, 0)])
    first, second = findings.cells
    low, high = wilson(3, 4)
    assert (first.accuracy, first.low, first.high) == (75, 100 * low, 100 * high)
    assert (first.strict_rate, first.no_answer_rate, first.truncated_rate) == (50, 25, 25)
    assert first.strict_accuracy == 50  # one right answer is not strict
    assert first.bits_per_byte == pytest.approx(1 / math.log(2))
    assert first.parameters == 920_000
    assert (second.status, second.n, second.accuracy) == ("diverged", 0, None)
    write_csv(tmp_path / "cells.csv", CellRow, findings.cells)
    rows = list(csv.DictReader((tmp_path / "cells.csv").open(encoding="utf-8")))
    assert tuple(rows[0]) == columns(CellRow)
    assert rows[0]["eval_s"] == "2"
    assert rows[1]["accuracy"] == ""


@pytest.mark.parametrize("name", ["=cmd|'/C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1"])
def test_no_name_is_a_formula_in_a_spreadsheet(tmp_path, name):
    findings = verdicts_on(simulated((FULL, -0.1), n=200))
    named = [replace(effect, model=name) for effect in findings.effects]
    write_csv(tmp_path / "effects.csv", Effect, named)
    (row,) = csv.DictReader((tmp_path / "effects.csv").open(encoding="utf-8"))
    assert row["model"] == f"'{name}"
    assert float(row["delta"]) == pytest.approx(named[0].delta)


def test_a_margin_that_is_none_is_refused():
    for margin in (math.nan, 0, -1, math.inf, 101):
        with pytest.raises(BadInput, match="points of accuracy above 0, at most 100"):
            checked_margin(margin)


def test_effects_csv_keeps_its_contract(tmp_path):
    findings = verdicts_on(simulated((FULL, -0.1), n=200))
    write_csv(tmp_path / "effects.csv", Effect, findings.effects)
    (row,) = csv.DictReader((tmp_path / "effects.csv").open(encoding="utf-8"))
    assert tuple(row) == columns(Effect)
    contract = (
        "model task kind strategy learning_rate setting against seeds n before after delta low "
        "high lost gained p p_adjusted margin verdict needed_n needed_seeds"
    )
    assert columns(Effect)[:22] == tuple(contract.split())
    assert float(row["learning_rate"]) == 3e-4
    assert float(row["delta"]) == pytest.approx(findings.effects[0].delta)


def test_likelihood_answers_have_no_written_rates():
    chosen = run(ZERO, [1, 0])
    silent = tuple(replace(a, stop="none", rule="likelihood", strict=None) for a in chosen.answers)
    (row,) = verdicts_on([replace(chosen, answers=silent)]).cells
    assert row.accuracy == 50
    assert row.strict_rate is row.no_answer_rate is row.truncated_rate is None


def test_cells_say_which_setting_they_serve_and_which_split_they_were_asked():
    flags = [1] * 60 + [0] * 40
    slow = replace(FULL, learning_rate=1e-4)
    tried = [trial(FULL, 1e-4, 60, 1.0), trial(FULL, 3e-4, 30, 2.0)]
    cells = verdicts_on([run(ZERO, flags), run(FULL, flags, 0), run(slow, flags, 0), *tried]).cells
    assert [(c.learning_rate, c.setting, c.split) for c in cells] == [
        (None, "fixed", "test"),
        (3e-4, "fixed", "test"),
        (1e-4, "tuned", "test"),
        (1e-4, "trial", "dev"),
        (3e-4, "trial", "dev"),
    ]
    assert {c.strategy for c in cells} == {"zero-shot", "full"}
    found = verdicts_on([run(ZERO, flags), run(slow, flags, 0), *tried])
    assert found.cells[1].setting == "fixed+tuned"
    assert {e.setting for e in found.effects} == {"fixed", "tuned"}
    assert [(row.strategy, row.rate) for row in verdict_rows(found)] == [("full (tuned)", "1e-4")]


def test_cells_carry_self_flips_and_divergence():
    flags = [1, 0, 1, 0]
    again = {"self_flips": {"n": 4, "flips": 1, "changed_texts": 2}}
    apart = {"divergence": [["p0", 0.1, 0.3], ["p1", 0.3, 0.5]]}
    first, second = verdicts_on(
        [run(ZERO, flags, evidence=again), run(FULL, flags, 0, evidence=apart)]
    ).cells
    assert first.self_flips == 25
    assert first.kl_forward is None
    # Forward: how badly the tuned model predicts what the untouched one would write.
    assert (second.kl_forward, second.kl_reverse) == pytest.approx((0.4, 0.2))
    assert second.self_flips is None


def test_trials_csv_has_every_rate_that_was_tried(tmp_path):
    findings = verdicts_on(
        [trial(FULL, rate, 50, bits) for rate, bits in ((1e-4, 1.5), (3e-4, 1.2))]
    )
    write_csv(tmp_path / "trials.csv", Trial, findings.trials)
    rows = list(csv.DictReader((tmp_path / "trials.csv").open(encoding="utf-8")))
    assert tuple(rows[0]) == columns(Trial)
    assert [(r["learning_rate"], r["bits"], r["chosen"]) for r in rows] == [
        ("0.0001", "1.5", "false"),
        ("0.0003", "1.2", "true"),
    ]
