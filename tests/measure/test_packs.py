"""Packs are used where a pack gained, and each cell's run is what it would be alone."""

from pathlib import Path

import pytest

from finetrap import tasks
from finetrap.backends.hf.model import HFModel
from finetrap.measure import packs, strategies
from finetrap.measure.packs import Packs
from finetrap.measure.runner import run_group
from finetrap.measure.study import models
from finetrap.records import Cell, Limits, StrategySpec, TrainSpec
from finetrap.runs.store import Store

LINEAR = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}


def cell(name: str = "lora", seed: int = 0, rate: float = 3e-4, **changes: object) -> Cell:
    task = tasks.reference("school")
    peft = None if name == "full" else {**LINEAR, "use_dora": name == "dora"}
    kind = "full" if name == "full" else "peft"
    settings = {
        "model": models.resolve("mini-0.1m", Path(), {}),
        "task": task,
        "strategy": StrategySpec(name, kind, learning_rate=rate, peft=peft),
        "train": TrainSpec(problems=24, epochs=2, batch=8),
        "limits": Limits(test_problems=20, max_new_tokens=24),
        "seed": seed,
        "trained_on": task,
    }
    return Cell(**{**settings, **changes})


GROUP = [cell(seed=seed, rate=rate) for rate in (1e-4, 3e-4) for seed in range(6)]


def test_the_first_of_a_kind_runs_alone():
    assert Packs(GROUP).begin(GROUP[0]) == [GROUP[0]]


def test_short_steps_are_tried_in_a_pack_and_packs_go_on_if_it_gained():
    known = Packs(GROUP)
    known.begin(GROUP[0])
    known.trained(GROUP[0], steps=10, seconds=0.2, members=1)
    assert known.begin(GROUP[1]) == GROUP[1 : 1 + packs.MOST]
    known.trained(GROUP[1], steps=10, seconds=0.1, members=packs.MOST)
    assert known.begin(GROUP[2]) == [GROUP[2]], "it is handed out"
    assert known.begin(GROUP[9]) == GROUP[9:]


@pytest.mark.parametrize("seconds", [0.2, 0.195, 0.4])
def test_a_pack_that_gained_nothing_was_the_last(seconds):
    known = Packs(GROUP)
    known.begin(GROUP[0])
    known.trained(GROUP[0], steps=10, seconds=0.2, members=1)
    assert len(known.begin(GROUP[1])) == packs.MOST
    known.trained(GROUP[1], steps=10, seconds=seconds, members=packs.MOST)
    assert known.begin(GROUP[9]) == [GROUP[9]]


def test_a_pack_that_the_backend_refused_was_the_last():
    known = Packs(GROUP)
    known.begin(GROUP[0])
    known.trained(GROUP[0], steps=10, seconds=0.2, members=1)
    assert len(known.begin(GROUP[1])) == packs.MOST
    known.trained(GROUP[1], steps=10, seconds=0.01, members=1)
    assert known.begin(GROUP[9]) == [GROUP[9]]


def test_steps_that_are_long_alone_are_not_tried():
    known = Packs(GROUP)
    known.begin(GROUP[0])
    known.trained(GROUP[0], steps=10, seconds=1.0, members=1)
    assert known.begin(GROUP[1]) == [GROUP[1]]


def test_only_trainings_that_differ_in_rate_seed_or_rank_share_a_pack():
    first = cell(seed=9)
    wider = StrategySpec(
        "wide", "peft", learning_rate=1e-4, peft={**LINEAR, "r": 8, "use_dora": False}
    )
    same = [cell(seed=1), cell(rate=1e-3), cell(strategy=wider)]
    others = [
        cell("dora"),
        cell("full"),
        cell(train=TrainSpec(problems=30, epochs=2, batch=8)),
        cell(model=models.resolve("mini-0.3m", Path(), {})),
    ]
    known = Packs([first, cell(), *others, *same])
    known.begin(first)
    known.trained(first, steps=10, seconds=0.2, members=1)
    assert known.begin(cell()) == [cell(), *same]


def test_full_fine_tuning_is_never_packed():
    group = [cell("full", seed) for seed in range(4)]
    known = Packs(group)
    known.begin(group[0])
    known.trained(group[0], steps=10, seconds=0.01, members=1)
    assert known.begin(group[1]) == [group[1]]


def test_a_group_run_in_packs_commits_what_each_cell_is_alone(tmp_path, monkeypatch):
    group = [cell(seed=seed) for seed in range(4)]
    alone, packed = Store(tmp_path / "alone"), Store(tmp_path / "packed")
    monkeypatch.setattr(packs, "SHORT", 0.0)
    run_group(group, alone, "none", lambda event: None)
    monkeypatch.setattr(packs, "SHORT", 100.0)
    trained: list[int] = []
    plain = HFModel.train_together

    def counted(self, rows, runs, *rest):
        trained.append(len(runs))
        return plain(self, rows, runs, *rest)

    monkeypatch.setattr(HFModel, "train_together", counted)
    run_group(group, packed, "none", lambda event: None)
    assert trained == [3]
    for one in group:
        own, other = alone.load(one.key), packed.load(one.key)
        assert own.evidence["pack"] == 1
        assert other.evidence["pack"] == (1 if one.seed == 0 else 3)
        assert other.evidence["loss"] == pytest.approx(own.evidence["loss"], rel=1e-3)
        assert other.costs.train_tokens == own.costs.train_tokens
        assert other.costs.train_s > 0
        right = [sum(a.correct for a in run.answers) for run in (own, other)]
        assert abs(right[0] - right[1]) <= 1


def test_without_a_backend_that_packs_every_cell_is_trained_alone(monkeypatch):
    class Refuses:
        chat = None

        def train_together(self, rows, runs, train, progress):
            assert [seed for _, seed in runs] == [0, 1]
            return False

    train = strategies.Trained(tuple(tasks.load(tasks.reference("school")).train[:3]))
    strategies.adapt_ahead(Refuses(), train, [cell(seed=0), cell(seed=1)])
