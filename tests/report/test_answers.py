"""The answers as the page packs them: whole where they fit, counted where they do not."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from finetrap.records import Run
from finetrap.report.arranged import panels
from finetrap.report.browser import answers
from finetrap.report.browser.answers import Packed
from tests.builders.reported import HOSTILE, grid, judged, read, searched, written


def packed(runs: Sequence[Run], most: int = answers.MOST_BYTES) -> Packed:
    sets = answers.question_sets(panels.arrange(judged(runs)), {r.cell.key: r for r in runs})
    return answers.pack(sets, list(map(answers.SetSize.of, sets)), most)


def unpacked(found: Packed) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found.data)))
    return document


def every(runs: Sequence[Run]) -> int:
    own = [r for r in runs if r.cell.split == "test"]
    return sum(len(r.answers) + sum(map(len, r.probes.values())) for r in own)


def noisy(runs: Sequence[Run], length: int) -> list[Run]:
    """The same runs, each answer a text that cannot be made smaller."""
    draw = Random("noisy")
    return [
        replace(
            r,
            answers=tuple(
                replace(a, completion=draw.randbytes(length // 2).hex()) for a in r.answers
            ),
        )
        for r in runs
    ]


def test_every_answer_of_a_small_study_is_there_and_reads_back() -> None:
    runs = grid(n=60)
    found = packed(runs)
    assert found.shown == found.total == every(runs)
    document = unpacked(found)
    texts = document["texts"]
    school = next(s for s in document["sets"] if s["asked"] == "school")
    by_arm = {(a["label"], a["seed"]): a for a in school["arms"]}
    lora = next(r for r in runs if (r.cell.strategy.name, r.cell.seed) == ("lora", 2))
    arm = by_arm["LoRA 3e-4", 2]
    assert school["ids"] == [a.id for a in lora.answers]
    assert [texts[i] for i in arm["texts"]] == [a.completion for a in lora.answers]
    assert [texts[i] for i in arm["values"]] == [a.extracted for a in lora.answers]
    assert [texts[i] for i in school["golds"]] == [a.gold for a in lora.answers]
    assert arm["right"] == "".join(str(int(bool(a.correct))) for a in lora.answers)
    assert arm["bits"] == [0.361] * 60
    prose = next(s for s in document["sets"] if s["asked"] == "prose")
    assert prose["kind"] == "prose"
    assert set(prose["arms"][0]["right"]) == {"-"}


def test_trials_of_a_search_are_not_among_the_answers() -> None:
    runs = searched(("mini-1m",))
    labels = {a["label"] for s in unpacked(packed(runs))["sets"] for a in s["arms"]}
    assert "base model" in labels
    assert not any("90210" in label or "1e-4" in label for label in labels)


def test_an_arm_stands_with_its_seeds_in_the_order_of_the_page() -> None:
    school = unpacked(packed(grid(n=40)))["sets"][0]
    names = [(a["label"], a["seed"]) for a in school["arms"]]
    assert names[0] == ("base model", None)
    assert names[1:4] == [("few-shot-5", seed) for seed in (0, 1, 2)]


def test_what_does_not_fit_is_left_out_by_whole_seeds_and_counted(tmp_path: Path) -> None:
    runs = noisy(grid(n=400), 1200)
    found = packed(runs)
    assert len(found.data) <= answers.MOST_BYTES
    assert 0 < found.shown < found.total == every(runs)
    school = unpacked(found)["sets"][0]
    kept = {(a["label"], a["seed"]) for a in school["arms"]}
    firsts = {(label, seed) for label, seed in kept if seed in (None, 0)}
    assert len(firsts) == 5, "the base model and the first seed of each finished strategy"
    page = written(tmp_path, runs)
    assert page.stat().st_size < 6_000_000
    text = page.read_text("utf-8")
    assert f"{found.shown:,} of {found.total:,} answers are in this page" in text
    assert f"Left out: {found.total - found.shown:,}" in text


def test_a_run_too_large_for_its_share_is_sampled_alike_for_every_arm() -> None:
    runs = noisy(grid(n=400), 400)
    found = packed(runs, 200_000)
    school = unpacked(found)["sets"][0]
    assert 50 < len(school["ids"]) < 400
    assert len(school["arms"]) >= 2
    assert all(" " not in arm["right"] for arm in school["arms"]), "paired with the base model's"


def test_where_nothing_fits_the_page_says_so_and_still_stands(tmp_path: Path) -> None:
    assert packed(grid(n=40), 10) == Packed("", 0, every(grid(n=40)))
    assert packed([]) == Packed("", 0, 0)
    read(written(tmp_path, []))


def test_hostile_text_is_packed_as_letters_and_digits() -> None:
    runs = [
        replace(
            r, answers=tuple(replace(a, completion=HOSTILE, id=f"</script>{a.id}") for a in own)
        )
        for r in grid(n=20)
        for own in (r.answers,)
    ]
    found = packed(runs)
    assert re.fullmatch("[A-Za-z0-9+/]+=*", found.data)
    assert HOSTILE in unpacked(found)["texts"]


def test_a_text_of_100_kb_is_packed_with_both_ends_and_a_count() -> None:
    long = "head " + "x" * 100_000 + " #### 7"
    runs = [
        replace(r, answers=tuple(replace(a, completion=long) for a in r.answers))
        for r in grid(n=20)
    ]
    text = next(t for t in unpacked(packed(runs))["texts"] if t.startswith("head"))
    assert len(text) < answers.MOST_TEXT + 100
    assert text.endswith("#### 7")
    assert "characters not shown" in text


def test_the_question_stands_beside_its_answers_where_it_was_recorded() -> None:
    asked = {f"p{i:05d}": {"question": f"How many are {i}?"} for i in range(1, 400)}
    runs = [
        replace(r, evidence={"problems": {"school": asked}})
        if r.cell.strategy.name == "zero-shot"
        else r
        for r in grid()
    ]
    document = unpacked(packed(runs))
    school = document["sets"][0]
    told = [document["texts"][i] if i >= 0 else None for i in school["questions"]]
    assert told == [None, *(f"How many are {i}?" for i in range(1, 400))]


def test_an_answer_that_is_partly_right_is_not_shown_as_wrong() -> None:
    runs = grid()
    half = replace(runs[0].answers[0], correct=False, score=0.5)
    runs[0] = replace(runs[0], answers=(half, *runs[0].answers[1:]))
    scores = [arm["scores"] for one in unpacked(packed(runs))["sets"] for arm in one["arms"]]
    assert [own for own in scores if own] == [{"0": 0.5}]
