"""A study with a search: its trials are cells, never asked the test, and lead to the tuned runs."""

from dataclasses import replace

import pytest

from finetrap import tasks
from finetrap.errors import BadStudy
from finetrap.events import RoundBegins
from finetrap.judge import verdicts
from finetrap.judge.trials import judged_trials
from finetrap.measure.engines import rounds
from finetrap.measure.problems import Problems
from finetrap.measure.study import reading, search
from finetrap.measure.study.cells import cells_of
from finetrap.runs import trials
from finetrap.runs.store import Store

TABLE = {
    "name": "searched",
    "models": ["toy:base=0.6,full:0.0003=-0.4,full:9e-05=-0.1"],
    "tasks": ["market"],
    "probes": ["sums", "prose"],
    "strategies": ["zero-shot", "full", "full+rewind"],
    "seeds": [0, 1, 2],
    "train": {"problems": 60, "epochs": 1, "dev": 200},
    "search": {"trials": 3},
    "limits": {"test_problems": 400, "probe_problems": 50, "max_new_tokens": 40},
    "data": {"prose": "miniature"},
}


def checked(tmp_path, **changes):
    return reading.check({**TABLE, **changes}, at="searched", base=tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    plan, store, events = checked(folder), Store(folder / "runs"), []
    cells = rounds.run_study(plan, store, workers=1, emit=events.append)
    return plan, store, cells, events


def test_a_study_is_worked_through_in_rounds_until_its_searches_end(done):
    plan, store, cells, events = done
    found = [e for e in events if isinstance(e, RoundBegins)]
    assert found[0].searching == 1
    assert found[-1].searching == 0
    assert found[-1].remaining == 0
    assert found[0].cells < found[-1].cells
    assert search.named_cells(plan, store) == (cells, 0)


def test_trials_are_asked_only_what_no_test_and_no_training_has(done):
    _, _store, cells, _ = done
    problems = Problems()
    for cell in [c for c in cells if c.split == "dev"]:
        final = replace(cell, split="test")
        trained = {p.id for p in problems.trained(cell).problems}
        asked, tested = problems.asked(cell), problems.asked(final)
        assert asked.problems
        assert asked.probes["sums"].problems
        assert not {p.id for p in asked.problems} & trained
        assert not {p.id for p in asked.problems} & {p.id for p in tested.problems}
        for name, probe in asked.probes.items():
            ids = {p.id for p in tested.probes[name].problems}
            assert not ids & {p.id for p in probe.problems}


def test_the_dev_problems_are_a_fifth_of_a_small_task_at_most(tmp_path):
    market = tasks.load(tasks.reference("market"))
    kept, dev = tasks.held_out(replace(market, train=market.train[:50]), 200)
    assert len(dev) == 10
    assert len(kept) == 40
    assert not set(kept) & set(dev)


def test_final_runs_train_on_the_dev_problems_only_if_the_study_says_so(tmp_path):
    problems = Problems()
    for with_dev, count in ((False, 60), (True, 260)):
        train = {**TABLE["train"], "with_dev": with_dev}
        cells = cells_of(checked(tmp_path, train=train))
        final = next(c for c in cells if c.strategy.trains)
        assert len(problems.trained(final).problems) == count


def test_the_harmful_shared_rate_is_avoided_by_the_tuned_one(done):
    _, store, cells, _ = done
    full = [c for c in cells if c.strategy.name == "full"]
    rates = {c.strategy.learning_rate for c in full if c.split == "test"}
    assert 3e-4 in rates
    assert len(rates) == 2
    tuned = trials.tuned_rates(store.runs())
    assert set(tuned.values()) == rates - {3e-4}
    findings = verdicts.verdicts_on(store.runs())
    (outcome,) = [o for o in findings.outcomes if o.strategy == "full"]
    assert outcome.fixed.verdict == "harmed"
    assert (outcome.tuned.verdict, outcome.outcome) == ("equivalent", "avoidable harm")
    assert {t.learning_rate for t in findings.trials if t.strategy == "full"} >= {1e-5, 3e-5, 9e-5}


def test_a_rewound_strategy_shares_the_search_of_its_training(done):
    _, _, cells, _ = done
    assert not [c for c in cells if c.split == "dev" and c.strategy.rewind]
    by_rate = {
        name: {c.strategy.learning_rate for c in cells if c.strategy.name == name and c.seed == 0}
        for name in ("full", "full+rewind")
    }
    assert by_rate["full"] == by_rate["full+rewind"]


def test_trials_are_shared_between_studies(done, tmp_path):
    _, store, _, _ = done
    other = checked(tmp_path, name="other", seeds=[5, 6])
    cells, _ = search.named_cells(other, store)
    assert not [c for c in store.remaining(cells) if c.split == "dev"]


def test_a_failed_trial_does_not_stop_the_search(tmp_path):
    plan = checked(tmp_path, models=["toy:base=0.6,full=diverge"], strategies=["full"])
    store = Store(tmp_path / "runs")
    cells = rounds.run_study(plan, store, workers=1, emit=lambda event: None)
    assert not store.remaining(cells)
    found = [t for t in judged_trials(store.runs()) if t.strategy == "full"]
    assert len(found) == 4
    assert {t.status for t in found} == {"diverged"}
    assert not any(t.chosen for t in found)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"search": {"trials": 3, "seed": 1}}, r"\[search\] seed: 1 is also"),
        ({"strategy": {"full": {"learning_rate": [1e-5, 1e-4]}}}, "tries several rates"),
        ({"train": {"dev": 0}}, r"\[train\] dev: found 0"),
        ({"search": {"trials": 1}}, r"\[search\] trials: found 1"),
        ({"strategies": ["full+replay"]}, "replay_task"),
        ({"strategy": {"zero-shot": {"kind": "prompt", "rewind": [0.0, 1.0]}}}, "rewind"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_its_reason(tmp_path, changes, fault):
    with pytest.raises(BadStudy, match=fault):
        checked(tmp_path, **changes)
