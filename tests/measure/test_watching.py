"""The callback looks at a model while TRL trains it, with all weights and with an adapter."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import finetrap as ft
from finetrap.errors import BadInput
from finetrap.miniature import FOLDER

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'finetrap[test]'")
from datasets import Dataset  # noqa: E402
from peft import LoraConfig  # noqa: E402

WRONG = [
    {"prompt": f"Question: Tom has {a} apples and buys 3.\nAnswer:", "completion": " zz zz zz zz"}
    for a in range(24)
]


def trained(folder: Path, rate: float, adapter: LoraConfig | None = None, **settings: Any):
    """Let TRL train the miniature for six steps; return the callback."""
    said: list[str] = []
    callback = ft.FinetrapCallback(
        "market", probes=["school"], every=2, problems=12, max_new_tokens=40, say=said.append
    )
    config = trl.SFTConfig(
        output_dir=str(folder),
        max_steps=6,
        per_device_train_batch_size=8,
        learning_rate=rate,
        lr_scheduler_type="constant",
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        model_init_kwargs={"dtype": "float32"},
        **settings,
    )
    trainer = trl.SFTTrainer(
        str(FOLDER / "checkpoints" / "mini-0.1m"),
        args=config,
        train_dataset=Dataset.from_list(WRONG),
        peft_config=adapter,
        callbacks=[callback],
    )
    trainer.train()
    return callback, said, trainer


LORA = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
def test_a_training_that_changes_nothing_loses_nothing_at_any_look(tmp_path, adapter):
    callback, said, trainer = trained(tmp_path, 1e-12, adapter)
    assert [(look.step, look.test) for look in callback.looks] == [
        (step, test) for step in (2, 4, 6) for test in ("market", "school")
    ]
    assert all(look.lost == look.gained == 0 for look in callback.looks)
    assert callback.alarm is None
    assert len(said) == 6
    assert trainer.model.training


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
def test_a_training_that_wrecks_the_model_is_seen(tmp_path, adapter):
    callback, _, _ = trained(tmp_path, 0.05, adapter)
    market = [look for look in callback.looks if look.test == "market"]
    assert market[-1].after < market[-1].before
    assert market[-1].lost > market[-1].gained
    assert market[-1].evidence > market[0].evidence > 0


class Told(ft.FinetrapCallback):
    """A callback that is told, look by look, how many of 100 problems of each test are right."""

    def __init__(self, *looks: dict[str, int], level: float = 0.05) -> None:
        self.said: list[str] = []
        say = self.said.append
        super().__init__("market", probes=["school"], every=1, level=level, say=say)
        self._told = iter(looks)
        training = SimpleNamespace(max_steps=len(looks) - 1, global_step=0)
        self.on_train_begin(None, training, None, model=None, processing_class="words")
        for training.global_step in range(1, len(looks)):
            control = SimpleNamespace(should_training_stop=False)
            self.on_step_end(None, training, control, model=None)

    def _asked(self, model: Any) -> dict[str, dict[str, bool]]:
        told = next(self._told).items()
        return {name: {str(i): i < right for i in range(100)} for name, right in told}

    def rang(self) -> list[tuple[int, str]]:
        return [(look.step, look.test) for look in self.looks if look.alarm]


def test_an_alarm_is_about_the_test_that_rings_it_and_rings_once():
    before, harmed = {"market": 50, "school": 90}, {"market": 90, "school": 50}
    told = Told(before, harmed, harmed, before)
    assert told.rang() == [(1, "school")]
    assert told.alarm is told.looks[1]
    assert ["alarm" in said.lower() for said in told.said] == [False, True] * 3
    assert told.said[1].endswith("40 lost and 0 gained; ALARM: worse than it started")
    assert told.said[3].endswith("40 lost and 0 gained; alarm since step 1")
    assert told.said[5].endswith("0 lost and 0 gained; alarm since step 1")


def test_no_alarm_rings_at_a_look_that_lost_nothing():
    before, harmed = {"market": 50, "school": 50}, {"market": 44, "school": 50}
    first, second, _ = (look.evidence for look in Told(before, harmed, before, harmed).looks[::2])
    told = Told(before, harmed, before, harmed, level=2 / (first + second))
    assert first < 1 / told.level < second
    assert told.rang() == [(3, "market")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"every": 0}, "every is 0; give a whole number from 1"),
        ({"problems": 1.5}, "problems is 1.5"),
        ({"level": 2}, "level is 2; give a number between 0 and 1"),
        ({"probes": ["prose"]}, "'prose' is prose and has no right answers to lose"),
        ({"probes": ["scool"]}, "school"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(BadInput, match=said):
        ft.FinetrapCallback("market", **settings)
