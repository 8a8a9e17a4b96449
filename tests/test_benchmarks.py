"""Each benchmark on a tiny shape: that it runs, checks what it says it checks, and can be read."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import (
    decoding,
    forecast,
    growth,
    harness,
    peer_cell,
    run_all,
    scoring,
    shape,
    training,
    whole_study,
)
from benchmarks.harness import Side, Worker
from benchmarks.measured import Done
from finetrap import tasks
from finetrap.errors import BadInput, FinetrapError
from finetrap.measure import strategies
from finetrap.measure.session import Session
from finetrap.measure.study import models
from finetrap.measure.telling import Teller
from finetrap.records import Cell, Limits, StrategySpec, TrainSpec
from tests.builders.cases import standing_for_all


class Here:
    """A side in this process: starting one for each would take longer than all of its work."""

    def __init__(self, side: Side, threads: int) -> None:
        self.work, self.startup = side.opener(**side.settings), 0.0

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, **arguments: object) -> harness.Round:
        return harness._timed(self.work, arguments)

    def peak(self) -> int:
        return 1


@pytest.fixture
def tiny(tmp_path_factory, shared_data, monkeypatch) -> Namespace:
    """Options of a benchmark on one layer, with a tokenizer of few texts, in this process."""
    rows = shape.gsm8k("train", str(shared_data))[:300]
    texts = [f"Question: {row['question']}\nAnswer: {row['answer']}" for row in rows]
    monkeypatch.setattr(shape, "_texts", lambda folder: iter(texts))
    for module in (harness, growth, training):
        monkeypatch.setattr(module, "Worker", Here)
    monkeypatch.setattr(harness, "matrix_limit", lambda *_, **__: 1e12)
    cache = tmp_path_factory.getbasetemp() / "checkpoints"
    return Namespace(
        **{"rounds": 2, "threads": 1, "data": str(shared_data), "cache": str(cache), "layers": 1},
        **{"out": cache / "records.jsonl", "peer_batch": 2, "items": 3, "limit": None},
        **{"rows": 2, "steps": 1, "settings": ["1", "2-free"], "dtype": "fp32"},
    )


def written(options: Namespace) -> dict:
    """The last record."""
    return json.loads(options.out.read_text(encoding="utf-8").splitlines()[-1])


def test_a_side_lives_in_a_process_of_its_own_and_says_how_it_failed():
    with Worker(Side("product", harness.open_matrix_product, {"size": 64}), 1) as worker:
        assert worker.run().done.units == 8
        assert worker.peak() > 2**20
    with pytest.raises(FinetrapError, match="'product' failed:"):
        Worker(Side("product", harness.open_matrix_product, {"size": -1}), 1)


@pytest.mark.parametrize(("name", "dtype"), [("hellaswag", "fp32"), ("arc", "bf16")])
def test_both_tools_choose_the_same_endings(name, dtype, tiny):
    pytest.importorskip("lm_eval", reason="the peers are not installed")
    tiny.dtype = dtype
    scoring.compare(name, tiny)
    found = written(tiny)
    assert found["benchmark"].endswith(dtype)
    assert found["agreement"]["items"] == 6
    assert found["agreement"]["same_choice_in_total"] == 1.0


def test_nats_that_differ_are_not_reported():
    items = [(("a", " b"), ("a", " c"))] * 2
    ours, theirs = {0: [1.0, 2.0], 1: [3.0, 1.0]}, {0: [1.0, 2.0], 1: [3.0, 1.1]}
    assert scoring.agreement(items, ours, ours)["same_choice_per_byte"] == 1.0
    with pytest.raises(FinetrapError, match="do not score the same"):
        scoring.agreement(items, ours, theirs)


def test_both_tools_write_the_same_completions_to_the_planned_ends(tiny):
    pytest.importorskip("lm_eval", reason="the peers are not installed")
    given = (4, shape.Shape(layers=1), tiny.cache, tiny.data)
    decoding.compare("mixed", decoding.zero_shot(*given, mixed=True), tiny)
    assert written(tiny)["identical_completions"] == 1.0


@pytest.mark.full
@pytest.mark.parametrize("method", ["full", "dora"])
def test_both_tools_train_from_the_same_loss(method, tiny):
    pytest.importorskip("trl", reason="the peers are not installed")
    training.compare(method, tiny)
    ours, theirs = written(tiny)["losses_of_the_first_step"]
    assert ours == pytest.approx(theirs, rel=training.SAME[tiny.dtype])


def test_the_exponent_of_a_power_is_found_with_an_interval_around_it():
    sizes = [10, 20, 40, 80] * 2
    noise = [1.02, 0.98, 1.01, 0.99, 0.99, 1.01, 0.98, 1.02]
    fit = growth.fitted(sizes, [3 * s**1.5 * n for s, n in zip(sizes, noise, strict=True)])
    assert fit.low < 1.5 < fit.high
    assert fit.high - fit.low < 0.1
    with pytest.raises(BadInput, match="fit no exponent"):
        growth.fitted([1, 2], [1, 2])


@pytest.mark.parametrize(("power", "worse"), [(1.0, False), (1.3, True)])
def test_only_growth_faster_than_the_problems_is_worse(power, worse):
    sizes = (16.0, 32.0, 64.0)
    found = growth.Grown("step", "problems", sizes, tuple((s**power,) for s in sizes), (1, 1, 1))
    assert found.worse is worse
    assert not replace(found, axis="length").worse


@pytest.mark.parametrize("step", standing_for_all([*growth.STEPS, "compare"], "compare"))
def test_every_step_is_measured_at_every_size(step, tiny):
    small = shape.Shape(96, 1, 3, 3, 128, vocabulary=2048)
    found = growth.grown(step, "problems", (2, 4, 6), small, tiny)
    assert [len(rounds) for rounds in found.seconds] == [2, 2, 2]
    assert f"| {step} | problems | 2, 4, 6 |" in found.row()


def mini_cell(strategy: StrategySpec) -> Cell:
    task = tasks.reference("school-terse")
    return Cell(
        models.resolve("mini-0.1m", Path(), {}),
        task,
        strategy,
        TrainSpec(problems=40, epochs=1, batch=8, dev=8),
        Limits(test_problems=12, probe_problems=6, max_new_tokens=24),
        seed=0,
        trained_on=task,
        probes=(tasks.reference("prose", "miniature"),),
    )


LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}


@pytest.mark.parametrize(
    "strategy",
    [
        StrategySpec("few-shot-2", "prompt", shots=2),
        StrategySpec("lora", "peft", learning_rate=1e-3, peft=LORA),
        StrategySpec("full+rewind", "full", learning_rate=1e-3, rewind=(0.0, 0.5, 1.0)),
    ],
    ids=lambda strategy: strategy.name,
)
def test_the_peers_script_answers_a_cell_as_finetrap_does(strategy, tmp_path):
    for package in ("lm_eval", "trl"):
        pytest.importorskip(package, reason="the peers are not installed")
    cell, session = mini_cell(strategy), Session()
    script = whole_study.Cells(session.problems, tmp_path, 16)
    told, answers = tmp_path / "job.json", tmp_path / "answers.json"
    told.write_text(json.dumps(script.job(cell)), encoding="utf-8")
    peer_cell.main(told, answers, 0.0)
    found = json.loads(answers.read_text(encoding="utf-8"))
    theirs = script.run(cell, found)

    problems, loaded = session.problems, session.open(cell, Teller())
    solver = loaded.adapt(cell, problems.trained(cell), Teller())
    rewound = loaded.rewind(solver, cell, problems, Teller())
    chosen = rewound.get("rewind", {}).get("chosen")
    asked = problems.asked(cell)
    own = strategies.ask(solver, asked.kind, asked.problems, cell.limits)
    prose = strategies.ask(solver, "prose", asked.probes["prose"].problems, cell.limits)
    assert found["chosen"] == chosen
    assert sum(a.extracted == b.extracted for a, b in zip(own, theirs.answers, strict=True)) >= 11
    pairs = [*zip(prose, theirs.probes["prose"], strict=True)]
    pairs += zip(own, theirs.answers, strict=True)
    assert all(a.nats == pytest.approx(b.nats, rel=1e-3) for a, b in pairs)


def test_the_study_of_the_135m_shape_is_whole(tiny, tmp_path):
    from finetrap.measure.study import reading

    read = reading.load_study(forecast.shaped(tmp_path, 10, tiny))
    assert [s.name for s in read.strategies] == [
        "zero-shot",
        "few-shot-5",
        "full",
        "lora",
    ]


def test_the_summary_names_what_was_reached_what_was_not_and_what_was_not_measured():
    records = [
        {"benchmark": "whole study", "ratio": 6.0, "ratio_without_peers_startup": 2.0}
        | {"same_verdicts": [3, 4]},
    ]
    lines = run_all.summary(records).splitlines()
    assert "| whole study, times the script's seconds | ≥ 5.00 | 6.00 | yes |" in lines
    assert "| whole study, same verdicts | ≥ 100% | 75% | no |" in lines
    assert "| hellaswag, times lm-eval | ≥ 3.00 | not measured |  |" in lines


def test_a_benchmark_that_fails_is_told_and_the_next_one_goes_on(capfd):
    broken = run_all.Benchmark("broken", "benchmarks.no_such_module", ())
    other = run_all.Benchmark("other", "benchmarks.neither", ())
    with pytest.raises(SystemExit) as ended:
        run_all.main(["--quick"], (broken, other))
    told = capfd.readouterr().out
    assert ended.value.code == 1
    assert "broken: failed, see above" in told
    assert "other: failed, see above" in told


def test_every_target_belongs_to_a_benchmark_that_runs():
    assert len({target.name for target in run_all.TARGETS}) == len(run_all.TARGETS)
    assert all(target.number is not None for target in run_all.TARGETS)


def test_units_over_seconds_are_the_rate():
    assert harness.Round(2.0, 4.0, Done(10)).rate == 5
