"""How findings are worded: sentences, numbers, labels, and the table in the terminal."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import pytest

from finetrap import report
from finetrap.findings import Advice, Contender, Findings, Missing
from finetrap.records import Run
from finetrap.report import wording
from finetrap.report.arranged import contents
from finetrap.report.arranged.panels import arrange, probe_groups
from finetrap.text import visible
from finetrap.text.numbers import counted
from tests.builders.reported import diverged, effect, grid, judged, made_up, study, written


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [*grid(("mini-0.3m", "mini-1m"), n=200), diverged("mini-1m", "school", 3)]


@pytest.fixture(scope="module")
def findings(runs: list[Run]) -> Findings:
    return judged(runs)


def test_a_rise_in_bits_per_byte_is_harm_and_has_its_unit(tmp_path: Path) -> None:
    rise = effect(kind="task", task="t")
    page = written(tmp_path, [], made_up(rise))
    text = html.unescape(page.read_text(encoding="utf-8"))
    assert "+0.200 [+0.100,\u00a0+0.300] bits per byte" in text
    assert "<small>bits per byte</small>" in text
    assert rise.harm == pytest.approx(4)


def test_the_terminal_shows_each_comparison_with_its_worst_probe() -> None:
    task = {"task": "t", "kind": "task", "measure": "accuracy", "margin": 2.0}
    helped = effect(
        **task, before=4.0, after=41.0, delta=37.0, low=33.0, high=41.0, verdict="improved"
    )
    mild = effect(task="sums", measure="accuracy", margin=2.0, delta=-3.0, low=-4.0, high=-2.0)
    other = effect(task="prose", learning_rate=1e-3, delta=9.0)
    shown = made_up(helped, mild, effect(), other)
    (row,) = report.verdict_rows(shown)
    assert row.change == "+37.0 [+33.0, +41.0]"
    assert row.forgets == "prose +0.200", "four margins of harm are worse than one and a half"
    title, heads, line = report.verdict_text(shown).splitlines()
    assert title.endswith(" on t: base model 4.0")
    assert " ".join(heads.split()) == "strategy rate after change [95%] verdict forgets"
    assert line.endswith("+37.0 [+33.0, +41.0]  improved  prose +0.200")
    assert report.verdict_text(shown).isascii()


def test_what_is_true_of_several_strategies_is_said_once() -> None:
    few = {"kind": "task", "task": "t", "verdict": "inconclusive", "too_few": "problems"}
    lora = effect(**few, strategy="lora", learning_rate=3e-4)
    full = effect(**few, strategy="full", learning_rate=3e-5)
    (line,) = report.remarks(made_up(lora, full))
    assert line.startswith("lora 3e-4 (+0.200 bits per byte), full 3e-5 (+0.200 bits per byte): ")
    assert line.endswith("too few problems")
    assert line.count("too few problems") == 1


def test_model_and_task_are_named_where_there_is_more_than_one() -> None:
    few = {"kind": "task", "verdict": "inconclusive", "too_few": "problems"}
    first, second = (effect(**few, task=name, trained_on=name) for name in "tu")
    assert report.line_start(made_up(first), first.model, "t") == ""
    assert report.line_start(made_up(first, second), first.model, "t") == f"{first.model} on t: "
    assert [line.split(":")[0] for line in report.remarks(made_up(first, second))] == [
        f"{first.model} on t",
        f"{first.model} on u",
    ]


def test_hostile_names_reach_the_terminal_as_plain_ascii() -> None:
    from rich.console import Console

    bad = effect(kind="task", model="[red]x[/red]\x1b[2J", strategy="[/]", trained_on="")
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(*report.verdict_tables(made_up(bad)))
    text = console.export_text()
    assert "[red]x[/red]" in text
    assert "\x1b" not in text


def test_probes_stand_under_the_task_that_was_trained_on(findings: Findings) -> None:
    groups = probe_groups(findings)
    assert {(g.model, g.trained_on) for g in groups} == {
        ("mini-0.3m", "school"),
        ("mini-1m", "school"),
    }
    assert all(g.probes == ("sums", "sorting", "prose") for g in groups)


@pytest.mark.parametrize(
    ("written_as", "number"),
    [("3e-4", 3e-4), ("5.5e-5", 5.5e-5), ("1e-3", 0.001), ("0.1", 0.1), ("0", 0.0), ("", None)],
)
def test_learning_rates_read_as_people_type_them(written_as: str, number: float | None) -> None:
    assert wording.rate(number) == written_as


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (wording.signed(-0.04), "0.0"),
        (wording.signed(0.04), "0.0"),
        (wording.signed(-42.06), "−42.1"),
        (wording.signed(3.0), "+3.0"),
        (wording.number(None), "–"),
        (wording.seconds(9.46), "9.46\u00a0s"),
        (wording.seconds(86.6), "1.4\u00a0min"),
        (wording.seconds(300), "5.0\u00a0min"),
        (wording.seconds(900), "15\u00a0min"),
        (wording.seconds(86_400), "24\u00a0h\u00a00\u00a0min"),
        (wording.size(999), "999\u00a0B"),
        (wording.size(999_900), "1\u00a0MB"),
        (wording.count(919_552), "919,552"),
        (wording.count(494_000_000), "494\u00a0M"),
        (wording.count(1_235_814_400), "1.24\u00a0B"),
        (wording.probability(0.00004), "<0.001"),
        (counted(1, "seed"), "1 seed"),
    ],
)
def test_numbers_have_units_and_no_minus_zero(said: str, shown: str) -> None:
    assert said == shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "full at 0.0003 is harmed (-97.1 points [-100.0, -91.8])",
            "full at 3e-4 is harmed (−97.1 points [−100.0, −91.8])",
        ),
        ("learning_rate = 3e-05 instead of 0.0003", "learning_rate = 3e-5 instead of 3e-4"),
        ("0.000 to 0.810 bits per byte", "0.000 to 0.810 bits per byte"),
        ("few-shot-5 of mini-0.3m, 1.0e-3", "few-shot-5 of mini-0.3m, 1.0e-3"),
        ("5-shot on arXiv 2606.06920", "5-shot on arXiv 2606.06920"),
    ],
)
def test_sentences_write_rates_and_minus_as_the_page_does(said: str, shown: str) -> None:
    assert wording.typeset(said) == shown


def test_what_is_shipped_has_the_name_of_the_page() -> None:
    assert wording.shipped(Contender("lora", 3e-4)) == "LoRA at 3e-4"
    assert wording.shipped(Contender("full+rewind", 3e-5)) == "full fine-tuning + rewind at 3e-5"
    assert wording.shipped(Contender("zero-shot")) == "the base model (zero-shot)"
    assert wording.shipped(Contender("few-shot-5")) == "few-shot-5"


def test_runs_that_remain_are_counted_after_what_is_open() -> None:
    advice = Advice("m", "t", None, None, (), ("full or lora",), "", remaining=2)
    assert advice.still_open == "full or lora; 2 cells of the study remaining"
    assert replace(advice, remaining=0).still_open == "full or lora"


def test_what_cannot_be_judged_is_named_before_what_remains(findings: Findings) -> None:
    first, second = (Missing("cell", cell=f"a-s{i}", remaining=1) for i in range(2))
    left_out = Missing("left out", "m", "t", "full", 2, "1 duplicate id")
    found = contents.incomplete(replace(findings, missing=(first, left_out, second)))
    assert found.lines == (
        "m on t: full seed 2 left out: 1 duplicate id",
        "a-s0 has not run yet",
        "a-s1 has not run yet",
    )
    assert found.headline == "Not complete: 2 runs remaining and 1 thing missing"


def test_every_kind_of_lack_has_its_words() -> None:
    assert "no finished zero-shot run" in wording.missing(Missing("base model", "m", "t"))
    part = Missing("study", study="s", remaining=2, planned=5)
    assert wording.missing(part) == "2 of 5 cells of study 's' have not run yet"


def test_a_complete_report_says_what_it_holds_nothing_about(
    findings: Findings, runs: list[Run]
) -> None:
    arranged, groups = arrange(findings, study()), probe_groups(findings, study())
    said = " ".join(contents.absent(findings, arranged, groups))
    assert "Abilities other than sums, sorting, prose" in said
    assert "no search was made" in said
    assert "7 runs that failed" in said
    assert "Energy" in said
    assert "Forgetting: no probe was asked" in " ".join(contents.absent(findings, arranged, ()))
    assert contents.absent(Findings((), ()), [], []) == []


def test_clipping_keeps_the_end_where_the_answer_stands() -> None:
    text = "a" * 1000 + "#### 42"
    assert visible.clip(text).endswith("#### 42")
    assert visible.clip("short") == "short"
