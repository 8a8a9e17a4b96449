"""The way back to the untouched weights: exact at both ends, chosen on held-out problems."""

import math
from dataclasses import replace

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from finetrap.backends import Row
from finetrap.backends.hf import open_model
from finetrap.errors import Unsupported
from finetrap.measure import rewind
from finetrap.records import Limits, StrategySpec, TrainSpec
from tests.builders import tiny

ROWS = [Row(tiny.TEXTS[0], tiny.TEXTS[1]), Row(tiny.TEXTS[2], tiny.TEXTS[3])] * 4
PAIRS = [(row.prompt, row.target) for row in ROWS[:2]]
FULL = StrategySpec("full+rewind", "full", learning_rate=1e-2, rewind=(0.0, 0.5, 1.0))
LORA = replace(
    FULL, kind="peft", peft={"peft_type": "LORA", "r": 4, "target_modules": "all-linear"}
)
DORA = replace(LORA, peft={**LORA.peft, "use_dora": True})
PROMPT = replace(LORA, peft={"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 2})
BUDGET = TrainSpec(epochs=3, batch=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_llama(tmp_path_factory.mktemp("llama"), hidden_size=64, intermediate_size=128)


@pytest.fixture(scope="module")
def model(folder):
    return open_model(tiny.spec(folder), Limits())


def weights(model):
    return {name: p.clone() for name, p in model._network.core.named_parameters()}


@pytest.mark.parametrize("strategy", [FULL, LORA, DORA], ids=["full", "lora", "dora"])
def test_both_ends_of_the_way_are_exact_and_the_middle_lies_between(model, strategy):
    model.reset()
    untouched, before = weights(model), model.score(PAIRS, batch=2)
    model.train(ROWS, strategy, BUDGET, seed=0)
    trained, after = weights(model), model.score(PAIRS, batch=2)
    assert before != after
    model.rewind(0.5)
    for name, middle in weights(model).items():
        torch.testing.assert_close(middle, (untouched[name] + trained[name]) / 2)
    model.rewind(0.0)
    assert model.score(PAIRS, batch=2) == before
    assert model.ship_bytes == 0
    model.rewind(1.0)
    assert model.score(PAIRS, batch=2) == after
    model.reset()
    assert model.score(PAIRS, batch=2) == before


def test_a_rewound_lora_ships_as_an_adapter_that_computes_the_same(model, folder, tmp_path):
    model.reset()
    model.train(ROWS, LORA, BUDGET, seed=0)
    model.rewind(0.25)
    model.save(tmp_path, whole=False)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    loaded = peft.PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).merge_and_unload()
    expected = dict(loaded.named_parameters())
    for name, found in weights(model).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-5, atol=1e-6)
    assert model.ship_bytes == (tmp_path / "adapter/adapter_model.safetensors").stat().st_size


def test_a_rewound_dora_ships_as_whole_weights(model, tmp_path):
    model.reset()
    model.train(ROWS, DORA, BUDGET, seed=0)
    adapter = model.ship_bytes
    model.rewind(0.5)
    model.save(tmp_path, whole=False)
    assert not (tmp_path / "adapter").exists()
    assert model.ship_bytes > adapter


def test_an_adapter_beside_the_weights_cannot_go_back_and_says_so(model):
    model.reset()
    model.train(ROWS, PROMPT, BUDGET, seed=0)
    with pytest.raises(Unsupported, match="merged weights"):
        model.rewind(0.5)


def test_divergence_is_the_mean_kl_over_the_solution_in_both_directions(model, folder):
    model.reset()
    assert model.divergence(PAIRS, batch=2) == [(0.0, 0.0)] * 2
    model.train(ROWS, FULL, BUDGET, seed=0)
    found = model.divergence(PAIRS, batch=2)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for (prompt, target), pair in zip(PAIRS, found, strict=True):
        head, tail = model.tokens.prompt(prompt), model.tokens.continuation(target)
        ids = torch.tensor([head + tail])
        places = slice(len(head) - 1, -1)
        with torch.no_grad():
            own = model._network.core(ids).logits[0, places].double().log_softmax(-1)
            theirs = plain(ids).logits[0, places].double().log_softmax(-1)
        expected = (
            float((own.exp() * (own - theirs)).sum(-1).mean()),
            float((theirs.exp() * (theirs - own)).sum(-1).mean()),
        )
        assert pair == pytest.approx(expected, rel=1e-4)
        assert min(pair) > 0
        assert pair[0] != pair[1]


def step(share, accuracy, probe, bits=1.0):
    probes = {"sums": {"accuracy": probe, "bits": 1.0}, "prose": {"accuracy": None, "bits": bits}}
    return {"share": share, "accuracy": accuracy, "n": 200, "bits": 1.0, "probes": probes}


def test_the_best_probes_win_among_shares_as_good_on_the_task():
    assert (
        rewind.best_share([step(0.0, 2.0, 99.0), step(0.5, 79.0, 90.0), step(1.0, 80.0, 20.0)])
        == 0.5
    )


def test_a_clearly_better_task_is_not_given_up_for_the_probes():
    assert rewind.best_share([step(0.0, 40.0, 99.0), step(1.0, 80.0, 20.0)]) == 1.0


def test_of_equal_shares_the_one_nearest_to_the_untouched_model_is_chosen():
    assert rewind.best_share([step(0.5, 80.0, 90.0), step(0.25, 80.0, 90.0)]) == 0.25


def test_a_wrecked_end_without_any_number_is_not_chosen():
    wrecked = step(1.0, 0.0, 0.0, math.inf)
    assert rewind.best_share([step(0.0, 50.0, 90.0), wrecked]) == 0.0
