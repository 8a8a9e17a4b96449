"""The first screen: the table that is the picture, and the one answer that shows what broke."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from finetrap.findings import Findings, SeedChange
from finetrap.records import Run
from finetrap.report import wording
from finetrap.report.arranged.first_screen import Column, FirstScreen, compared, screens
from finetrap.report.arranged.panels import arrange, probe_groups
from tests.builders.reported import grid, judged, searched, study, written


def first(runs: Sequence[Run], findings: Findings) -> FirstScreen:
    panels, groups = arrange(findings, study()), probe_groups(findings, study())
    return screens(panels, groups, findings, {run.cell.key: run for run in runs})[0]


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return grid()


@pytest.fixture(scope="module")
def findings(runs: list[Run]) -> Findings:
    return judged(runs)


@pytest.fixture(scope="module")
def screen(runs: list[Run], findings: Findings) -> FirstScreen:
    return first(runs, findings)


def test_strategies_are_sorted_by_what_they_gained_and_failed_ones_are_last(
    screen: FirstScreen,
) -> None:
    gains = [row.arm.effect.delta if row.arm.effect else None for row in screen.rows]
    assert gains[-1] is None
    assert gains[:-1] == sorted(gains[:-1], reverse=True)
    assert screen.rows[0].arm.key.strategy == "lora"


def test_the_task_comes_before_its_probes_with_the_base_models_levels(
    screen: FirstScreen, findings: Findings
) -> None:
    assert [(c.name, c.probe) for c in screen.columns] == [
        ("school", False),
        ("sums", True),
        ("sorting", True),
        ("prose", True),
    ]
    for column, (level, measure) in zip(screen.columns, screen.base, strict=True):
        own = next(e for e in findings.effects if e.task == column.name)
        assert (level, measure) == (own.before, own.measure)


def test_every_row_holds_the_changes_of_its_own_solver(screen: FirstScreen) -> None:
    for row in screen.rows:
        for column, effect in zip(screen.columns, row.effects, strict=True):
            if effect is not None:
                assert effect.task == column.name
                assert effect.strategy == row.arm.key.strategy
                assert effect.learning_rate == row.arm.key.learning_rate


def test_what_is_advised_is_outlined_alone() -> None:
    runs = searched(("mini-1m",))
    found = judged(runs)
    ship = found.advice[0].ship
    assert ship is not None
    screen = first(runs, found)
    chosen = [tuple(row.arm.key[:2]) for row in screen.rows if row.chosen]
    chosen += [("zero-shot", None)] * screen.base_chosen
    assert chosen == [(ship.strategy, ship.learning_rate)]


def test_the_answer_that_is_shown_was_lost_in_every_seed(
    screen: FirstScreen, runs: list[Run]
) -> None:
    found = screen.broken
    assert found is not None
    assert found.lost
    assert (found.arm.key.strategy, found.arm.key.learning_rate) == ("full", 3e-4)
    base = next(r for r in runs if r.cell.strategy.name == "zero-shot")
    own = [r for r in runs if r.cell.key in {cell.key for cell in found.arm.cells}]
    right = {a.id: a.correct for a in base.answers}
    assert right[found.id]
    assert all(not a.correct for r in own for a in r.answers if a.id == found.id)
    of_seed = next(r for r in own if r.cell.seed == found.seed)
    assert found.alike == sum(right[a.id] and not a.correct for a in of_seed.answers)


def test_the_answer_is_of_the_strategy_that_the_sentence_is_about(
    runs: list[Run], findings: Findings
) -> None:
    for strategy in ("full", "lora"):
        about = tuple(
            replace(h, strategy=replace(h.strategy, strategy=strategy, learning_rate=3e-4))
            for h in findings.headlines
            if h.strategy
        )
        own = [r for r in runs if r.cell.strategy.name in ("zero-shot", "full", "lora")]
        seeds = [r for r in own if r.cell.seed in (None, 0)]
        found = first(seeds, replace(findings, headlines=about)).broken
        assert found is not None
        assert (found.arm.key.strategy, found.arm.key.learning_rate) == (strategy, 3e-4)


def test_where_nothing_was_harmed_a_gained_answer_is_shown(runs: list[Run]) -> None:
    kept = [r for r in runs if r.cell.strategy.name in ("zero-shot", "lora")]
    kept = [replace(r, probes={}, cell=replace(r.cell, probes=())) for r in kept]
    found = first(kept, judged(kept)).broken
    assert found is not None
    assert not found.lost


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("6 * 6 = 36 #### 32", "#### 8", (["6 * 6 = 36 ", "32"], ["8"])),
        ("2 * 4 = 8. 8 - 2 = 6. #### 6", "#### 8", (["2 * 4 = 8. 8 - 2 = 6. ", "6"], ["8"])),
        ("the same", "the same", ([], [])),
        ("", "new", ([], ["new"])),
        ("one two three", "one three", ([" two"], [])),
    ],
)
def test_words_that_differ_are_marked(
    before: str, after: str, marked: tuple[list[str], list[str]]
) -> None:
    sides = compared(before, after)
    assert tuple([w.text for w in side if w.differs] for side in sides) == marked
    assert tuple("".join(w.text for w in side) for side in sides) == (before, after)


def test_the_page_says_which_change_could_have_been_seen(
    screen: FirstScreen, findings: Findings
) -> None:
    found = next(d for d in findings.detectable if not d.probe)
    assert "400 problems and 3 seeds" in screen.detects
    assert wording.number(found.easiest) in screen.detects
    assert wording.number(found.points) in screen.detects


def test_harm_by_another_strategy_than_the_answer_is_about_is_told_too(tmp_path: Path) -> None:
    runs = grid(n=40)
    found = judged(runs)
    screen = first(runs, found)
    assert screen.answer is not None
    assert screen.answer.verdict == "inconclusive"
    worse = screen.worse
    assert worse is not None
    assert (worse.strategy, worse.learning_rate) == ("full", 3e-4)
    text = html.unescape(written(tmp_path, runs, found).read_text("utf-8"))
    sentence = re.search(r'<p class="sentence"><bdi>(.*?)</bdi>', text)
    assert sentence is not None
    said = re.sub("<[^>]*>", "", sentence[1])
    assert said.endswith(wording.made_worse(worse))
    assert len(said.split()) <= wording.MOST_WORDS
    assert '<span class="whole">3e-4</span>' in sentence[1], "a browser breaks lines at a hyphen"
    told = screen._replace(answer=replace(screen.answer, verdict="harmed"))
    assert told.worse is None, "the answer tells of harm already"


def test_an_open_question_names_the_command_that_would_decide_it(
    tmp_path: Path, screen: FirstScreen, findings: Findings, runs: list[Run]
) -> None:
    assert screen.answer is not None
    asked = f'To decide it: <code class="command">{findings.advice[0].next_command}</code>'
    for badge, told in (("keep", False), ("no winner", True), ("provisional", True)):
        answer = replace(screen.answer, badge=badge)
        page = written(tmp_path / badge, runs, replace(findings, headlines=(answer,)))
        assert (asked in html.unescape(page.read_text("utf-8"))) is told


def test_a_cell_tells_its_sample_and_both_p_values(tmp_path: Path, findings: Findings) -> None:
    text = html.unescape(written(tmp_path, searched(("mini-1m",))).read_text("utf-8"))
    tips = re.findall(r'data-tip="([^"]+)"', text)
    assert len(tips) > 8
    for tip in tips:
        assert re.search(r"\d+ (problems|pieces) × \d seeds?; p \S+, corrected \S+", tip), tip
        assert any(meaning in tip for meaning in wording.MEANINGS.values())


def test_a_wide_loss_without_a_verdict_is_explained_beside_smaller_ones_that_have_one(
    screen: FirstScreen,
) -> None:
    row = next(r for r in screen.rows if any(e and e.verdict == "harmed" for e in r.effects))
    place = next(i for i, e in enumerate(row.effects) if e and e.verdict == "harmed")
    harmed = row.effects[place]
    assert harmed is not None
    seeds = tuple(
        SeedChange(seed, 9, 0, 0.1, delta) for seed, delta in ((0, -86.2), (1, -4.0), (2, -85.0))
    )
    wide = replace(
        harmed, verdict="inconclusive", delta=harmed.delta - 30, per_seed=seeds, early=False
    )
    every = (*row.effects[: place + 1], wide)
    columns = (*screen.columns[: place + 1], Column("apart", True, "accuracy"))
    shown = screen._replace(rows=(row._replace(effects=every),), columns=columns)
    assert "on apart is inconclusive at" in shown.undecided
    assert wide.remark.startswith("not significant after correcting")
    told = f"its seeds range from \u221286.2 to \u22124.0; {wide.remark}."
    assert shown.undecided.endswith(told)
    calm = shown._replace(rows=(row._replace(effects=every[:-1]),), columns=columns[:-1])
    assert calm.undecided == ""


def test_a_provisional_choice_says_by_what_rule_it_was_made(screen: FirstScreen) -> None:
    assert screen.advice is not None
    rule = "none is shown to be best, and this one risks least"
    advice = replace(screen.advice, grade="provisional", above_base=1.0, reasons=("level", rule))
    shown = screen._replace(advice=advice, base_chosen=False)
    assert shown.why == rule
    assert shown._replace(advice=replace(advice, grade="shown")).why == ""


def test_a_base_model_that_is_kept_beside_a_gain_says_why(screen: FirstScreen) -> None:
    assert screen.advice is not None
    assert screen.answer is not None
    kept = screen._replace(
        base_chosen=True,
        advice=replace(screen.advice, grade="shown", reasons=("better, but harmed elsewhere",)),
        answer=replace(screen.answer, verdict="improved"),
    )
    assert kept.why == "better, but harmed elsewhere"
    assert kept._replace(answer=replace(screen.answer, verdict="harmed")).why == ""


def test_a_clear_interval_without_a_verdict_has_a_mark_of_its_own(
    tmp_path: Path, runs: list[Run], findings: Findings
) -> None:
    clear = next(e for e in findings.effects if e.kind == "task" and e.low > 0)
    withheld = replace(clear, verdict="inconclusive", small=False, floor=False, early=False)
    assert withheld.withheld == withheld.remark.partition(";")[0] != ""
    assert clear.withheld == ""
    effects = tuple(withheld if e is clear else e for e in findings.effects)
    page = written(tmp_path, runs, replace(findings, effects=effects)).read_text("utf-8")
    assert page.count('class="verdict inconclusive withheld"') == 2, "in its cell and in the legend"
    plain = written(tmp_path / "plain", runs, findings).read_text("utf-8")
    assert 'class="verdict inconclusive withheld"' not in plain


def test_the_legend_has_the_margin_of_every_measure(screen: FirstScreen) -> None:
    assert [wording.margin(e) for e in screen.margins] == [
        "\u00b12\u00a0points",
        "\u00b10.05\u00a0bits per byte",
    ]
