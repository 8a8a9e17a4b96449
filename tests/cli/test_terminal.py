"""What is seen while a study runs: live, as plain lines, as JSON, or not at all."""

from __future__ import annotations

import io
import json
import re
import threading
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any

import pytest

from finetrap.events import (
    CellBegins,
    CellEnds,
    CrewBegins,
    Event,
    PhaseBegins,
    Resumed,
    RoundBegins,
    RowsDone,
    StepDone,
    cell_begins,
)
from finetrap.measure.engines.remaining import Remaining
from finetrap.measure.telling import EVERY, Teller
from finetrap.records import Cell, Limits, ModelSpec, StrategySpec, TaskRef, TrainSpec
from finetrap.stats.changes import wilson
from finetrap.terminal import Progress, words
from finetrap.terminal.state import State

DONE = CellEnds("a", "m-t-full-3e-4-s0", "done", 200, 90, 2.0, 1.5, None, left_s=70.0)
EVENTS: list[Event] = [
    RoundBegins(cells=3, remaining=2, searching=0),
    CrewBegins(workers=2, threads=1),
    CellBegins("a", "m-t-full-3e-4-s0", "m", "t", "full 3e-4", 0),
    PhaseBegins("a", "load", model="m"),
    CellBegins("b", "m-t-lora-3e-3-s0", "m", "t", "lora 3e-3", 0),
    PhaseBegins("a", "train", problems=400),
    StepDone("a", step=3, steps=25, loss=0.8123, tokens_per_s=18200),
    PhaseBegins("a", "answer", task="t", problems=200),
    RowsDone("a", "answer", "t", "answers", done=120, of=200, right=60),
    PhaseBegins("a", "answer", task="probe", problems=50),
    PhaseBegins("a", "after"),
    DONE,
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(out: io.StringIO, *, as_json: bool = False, quiet: bool = False) -> str:
    with redirect_stdout(out), Progress(as_json=as_json, quiet=quiet) as progress:
        for event in EVENTS:
            progress.emit(event)
    return out.getvalue()


def test_a_file_gets_a_line_for_each_phase_and_no_escape_codes():
    text = shown(io.StringIO())
    assert text.isascii()
    assert "\x1b" not in text
    assert "\r" not in text
    assert text.splitlines() == [
        "3 cells, 2 remaining",
        "2 workers of 1 thread",
        "[0/2] m-t-full-3e-4-s0: opening m",
        "[0/2] m-t-full-3e-4-s0: training on 400 problems",
        "[0/2] m-t-full-3e-4-s0: answering 200 problems of t",
        "[1/2] m-t-full-3e-4-s0: 45.0% [38.3, 51.9] of 200, trained 2.0 s, evaluated 1.5 s"
        "  (about 70 s left)",
    ]


def test_cells_of_several_models_are_told_with_what_they_measure():
    from finetrap.terminal.live import Display

    state = State()
    for event in (*EVENTS[:5], CellBegins("c", "n-t-full-3e-4-s1", "n", "t", "full 3e-4", 1)):
        state.take(event)
    lines = rendered(Display, state).splitlines()[1:4]
    assert [line.split()[:5] for line in lines] == [
        ["m", "on", "t", "full", "3e-4"],
        ["m", "on", "t", "lora", "3e-3"],
        ["n", "on", "t", "full", "3e-4"],
    ]


def test_a_file_hears_of_a_long_phase_how_far_it_is_and_how_long_it_will_take():
    out = Counting(wanted=2)
    with redirect_stdout(out), Progress(as_json=False, quiet=False, silence=0.02) as progress:
        for event in EVENTS[:9]:
            progress.emit(event)
        assert out.enough.wait(30)
    line = next(x for x in out.getvalue().splitlines() if "120/200" in x)
    assert line.startswith("[0/2] m-t-full-3e-4-s0: answering 200 problems of t, 120/200 answers")
    assert re.search(r"for \d+ s, about \d+ s left$", line)


def test_a_cell_that_goes_on_starts_where_it_stood_and_its_pace_is_that_of_what_is_new():
    out, state = io.StringIO(), State()
    going_on: list[Event] = [
        *EVENTS[:3],
        EVENTS[5],
        Resumed("a", "train", done=20, of=25),
        EVENTS[7],
        Resumed("a", "answer", done=120, of=200, task="t"),
        Resumed("a", "answer", done=50, of=50, task="probe"),
    ]
    with redirect_stdout(out), Progress(as_json=False, quiet=False) as progress:
        for event in going_on:
            progress.emit(event)
            state.take(event)
    told = [x.partition(": ")[2] for x in out.getvalue().splitlines() if "resumed" in x]
    assert told == [
        "training resumed after step 20 of 25",
        "answers of t resumed after 120 of 200",
    ]
    state.take(going_on[-2])
    cell = state.cells["a"]
    assert "left" not in cell.pace()
    cell.since -= 60
    state.take(replace(EVENTS[8], done=160))
    assert cell.pace() == "for 60 s, about 60 s left"
    state.take(replace(EVENTS[8], done=200))
    assert cell.pace() == "for 60 s"


class Counting(io.StringIO):
    """Tells when a line on how far a cell is was written so many times."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self.wanted, self.enough = wanted, threading.Event()

    def write(self, text: str) -> int:
        self.wanted -= "120/200" in text
        if self.wanted <= 0:
            self.enough.set()
        return super().write(text)


def test_quiet_prints_nothing():
    assert shown(io.StringIO(), quiet=True) == ""
    assert shown(Terminal(), quiet=True) == ""


def test_json_is_one_event_a_line_with_the_interval_of_what_is_right():
    lines = shown(Terminal(), as_json=True).splitlines()
    events = [json.loads(line) for line in lines]
    assert [e["event"] for e in events] == [*(e.name for e in EVENTS), "study-end"]
    rows = next(e for e in events if e["event"] == "rows")
    low, high = wilson(60, 120)
    assert (rows["accuracy"], rows["low"], rows["high"]) == (
        50.0,
        pytest.approx(100 * low, abs=0.01),
        pytest.approx(100 * high, abs=0.01),
    )
    facts = {name: events[-1][name] for name in ("done", "failed", "remaining")}
    assert facts == {"done": 1, "failed": 0, "remaining": 1}


def test_each_worker_has_its_line_in_a_terminal():
    from finetrap.terminal.live import Display

    state = State()
    for event in EVENTS[:9]:
        state.take(event)
    drawn = rendered(Display, state)
    study, heading, one, other = drawn.splitlines()[:4]
    assert "0/2 cells" in study
    assert heading.strip() == "m on t"
    assert one.strip().startswith("full 3e-4  seed 0  answering")
    assert "120/200 answers  50.0% [41.2, 58.8] so far" in one
    assert other.strip().startswith("lora 3e-3  seed 0  starting")
    for event in EVENTS[9:]:
        state.take(event)
    assert "1/2 cells" in rendered(Display, state)
    assert "about 70 s left" in rendered(Display, state)


def rendered(display: Any, state: State) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=130, record=True)
    drawn = display.__new__(display)
    drawn._state = state
    console.print(drawn._drawn())
    return console.export_text()


def test_training_shows_step_loss_and_tokens_per_second():
    state = State()
    for event in EVENTS[:7]:
        state.take(event)
    assert state.cells["a"].detail == "step 3/25  loss 0.812  18,200 tokens/s"


def test_a_running_study_never_shows_a_verdict():
    text = shown(io.StringIO()) + shown(io.StringIO(), as_json=True)
    for word in ("harmed", "improved", "equivalent", "inconclusive"):
        assert word not in text


def test_hostile_text_of_a_failure_stays_on_its_line():
    failed = replace(DONE, status="failed", message="\x1b[2J\nboom\u202e")
    line = words.ending(failed)
    assert line.isascii()
    assert line.isprintable()
    assert "boom" in line


def test_fast_steps_are_told_a_few_times_a_second_the_first_and_last_always(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("finetrap.measure.telling.time.monotonic", lambda: clock[0])
    told: list[Any] = []
    teller = Teller(told.append, "a")
    for step in range(1, 101):
        clock[0] += 0.01
        teller.step("step", {"step": step, "steps": 100, "loss": 1.0, "tokens": 50})
    steps = [event.step for event in told]
    assert (steps[0], steps[-1]) == (1, 100)
    assert len(steps) <= 2 + 1 / EVERY
    assert told[0].tokens_per_s is None
    assert told[1].tokens_per_s == 5000
    hear = teller.rows("answer", "t", 40)
    for number in range(40):
        hear("answers", number % 2 == 0)
    assert [(e.done, e.right) for e in told if isinstance(e, RowsDone)] == [(1, 1), (40, 20)]


def cells() -> list[Cell]:
    model = ModelSpec("m", "toy:", "toy-1", "toy", parameters=1000)
    full = StrategySpec("full", "full", learning_rate=1e-3)
    task = TaskRef("t", "v1")
    limits = Limits(test_problems=100)
    return [Cell(model, task, full, TrainSpec(), limits, seed, task) for seed in range(4)]


def test_a_cell_is_named_by_its_strategy_and_rate():
    first = cells()[0]
    assert cell_begins(first).strategy == "full 1e-3"
    assert cell_begins(replace(first, split="dev")).strategy == "full 1e-3 (search)"
    zero_shot = replace(first, strategy=StrategySpec("zero-shot", "prompt"))
    assert cell_begins(zero_shot).strategy == "zero-shot"


def test_what_is_left_follows_from_what_alike_cells_took(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("finetrap.measure.engines.remaining.time.monotonic", lambda: clock[0])
    told: list[Any] = []
    planned = cells()
    remaining = Remaining(planned, 2, told.append)
    remaining.emit(CellBegins(planned[0].key, ""))
    clock[0] = 10.0
    remaining.emit(replace(DONE, key=planned[0].key, left_s=None))
    assert told[-1].left_s == pytest.approx(3 * 10 / 2)
    remaining.emit(CellBegins(planned[1].key, ""))
    clock[0] = 14.0
    assert remaining.seconds() == pytest.approx((6 + 10 + 10) / 2)
    remaining.emit(CrewBegins(8, 1))
    remaining.emit(CellBegins(planned[2].key, ""))
    assert remaining.seconds() == pytest.approx((6 + 10 + 10) / 8), "a cluster has its own crew"
    base = replace(planned[0], strategy=StrategySpec("zero-shot", "prompt"))
    after_base = Remaining([base, *planned[1:]], 2, told.append)
    after_base.emit(CellBegins(base.key, ""))
    after_base.emit(replace(DONE, key=base.key, left_s=None))
    assert told[-1].left_s is None, "answers alone do not tell how long trainings take"
