"""Forgetting stands beside every outcome, tally and line of a summary."""

from __future__ import annotations

from dataclasses import replace

from finetrap.findings import Findings
from finetrap.judge import concluded
from finetrap.judge.forgetting import forgetting_of, gravest
from finetrap.judge.summary import with_verdicts
from finetrap.judge.tables import columns, write_csv
from finetrap.judge.verdicts import verdicts_on
from finetrap.levels import Forgetting, Forgotten, Summary, Tally
from finetrap.records import Judge
from finetrap.report import verdict_rows, wording
from tests.builders.reported import effect
from tests.builders.runs import FULL, LORA, SHOTS, runs

MARGIN = Judge(margin=4)


def found_in(measured):
    return concluded(verdicts_on(measured, MARGIN), measured)


def test_no_harm_on_the_task_never_stands_without_what_was_forgotten():
    measured = runs((LORA, 0.0), (FULL, 0.0), n=2000, probes={"sums": {"lora": -0.2}})
    lora, full = sorted(found_in(measured).outcomes, key=lambda o: o.strategy != "lora")
    assert (lora.outcome, full.outcome) == ("no harm", "no harm")
    assert [one.probe for one in lora.forgetting.lost] == ["sums"]
    assert wording.outcome(lora).startswith("equivalent on the task, but forgets: sums −")
    assert wording.outcome(full) == "equivalent on the task; forgets nothing that was measured"
    searched = replace(full, tuned=full.fixed)
    assert wording.outcome(searched).startswith("no harm on the task; ")


def test_no_outcome_is_shown_of_a_rate_that_was_not_measured():
    (full,) = found_in(runs((FULL, -0.2), n=600)).outcomes
    assert (full.outcome, full.tuned) == ("inconclusive", None)
    assert wording.outcome(full) == "harmed on the task; forgetting not measured"


def test_where_no_probe_was_asked_forgetting_is_not_measured():
    found = found_in(runs((SHOTS, 0.0), (LORA, 0.2), n=600))
    assert wording.outcome(found.outcomes[0]).endswith("; forgetting not measured")
    lines = {line.name: line for line in found.summary}
    assert lines["few-shot-5"].forgetting is None
    assert str(lines["lora"].forgetting) == "forgetting not measured"


def test_the_tally_counts_those_that_forget():
    probes = {"sums": {"lora": -0.2}}
    found = found_in(runs((LORA, 0.2), (FULL, 0.2), n=900, probes=probes))
    assert found.tally == (Tally("improved", 2, 1),)


def test_forgetting_stands_in_the_table_too(tmp_path):
    found = found_in(runs((LORA, 0.2), n=900, probes={"sums": {"lora": -0.2}}))
    assert "forgetting" in columns(Summary)
    write_csv(tmp_path / "summary.csv", Summary, found.summary)
    assert "forgets: sums -" in (tmp_path / "summary.csv").read_text("utf-8")


def test_the_worst_probe_is_the_worst_by_verdict_then_by_size():
    slight = effect(task="prose", delta=0.4, low=-0.1, high=0.9, verdict="inconclusive")
    harmed = effect(task="sums", delta=0.2, verdict="harmed")
    worse = effect(task="sorting", delta=0.3, verdict="harmed")
    calm = effect(task="school", delta=0.9, verdict="equivalent")
    assert gravest([slight, harmed]).task == "sums"
    assert gravest([harmed, worse]).task == "sorting"
    assert gravest([calm, slight]).task == "prose"


def test_the_terminals_worst_probe_is_one_that_is_shown_harmed():
    measured = runs((LORA, 0.2), n=900, probes={"sums": {"lora": -0.1}, "sorting": {}})
    noisy = [replace(r, probes={**r.probes, "sorting": r.probes["sorting"][:12]}) for r in measured]
    (row,) = verdict_rows(found_in(noisy))
    assert row.forgets.startswith("sums -")


def test_the_worst_of_several_rates_counts_and_bits_stand_in_at_the_floor():
    fine = effect(task="prose", learning_rate=1e-5, delta=0.0, low=-0.01, high=0.01)
    found = forgetting_of([replace(fine, verdict="equivalent"), effect(task="prose")], "task")
    assert found == Forgetting(1, (Forgotten("prose", 0.2, "bits_per_byte"),))
    at_floor = effect(task="sums", measure="accuracy", floor=True, verdict="inconclusive")
    bits = effect(task="sums", delta=0.5)
    assert forgetting_of([at_floor, bits], "task").lost[0].measure == "bits_per_byte"
    assert forgetting_of([at_floor], "task").unclear == ("sums",)


def test_a_probe_at_the_floor_is_told_by_bits_per_byte_everywhere():
    """Its accuracy can show no harm: page, table and terminal go by the same measure."""
    task = effect(
        task="t",
        kind="task",
        measure="accuracy",
        verdict="improved",
        delta=10.0,
        low=6.0,
        high=14.0,
    )
    accuracy = effect(
        measure="accuracy", verdict="inconclusive", floor=True, delta=-0.5, low=-1.0, high=0.5
    )
    bits = effect()
    blank = Summary("m", "t", "t", task.strategy, task.learning_rate, "fixed")
    line = with_verdicts(blank, [task, accuracy, bits])
    assert (line.worst_probe, line.forgetting.lost[0].measure) == ("prose", "bits_per_byte")
    found = Findings((task, accuracy, bits), (), summary=(line,))
    assert "prose" in verdict_rows(found)[0].forgets


def test_of_an_unfinished_study_nothing_is_told_that_rests_on_verdicts():
    found = found_in(runs((LORA, 0.2), n=900, probes={"sums": {"lora": -0.2}}))
    lines = replace(found, remaining=1).withheld().summary
    assert any(line.kept is not None for line in lines)
    assert not any(
        line.best or line.p_best or line.worst_probe or line.forgetting for line in lines
    )
