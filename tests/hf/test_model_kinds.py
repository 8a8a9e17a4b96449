"""What a model can be beside a checkpoint folder: a .gguf file, an adapter on its base."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, Phi3Config

from finetrap import api
from finetrap.backends.hf import gguf_files, open_model
from finetrap.backends.hf.load import context_length, load_checkpoint
from finetrap.errors import BadModel, MissingPackage
from finetrap.measure.study.models import resolve
from finetrap.records import Limits, ModelSpec, TrainSpec
from tests.builders.gguf_files import write_gguf, write_llama_gguf
from tests.builders.tiny import ROWS, STRATEGIES, TEXTS, write_llama, write_qwen2

CPU = torch.device("cpu")
ASKED = [(row.prompt, row.target) for row in ROWS[:6]]


def given(entry: object, home: Path = Path(), **settings: str) -> ModelSpec:
    return resolve(str(entry), home, settings)


def answers(spec: ModelSpec) -> tuple[list[str], list[float]]:
    model = open_model(spec, Limits())
    prompts = [prompt for prompt, _ in ASKED]
    written = model.generate(prompts, max_new_tokens=12, stops=(), batch=4)
    return [c.text for c in written], model.score(ASKED, batch=4)


def adapter(folder: Path, base: Path, **settings: object) -> Path:
    """Write a LoRA that changes answers."""
    network = AutoModelForCausalLM.from_pretrained(base)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = LoraConfig(r=4, init_lora_weights=False, task_type="CAUSAL_LM", **settings)
        model = get_peft_model(network, config)
        model.save_pretrained(str(folder))
    return folder


def test_a_gguf_file_with_whole_numbers_answers_as_its_checkpoint_does(tmp_path):
    file = write_llama_gguf(tmp_path)
    found, folder = given(file), given(tmp_path / "checkpoint")
    assert answers(found) == answers(folder)
    assert found.name == "tiny.gguf"


def test_the_hash_of_a_gguf_file_is_its_revision(tmp_path):
    import hashlib

    file = write_llama_gguf(tmp_path)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert given(file).revision == f"sha256:{digest}"
    assert given(file).identity()["revision"] == f"sha256:{digest}"


def test_how_a_gguf_file_holds_its_tensors_is_recorded(tmp_path):
    model = open_model(given(write_llama_gguf(tmp_path, blocks="Q8_0")), Limits())
    assert model.made_from == {"weights": "GGUF: Q8_0 (15 tensors), F32 (5 tensors)"}


@pytest.mark.parametrize("blocks", ["Q5_0", "Q5_1"])
def test_blocks_that_the_reader_of_transformers_lacks_are_read(tmp_path, blocks):
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    opened = load_checkpoint(given(write_llama_gguf(tmp_path, blocks=blocks)), CPU)
    assert opened.made_from == {"weights": f"GGUF: {blocks} (15 tensors), F32 (5 tensors)"}
    whole = load_checkpoint(given(tmp_path / "checkpoint"), CPU).network.state_dict()
    kind = gguf.GGMLQuantizationType[blocks]
    for name, found in opened.network.state_dict().items():
        right = whole[name].numpy()
        if right.ndim == 2 and "q_proj" not in name and "k_proj" not in name:  # those are permuted
            right = gguf.quants.dequantize(gguf.quants.quantize(right, kind), kind)
            np.testing.assert_array_equal(found.numpy(), right)


def test_a_gguf_file_is_parsed_once_by_the_slow_reader(tmp_path, monkeypatch):
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    file, opened = write_llama_gguf(tmp_path), []

    class Counted(gguf.GGUFReader):
        def __init__(self, *settings):
            opened.append(settings)
            super().__init__(*settings)

    monkeypatch.setattr("gguf.GGUFReader", Counted)
    with gguf_files.reading():
        first, second = gguf.GGUFReader(str(file)), gguf.GGUFReader(str(file))
    assert first is second
    assert len(opened) == 1
    assert gguf.GGUFReader is Counted


def test_a_quantised_file_is_trained_saved_and_made_itself_again(tmp_path):
    spec = given(write_llama_gguf(tmp_path, blocks="Q8_0"))
    model = open_model(spec, Limits())
    before = model.score(ASKED, batch=4)
    budget = TrainSpec(epochs=1, batch=4)
    for name in ("full", "lora"):
        model.train(ROWS, STRATEGIES[name], budget, 0)
        trained = model.score(ASKED, batch=4)
        assert trained != before
        model.save(tmp_path / name, whole=True)
        saved = open_model(given(tmp_path / name / "model"), Limits())
        assert saved.score(ASKED, batch=4) == pytest.approx(trained, rel=1e-6)
        model.reset()
        assert model.score(ASKED, batch=4) == before
    shipped = given(tmp_path / "lora" / "adapter")
    assert shipped.base == spec.source
    assert shipped.base_revision == spec.revision


def test_a_gguf_file_is_refused_with_the_package_that_reads_it(tmp_path, monkeypatch):
    spec = given(write_llama_gguf(tmp_path))
    monkeypatch.setattr("finetrap.backends.hf.load.is_gguf_available", lambda: False)
    with pytest.raises(MissingPackage, match=r"pip install 'finetrap\[gguf\]'"):
        load_checkpoint(spec, CPU)


def test_a_file_that_is_no_gguf_is_named(tmp_path):
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    (tmp_path / "broken.gguf").write_bytes(b"no model")
    with pytest.raises(BadModel, match=r"broken\.gguf' cannot be opened"):
        load_checkpoint(given(tmp_path / "broken.gguf"), CPU)
    with pytest.raises(BadModel, match=r"no file .*none\.gguf; give the path of a \.gguf file"):
        given(tmp_path / "none.gguf")


def test_an_adapter_is_merged_into_the_base_that_it_names(tmp_path):
    base = write_llama(tmp_path / "base")
    folder = adapter(tmp_path / "tuned", base)
    network = AutoModelForCausalLM.from_pretrained(base)
    from peft import PeftModel

    merged = PeftModel.from_pretrained(network, str(folder)).merge_and_unload()
    merged.save_pretrained(str(tmp_path / "merged"))
    for file in base.glob("token*"):
        (tmp_path / "merged" / file.name).write_bytes(file.read_bytes())
    spec = given(folder)
    assert answers(spec) == answers(given(tmp_path / "merged"))
    assert answers(spec)[1] != answers(given(base))[1]
    assert spec.base == str(base)
    assert spec.base_revision == given(base).revision
    assert spec.identity()["base"] == spec.base_revision


def test_an_adapter_says_what_it_was_merged_into(tmp_path):
    base = write_llama(tmp_path / "base")
    opened = load_checkpoint(given(adapter(tmp_path / "tuned", base)), CPU)
    assert opened.made_from == {"adapter": f"LORA, merged into {base}"}


def test_an_adapter_takes_the_base_that_a_study_names(tmp_path):
    moved = write_llama(tmp_path / "moved")
    folder = adapter(tmp_path / "tuned", moved)
    (tmp_path / "moved").rename(tmp_path / "here")
    with pytest.raises(BadModel, match=r"its base '.*moved' .* not at hand; write base = "):
        given(folder)
    spec = given(folder, tmp_path, base="./here")
    assert spec.base == str(tmp_path / "here")
    load_checkpoint(spec, CPU)


def test_an_adapter_on_a_gguf_file_is_merged_into_it(tmp_path):
    file = write_llama_gguf(tmp_path)
    folder = adapter(tmp_path / "tuned", tmp_path / "checkpoint")
    on_file, on_folder = given(folder, base=str(file)), given(folder)
    assert answers(on_file)[1] == pytest.approx(answers(on_folder)[1], rel=1e-6)
    assert load_checkpoint(on_file, CPU).made_from["weights"].startswith("GGUF: F32")


def test_an_adapter_that_brings_added_tokens_brings_their_rows(tmp_path):
    base = write_llama(tmp_path / "base")
    network = AutoModelForCausalLM.from_pretrained(base)
    network.resize_token_embeddings(324)
    config = LoraConfig(r=2, task_type="CAUSAL_LM")
    model = get_peft_model(network, config)
    model.save_pretrained(str(tmp_path / "tuned"), save_embedding_layers=True)
    opened = load_checkpoint(given(tmp_path / "tuned", base=str(base)), CPU)
    assert opened.network.get_input_embeddings().weight.shape[0] == 324


@pytest.mark.parametrize("other", [{"hidden_size": 64}, {"num_hidden_layers": 1}])
def test_an_adapter_of_another_model_is_refused(tmp_path, other):
    base = write_llama(tmp_path / "base")
    folder = adapter(tmp_path / "tuned", base)
    strange = write_llama(tmp_path / "other", **other)
    with pytest.raises(BadModel, match="is its base the model that it was trained on"):
        load_checkpoint(given(folder, base=str(strange)), CPU)


def test_an_adapter_that_cannot_be_merged_is_no_model(tmp_path):
    base = write_llama(tmp_path / "base")
    config = PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(str(tmp_path / "prompt"))
    with pytest.raises(BadModel, match=r"PROMPT_TUNING\) stays beside the weights"):
        load_checkpoint(given(tmp_path / "prompt"), CPU)


def test_a_base_that_is_an_adapter_or_stands_beside_a_whole_model_is_refused(tmp_path):
    base = write_llama(tmp_path / "base")
    first = adapter(tmp_path / "first", base)
    second = adapter(tmp_path / "second", base)
    with pytest.raises(BadModel, match="is an adapter too; merge that one"):
        given(second, base=str(first))
    with pytest.raises(BadModel, match="is a whole model, no adapter"):
        given(base, base=str(base))


def test_an_adapter_and_its_base_decide_the_key_together(tmp_path):
    base = write_llama(tmp_path / "base")
    folder = adapter(tmp_path / "tuned", base)
    one = given(folder)
    other = given(folder, base=str(write_qwen2(tmp_path / "other")))
    assert one.identity() != other.identity()
    assert one.identity() == replace(one, base="elsewhere").identity()


def test_an_adapter_without_safetensors_is_named(tmp_path):
    folder = adapter(tmp_path / "tuned", write_llama(tmp_path / "base"))
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(BadModel, match=r"has no adapter_model\.safetensors; save the adapter"):
        load_checkpoint(given(folder), CPU)
    (folder / "adapter_config.json").write_text(json.dumps([]))
    with pytest.raises(BadModel, match="no JSON object of settings"):
        given(folder)


def test_texts_are_cut_into_the_same_tokens(tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf", write_llama(tmp_path / "checkpoint"))
    ours = load_checkpoint(given(file), CPU).tokenizer
    theirs = load_checkpoint(given(tmp_path / "checkpoint"), CPU).tokenizer
    assert [ours(text)["input_ids"] for text in TEXTS] == [
        theirs(text)["input_ids"] for text in TEXTS
    ]


def test_a_report_shows_what_a_model_was_quantised_to(tmp_path):
    study = api.Study(
        models=[str(write_llama_gguf(tmp_path, blocks="Q8_0"))],
        tasks=["market"],
        strategies=["zero-shot"],
        limits={"test_problems": 2, "max_new_tokens": 4},
    )
    runs = api.run(study, tmp_path / "runs", workers=1, quiet=True)
    page = runs.report().path.read_text("utf-8")
    assert "GGUF: Q8_0 (15 tensors), F32 (5 tensors)" in page


def test_the_context_of_longrope_is_the_original_one():
    """Beyond it every position is turned by other factors, as the longest text of a batch says."""
    factors = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, **factors}
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 1024}
    long = Phi3Config(
        **sizes, original_max_position_embeddings=128, rope_parameters=rope, pad_token_id=0
    )
    assert context_length(long, None) == 128
    assert context_length(Phi3Config(**sizes, pad_token_id=0), None) == 1024
