"""What lies in a model folder: code that must not run, and weights that are no numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from finetrap.backends.hf import load, open_model
from finetrap.errors import BadModel, NotFinite
from finetrap.records import Limits
from tests.builders.foreign_code import MAPS, with_code
from tests.builders.tiny import spec, tokenizer, write, write_llama


def opened(folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Open a model in a process whose standard input agrees to everything."""
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[2]);"
        "from tests.builders.tiny import spec;"
        "from pathlib import Path; from finetrap.backends.hf import load;"
        "load.load_checkpoint(spec(Path(sys.argv[1])), torch.device('cpu')); print('opened')"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(folder), str(Path(__file__).parents[2])],
        input="y\n" * 20,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_MODULES_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
    )


@pytest.mark.parametrize("name", MAPS)
def test_a_model_that_needs_its_own_code_is_refused_and_the_code_does_not_run(tmp_path, name):
    folder = with_code(tmp_path / "model", tmp_path / "mark", name, known=False)
    done = opened(folder, tmp_path / "cache")
    assert not (tmp_path / "mark").exists()
    assert done.returncode != 0
    assert "BadModel" in done.stderr
    assert "needs Python code of its own" in done.stderr
    assert "trust_remote_code = true under [model.NAME] and run with --allow-code" in done.stderr
    assert "[y/N]" not in done.stdout


def test_code_beside_a_model_that_transformers_knows_does_not_run(tmp_path):
    folder = with_code(tmp_path / "model", tmp_path / "mark", *MAPS, known=True)
    done = opened(folder, tmp_path / "cache")
    assert done.stdout.strip() == "opened", done.stderr
    assert not (tmp_path / "mark").exists()


def test_code_of_the_base_of_an_adapter_does_not_run(tmp_path):
    base = with_code(tmp_path / "base", tmp_path / "mark", *MAPS, known=False)
    folder = write_llama(tmp_path / "adapted")
    adapter = {"peft_type": "LORA", "base_model_name_or_path": str(base), "target_modules": ["q"]}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    done = opened(folder, tmp_path / "cache")
    assert done.returncode != 0
    assert "BadModel" in done.stderr
    assert not (tmp_path / "mark").exists()


class Touching:
    """Pickled as a call that makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.mark,))


def test_weights_that_are_a_program_do_not_run(tmp_path):
    folder = write_llama(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Touching(tmp_path / "mark")}, folder / "pytorch_model.bin")
    with pytest.raises(BadModel, match=r"pickled weights alone .* write allow_pickle = true"):
        load.load_checkpoint(spec(folder), torch.device("cpu"))
    with pytest.raises(BadModel, match="would run as code; save the weights as safetensors"):
        load.load_checkpoint(spec(folder, allow_pickle=True), torch.device("cpu"))
    assert not (tmp_path / "mark").exists()


def test_a_tokenizer_without_its_model_is_a_bad_model_and_says_where_it_lies(tmp_path):
    for fault in ({"model": []}, {"pre_tokenizer": 3}, {"added_tokens": {}}):
        folder = write_llama(tmp_path)
        table = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps({**table, **fault}))
        with pytest.raises(BadModel, match=f"tokenizer cannot be used .in {folder}.: .*; put the"):
            load.load_checkpoint(spec(folder), torch.device("cpu"))


def test_a_tokenizer_that_fails_on_a_text_is_a_bad_model(tmp_path):
    folder = write_llama(tmp_path)
    table = json.loads((folder / "tokenizer.json").read_text())
    words = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "none"}
    whole = {**table, "model": words, "added_tokens": [], "post_processor": None}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    with pytest.raises(BadModel, match=r"cannot be used \(on '.*'\): .*Missing \[UNK\] token"):
        open_model(spec(folder), Limits())


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *(("generation_config.json", "eos_token_id", v) for v in ({}, [[]], "x", True, [1, None])),
        *(("tokenizer_config.json", "model_max_length", v) for v in ({}, [], "x", True)),
    ],
)
def test_a_setting_of_another_type_is_named_with_its_file(tmp_path, name, key, value):
    folder = write_llama(tmp_path)
    table = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**table, key: value}))
    with pytest.raises(BadModel, match=f"{folder}/{name}: found {key} = .*; give"):
        open_model(spec(folder), Limits())


@pytest.mark.parametrize(
    "template", ["{{ messages + 3 }}", "{{ 1 / 0 }}", "{{ messages() }}", "{% include 'x' %}"]
)
def test_a_chat_template_that_fails_in_any_way_is_a_bad_model(tmp_path, template):
    folder = write_llama(tmp_path)
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(BadModel, match="the model's chat template refuses the messages user"):
        open_model(spec(folder), Limits())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(tmp_path, value):
    folder = write_llama(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    said = r"^weights are not finite: model\.layers\.1\.mlp\.up_proj\.weight;"
    with pytest.raises(NotFinite, match=said):
        load.load_checkpoint(spec(folder), torch.device("cpu"))


def test_weights_whose_sum_overflows_are_finite(tmp_path):
    folder = write_llama(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = 3e38
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    load.load_checkpoint(spec(folder), torch.device("cpu"))


@pytest.mark.parametrize("kind", ["bert", "cpmant", "xlnet"])
def test_a_model_that_reads_what_comes_after_a_token_is_refused(tmp_path, kind):
    folder = write_reader(tmp_path, kind)
    with pytest.raises(BadModel, match="is no decoder as it is configured: each token reads what"):
        open_model(spec(folder), Limits())


def test_a_model_of_such_a_kind_that_is_configured_as_a_decoder_opens(tmp_path):
    open_model(spec(write_reader(tmp_path, "bert", is_decoder=True)), Limits())


def write_reader(folder: Path, kind: str, **more: object) -> Path:
    """Write a model of a kind that reads a text in both directions."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "dim_head": 8}
    inner = {"intermediate_size": 64, "d_model": 32, "n_layer": 1, "n_head": 4, "d_inner": 64}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = CONFIG_MAPPING[kind](vocab_size=320, **sizes, **inner, **more)
        network = AutoModelForCausalLM.from_config(config)
    return write(folder, network, tokenizer())


def test_pickled_weights_are_opened_where_that_is_allowed(tmp_path):
    folder = write_llama(tmp_path)
    before = load_file(folder / "model.safetensors")
    torch.save(before, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    opened = load.load_checkpoint(spec(folder, allow_pickle=True), torch.device("cpu"))
    assert torch.equal(opened.network.model.norm.weight, before["model.norm.weight"])


def test_code_of_a_model_runs_where_that_is_allowed(tmp_path):
    folder = with_code(tmp_path / "model", tmp_path / "mark", *MAPS, known=False)
    load.load_checkpoint(spec(folder, trust_remote_code=True), torch.device("cpu"))
    assert (tmp_path / "mark").exists()
