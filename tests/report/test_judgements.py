"""Outcomes, advice, claims, diagnoses and second measures on the page, and nothing where none."""

from __future__ import annotations

import csv
import html
import re
from dataclasses import replace
from pathlib import Path

import pytest

from finetrap.findings import (
    Advice,
    Claim,
    Contender,
    Diagnosis,
    Findings,
    Headline,
    Outcome,
    Suspect,
)
from finetrap.records import Run
from finetrap.report import wording
from finetrap.report.arranged import judgements
from finetrap.report.arranged.panels import arrange
from tests.builders.reported import (
    HOSTILE,
    effect,
    grid,
    judged,
    made_up,
    read,
    searched,
    study,
    written,
)

DIAGNOSIS = Diagnosis(
    "mini-1m",
    "school",
    "full",
    3e-4,
    "fixed",
    (
        Suspect("noise", "ruled out", "far beyond what two seeds differ on", ""),
        Suspect("learning rate", "likely cause", "80% at 1e-5, 30% at 3e-5", "train at 1e-5"),
        Suspect("overlap", "not enough data", "no overlap was recorded", ""),
    ),
)


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return searched()


@pytest.fixture(scope="module")
def findings(runs: list[Run]) -> Findings:
    return replace(judged(runs), diagnoses=(DIAGNOSIS,))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, runs: list[Run], findings: Findings) -> Path:
    return written(tmp_path_factory.mktemp("page"), runs, findings)


def section(page: Path, name: str) -> str:
    text = page.read_text(encoding="utf-8")
    start = text.index(f'<section id="{name}">')
    words = html.unescape(re.sub(r"<[^>]*>", " ", text[start : text.index("</section>", start)]))
    return re.sub(r"[ \n\t]+", " ", words)


def test_outcomes_stand_in_the_answer_with_both_rates(
    page: Path, findings: Findings, runs: list[Run]
) -> None:
    _, rows = judgements.outcome_rows(arrange(findings, study()), findings)[0]
    own = rows[0]
    assert own.outcome == "avoidable harm", "the gravest first"
    at_fixed, at_tuned = own.fixed, own.tuned
    assert (own.fixed.learning_rate, own.fixed.verdict) == (3e-4, "harmed")
    assert (own.tuned.learning_rate, own.tuned.verdict) == (1e-5, "equivalent")
    assert at_fixed is not None
    assert at_tuned is not None
    text = section(page, "rates")
    lost = wording.forgets(own.forgetting)
    assert lost.startswith("forgets: sums")
    said = f"avoidable harm on the task {lost} harmed at 3e-4: {wording.change(at_fixed)}"
    assert said in text
    assert f"equivalent at 1e-5: {wording.change(at_tuned)}" in text


def test_the_badge_says_what_to_ship_and_the_reasons_stand_under_why(
    page: Path, findings: Findings
) -> None:
    (advice,) = (a for a in findings.advice if a.model == "mini-1m")
    assert advice.ship is not None
    shipped = wording.shipped(advice.ship)
    text = section(page, "why")
    assert f"Why {shipped}: mini-1m on school" in text
    for reason in advice.reasons:
        assert wording.typeset(reason) in text


def test_inconclusive_advice_says_what_to_run_next(tmp_path: Path) -> None:
    open_question = Advice(
        "m",
        "t",
        None,
        Contender("lora", 3e-4),
        ("no strategy is shown better",),
        ("full or lora",),
        "finetrap run s.toml --set seeds=5",
        ("a smaller margin",),
    )
    own = effect(kind="task", task="t", measure="accuracy", margin=2.0, verdict="inconclusive")
    open_headline = Headline("m", "t", "no winner", None)
    page = written(tmp_path, [], made_up(own, advice=(open_question,), headlines=(open_headline,)))
    assert "No clear winner" in section(page, "answer")
    text = section(page, "why")
    for words in (
        "Why there is no clear winner",
        "Leading so far: LoRA at 3e-4",
        "Still open: full or lora",
        "Would change it: a smaller margin",
        "Next: finetrap run s.toml --set seeds=5",
    ):
        assert words in text
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    assert "No clear winner" in markdown


def test_a_diagnosis_shows_the_likely_causes_and_folds_the_others(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    start = text.index('<article class="case">')
    shown, _, folded = text[start : text.index("</article>", start)].partition("<details>")
    assert 'Likely cause: <b class="likely-cause">learning rate</b>.' in shown
    assert "1 ruled out; 1 not enough data" in folded.partition("</summary>")[0]
    for evidence in (
        "80% at 1e-5, 30% at 3e-5",
        "train at 1e-5",
        "far beyond what two seeds differ on",
        "no overlap was recorded",
    ):
        assert evidence in folded


def test_claims_stand_with_their_evidence_and_in_claims_csv(page: Path, findings: Findings) -> None:
    text = section(page, "why")
    assert len(findings.claims) == 16
    for claim in findings.claims:
        assert claim.statement in text
        assert wording.typeset(" ".join(claim.evidence.split())) in text
    assert "Size below which full fine-tuning harms , at one learning rate for all" in text
    with (page.parent / "claims.csv").open(encoding="utf-8", newline="") as file:
        rows = [tuple(row) for row in csv.reader(file)][1:]
    told = [(*vars(claim).values(),) for claim in findings.claims]
    assert rows == [(*map(str, own[:-1]), str(own[-1]).lower()) for own in told]


def test_claims_that_were_not_tested_are_folded() -> None:
    claim = Claim(4, "DoRA beats LoRA", "fixed", "not tested", "not tested: needs gsm8k")
    other = replace(claim, setting="tuned", verdict="supported")
    alone = replace(claim, id=5)
    both, folded = judgements.claim_rows(Findings((), (), claims=(claim, other, alone)))
    assert both.tested, "one setting was"
    assert len(both.verdicts) == 2
    assert not folded.tested


def test_bits_per_byte_stand_beside_accuracy_with_the_floor(tmp_path: Path) -> None:
    on_task = {"kind": "task", "model": "m", "task": "t", "trained_on": "t"}
    points = {"before": 0.0, "after": 0.5, "delta": 0.5, "low": 0.0, "high": 1.0, "margin": 2.0}
    accuracy = effect(**on_task, **points, measure="accuracy", verdict="inconclusive", floor=True)
    bits = effect(**on_task, verdict="harmed")
    page = written(tmp_path, [], made_up(accuracy, bits))
    text = section(page, "methods")
    assert "bits per byte of the gold solutions" in text
    assert "inconclusive floor" in text
    assert set(read(page).numbers) == {0, 1}
    assert "inconclusive (floor)" in (page.parent / "report.md").read_text(encoding="utf-8")


def test_noise_floors_stand_in_the_seeds_table(page: Path, findings: Findings) -> None:
    text = section(page, "methods")
    assert "the base model changed 0.5\u00a0points of its answers" in text
    found = [e for e in findings.effects if e.strategy == "full" and e.noise_floor is not None]
    assert found
    assert any(f"{e.noise_floor:.1f}\u00a0points" in text for e in found if e.kind == "task")


def test_retention_and_divergence_stand_with_the_probes(page: Path, findings: Findings) -> None:
    text = section(page, "forgetting")
    for e in findings.effects:
        if e.retention is not None and e.kind == "probe":
            low, high = wording.number(e.retention_low), wording.number(e.retention_high)
            assert f"{wording.number(e.retention)} [{low}, {high}]" in text
    assert "KL(base ‖ tuned), nats per token" in text
    # Evidence holds KL(tuned ‖ base) first: 0.5 and 1.5; then the other way: 0.25 and 0.75.
    assert "full fine-tuning 3e-4 school 0.500 1.000 3" in text


def test_a_study_without_them_has_no_such_sections(tmp_path: Path) -> None:
    few = grid(n=40)
    bare = replace(judged(few), claims=(), advice=(), outcomes=(), diagnoses=(), trials=())
    page = written(tmp_path, few, bare)
    ids = {attrs.get("id") for _, attrs in read(page).tags}
    assert not {"claims", "rates"} & ids
    text = page.read_text(encoding="utf-8")
    assert not re.search(r'class="(stacked outcomes|case|claims stacked)"', text)


def test_hostile_text_in_judgements_is_inert(tmp_path: Path) -> None:
    named = HOSTILE.replace("\ud800", "")  # what stands in a table can be encoded
    claim = Claim(1, named, "fixed", "supported", named)
    suspect = Suspect(HOSTILE, "likely cause", HOSTILE, HOSTILE)
    advice = Advice(
        "m", "t", Contender(HOSTILE), Contender(HOSTILE), *[(HOSTILE,)] * 2, HOSTILE, (HOSTILE,)
    )
    outcome = Outcome("m", "t", named, "t", None, None, "harm", HOSTILE)
    own = effect(kind="task", task="t", strategy=named)
    shown = made_up(
        own,
        claims=(claim,),
        advice=(advice,),
        outcomes=(outcome,),
        diagnoses=(Diagnosis(HOSTILE, "t", named, 3e-4, "fixed", (suspect,)),),
    )
    page = written(tmp_path, [], shown)
    reader = read(page)
    assert all(attrs == {} for tag, attrs in reader.tags if tag == "script"), "only the page's own"
    assert not any("alert(1)" in text for parents, text in reader.texts if "script" in parents)
    assert not any(name.startswith("on") for _, attrs in reader.tags for name in attrs)
    for text in (page, page.parent / "report.md"):
        assert not any(char in text.read_text(encoding="utf-8") for char in "\u202e\x1b\x00")
