import json
from itertools import islice
from pathlib import Path

import pytest

from finetrap import tasks
from finetrap.backends import open_model
from finetrap.measure import strategies
from finetrap.measure.study import models
from finetrap.miniature import FOLDER, world
from finetrap.records import Limits, StrategySpec, TrainSpec
from finetrap.text import prompts
from finetrap.text.prompts import Shot
from tests.builders.cases import standing_for_all

SIZES = ("mini-0.1m", "mini-0.3m", "mini-1m", "mini-3m")
CHECKPOINTS = (*SIZES, "mini-1m-instruct")
EVERY_FAMILY = (*world.FAMILIES, *world.UNSEEN)


def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER / "checkpoints" / "mini-1m")


@pytest.mark.parametrize("family", standing_for_all(EVERY_FAMILY, "school", "sorting"))
def test_no_question_is_in_two_splits(family):
    splits = [
        {item.question for item in islice(world.items(family, split), 3000)}
        for split in ("pretrain", "train", "test")
    ]
    assert all(splits)
    assert sum(map(len, splits)) == len(set.union(*splits))


@pytest.mark.parametrize(
    "family",
    standing_for_all(["school", "market", "travel", "garden", "harbor"], "school", "harbor"),
)
def test_a_word_problem_family_has_a_thousand_test_problems(family):
    assert len(list(islice(world.items(family, "test"), 1000))) == 1000


def test_another_seed_gives_another_order_of_the_same_split():
    one = list(islice(world.items("market", "train", 0), 50))
    other = list(islice(world.items("market", "train", 1), 50))
    assert one != other
    assert {world.split_of(i.question) for i in one + other} == {"train"}


@pytest.mark.parametrize("family", standing_for_all(EVERY_FAMILY, "school", "sorting"))
def test_a_worked_solution_ends_in_its_answer_and_its_steps_are_right(family):
    for item in islice(world.items(family, "train"), 200):
        *steps, answer = item.solution.split("#### ")
        assert answer == item.answer
        for step in "".join(steps).split(". "):
            if "=" in step:
                left, right = step.rstrip(".").split(" = ")
                assert eval(left) == int(right)


def test_digits_are_tokens_of_their_own_and_text_survives_the_tokenizer():
    known = tokenizer()
    text = "Question: Zoe has 71 dollars.\nAnswer: 7 * 4 = 28. #### 43"
    ids = known.encode(text)
    assert known.decode(ids) == text
    assert [known.decode([i]) for i in ids].count("7") == 2
    assert known.encode("Answer:") + known.encode(" #### 43") == known.encode("Answer: #### 43")


def test_the_longest_five_shot_prompt_fits_the_context_with_its_answer():
    known = tokenizer()
    limit = json.loads((FOLDER / "checkpoints/mini-1m/config.json").read_text())
    for name in tasks.names():
        if name.removesuffix("-terse") not in EVERY_FAMILY:
            continue
        task = tasks.load(tasks.reference(name))
        longest = sorted(task.train, key=lambda p: len(known.encode(p.question)))[-5:]
        asked = max(task.test[:200], key=lambda p: len(known.encode(p.question)))
        prompt = prompts.PLAIN.prompt(
            asked.question, [Shot(p.question, p.solution) for p in longest]
        )
        assert len(known.encode(prompt)) + 64 <= limit["max_position_embeddings"], name


def test_every_size_saw_the_same_tokens_in_the_same_number_of_steps():
    logs = [
        json.loads((FOLDER / "checkpoints" / name / "pretraining.json").read_text())
        for name in SIZES
    ]
    assert len({(log["steps"], log["tokens"], log["learning_rate"]) for log in logs}) == 1
    assert [log["parameters"] for log in logs] == sorted(log["parameters"] for log in logs)


def test_the_checkpoints_are_under_fifteen_megabytes():
    folder = FOLDER / "checkpoints"
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 15e6
    assert {p.name for p in folder.iterdir()} == set(CHECKPOINTS)


@pytest.mark.parametrize("name", standing_for_all(CHECKPOINTS, "mini-1m"))
def test_transformers_loads_a_checkpoint_as_it_is(name):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(FOLDER / "checkpoints" / name)
    assert model.dtype == torch.float16
    assert model.config.model_type == "llama"


@pytest.mark.parametrize("family", standing_for_all(["school", "travel"], "school"))
def test_few_shot_is_at_most_ten_points_below_zero_shot_on_a_known_family(family):
    model = open_model(models.resolve("mini-1m", Path(), {}), Limits())
    task = tasks.load(tasks.reference(family))
    limits = Limits(max_new_tokens=64)
    problems = tasks.sample(task.test, 150, purpose="test", seed=0)

    def accuracy(shots: int) -> float:
        spec = StrategySpec("prompt", "prompt", shots=shots)
        solver = strategies.adapt(model, task.train, spec, TrainSpec(), 0)
        answers = strategies.ask(solver, "math", problems, limits)
        return 100 * sum(bool(a.correct) for a in answers) / len(answers)

    zero = accuracy(0)
    assert zero >= 80
    assert accuracy(5) >= zero - 10


@pytest.mark.full  # tens of seconds for problems that the checkpoints were made of
def test_pretraining_runs_from_nothing_and_writes_its_log(tmp_path):
    from finetrap.miniature import pretrain

    argv = ["mini-0.1m", "--out", str(tmp_path), "--steps", "3"]
    pretrain.write_checkpoint(argv)
    log = json.loads((tmp_path / "mini-0.1m" / "pretraining.json").read_text())
    assert log["steps"] == 3
    assert (tmp_path / "mini-0.1m" / "model.safetensors").exists()
