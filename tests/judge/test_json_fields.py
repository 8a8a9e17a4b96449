"""Which fields of JSON answers are right, before and after: by the estimates of whole answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from finetrap.judge.json_fields import MOST_FIELDS
from finetrap.judge.tables import columns
from finetrap.judge.verdicts import verdicts_on
from finetrap.levels import FieldChange
from finetrap.records import Answer, Run
from finetrap.text.scorers import scored
from tests.builders.reported import read, written
from tests.builders.runs import FULL, LORA, SHOTS, ZERO, answer, failed, run

GOLD = {"name": "Tom", "age": 7}


def answered(
    said: Sequence[object], golds: Sequence[object], how: str = "json-fields"
) -> tuple[Answer, ...]:
    """Answers as they are scored when they are asked."""
    found = []
    for i, (value, gold) in enumerate(zip(said, golds, strict=True)):
        texts = (json.dumps(value), json.dumps(gold))
        grade = scored(*texts, how)
        found.append(
            answer(
                f"p{i}",
                grade.correct,
                gold=texts[1],
                completion=texts[0],
                extracted=grade.extracted,
                rule=grade.rule,
                strict=grade.strict,
                scoring=how,
                score=grade.score,
            )
        )
    return tuple(found)


def drawn(purpose: str, share: float, n: int = 80) -> list[dict[str, Any]]:
    """Objects of which each field is right with this chance."""
    draw = Random(purpose)
    return [
        {name: right if draw.random() < share else None for name, right in GOLD.items()}
        for _ in range(n)
    ]


def study(*, how: str = "json-fields", only: Sequence[str] = tuple(GOLD)) -> list[Run]:
    """A base model, a prompt and a training of three seeds that raise the fields."""

    def asked(purpose: str, share: float) -> tuple[Answer, ...]:
        said = [{name: one[name] for name in only} for one in drawn(purpose, share)]
        return answered(said, [{name: GOLD[name] for name in only}] * len(said), how)

    return [
        run(ZERO, asked("base", 0.4)),
        run(SHOTS, asked("shots", 0.5), 0),
        *(run(FULL, asked(f"full{seed}", 0.7), seed) for seed in range(3)),
    ]


@pytest.mark.parametrize("how", ["json", "json-fields"])
def test_the_only_field_of_all_golds_changes_as_the_answers_do(how: str) -> None:
    findings = verdicts_on(study(how=how, only=["name"]))
    effects = [e for e in findings.effects if e.against == "zero-shot"]
    assert [line.strategy for line in findings.fields] == ["few-shot-5", "full"]
    for line, effect in zip(findings.fields, effects, strict=True):
        assert (line.field, line.strategy, line.n) == ("name", effect.strategy, 80)
        for name in ("before", "after", "delta", "low", "high", "seeds", "learning_rate"):
            assert getattr(line, name) == pytest.approx(getattr(effect, name)), name


def test_the_mean_of_the_fields_is_the_share_that_is_right() -> None:
    findings = verdicts_on(study())
    (effect,) = [e for e in findings.effects if (e.strategy, e.against) == ("full", "zero-shot")]
    lines = [line for line in findings.fields if line.strategy == "full"]
    assert [line.field for line in lines] == ["name", "age"]
    assert sum(line.before for line in lines) / 2 == pytest.approx(effect.before)
    assert sum(line.after for line in lines) / 2 == pytest.approx(effect.after)
    assert all(line.low < line.delta < line.high for line in lines)


def test_a_field_is_counted_where_its_gold_has_it() -> None:
    golds = [GOLD, {"name": "Ann"}, ["Tom"], GOLD]
    said: list[object] = [GOLD, {"name": "Ann", "age": 7}, ["Tom"], "Tom"]
    runs = [run(ZERO, answered(said, golds, "json")), run(LORA, answered(golds, golds, "json"), 0)]
    found = {line.field: line for line in verdicts_on(runs).fields}
    assert {name: (line.n, line.before, line.after) for name, line in found.items()} == {
        "name": (3, pytest.approx(200 / 3), 100),
        "age": (2, 50, 100),
    }


def test_the_commonest_fields_are_kept() -> None:
    golds = [{f"f{i:02d}": 1 for i in range(k, MOST_FIELDS + 5)} for k in (0, 5, 5)]
    runs = [run(ZERO, answered(golds, golds)), run(LORA, answered(golds, golds), 0)]
    kept = [line.field for line in verdicts_on(runs).fields]
    assert kept == [f"f{i:02d}" for i in range(5, MOST_FIELDS + 5)]


def test_without_a_base_model_or_json_there_are_no_fields() -> None:
    assert not verdicts_on(study()[1:]).fields
    assert not verdicts_on([run(ZERO, [1, 0]), run(FULL, [1, 1], 0)]).fields
    assert not verdicts_on([study()[0], failed(FULL, 0)]).fields


def test_fields_stand_on_the_page_and_in_a_table(tmp_path: Path) -> None:
    page = written(tmp_path, study())
    with (page.parent / "fields.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == columns(FieldChange)
    assert "measure" not in rows[0]
    assert [(r["field"], r["strategy"], r["n"]) for r in rows] == [
        (field, strategy, "80") for field in GOLD for strategy in ("few-shot-5", "full")
    ]
    text = " ".join(" ".join(data for _, data in read(page).texts).split())
    assert "By field of the JSON answers: mini on market" in text
    assert f"age full fine-tuning 3e-4 80 {float(rows[3]['before']):.1f}" in text
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    assert "## Fields: mini on market" in markdown
