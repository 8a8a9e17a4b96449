"""Weights that others trained: judged against their base, as one strategy with a seed for each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from finetrap.backends import Adopting
from finetrap.backends.hf import open_model
from finetrap.errors import BadStudy
from finetrap.measure.remembered import remembered
from finetrap.measure.study import reading
from finetrap.measure.study.cells import cells_of
from finetrap.records import Cell, Limits
from tests.builders.commands import finetrap
from tests.builders.tiny import ROWS, digest, tokenizer, write, write_llama

ASKED = [(row.prompt, row.target) for row in ROWS[:5]]


def tuned(folder: Path, base: Path, seed: int = 1) -> Path:
    """Write a checkpoint whose weights are near those of the base."""
    model = AutoModelForCausalLM.from_pretrained(base)
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=made))
    return write(folder, model, tokenizer())


def adapter(folder: Path, base: Path) -> Path:
    config = LoraConfig(r=2, init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.peft_config["default"].base_model_name_or_path = "/not/here"
    model.save_pretrained(str(folder))
    return folder


def cells(folder: Path, strategy: str, more: str = "") -> list[Cell]:
    """Return the given cells of a study of the model ./base."""
    text = f"""
        name = "given"
        models = ["./base"]
        tasks = ["market"]
        strategies = ["mine"]
        {more}
        [strategy.mine]
        kind = "given"
        {strategy}
    """
    (folder / "study.toml").write_text(text)
    study = reading.load_study(folder / "study.toml")
    return [c for c in cells_of(study) if c.strategy.given]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "base")


def test_given_weights_answer_as_they_do_when_opened_and_leave_the_base_as_it_was(tmp_path, base):
    tuned(tmp_path / "tuned", base)
    (cell,) = cells(tmp_path, 'weights = "./tuned"')
    model = open_model(cell.model, Limits())
    before, own = digest(model), model.score(ASKED, batch=4)
    training = model.adopt(cell.strategy.weights[0])
    direct = open_model(replace(cell.model, source=str(tmp_path / "tuned")), Limits())
    assert model.score(ASKED, batch=4) == direct.score(ASKED, batch=4) != own
    assert training.evidence["differs"] == {}
    assert model.made_from["trained elsewhere"] == str(tmp_path / "tuned")
    model.reset()
    assert digest(model) == before
    assert model.score(ASKED, batch=4) == own
    assert model.made_from == {}


def test_there_is_a_way_back_from_given_weights(tmp_path, base):
    tuned(tmp_path / "tuned", base)
    (cell,) = cells(tmp_path, 'weights = "./tuned"')
    model = open_model(cell.model, Limits())
    own = model.score(ASKED, batch=4)
    model.adopt(cell.strategy.weights[0])
    trained = model.score(ASKED, batch=4)
    model.rewind(0.0)
    assert model.score(ASKED, batch=4) == own
    model.rewind(0.5)
    assert model.score(ASKED, batch=4) not in (own, trained)
    model.rewind(1.0)
    assert model.score(ASKED, batch=4) == trained


def test_an_adapter_goes_on_the_model_that_is_studied(tmp_path, base):
    adapter(tmp_path / "lora", base)
    (cell,) = cells(tmp_path, 'weights = "./lora"')
    model = open_model(cell.model, Limits())
    own = model.score(ASKED, batch=4)
    assert model.adopt(cell.strategy.weights[0]).evidence["differs"] == {}
    assert model.score(ASKED, batch=4) != own
    size = (tmp_path / "lora" / "adapter_model.safetensors").stat().st_size
    assert model.ship_bytes == size


def test_several_folders_are_seeds_and_their_content_is_their_key(tmp_path, base):
    for seed in (1, 2):
        tuned(tmp_path / f"tuned{seed}", base, seed)
    found = cells(tmp_path, 'weights = ["./tuned1", "./tuned2"]')
    assert [cell.seed for cell in found] == [0, 1]
    assert len({cell.key for cell in found}) == 2
    (tmp_path / "tuned1").rename(tmp_path / "moved")
    (first, _) = cells(tmp_path, 'weights = ["./moved", "./tuned2"]')
    assert first.key == found[0].key
    (tmp_path / "moved" / "extra.json").write_text("{}")
    (first, _) = cells(tmp_path, 'weights = ["./moved", "./tuned2"]')
    assert first.key != found[0].key


def test_a_checkpoint_is_asked_in_its_own_chat_template_and_the_base_in_its(tmp_path, base):
    write(tmp_path / "tuned", AutoModelForCausalLM.from_pretrained(base), tokenizer(chat=True))
    (cell,) = cells(tmp_path, 'weights = "./tuned"')
    model = remembered(open_model(cell.model, Limits()))
    assert isinstance(model, Adopting)
    own = model.form.prompt("1 + 1?", (), ())
    model.adopt(cell.strategy.weights[0])
    direct = open_model(replace(cell.model, source=str(tmp_path / "tuned")), Limits())
    assert model.form.prompt("1 + 1?", (), ()) == direct.form.prompt("1 + 1?", (), ()) != own
    model.reset()
    assert model.form.prompt("1 + 1?", (), ()) == own


def test_what_differs_from_the_base_is_named_and_judged_all_the_same(tmp_path, base):
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(322, mean_resizing=False)
    words = tokenizer(chat=True)
    words.add_tokens(["<|new|>", "apples"])
    write(tmp_path / "tuned", model, words)
    (cell,) = cells(tmp_path, 'weights = "./tuned"')
    model = open_model(cell.model, Limits())
    own = model.score(ASKED, batch=4)
    differs = model.adopt(cell.strategy.weights[0]).evidence["differs"]
    assert differs["tensors"].startswith("model.embed_tokens.weight [322, 32] for [320, 32]")
    assert differs["vocabulary"] == "2 tokens added ('<|new|>', 'apples')"
    assert differs["tokenizer"].startswith("cuts a sample into ")
    assert differs["template"] == "the given model alone has a chat template"
    assert len(model.score(ASKED, batch=4)) == 5
    assert model.form.chat is not None
    model.reset()
    assert model.form.chat is None
    assert model.score(ASKED, batch=4) == own


def test_what_was_trained_on_is_known_only_where_the_study_names_it(tmp_path, base):
    tuned(tmp_path / "tuned", base)
    (cell,) = cells(tmp_path, 'weights = "./tuned"')
    assert cell.train.problems == 0
    (cell,) = cells(tmp_path, 'weights = "./tuned"', 'train = {task = "market", problems = 7}')
    assert cell.train.problems == 7
    assert cell.trained_on is not None


@pytest.mark.parametrize(
    ("strategy", "more", "said"),
    [
        ("", "", 'no weights; write weights = "DIR" in [strategy.mine]'),
        ('weights = "./nowhere"', "", "no folder"),
        ('weights = "nothing"', "", "no weights 'nothing': give a checkpoint or adapter folder"),
        ("weights = 3", "", "a folder, .gguf file or hub id, or a list"),
        ('weights = "./base"\nlearning_rate = 1e-4', "", "trained already; remove `learning_rate`"),
        ('weights = ["./base", "./copy"]', "", "is named 2 times"),
        (
            'weights = "./base"',
            "[strategy.full]\nweights = 'x'",
            'weights belong to kind = "given"',
        ),
    ],
)
def test_a_fault_in_given_weights_is_told(tmp_path, base, strategy, more, said):
    write_llama(tmp_path / "copy")
    names = '["mine", "full"]' if "full" in more else '["mine"]'
    body = f"""
        name = "given"
        models = ["./base"]
        tasks = ["market"]
        strategies = {names}
        [strategy.mine]
        kind = "given"
        {strategy}
        {more}
    """
    (tmp_path / "study.toml").write_text(body)
    with pytest.raises(BadStudy) as told:
        reading.load_study(tmp_path / "study.toml")
    assert said in str(told.value)


def test_given_weights_belong_to_one_model(tmp_path, base):
    text = """
        name = "given"
        models = ["./base", "mini-0.1m"]
        tasks = ["market"]
        strategies = ["mine"]
        [strategy.mine]
        kind = "given"
        weights = "./base"
    """
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(BadStudy, match="one base model; the study names 2"):
        reading.load_study(tmp_path / "study.toml")


def test_a_checkpoint_and_an_adapter_are_judged_by_one_command(tmp_path, base):
    tuned(tmp_path / "checkpoint", base)
    adapter(tmp_path / "lora", base)
    done = finetrap(
        *("judge", "--base", "base", "--tuned", "checkpoint", "--tuned", "lora"),
        *("--task", "market", "--probe", "school", "--train", "market", "--rewind"),
        *("--problems", 6, "--probe-problems", 4, "--max-new-tokens", 4, "--workers", 1, "--json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    names = {effect["strategy"] for effect in found["effects"]}
    assert names == {"checkpoint", "lora", "checkpoint+rewind", "lora+rewind"}
    (run,) = (tmp_path / "finetrap-judge" / "runs").glob("*-checkpoint-s0--*")
    evidence = json.loads((run / "evidence.json").read_text())
    assert {"overlap", "tuned_loss", "base_loss", "divergence"} <= evidence.keys()
    assert (tmp_path / "finetrap-judge" / "report.html").is_file()


@pytest.mark.parametrize("same", [False, True], ids=["another file", "the tested file"])
def test_every_row_of_a_tested_file_is_asked_but_of_one_that_was_trained_on(tmp_path, base, same):
    tuned(tmp_path / "checkpoint", base)
    for name, first in (("test", 0), ("train", 50)):
        rows = [
            {"question": f"What is {n} + 1?", "answer": f"{n + 1}"} for n in range(first, first + 8)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained = "test" if same else "train"
    command = finetrap(
        *("judge", "--base", "base", "--tuned", "checkpoint", "--task", "test.jsonl"),
        *("--train", f"{trained}.jsonl", "--max-new-tokens", "4"),
        cwd=tmp_path,
    )
    assert command.returncode == 0, command.stderr
    (run,) = (tmp_path / "finetrap-judge" / "runs").glob("*-checkpoint-s0--*")
    asked = (run / "answers.jsonl").read_text().splitlines()
    trained_on = json.loads((run / "evidence.json").read_text())["overlap"]["train"]
    assert (len(asked) == trained_on == 8) is not same
    assert not same or 0 < len(asked) == 8 - trained_on
