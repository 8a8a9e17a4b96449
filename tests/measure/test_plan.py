"""`finetrap plan`: the cells, tokens and operations of a run told beforehand, and its seconds."""

import json
import multiprocessing
import shutil
import subprocess
import sys
from dataclasses import astuple, replace

import pytest

from finetrap import tasks
from finetrap.backends import open_model
from finetrap.cli import planned
from finetrap.errors import ContextTooLong, FinetrapError
from finetrap.events import RoundBegins
from finetrap.judge import detectable
from finetrap.measure import plan
from finetrap.measure.engines import machine, rounds
from finetrap.measure.meter import Meter
from finetrap.measure.plan import forecast, timing
from finetrap.measure.plan.ahead import look_ahead
from finetrap.measure.plan.counting import Asked, Counter, Sort, Work, signature
from finetrap.measure.problems import Problems
from finetrap.measure.runner import run_cell
from finetrap.measure.session import Session
from finetrap.measure.strategies import Questions, Solver
from finetrap.measure.study import reading
from finetrap.records import Cell, Limits, Problem, StrategySpec, TrainSpec
from finetrap.runs.store import Store
from finetrap.stats import power
from finetrap.text.prompts import Shot
from tests.builders import runs, tiny
from tests.builders.commands import HEAVY, loaded_by

TOY = {
    "name": "planned",
    "models": ["toy:base=0.6,full:9e-05=-0.4,full:1e-05=-0.4,parameters=1000"],
    "tasks": ["market"],
    "probes": ["sums", "prose"],
    "strategies": ["zero-shot", "few-shot-5", "full", "full+rewind"],
    "seeds": [0, 1],
    "train": {"problems": 40, "epochs": 1, "dev": 60},
    "search": {"trials": 3},
    "limits": {"test_problems": 60, "probe_problems": 30, "max_new_tokens": 40},
    "data": {"prose": "miniature"},
}


def toy(folder, **changes):
    return reading.check({**TOY, **changes}, at="planned", base=folder)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A searched study of a toy model, planned and then run."""
    folder = tmp_path_factory.mktemp("planned")
    read, store, events = toy(folder), Store(folder / "runs"), []
    before = plan.plan_study(read, store, workers=1, say=lambda text: None)
    cells = rounds.run_study(read, store, workers=1, emit=events.append)
    remaining = [e.remaining for e in events if isinstance(e, RoundBegins)]
    return read, store, before, cells, remaining


def test_the_cells_and_rounds_of_a_plan_are_those_of_the_run(done):
    _, _, before, cells, remaining = done
    assert {c.key for c in before.cells} == {c.key for c in cells}
    assert [len(r.cells) for r in before.rounds] == remaining[:-1]
    assert {c.cell.key for c in before.remaining} == {c.key for c in cells}


def test_the_tokens_and_operations_of_a_plan_are_those_of_the_run(done):
    _, store, before, _, _ = done
    told = {c.cell.key: c for c in before.remaining}
    for run in store.runs():
        one = told[run.cell.key]
        assert one.train_tokens == run.costs.train_tokens
        assert one.eval_tokens == pytest.approx(run.costs.eval_tokens, rel=0.15)
        if one.trains:
            assert one.flops == pytest.approx(run.costs.flops, rel=0.15)


def test_what_is_done_takes_no_time_and_opens_no_model(done, monkeypatch):
    read, store, _, cells, _ = done
    monkeypatch.setattr(plan, "calibrate", lambda *asked: pytest.fail("a model was opened"))
    after = plan.plan_study(read, store, workers=1, say=lambda text: None)
    found = after.as_json()
    assert (found["cells"], found["done"], found["remaining"]) == (len(cells), len(cells), 0)
    assert (found["seconds"], found["flops"], found["dominates"]) == (0, 0, None)
    assert {row["status"] for row in found["list"]} == {"done"}


def test_a_plan_in_the_middle_of_a_study_owes_the_rest(done, tmp_path):
    read, store, _, cells, _ = done
    shutil.copytree(store.root, tmp_path / "runs")
    left = {cells[0].key, cells[-1].key}
    for folder in (tmp_path / "runs").iterdir():
        if folder.name.rpartition("--")[2] in left:
            shutil.rmtree(folder)
    found = look_ahead(read, Store(tmp_path / "runs"))
    assert [{cell.key for cell in remaining} for remaining in found.rounds] == [left]
    assert {cell.key for cell in found.cells} == {cell.key for cell in cells}


def test_a_search_with_halving_is_foreseen_rung_by_rung(tmp_path):
    read = toy(tmp_path, search={"trials": 5})
    found = look_ahead(read, Store(tmp_path / "runs"))
    trials = [
        sorted((c.train.share, c.strategy.learning_rate) for c in r if c.split == "dev" and c.seed)
        for r in found.rounds
    ]
    assert trials[0] == [(0.5, rate) for rate in (3.3e-6, 1e-5, 3e-5, 9e-5, 2.7e-4)]
    assert trials[1] == [(1.0, rate) for rate in (1e-5, 3e-5, 9e-5)]
    assert trials[2:] == [[]]
    assert {c.strategy.learning_rate for c in found.rounds[2]} == {3e-5}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """An opened tiny model, and what makes cells of it."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny.write_llama(folder, max_position_embeddings=2048)
    spec = tiny.spec(folder)
    market, sums = tasks.reference("market"), tasks.reference("sums")
    prose = tasks.reference("prose", "miniature")

    def cell(strategy, seed=0, **changes):
        used = strategy.trains or strategy.shots
        made = Cell(
            model=spec,
            task=market,
            strategy=strategy,
            train=TrainSpec(problems=10, epochs=1.5, batch=4, dev=4),
            limits=Limits(test_problems=5, probe_problems=3, max_new_tokens=6),
            seed=seed if used else None,
            trained_on=market if used else None,
            probes=(sums, prose),
        )
        return replace(made, **changes)

    return open_model(spec, Limits()), cell


REWOUND = replace(runs.FULL, name="full+rewind", rewind=(0.0, 0.5, 1.0))
LORA = replace(runs.LORA, peft={"peft_type": "LORA", "r": 2, "target_modules": "all-linear"})


@pytest.mark.parametrize("strategy", [runs.ZERO, runs.SHOTS, runs.FULL, LORA, REWOUND], ids=str)
def test_the_tokens_that_are_counted_are_those_that_a_real_run_records(small, strategy):
    model, make = small
    cell = make(strategy)
    work = Counter(model, Problems()).work(cell)
    run = run_cell(cell, Session(lambda spec, limits: model), Meter(), lambda event: None)
    assert work.train_tokens == run.costs.train_tokens
    asked = (*work.rewind * len(work.shares), *work.answers)
    completed = sum(one.rows for one in asked if one.cap)
    written = run.costs.eval_tokens - sum(one.read for one in asked)
    if not strategy.rewind:  # the completions on the way back are not kept
        answers = [*run.answers, *(a for probe in run.probes.values() for a in probe)]
        assert written == sum(a.tokens for a in answers)
    assert completed <= written <= completed * cell.limits.max_new_tokens


def test_a_row_that_does_not_fit_is_told_before_anything_runs(small):
    model, make = small
    cell = make(runs.FULL)
    cell = replace(cell, train=replace(cell.train, max_length=9))
    with pytest.raises(ContextTooLong, match=r"problem \S+ \('.*: the training row takes"):
        Counter(model, Problems()).work(cell)


def test_cells_that_differ_in_rate_or_seed_alone_are_counted_once(small):
    _, make = small
    whole = make(runs.FULL)
    whole = replace(whole, train=replace(whole.train, epochs=2.0))
    faster = replace(whole, strategy=replace(runs.FULL, learning_rate=1.0))
    assert signature(whole) == signature(replace(faster, seed=1))
    assert signature(make(runs.FULL)) != signature(make(runs.FULL, seed=1))  # half an epoch's rows
    assert signature(make(runs.SHOTS)) != signature(make(runs.SHOTS, seed=1))
    assert signature(whole) != signature(replace(whole, split="dev"))


def test_a_shared_beginning_and_a_shared_context_count_once(small):
    model, _ = small
    counter = Counter(model, Problems())
    shots = (Shot("Tom has 3 apples and buys 4 more. " * 4, "7"),)
    solver, limits = Solver(model, shots), Limits(batch=2)
    two = tuple(Problem(f"{i}", text, "1", "1") for i, text in enumerate(("One", "Two")))
    asked = counter.asked(solver, Sort("m", True), Questions("math", two), limits)
    texts = [solver.prompt("One"), solver.prompt("Two"), solver.prompt("")]
    first, second, start = (length for length, _ in model.lengths([(t, "") for t in texts]))
    golds = sum(n for _, n in model.lengths([("", solver.target("1"))] * 2))
    assert asked.read == first + second + golds
    assert asked.read - asked.tokens == pytest.approx(start, abs=8)  # what follows the question
    choices = (Problem("c", "How many?", "", "", choices=("1", "2", "3"), label=0),)
    plain = Solver(model)
    asked = counter.asked(plain, Sort("c", False), Questions("choice", choices), limits)
    assert (asked.rows, asked.batches, asked.cap) == (1, 1, 0)
    context = model.lengths([(plain.prompt("How many?"), "")])[0][0]
    assert asked.read - asked.tokens == 2 * context


DECODE = Asked(Sort("market", False), rows=2, batch=2, tokens=8, read=8, cap=20)
SCORE = Asked(Sort("sums", False), rows=2, batch=2, tokens=8, read=8, cap=0)
TRAINED = {"steps": 3, "train_tokens": 30, "solution_tokens": 4}
STEP = timing.Sample(1, 0, 1.0, 10.0, 7)
TIMINGS = timing.Timings(
    parameters=10,
    asked={
        DECODE.sort: [timing.Sample(8, 0, 8.0, 10.0, 3)],
        SCORE.sort: [timing.Sample(1, 0, 1.0, 10.0, 3)],
    },
    written={DECODE.sort: (8.0,)},
    trainings={timing.method(runs.FULL): timing.TimedTraining([STEP], 5.0, 10)},
    open_s=2.0,
    first_s=4.0,
)
"""A step of a decoding, a batch of a scoring and a step of a training take a second each."""


def told(cells, works, **options):
    known = {cells[0].opened_as: forecast.Calibrated([TIMINGS], works)}
    return forecast.Forecaster(known, **options).group(tuple(cells), forecast._Bench())


def test_a_group_opens_once_trains_once_and_scores_its_problems_once(small):
    _, make = small
    full, rewound = make(runs.FULL), make(REWOUND)
    work = Work((DECODE,), before_tokens=90, moved_tokens=45, **TRAINED)
    back = work._replace(rewind=(SCORE, DECODE), shares=(0.0, 0.5, 1.0))
    works = {signature(full): work, signature(rewound): back}
    first, second = told([full, rewound], works)
    forward_s = (5 + 3) / 30 / 3  # of a token: a training reads it forward, and twice backward
    assert astuple(first.parts) == pytest.approx((2, 5 + 3, 8, (90 + 2 * 45) * forward_s))
    assert astuple(second.parts) == pytest.approx((0, 0, 8 + 3 * 8, 3))
    assert (first.trains, second.trains) == (True, False)
    assert first.train_tokens == second.train_tokens == 30
    assert first.eval_tokens == 8 + 2 * 8
    assert second.flops == 2 * 10 * second.eval_tokens
    assert first.bytes == 7
    other = replace(rewound, seed=1)
    third = told([full, rewound, other], {**works, signature(other): back})[2]
    assert astuple(third.parts) == pytest.approx((0, 8, 8 + 2 * 8, 2 + 2 * 45 * forward_s))


def test_memory_grows_with_the_rows_that_are_written_at_once_not_with_those_that_are_scored():
    timings = replace(TIMINGS, row_bytes={DECODE.sort: 5})
    for asked, more in ((DECODE, 2 * 5), (DECODE._replace(rows=9, batch=4), 4 * 5), (SCORE, 0)):
        known = forecast.Calibrated([timings], {})
        assert known.bytes(Work((asked,)), None) == 3 + more


def test_workers_stay_for_the_next_round_with_what_they_have_at_hand(small, monkeypatch):
    _, make = small
    cells = [replace(make(runs.FULL), seed=seed) for seed in range(3)]
    work = Work((DECODE, SCORE), **TRAINED)
    known = {
        cells[0].opened_as: forecast.Calibrated(
            [TIMINGS], {signature(cell): work for cell in cells}
        )
    }
    monkeypatch.setattr(machine, "cores", lambda: 2)
    rounds = [cells[:2], cells[2:]]
    start, opened, cell_s = 4.0, 2.0, 8 + 8 + 1
    first, second = forecast.timetable(rounds, 1, forecast.Forecaster(known))
    assert first.seconds == pytest.approx(start + opened + 2 * cell_s)
    assert (second.seconds, second.starting) == (pytest.approx(cell_s), 0.0)
    first, second = forecast.timetable(rounds, None, forecast.Forecaster(known))
    assert first.seconds == pytest.approx(start + opened + cell_s)
    assert (first.starting, first.at_once) == (2 * start, 2)
    assert (second.seconds, second.starting, second.at_once) == (pytest.approx(cell_s), 0.0, 1)


def test_trained_models_may_write_as_much_as_their_solutions(small):
    _, make = small
    full = make(runs.FULL)
    works = {signature(full): Work((DECODE,), **TRAINED)}
    assert told([full], works)[0].parts.decoding == pytest.approx(8)
    assert told([full], works, like_solutions=True)[0].parts.decoding == pytest.approx(4)


def test_the_smallest_effect_is_the_one_whose_problems_are_at_hand():
    def spread(size):
        total = max(0.2, size) - size * size
        return power.Spread(total, min(0.05, total), 1e-4, 3)

    size = detectable.smallest_effect(spread, 800, 3)
    needed = power.smallest(power.difference_power, spread(size), size, 3)
    assert needed == pytest.approx(800, rel=0.05)
    assert detectable.smallest_effect(spread, 200, 3) > size
    assert detectable.smallest_effect(spread, 1, 3) is None


def test_what_flips_is_read_from_runs_and_else_assumed():
    measured = runs.runs((runs.FULL, -0.05), (runs.LORA, 0.0), n=400)
    cells = [run.cell for run in measured]
    counts = {"market": 400}
    (assumed,) = detectable.smallest_effects(cells, counts)
    assert (assumed.measured, assumed.flips) == (False, 100 * detectable.FLIPS)
    assert (assumed.seeds, assumed.strategies, assumed.problems) == (3, 2, 400)
    (found,) = detectable.smallest_effects(cells, counts, measured)
    assert found.measured
    assert 5 < found.flips < 20
    assert found.points < assumed.points
    assert detectable.smallest_effects(cells, {}) == []


def test_a_margin_that_cannot_be_shown_is_warned_of():
    cells = [run.cell for run in runs.runs((runs.FULL, 0.0), n=100)]
    found = detectable.smallest_effects(cells, {"market": 100})
    (warning,) = detectable.warnings(found, 2)
    assert f"below {found[0].points:.1f} points" in warning
    assert detectable.warnings(found, 90) == []
    hopeless = [replace(found[0], points=None)]
    assert "no change is shown" in detectable.warnings(hopeless, 90)[0]


def test_memory_that_the_machine_lacks_is_warned_of(done, monkeypatch):
    _, _, before, _, _ = done
    assert before.warnings() == []
    monkeypatch.setattr(plan, "memory_total", lambda: 10)
    assert "fewer --workers" in before.warnings()[0]


def test_a_machine_that_trains_faster_in_bfloat16_is_told(done, monkeypatch):
    _, _, before, _, _ = done
    assert not any("bf16" in note for note in before.notes())
    monkeypatch.setattr(plan, "faster_in_bf16", lambda model: True)
    assert 'dtype = "bf16" would train' in before.notes()[-1]


def finetrap(*arguments, **options):
    command = [sys.executable, "-m", "finetrap.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


STUDY = """
name = "asked"
models = ["toy:base=0.6,parameters=1000"]
tasks = ["sums"]
strategies = ["zero-shot", "full"]
seeds = [0]
[train]
problems = 20
epochs = 1
[limits]
test_problems = 20
max_new_tokens = 20
"""


def test_the_verb_prints_one_object_and_keeps_nothing(tmp_path):
    (tmp_path / "asked.toml").write_text(STUDY)
    shown = finetrap("plan", "asked.toml", "--workers", 2, "--json", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert {"cells", "seconds", "bytes", "flops", "detectable"} <= found.keys()
    assert (found["cells"], found["remaining"], len(found["list"])) == (2, 2, 2)
    assert found["seconds"] > 0
    assert found["detectable"][0]["problems"] == 20
    assert shown.stderr == ""
    assert [p.name for p in tmp_path.iterdir()] == ["asked.toml"]


def test_a_person_gets_tables_what_dominates_and_what_cannot_be_shown(done, capsys):
    read, store, before, cells, _ = done
    effects = detectable.smallest_effects(cells, before.asked, store.runs())
    planned.print_plan(before, effects, detectable.warnings(effects, read.judge.margin))
    shown = capsys.readouterr().out
    assert f"{len(cells)} cells, 0 done, {len(cells)} remaining: about" in shown
    assert "with 1 worker, " in shown
    assert "full (search)" in shown
    assert "measured" in shown
    assert f"warning: {TOY['models'][0]} on sums: no change" in shown
    assert shown.isascii()


def test_a_calibrator_that_dies_is_told_and_leaves_no_process(tmp_path):
    read = toy(tmp_path, models=["toy:full=die"], search={"trials": 2})
    with pytest.raises(FinetrapError, match="a calibrator died; most often the machine ran out"):
        plan.plan_study(read, Store(tmp_path / "runs"), workers=2, say=lambda text: None)
    assert multiprocessing.active_children() == []


def test_memory_that_ends_in_a_calibration_is_told(tmp_path):
    read = toy(tmp_path, models=["toy:full=oom"], search={"trials": 2})
    with pytest.raises(FinetrapError, match="plan with fewer --workers"):
        plan.plan_study(read, Store(tmp_path / "runs"), workers=1, say=lambda text: None)


def test_a_method_that_peft_refuses_of_a_model_is_told_before_anything_runs(tmp_path):
    table = {
        "name": "odd",
        "models": ["mini-0.1m"],
        "tasks": ["market"],
        "strategies": ["lora"],
        "seeds": [0],
        "strategy": {"lora": {"peft": {"target_modules": ["no_such_layer"]}}},
        "limits": {"test_problems": 4, "max_new_tokens": 4},
    }
    read = reading.check(table, at="odd", base=tmp_path)
    with pytest.raises(FinetrapError, match="no_such_layer"):
        plan.plan_study(read, Store(tmp_path / "runs"), workers=1, say=lambda text: None)


def test_planning_needs_no_torch_in_its_own_process():
    assert not loaded_by(
        "finetrap.measure.plan", "finetrap.cli", "finetrap.judge.detectable"
    ) & set(HEAVY)


def test_a_trained_prompt_strategy_is_a_kind_of_its_own():
    rank = replace(runs.LORA, peft={**runs.LORA.peft, "r": 16})
    assert timing.method(runs.LORA) != timing.method(rank)
    assert timing.method(runs.LORA) == timing.method(replace(runs.LORA, learning_rate=1.0))
    assert timing.method(StrategySpec("x", "full")) == timing.method(runs.FULL)
