"""What is evaluated, saved and loaded by other tools gives the same answers, method by method."""

from pathlib import Path

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from finetrap import catalog
from finetrap.backends import Row
from finetrap.backends.hf import HFModel, open_model
from finetrap.errors import Unsupported
from finetrap.records import Limits, StrategySpec, TrainSpec
from tests.builders import tiny
from tests.builders.cases import standing_for_all

TRAINED = [name for name, table in catalog.strategies().items() if table["kind"] != "prompt"]
WRITTEN = {"tied": tiny.write_llama, "untied": tiny.write_qwen2}
ROWS = [Row(tiny.TEXTS[0], tiny.TEXTS[1]), Row(tiny.TEXTS[2], tiny.TEXTS[3])] * 4
PROMPTS = [*tiny.TEXTS[:3], "a"]
CAP = 8
TIED = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj", "lm_head"]}


@pytest.fixture(params=WRITTEN, scope="module")
def folder(request, tmp_path_factory) -> Path:
    wide = {"hidden_size": 64, "intermediate_size": 128}
    return WRITTEN[request.param](tmp_path_factory.mktemp(request.param), **wide)


@pytest.fixture(scope="module")
def model(folder) -> HFModel:
    return open_model(tiny.spec(folder), Limits())


def trained(name: str, model: HFModel, table: dict | None = None) -> None:
    """Train a strategy of the catalog, or with a table of its own."""
    found = catalog.strategies()[name]
    kind = "full" if found["kind"] == "full" and table is None else "peft"
    peft_table = None if kind == "full" else table or found["peft"]
    spec = StrategySpec(name, kind, learning_rate=1e-2, peft=peft_table)
    model.train(ROWS, spec, TrainSpec(epochs=2, batch=4), seed=0)


def completions(network: torch.nn.Module, model: HFModel) -> list[str]:
    """What transformers' own greedy decoding writes."""
    found = []
    for prompt in PROMPTS:
        ids = torch.tensor([model.tokens.prompt(prompt)])
        out = network.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=CAP,
            do_sample=False,
            eos_token_id=sorted(model.tokens.ends),
            pad_token_id=0,
        )
        new = out[0, ids.shape[1] :].tolist()
        found.append(model.tokens.text(new, int(ids[0, -1])))
    return found


@pytest.mark.parametrize("name", standing_for_all(TRAINED, "full", "lora", "vera"))
def test_every_way_to_load_what_was_measured_gives_its_answers(name, folder, model, tmp_path):
    trained(name, model)
    done = model.generate(PROMPTS, max_new_tokens=CAP, stops=(), batch=4)
    measured = [completion.text for completion in done]
    model.save(tmp_path, whole=True)
    merged = name not in ("p-tuning", "prefix-tuning", "prompt-tuning")
    assert (tmp_path / "model").exists() is merged
    if merged:
        whole = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
        assert {p.dtype for p in whole.parameters()} == {torch.float32}
        assert completions(whole, model) == measured
    if (tmp_path / "adapter").exists():
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        loaded = peft.PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).eval()
        assert completions(loaded, model) == measured
    assert merged or (tmp_path / "adapter").exists()


@pytest.mark.parametrize("part", ["lm_head", "embed_tokens"])
def test_an_adapter_on_one_place_of_a_tied_tensor_is_refused_and_on_both_ships_as_an_adapter(
    part, folder, model, tmp_path
):
    table = {**TIED, "target_modules": ["q_proj", part]}
    if model._base.config.tie_word_embeddings:
        with pytest.raises(Unsupported, match=rf"'.*{part}'.* one tensor .*ensure_weight_tying"):
            trained("lora", model, table)
        table["ensure_weight_tying"] = True
    trained("lora", model, table)
    done = model.generate(PROMPTS, max_new_tokens=CAP, stops=(), batch=4)
    model.save(tmp_path, whole=True)
    assert (tmp_path / "model").exists() is not model._base.config.tie_word_embeddings
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    loaded = peft.PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).eval()
    assert completions(loaded, model) == [completion.text for completion in done]
