"""The answer in one sentence: what was learned, what was lost, and the badge beside it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from finetrap.findings import Contender, Headline
from finetrap.judge import concluded
from finetrap.judge.verdicts import verdicts_on
from finetrap.levels import Forgetting, Forgotten
from finetrap.records import Judge
from finetrap.report import wording
from finetrap.report.charts import bars
from tests.builders.reported import effect
from tests.builders.runs import FULL, LORA, SHOTS, ZERO, run, runs

LOST = Forgetting(2, (Forgotten("sorting", -43.2), Forgotten("school", -41.0)))
FULL_LORA = Contender("full", 3e-4)
TAUGHT = Headline(
    "mini", "harbor", "keep", Contender("zero-shot"), FULL_LORA, "improved", 2.1, 93.0,
    forgetting=LOST, problems=200,
)  # fmt: skip


def told(*changes, **kind):
    measured = runs(*changes, **kind)
    (found,) = concluded(verdicts_on(measured, Judge(margin=4)), measured).headlines
    return found


def test_what_was_learned_and_what_was_lost_stand_in_one_sentence() -> None:
    assert wording.headline(TAUGHT) == (
        "Full fine-tuning 3e-4 improved on the task (2% → 93%) but cost 43 points on sorting and "
        "41 on school. No safe choice yet."
    )
    assert wording.badge(TAUGHT) == "Keep the base model"


def test_a_strategy_that_a_user_named_keeps_its_name_at_the_start_of_the_sentence() -> None:
    own = replace(TAUGHT, strategy=Contender("my-run", None))
    assert wording.headline(own).startswith("my-run improved on the task (")


@pytest.mark.parametrize("full", [False, True])
def test_a_headline_has_at_most_25_words(full: bool) -> None:
    losses = [Forgotten(f"probe{i}", -10.0 - i) for i in range(5)]
    losses.insert(1, Forgotten("prose", 0.31, "bits_per_byte"))
    long = Contender("full+rewind[r=8]", 3e-5)
    for count, verdict, badge in itertools.product(
        range(len(losses) + 1),
        ("improved", "harmed", "equivalent", "inconclusive"),
        ("ship", "provisional", "keep", "no winner"),
    ):
        forgetting = Forgetting(6, tuple(losses[:count]))
        who = long if full else FULL_LORA
        found = replace(TAUGHT, verdict=verdict, badge=badge, strategy=who, forgetting=forgetting)
        text = wording.headline(replace(found, detects=26.3))
        assert len(text.split()) <= wording.MOST_WORDS, text
        assert text.endswith(".")
        kept = badge == "keep" and verdict == "equivalent"  # what it lost ships with nobody
        assert (count == 0 or kept) == ("cost" not in text)


def test_where_the_base_model_is_kept_and_nothing_beats_it_the_headline_is_about_the_base() -> None:
    found = told((LORA, 0.0), (FULL, -0.3), n=900, probes={"sums": {"lora": -0.2}})
    assert wording.badge(found) == "Keep the base model"
    assert wording.headline(found).startswith("No strategy is better on the task than the base")


def test_a_safe_winner_is_shipped_and_said_to_forget_nothing() -> None:
    found = told((LORA, 0.2), (FULL, -0.1), n=900, probes={"sums": {"full": -0.2}})
    assert wording.badge(found) == "Ship LoRA 3e-4"
    assert wording.headline(found).endswith("; nothing measured was forgotten.")
    assert found.verdict == "improved"


def test_what_learns_and_forgets_is_not_shipped_and_the_headline_says_both() -> None:
    probes = {"sums": {"lora": -0.3, "full": -0.3}}
    found = told((LORA, 0.2), (FULL, 0.1), n=900, probes=probes)
    assert (found.badge, str(found.strategy)) == ("keep", "lora at 3e-4")
    text = wording.headline(found)
    assert text.startswith("LoRA 3e-4 improved on the task (")
    assert " but cost " in text
    assert " points on sums" in text
    assert text.endswith("No safe choice yet.")


def test_an_inconclusive_study_says_what_it_could_have_shown() -> None:
    found = told((LORA, 0.02), n=40)
    assert wording.badge(found) == "No clear winner"
    assert "inconclusive: 40 problems can only show changes of " in wording.headline(found)


def test_where_nothing_solves_the_task_the_headline_says_so() -> None:
    found = told((LORA, 0.0), (SHOTS, 0.0), n=15, base=0.001)
    assert not found.solved
    assert wording.headline(found).startswith("No strategy solves this task (0 of 15)")
    assert wording.badge(found) == "No clear winner"


def test_without_the_base_model_there_is_no_headline() -> None:
    measured = runs((LORA, 0.2), n=100)[1:]
    (found,) = concluded(verdicts_on(measured), measured).headlines
    assert (found.badge, found.strategy) == ("no winner", None)
    measured = [run(ZERO, [1, 0, 1, 0])]
    assert concluded(verdicts_on(measured), measured).headlines == ()


def test_shades_of_the_map_are_linear_in_margins_and_small_changes_have_none() -> None:
    worse = effect(measure="accuracy", margin=2.0, delta=-32.0)
    assert bars.deepest([worse]) == 16
    assert bars.deepest([]) == 2
    shades = {d: bars.tint(replace(worse, delta=d), 16) for d in (-32.0, -16.0, -8.0, 8.0, -1.9)}
    assert shades == {-32.0: "down-4", -16.0: "down-2", -8.0: "down-1", 8.0: "up-1", -1.9: "small"}
