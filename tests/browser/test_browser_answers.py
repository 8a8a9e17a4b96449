"""The answer browser, as a person uses it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from finetrap import report
from finetrap.findings import Findings
from finetrap.judge import summary
from finetrap.levels import CellRow
from finetrap.text.visible import visible
from tests.builders.pages import LONG, OUTRIGHT, demo, many
from tests.builders.reported import HOSTILE, study

CARDS = "#answer-browser .cards > li"
FLUENT = 100
"""Milliseconds from a key to the painted result."""


def ready(watched):
    watched.page.wait_for_selector("#answers[data-ready]", state="attached")
    watched.page.evaluate("document.getElementById('answer-details').open = true")
    return watched.page


def choose(page, name: str, label: str) -> None:
    page.select_option(f"#answer-browser [name={name}]", label=label)


def chip(page, value: str):
    return page.locator(f"#answer-browser .chips input[value={value}]")


def number(page, value: str) -> int:
    return int(chip(page, value).locator("xpath=..").locator(".number").inner_text())


def count(page) -> int:
    return int(page.inner_text(".count-line").split()[0].replace(",", ""))


def pairs() -> list[tuple[bool, bool]]:
    """Who was right in the first model's untouched run and full fine-tuning's first seed."""
    asked = {
        (r.cell.strategy.name, r.cell.strategy.learning_rate, r.cell.seed): r.answers
        for r in demo()
        if r.cell.model.name == "mini-0.3m" and r.cell.split == "test"
    }
    base, full = asked["zero-shot", None, None], asked["full", 3e-4, 0]
    return [(a.correct, b.correct) for a, b in zip(base, full, strict=True)]


def test_the_filters_count_what_the_runs_hold(look, demo_report: Path) -> None:
    page = ready(look(demo_report))
    choose(page, "set", "school · mini-0.3m")
    choose(page, "left", "base model")
    choose(page, "right", "full fine-tuning 3e-4, seed 0")
    known = pairs()
    wanted = {
        "all": len(known),
        "lost": known.count((True, False)),
        "gained": known.count((False, True)),
        "right": known.count((True, True)),
        "wrong": known.count((False, False)),
    }
    assert wanted["lost"] > 50
    for value, expected in wanted.items():
        chip(page, value).check()
        assert count(page) == expected == number(page, value)
    assert number(page, "cut") == number(page, "none") == 1
    chip(page, "all").check()
    chip(page, "cut").check()
    assert count(page) == 1
    assert "no answer found" in page.inner_text(CARDS)
    assert "cut at the token limit" in page.inner_text(CARDS)


def test_a_card_holds_problem_gold_both_answers_and_the_rule(look, demo_report: Path) -> None:
    page = ready(look(demo_report))
    choose(page, "right", "LoRA 3e-4 (fixed and tuned), seed 1")
    chip(page, "all").check()
    page.fill("#answer-browser [name=query]", "p00017")
    assert count(page) == 1
    text = page.inner_text(CARDS)
    for part in (
        "p00017",
        "gold 17",
        "Ann has 17 pens",
        "base model",
        "LoRA 3e-4 (fixed and tuned), seed 1",
    ):
        assert part in text
    assert text.count("rule marker") == 2
    assert page.locator(f"{CARDS} pre").count() == 2


def test_search_reads_problems_and_answers_and_marks_what_it_found(look, demo_report: Path) -> None:
    page = ready(look(demo_report))
    chip(page, "all").check()
    page.fill("#answer-browser [name=query]", "HAS 123 PENS")
    assert count(page) == 1
    assert page.locator(f"{CARDS} mark").all_inner_texts() == ["has 123 pens"]
    page.fill("#answer-browser [name=query]", "(.*")
    assert count(page) == 0
    page.fill("#answer-browser [name=query]", "")
    assert count(page) == 400


def test_pages_turn_by_keyboard_and_keep_the_focus(look, demo_report: Path) -> None:
    page = ready(look(demo_report))
    chip(page, "all").check()
    first = page.inner_text(f"{CARDS} h3")
    following = page.get_by_role("button", name="next page").first
    following.focus()
    page.keyboard.press("Enter")
    assert "page 2 of 20" in page.inner_text(".pager")
    assert page.inner_text(f"{CARDS} h3") != first
    assert page.evaluate("document.activeElement.dataset.to") == "next"
    page.get_by_role("button", name="last page").first.click()
    assert "page 20 of 20" in page.inner_text(".pager")
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"


def test_choices_are_listed_and_prose_shows_its_likelihood(look, demo_report: Path) -> None:
    page = ready(look(demo_report))
    choose(page, "set", "arc (probe) · mini-1m")
    chip(page, "all").check()
    text = page.inner_text(CARDS)
    assert "Which of the choices of 0 is right?" in text
    assert page.locator(f"{CARDS}:first-child .choices > li").count() == 3
    assert page.inner_text(f"{CARDS}:first-child .choices > li:first-child").endswith("gold")
    assert not chip(page, "cut").locator("xpath=..").is_visible()
    choose(page, "set", "prose (probe) · mini-1m")
    assert not page.locator("#answer-browser .chips").first.is_visible()
    text = page.inner_text(CARDS)
    assert "long text about rivers" in text
    changes = [
        float(found[1].replace("−", "-"))
        for card in page.locator(CARDS).all_inner_texts()
        if (found := re.search(r"bits/byte \(([+−]?[\d.]+)\)", card))
    ]
    assert len(changes) == 20
    assert changes == sorted(changes, reverse=True)


def test_hostile_answers_change_nothing_and_are_shown(look, demo_report: Path) -> None:
    page = ready(look(demo_report))
    page.evaluate("() => { window.alert = () => document.body.remove(); }")
    tags = "Array.from(document.querySelectorAll('*'), e => e.tagName)"
    before = set(page.evaluate(tags))
    choose(page, "right", "full fine-tuning 3e-4, seed 0")
    chip(page, "all").check()
    shown = page.locator(CARDS).nth(0).locator("pre").nth(1)
    assert shown.text_content() == visible(HOSTILE)
    assert OUTRIGHT in page.locator(CARDS).nth(2).text_content()
    assert visible(HOSTILE) + OUTRIGHT in page.locator(CARDS).nth(2).text_content()
    assert set(page.evaluate(tags)) <= before | {"BUTTON", "MARK", "I", "OL"}
    assert (
        page.locator("#answer-browser :is(img, svg, [onerror], [onclick], [onload])").count() == 0
    )
    assert not re.search("[\u202e\u202c\x1b\x00]", page.locator(CARDS).nth(0).text_content())


def test_a_line_of_100_kb_is_clipped_and_can_be_opened(look, demo_report: Path) -> None:
    page = ready(look(demo_report, 380))
    choose(page, "right", "full fine-tuning 3e-4, seed 0")
    chip(page, "all").check()
    card = page.locator(CARDS).nth(1)
    answer = card.locator("pre").nth(1)
    assert len(answer.text_content()) < 700
    assert page.evaluate("document.documentElement.scrollWidth") == 380
    card.get_by_role("button").click()
    text = answer.text_content()
    assert 4000 <= len(text) < 4100
    assert f"{len(LONG) - 3999:,} characters not shown" in text
    assert page.evaluate("document.documentElement.scrollWidth") == 380


def test_words_that_differ_are_marked_and_the_same_answer_is_called_identical(
    look, demo_report: Path
) -> None:
    page = ready(look(demo_report))
    choose(page, "right", "LoRA 3e-4 (fixed and tuned), seed 0")
    chip(page, "gained").check()
    card = page.locator(CARDS).first
    before, after = (card.locator("pre").nth(i) for i in (0, 1))
    assert before.locator("mark.diff").all_inner_texts() == ["0"]
    assert after.locator("mark.diff").inner_text() == after.inner_text().removeprefix("#### ")
    assert "identical" not in card.inner_text()
    chip(page, "right").check()
    assert "identical" in page.locator(CARDS).first.inner_text()
    assert page.locator(f"{CARDS} mark.diff").count() == 0


def test_what_every_seed_lost_is_a_filter(look, demo_report: Path) -> None:
    page = ready(look(demo_report))
    choose(page, "set", "school · mini-0.3m")
    choose(page, "right", "full fine-tuning 3e-4, seed 0")
    chip(page, "all").check()
    chip(page, "every").check()
    own = [
        {a.id for a in r.answers if not a.correct}
        for r in demo()
        if (r.cell.model.name, r.cell.split, r.cell.strategy.name, r.cell.strategy.learning_rate)
        == ("mini-0.3m", "test", "full", 3e-4)
    ]
    right = {str(i) for i, (before, _) in enumerate(pairs()) if before}
    wanted = {i for i in set.intersection(*own) if str(int(i[1:])) in right}
    assert count(page) == len(wanted) == number(page, "every")
    assert 0 < len(wanted) < number(page, "lost") + number(page, "all")


def test_a_third_run_stands_beside_the_others_with_its_metrics(look, demo_report: Path) -> None:
    page = ready(look(demo_report))
    choose(page, "third", "LoRA 3e-4 (fixed and tuned), seed 2")
    assert page.locator(f"{CARDS}:first-child .side").count() == 3
    heads = page.locator(".metrics thead th").all_inner_texts()
    assert heads[1] == "base model"
    assert heads[3] == "LoRA 3e-4 (fixed and tuned), seed 2"
    shares = page.locator(".metrics tbody tr:first-child td").all_inner_texts()
    right = sum(before for before, _ in pairs())
    assert float(shares[0].rstrip("%")) == pytest.approx(100 * right / len(pairs()), abs=0.06)


def test_the_address_brings_back_what_was_shown(look, demo_report: Path) -> None:
    watched = look(demo_report)
    page = ready(watched)
    choose(page, "set", "sums (probe) · mini-1m")
    choose(page, "right", "full fine-tuning 3e-4, seed 1")
    chip(page, "lost").check()
    page.fill("#answer-browser [name=query]", "pens")
    shown, first = count(page), page.inner_text(f"{CARDS}:first-child")
    assert "#answers?" in page.url
    page.reload()
    watched.asked.pop()
    page.wait_for_selector("#answers[data-ready]", state="attached")
    assert page.locator("#answer-browser").is_visible(), "it opens by itself"
    assert count(page) == shown
    assert page.inner_text(f"{CARDS}:first-child") == first
    page.locator(f"{CARDS}:first-child .permalink").click()
    page.wait_for_function("document.querySelectorAll('#answer-browser .cards > li').length === 1")
    assert page.inner_text(f"{CARDS} h3") == first.split("\n")[0]
    page.get_by_role("button", name="show all").first.click()
    assert count(page) == shown


def test_see_all_shows_the_answers_that_the_first_screen_counts(look, demo_report: Path) -> None:
    page = ready(look(demo_report))
    link = page.locator(".see").first
    told = int(re.search(r"\d+", link.inner_text().replace(",", ""))[0])
    link.click()
    page.wait_for_function("location.hash.startsWith('#answers?')")
    assert count(page) == told


def test_likelihoods_are_folded_away(look, demo_report: Path) -> None:
    page = ready(look(demo_report))
    card = page.locator(CARDS).first
    assert "bits/byte" not in card.inner_text()
    card.locator(".likelihood summary").first.click()
    assert "bits/byte" in card.inner_text()


def test_twenty_thousand_answers_stay_fluent(look, tmp_path: Path) -> None:
    page = ready(look(large(tmp_path, 10_000)))
    chip(page, "all").check()
    assert count(page) == 10_000
    taken = [typed(page, key) for key in "half as many"]
    assert 0 < count(page) < 10_000
    assert "half as many" in page.inner_text(f"{CARDS}:first-child").lower()
    # The best of many: a machine that is busy is not a page that is slow.
    assert min(taken[1:]) < FLUENT, taken


def typed(page, key: str) -> float:
    """Type a key into the search and return the milliseconds until the result is painted."""
    return page.evaluate(
        """key => new Promise(done => {
            const field = document.querySelector("#answer-browser [name=query]");
            const start = performance.now();
            field.value += key;
            field.dispatchEvent(new InputEvent("input", {bubbles: true}));
            requestAnimationFrame(() => {
                const painted = new MessageChannel();
                painted.port1.onmessage = () => done(performance.now() - start);
                painted.port2.postMessage(0);
            });
        })""",
        key,
    )


def large(folder: Path, problems: int) -> Path:
    """Write the report of two large runs, unjudged: verdicts are not what is looked at."""
    runs = many(problems)
    rows = [
        CellRow(
            key=r.cell.key,
            model=r.cell.model.name,
            parameters=None,
            task=r.cell.task.name,
            trained_on=r.cell.task.name,
            strategy=r.cell.strategy.name,
            learning_rate=r.cell.strategy.learning_rate,
            setting="fixed",
            seed=r.cell.seed,
            split="test",
            status="done",
        )
        for r in runs
    ]
    found = Findings((), tuple(rows), summary=summary.summaries(rows, runs, ()))
    return report.write_report(folder, found, runs, study=study(), command="")


def test_without_javascript_the_page_says_where_the_answers_are(look, demo_report: Path) -> None:
    page = look(demo_report, script=False).page
    page.click("#answer-details > summary")
    assert not page.locator("#answer-browser").is_visible()
    assert "answers.jsonl" in page.inner_text("#answer-details")


def test_a_browser_that_cannot_unpack_says_so(look, demo_report: Path) -> None:
    watched = look(demo_report)
    watched.page.add_init_script("delete window.DecompressionStream")
    watched.page.reload()
    watched.asked.pop()
    told = watched.page.text_content("#answer-notice")
    assert "has no DecompressionStream. They are in answers.jsonl" in told


def test_a_file_that_was_cut_short_says_so(look, demo_report: Path, tmp_path: Path) -> None:
    text = demo_report.read_text("utf-8")
    data = re.search('id="answer-data">([^<]*)<', text)[1]
    torn = tmp_path / "torn.html"
    torn.write_text(text.replace(data, data[: len(data) // 8 * 4]), "utf-8")
    page = look(torn).page
    page.wait_for_selector("#answer-notice:not([hidden])", state="attached")
    assert "cannot be unpacked" in page.text_content("#answer-notice")
