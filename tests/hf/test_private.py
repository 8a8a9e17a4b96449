"""Without torch's private operators everything runs as well, with the same numbers."""

import json
import os

import pytest
import torch

from finetrap.backends.hf.kernels import attention, gated, onednn, private
from tests.builders.commands import finetrap

NAMES = [
    private.FLASH,
    private.SOFTMAX_GRADIENT,
    private.SILU_GRADIENT,
    private.LINEAR,
    private.REORDER,
    private.HAS_BF16,
]
SMALL = {
    "models": ["mini-0.1m"],
    "strategies": ["zero-shot", "full", "lora"],
    "probes": ["market", "prose"],
    "seeds": [0],
    "train.problems": 16,
    "train.dev": 8,
    "search.trials": 2,
    "limits.test_problems": 8,
    "limits.probe_problems": 4,
    "limits.max_new_tokens": 16,
}
"""What makes the study a matter of seconds."""


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.usefixtures("operators_anew")
def test_the_switch_turns_every_operator_off(monkeypatch):
    monkeypatch.setenv(private.SWITCH, "1")
    assert [private.operator(name) for name in NAMES] == [None] * len(NAMES)
    assert not onednn._gains(torch.zeros(512, 512))


@pytest.mark.usefixtures("operators_anew")
def test_an_operator_that_torch_lacks_is_none(monkeypatch):
    monkeypatch.delenv(private.SWITCH, raising=False)
    assert private.operator("aten._no_such_operator") is None
    assert private.operator("aten.silu_backward") is not None


@pytest.mark.usefixtures("operators_anew")
@pytest.mark.parametrize("masked", [False, True])
def test_plain_paths_have_the_numbers_of_the_operators(masked, monkeypatch):
    query, key, value = drawn(2, 3, 20, 8), drawn(2, 3, 20, 8), drawn(2, 3, 20, 8)
    mask = torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(1)) < 0.5
    mask = mask | torch.eye(20, dtype=torch.bool) if masked else None
    shares = torch.softmax(drawn(4, 20, 20), -1)

    def numbers() -> list[torch.Tensor]:
        return [
            *attention.softmax(query, key, value, mask, None, causal=not masked),
            attention._through_softmax(drawn(4, 20, 20), shares),
            gated.silu_gradient(drawn(20, 8), drawn(8, 20).T),
        ]

    monkeypatch.delenv(private.SWITCH, raising=False)
    found = numbers()
    monkeypatch.setenv(private.SWITCH, "1")
    private.operator.cache_clear()
    for one, other in zip(found, numbers(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def ran(folder, **environment: str) -> dict[str, list[dict]]:
    """Answers of a shipped study's shape, by run and test."""
    changes = [f"--set={name}={json.dumps(value)}" for name, value in SMALL.items()]
    done = finetrap(
        "run", "terse", "--runs", folder, "--workers", 1, "--quiet", *changes,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = [*folder.glob("*/answers.jsonl"), *folder.glob("*/probe-*.jsonl")]
    return {
        f"{file.parent.name}/{file.name}": list(map(json.loads, file.read_text().splitlines()))
        for file in files
    }


def test_a_whole_study_without_private_operators_has_the_same_answers(tmp_path):
    fast, plain = ran(tmp_path / "fast"), ran(tmp_path / "plain", **{private.SWITCH: "1"})
    assert len(fast) > 10
    assert fast.keys() == plain.keys()
    for name, rows in fast.items():
        for one, other in zip(rows, plain[name], strict=True):
            assert one["completion"] == other["completion"], name
            assert one["nats"] == pytest.approx(other["nats"], rel=1e-3, abs=1e-3), name
