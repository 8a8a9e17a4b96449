"""Products of few rows: the same numbers in the faster order, and only where it is faster."""

import pytest
import tiny
import torch

from finetrap.backends.hf import few, open_model
from finetrap.records import Limits

PROMPTS = [f"Question: Tom has {n} apples.\nAnswer:" for n in range(5)]


@pytest.fixture
def faster(monkeypatch):
    monkeypatch.setattr(few, "other_order_is_faster", lambda: True)


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 65])
@pytest.mark.parametrize("bias", [True, False])
def test_both_orders_give_the_same(rows, bias):
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 40, bias=bias)
    for states in (torch.randn(rows, 1, 24), torch.randn(rows, 2, 24)[:, 1:]):
        found = few.multiplied(layer, states)
        assert found.shape == (rows, 1, 40)
        assert found.is_contiguous()
        assert torch.allclose(found, layer(states), atol=1e-5)


def test_completions_are_the_same_in_either_order(tmp_path, monkeypatch, faster):
    model = open_model(tiny.spec(tiny.write_qwen2(tmp_path)), Limits())
    seen = []
    plain = few.multiplied

    def noted(module, states):
        seen.append(states.shape)
        return plain(module, states)

    monkeypatch.setattr(few, "multiplied", noted)
    asked = {"max_new_tokens": 12, "stops": (), "batch": 4}
    one = [c.text for c in model.generate(PROMPTS, **asked)]
    assert any(shape[1] == 1 for shape in seen)
    assert not [m for m in model._base.modules() if "forward" in vars(m)]
    seen.clear()
    monkeypatch.setattr(few, "other_order_is_faster", lambda: False)
    assert [c.text for c in model.generate(PROMPTS, **asked)] == one
    assert not seen


def test_other_dtypes_and_layers_are_left_as_they_are(faster):
    layers = torch.nn.Sequential(
        torch.nn.Linear(4, 4),
        torch.nn.Linear(4, 4).bfloat16(),
        torch.nn.LazyLinear(4),
    )
    with few.few_rows(layers):
        assert ["forward" in vars(layer) for layer in layers] == [True, False, False]


def test_the_order_is_chosen_by_timing_it(monkeypatch):
    for plain, other, chosen in ((3.0, 2.0, True), (2.1, 2.0, False)):
        few.other_order_is_faster.cache_clear()
        times = iter([0.0, plain] * 5 + [0.0, other] * 5)
        monkeypatch.setattr(few.time, "perf_counter", lambda times=times: next(times))
        assert few.other_order_is_faster() is chosen
    few.other_order_is_faster.cache_clear()
