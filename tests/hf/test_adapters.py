import json
import re
import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from finetrap import catalog
from finetrap.backends import Row
from finetrap.backends.hf import HFModel, open_model
from finetrap.backends.hf.training import adapters
from finetrap.errors import BadInput, Unsupported
from finetrap.records import Limits, StrategySpec, TrainSpec
from tests.builders import tiny
from tests.builders.cases import standing_for_all

ROWS = [Row(tiny.TEXTS[0], tiny.TEXTS[1]), Row(tiny.TEXTS[2], tiny.TEXTS[3])] * 4
PROMPTS = [*tiny.TEXTS[:3], "a"]
ADAPTERS = [name for name, table in catalog.strategies().items() if table["kind"] == "peft"]
UNMERGED = {"prompt-tuning", "prefix-tuning", "p-tuning"}
LORA = {"peft_type": "LORA", "r": 4, "target_modules": "all-linear"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.write_llama(tmp_path_factory.mktemp("llama"), hidden_size=64, intermediate_size=128)


@pytest.fixture(scope="module")
def model(folder) -> HFModel:
    return open_model(tiny.spec(folder), Limits())


def named(name: str, **peft_table: object) -> StrategySpec:
    table = peft_table or catalog.strategies()[name]["peft"]
    return StrategySpec(name, "peft", learning_rate=1e-2, peft=table)


def nats_of(network: torch.nn.Module, model: HFModel, row: Row) -> float:
    """Nats of a row's target by a plain forward of a PEFT model."""
    head, tail = model.tokens.prompt(row.prompt), model.tokens.continuation(row.target)
    ids = torch.tensor([head + tail])
    with torch.no_grad():
        logits = network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    logprobs = logits[0, -ids.shape[1] : -1].double().log_softmax(-1)
    return -float(logprobs.gather(1, ids[0, 1:, None])[len(head) - 1 :].sum())


@pytest.mark.parametrize("name", standing_for_all(ADAPTERS, "lora", "vera", "p-tuning"))
def test_a_catalog_adapter_trains_is_saved_and_leaves_no_trace(name, folder, model, tmp_path):
    asked = [(row.prompt, row.target) for row in ROWS[:2]]
    untouched = {k: v.clone() for k, v in model._base.state_dict().items()}
    run = model.train(ROWS, named(name), TrainSpec(epochs=3, batch=4), seed=0)
    assert run.evidence["merged"] is (name not in UNMERGED)
    assert run.evidence["loss"][-1] != run.evidence["loss"][0]
    nats = model.score(asked, batch=2)
    alone = model.generate(PROMPTS, max_new_tokens=4, stops=(), batch=1)
    assert model.generate(PROMPTS, max_new_tokens=4, stops=(), batch=4) == alone

    model.save(tmp_path, whole=False)
    assert model.ship_bytes == (tmp_path / "adapter/adapter_model.safetensors").stat().st_size
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    loaded = peft.PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).eval()
    expected = [nats_of(loaded, model, row) for row in ROWS[:2]]
    assert nats == pytest.approx(expected, rel=1e-4)

    model.reset()
    state = model._base.state_dict()
    assert all(torch.equal(state[k], v) for k, v in untouched.items())
    assert model.ship_bytes == 0


def test_a_method_that_cannot_be_merged_runs_through_pefts_modules(model):
    lily = named("lily", peft_type="LILY", r=4, target_modules="all-linear")
    run = model.train(ROWS, lily, TrainSpec(epochs=3, batch=4), seed=0)
    assert run.evidence["merged"] is False
    loaded = model._network.core
    assert model.score([(ROWS[0].prompt, ROWS[0].target)], batch=1)[0] == pytest.approx(
        nats_of(loaded, model, ROWS[0]), rel=1e-5
    )
    model.reset()


def test_a_whole_model_is_saved_as_it_was_evaluated(model, tmp_path):
    full = StrategySpec("full", "full", learning_rate=1e-3)
    for name, strategy in {"full": full, "lora": named("lora")}.items():
        model.train(ROWS, strategy, TrainSpec(epochs=1, batch=4), seed=0)
        model.save(tmp_path / name, whole=True)
        saved = open_model(tiny.spec(tmp_path / name / "model"), Limits())
        asked = [(row.prompt, row.target) for row in ROWS]
        assert saved.score(asked, batch=4) == model.score(asked, batch=4)
    model.reset()


def test_full_training_ships_the_checkpoint_at_its_stored_width(tmp_path):
    model = open_model(tiny.spec(tiny.write_qwen2(tmp_path / "bf16")), Limits())
    model.train(ROWS, StrategySpec("full", "full", learning_rate=1e-3), TrainSpec(epochs=1), 0)
    assert model.ship_bytes == 2 * model.parameters
    model.save(tmp_path / "kept", whole=False)
    assert not (tmp_path / "kept").exists()


def test_an_adapter_on_layers_that_stand_twice_is_kept_beside_them(model, tmp_path):
    table = {**LORA, "target_modules": ["q_proj"], "layer_replication": [[0, 1], [0, 2]]}
    table["layers_to_transform"] = [2]
    run = model.train(ROWS, named("twice", **table), TrainSpec(epochs=1, batch=4), seed=0)
    assert run.evidence["merged"] is False
    model.save(tmp_path, whole=True)
    assert (tmp_path / "adapter").is_dir()
    assert not (tmp_path / "model").exists()
    model.reset()


def test_layers_that_stand_twice_are_refused_where_their_types_are_listed_once(tmp_path):
    table = {**LORA, "target_modules": ["q_proj"], "layer_replication": [[0, 1], [0, 2]]}
    listing = open_model(tiny.spec(tiny.write_qwen2(tmp_path / "listing")), Limits())
    with pytest.raises(Unsupported, match="lists the types of its layers"):
        listing.train(ROWS, named("twice", **table), TrainSpec(epochs=1, batch=4), seed=0)


def test_the_saved_adapter_names_the_base_model_of_the_study(model, folder, tmp_path):
    model.train(ROWS, named("lora"), TrainSpec(epochs=1, batch=4), seed=0)
    model.save(tmp_path, whole=False)
    saved = peft.PeftConfig.from_pretrained(str(tmp_path / "adapter"))
    assert saved.base_model_name_or_path == str(folder)
    model.reset()


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"peft_type": "ADALORA", "total_step": 10}, "schedule"),
        ({"peft_type": "CPT"}, "examples"),
        ({"peft_type": "xlora"}, "other adapters"),
        ({"peft_type": "POLY"}, "task of every row"),
        ({"peft_type": "MULTITASK_PROMPT_TUNING"}, "task of every row"),
        ({"peft_type": "CARTRIDGE"}, "distilled"),
        ({"peft_type": "SHADOW"}, "loss of its own"),
        ({"peft_type": "TRAINABLE_TOKENS"}, "token_indices"),
        ({**LORA, "init_lora_weights": "eva"}, "activations"),
        ({**LORA, "init_lora_weights": "corda"}, "activations"),
        ({**LORA, "init_lora_weights": "lora_ga"}, "gradients"),
        ({**LORA, "init_lora_weights": "loftq"}, "quantised"),
        ({**LORA, "init_lora_weights": "pissa", "use_dora": True}, "'use_dora' .* be lost from"),
        ({**LORA, "init_lora_weights": "olora", "modules_to_save": ["lm_head"]}, "be lost from"),
        (
            {**LORA, "init_lora_weights": "PiSSA", "use_rslora": True, "rank_pattern": {"q": 2}},
            "leave one of the three out",
        ),
        ({**LORA, "kasa_config": {}}, "loss of its own"),
        ({**LORA, "alora_invocation_tokens": [1]}, "invocation"),
        ({**LORA, "inference_mode": True}, "freeze"),
        ({"r": 8}, "needs peft_type"),
    ],
)
def test_a_method_that_needs_more_than_its_configuration_is_refused_by_name(model, table, reason):
    [fault] = catalog.check_peft(table)
    assert re.search(reason, fault)
    with pytest.raises(Unsupported, match=reason):
        model.train(ROWS, StrategySpec("x", "peft", learning_rate=1e-3, peft=table), TrainSpec(), 0)


def test_refusals_are_known_without_torch():
    code = (
        "import sys; from finetrap import catalog; catalog.strategies(); catalog.models();"
        "assert catalog.check_peft({'peft_type': 'ADALORA'}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**LORA, "lora_alfa": 8}, r"no setting 'lora_alfa'; did you mean 'lora_alpha'\?"),
        ({"peft_type": "LORRA"}, r"did you mean 'LORA'\?"),
        ({**LORA, "r": 0}, "PEFT cannot put LORA"),
        ({**LORA, "target_modules": ["absent"]}, "absent"),
        ({**LORA, "target_modules": "["}, "unterminated character set"),
        ({"peft_type": "PROMPT_TUNING", "prompt_tuning_init": "TEXT"}, "PEFT refuses"),
    ],
)
def test_a_table_that_peft_cannot_use_is_bad_input(model, table, message):
    with pytest.raises(BadInput, match=message):
        model.train(ROWS, StrategySpec("x", "peft", learning_rate=1e-3, peft=table), TrainSpec(), 0)


def test_every_catalog_strategy_says_what_it_is_and_can_be_trained():
    for name, table in catalog.strategies().items():
        known = {"about", "kind", "shots", "learning_rate", "peft", "replay", "rewind"}
        assert set(table) <= known, name
        assert table["about"]
        assert (table["kind"] == "peft") == ("peft" in table)
        assert (table["kind"] == "prompt") == ("learning_rate" not in table)
        if "peft" in table:
            assert catalog.check_peft(table["peft"]) == []
            adapters.peft_configuration(table["peft"])


def test_every_catalog_model_is_pinned():
    for name, table in catalog.models().items():
        assert table["prompt"] in ("plain", "chat"), name
        assert table["source"].startswith("package:") or len(table["revision"]) == 40


def test_the_layers_in_a_saved_configuration_stand_in_one_order(model, tmp_path):
    model.train(ROWS, tiny.STRATEGIES["lora"], TrainSpec(epochs=1, batch=4), 0)
    model.save(tmp_path, whole=False)
    layers = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    names = layers["target_modules"]
    assert len(names) > 3
    assert names == sorted(names)
    model.reset()
