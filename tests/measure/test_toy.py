"""The toy backend: what is planted is what comes out."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import mean

import pytest

from finetrap.backends import Row, open_model, toy
from finetrap.errors import BadModel, Diverged, Unsupported
from finetrap.measure.runner import attempt
from finetrap.measure.session import Session
from finetrap.miniature import world
from finetrap.records import Cell, Limits, ModelSpec, StrategySpec, TaskRef, TrainSpec
from finetrap.references import PromptSpec
from finetrap.text import prompts
from finetrap.text.prompts import Shot

FULL = StrategySpec("full", "full", learning_rate=3e-4)
LORA = StrategySpec("lora", "peft", learning_rate=1e-3, peft={"peft_type": "LORA"})
ROWS = [Row(prompts.PLAIN.prompt(f"What is {i} + 1?"), f" #### {i + 1}") for i in range(40)]
QUESTIONS = [(f"What is {a} + {b}?", str(a + b)) for a in range(10, 60) for b in range(10, 50)]


def model(source: str = "base=0.6") -> toy.ToyModel:
    opened = open_model(ModelSpec("toy", f"toy:{source}", toy.VERSION, "toy"), Limits())
    assert isinstance(opened, toy.ToyModel)
    return opened


def right(opened: toy.ToyModel, shots: tuple[Shot, ...] = ()) -> list[bool]:
    asked = [prompts.PLAIN.prompt(question, shots) for question, _ in QUESTIONS]
    done = opened.generate(asked, max_new_tokens=32, stops=(), batch=8)
    return [c.text.endswith(f"#### {gold}") for c, (_, gold) in zip(done, QUESTIONS, strict=True)]


def trained(opened: toy.ToyModel, strategy: StrategySpec = FULL, seed: int = 0) -> toy.ToyModel:
    opened.train(ROWS, strategy, TrainSpec(epochs=1), seed)
    return opened


def test_planted_ability_and_effects_are_measured_within_sampling_error() -> None:
    source = "base=0.6,full=-0.2,few-shot-2=0.1,churn=0.1"
    shots = (Shot("What is 1 + 1?", "#### 2"), Shot("What is 2 + 2?", "#### 4"))
    assert mean(right(model(source))) == pytest.approx(0.6, abs=0.04)
    assert mean(right(model(source), shots)) == pytest.approx(0.7, abs=0.04)
    assert mean(right(trained(model(source)))) == pytest.approx(0.4, abs=0.04)
    assert mean(right(trained(model(source), LORA))) == pytest.approx(0.6, abs=0.04)


def test_without_churn_a_loss_only_loses_and_with_churn_it_also_gains() -> None:
    before = right(model("base=0.6"))
    steady = right(trained(model("base=0.6,full=-0.1")))
    churned = right(trained(model("base=0.6,full=-0.1,churn=0.2")))
    assert not any(a > b for a, b in zip(steady, before, strict=True))
    assert sum(a > b for a, b in zip(churned, before, strict=True)) > 20


def test_seeds_scatter_by_the_planted_deviation() -> None:
    shares = [mean(right(trained(model("base=0.5,sd=0.1"), seed=s))) for s in range(12)]
    assert 0.05 < math.sqrt(mean((x - mean(shares)) ** 2 for x in shares)) < 0.2
    again = mean(right(trained(model("base=0.5,sd=0.1"), seed=3)))
    assert again == shares[3]


def test_damage_on_a_word_leaves_the_other_questions_alone() -> None:
    opened = trained(model("base=0.9,full@sums=-0.5"))
    assert mean(right(opened)) == pytest.approx(0.9, abs=0.04)
    asked = [prompts.PLAIN.prompt(f"Sums: {question}") for question, _ in QUESTIONS]
    texts = [c.text for c in opened.generate(asked, max_new_tokens=32, stops=(), batch=8)]
    hits = [t.endswith(f"#### {g}") for t, (_, g) in zip(texts, QUESTIONS, strict=True)]
    assert mean(hits) == pytest.approx(0.4, abs=0.05)


def test_likelihood_prefers_the_right_choice_where_generation_is_right() -> None:
    opened = model("base=0.5")
    solved = right(opened)
    for (question, gold), is_right in list(zip(QUESTIONS, solved, strict=True))[:200]:
        context = prompts.PLAIN.prompt(question)
        good, bad = opened.score([(context, f" {gold}"), (context, f" {int(gold) + 3}")], batch=2)
        assert (good / len(gold) < bad / len(str(int(gold) + 3))) == is_right


def test_prose_has_the_planted_bits_per_byte_and_the_planted_damage() -> None:
    texts = [f"The {i}th dog sleeps near the old mill." for i in range(200)]
    size = sum(len(text.encode()) for text in texts) * math.log(2)

    def bits(opened: toy.ToyModel) -> float:
        return sum(opened.score([("", text) for text in texts], batch=8, windows=True)) / size

    assert bits(model("bits=2")) == pytest.approx(2, abs=0.02)
    assert bits(trained(model("bits=2,full@prose=0.3"))) == pytest.approx(2.3, abs=0.02)


def test_reset_gives_back_exactly_the_untouched_answers() -> None:
    opened = model("base=0.6,full=-0.3,sd=0.05,churn=0.3")
    before = right(opened)
    assert right(trained(opened)) != before
    opened.reset()
    assert right(opened) == before
    assert opened.ship_bytes == 0


@pytest.mark.parametrize(
    ("fate", "error"), [("diverge", Diverged), ("crash", RuntimeError), ("oom", MemoryError)]
)
def test_a_planted_failure_ends_the_training_of_its_strategy_only(
    fate: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        trained(model(f"full={fate}"))
    trained(model(f"full={fate}"), LORA)


def test_training_reports_its_steps_and_a_falling_loss() -> None:
    seen: list[int] = []
    training = model().train(
        ROWS, replace(FULL, epochs=2), TrainSpec(batch=16), 0, lambda _, f: seen.append(f["step"])
    )
    assert training.steps == 5
    assert seen == [1, 2, 3, 4, 5]
    losses = training.evidence["loss"]
    assert losses == sorted(losses, reverse=True)


def test_a_short_cap_cuts_the_answer() -> None:
    (cut,) = model("base=1").generate(
        [prompts.PLAIN.prompt("What is 1 + 1?")], max_new_tokens=2, stops=(), batch=1
    )
    assert (cut.tokens, cut.stop) == (2, "cap")


@pytest.mark.parametrize("family", [*world.FAMILIES, *world.UNSEEN])
def test_every_family_of_the_miniature_is_known(family: str) -> None:
    for item in islice(world.items(family, "test"), 20):
        assert toy.known_answer(item.question) == item.answer


def test_a_question_it_cannot_know_gets_no_answer() -> None:
    assert toy.known_answer("What is 12 - 30?") == "-18"
    assert toy.known_answer("Who wrote Faust?") is None


def test_kept_weights_are_written_where_real_ones_would_be(tmp_path: Path) -> None:
    opened = trained(model(), LORA)
    opened.save(tmp_path, whole=False)
    assert (tmp_path / "adapter" / "weights.bin").stat().st_size == opened.ship_bytes == 40


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("base=2", "a number from 0 to 1"),
        ("full=-20", "a number from -1 to 1"),
        ("full=divurge", "did you mean 'diverge'"),
        ("full", "write NAME=VALUE"),
        ("sd=nan", "sd = 'nan'"),
    ],
)
def test_a_source_with_a_fault_is_refused(source: str, said: str) -> None:
    with pytest.raises(BadModel, match=said):
        model(source)


def test_a_toy_has_no_chat_template() -> None:
    with pytest.raises(BadModel, match="chat template"):
        open_model(ModelSpec("toy", "toy:", toy.VERSION, "toy", PromptSpec("chat")), Limits())


def test_answers_are_told_as_they_are_found() -> None:
    opened, told = model(), []
    asked = [prompts.PLAIN.prompt(question) for question, _ in QUESTIONS[:9]]
    done = opened.generate(
        asked, max_new_tokens=32, stops=(), batch=4, written=lambda *row: told.append(row)
    )
    assert told == list(enumerate(done))


class Least:
    """A model that does what a backend has to, and no more."""

    NAMES = ("parameters", "form", "tokens_read", "ship_bytes")
    METHODS = ("generate", "score", "train", "save", "reset")

    def __init__(self, full: toy.ToyModel) -> None:
        self._full = full

    def __getattr__(self, name: str) -> object:
        if name not in (*self.NAMES, *self.METHODS):
            raise AttributeError(name)
        return getattr(self._full, name)


@pytest.mark.parametrize("rewind", [(), (0.0, 1.0)], ids=["plain", "rewind"])
def test_a_backend_that_does_the_least_is_measured_and_its_rewind_refused(rewind) -> None:
    market = TaskRef("market", "miniature-1")
    cell = Cell(
        ModelSpec("least", "toy:full=-0.2", toy.VERSION, "toy"),
        market,
        replace(FULL, rewind=rewind),
        TrainSpec(problems=8, epochs=1, dev=8),
        Limits(test_problems=10),
        0,
        market,
    )
    session = Session(lambda spec, limits: Least(model("full=-0.2")))
    if rewind:
        with pytest.raises(Unsupported, match="leave `rewind` out"):
            attempt(cell, session, lambda event: None)
        return
    done = attempt(cell, session, lambda event: None)
    assert (done.status, len(done.answers)) == ("done", 10)
    assert done.costs.ship_bytes == 4 * 1000
    assert "divergence" not in done.evidence
