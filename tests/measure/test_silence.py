"""A worker that hangs is named, and one that only takes its time is not."""

from __future__ import annotations

import threading

import pytest

from finetrap.events import CellBegins, CellLeft, Event, PhaseBegins, StepDone, WorkerSilent
from finetrap.measure.engines.silence import Silence
from finetrap.runs.locks import Holder
from finetrap.terminal import Progress, words

BEGINS = CellBegins("a", "m-t-full-3e-4-s0", "m", "t", "full 3e-4", 0)
HOLDER = Holder("node\x1b7", 77, 1, 0.0, False)


class Heard(list[Event]):
    """Events, and when a silence was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def __call__(self, event: Event) -> None:
        self.append(event)
        if isinstance(event, WorkerSilent):
            self.told.set()


class Clock:
    """A time that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def watching(heard: Heard, clock: Clock, expected: float | None = 60.0) -> Silence:
    return Silence(heard, lambda key: expected, lambda key: HOLDER, 900.0, clock)


def told_at(silence: Silence, clock: Clock, heard: Heard, *times: float) -> list[float]:
    """Return how long the silences were that are told by looks at these times."""
    for clock.now in times:
        silence.look()
    return [event.silent_s for event in heard if isinstance(event, WorkerSilent)]


def test_a_cell_that_nothing_is_heard_of_is_named_with_its_process() -> None:
    heard = Heard()
    with Silence(heard, lambda key: 0.01, lambda key: HOLDER, least=0.02) as silence:
        silence.emit(BEGINS)
        assert heard.told.wait(60)
    told = heard[1]
    assert isinstance(told, WorkerSilent)
    assert (told.key, told.pid, told.expected_s) == ("a", 77, 0.0)
    said = words.nothing_heard(WorkerSilent("a", "slug", 1500.0, 240.0, "node\x1b7", 77))
    assert said.isprintable()
    assert said.startswith("slug: nothing heard for 25 min, and all of it should take 4 min; proce")
    assert "kill 77" in said


def test_it_is_told_again_only_when_the_silence_has_doubled() -> None:
    heard, clock = Heard(), Clock()
    silence = watching(heard, clock)
    silence.emit(BEGINS)
    assert told_at(silence, clock, heard, 899, 901, 1000, 1803, 1900) == [901, 1803]


@pytest.mark.parametrize(("expected", "before"), [(5000.0, 0.0), (None, 500.0)])
def test_a_cell_that_may_take_so_long_is_left_alone(expected: float | None, before: float) -> None:
    heard, clock = Heard(), Clock()
    silence = watching(heard, clock, expected)
    silence.emit(BEGINS)
    clock.now = before
    silence.emit(PhaseBegins("a", "train", problems=4))
    assert told_at(silence, clock, heard, before + 4999, before + 5001) == [5001]


def test_a_cell_that_is_heard_of_or_has_ended_is_not_silent() -> None:
    heard, clock = Heard(), Clock()
    silence = watching(heard, clock)
    silence.emit(BEGINS)
    for clock.now in range(0, 3000, 50):
        silence.emit(StepDone("a", 1, 40, 1.0, None))
        silence.look()
    silence.emit(CellLeft("a", "slug", "killed"))
    assert told_at(silence, clock, heard, 9e9) == []


def test_the_silence_is_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(as_json=False, quiet=False) as progress:
        progress.emit(WorkerSilent("a", "slug", 1500.0, None, None, None))
    assert capsys.readouterr().out == (
        "[0/0] slug: nothing heard for 25 min; its worker may hang\n"
    )
