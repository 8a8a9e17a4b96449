"""What a cell takes on the disk is foretold, and one that does not fit is left untrained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from finetrap import tasks
from finetrap.errors import DiskTooSmall
from finetrap.events import CellLeft
from finetrap.measure import disk
from finetrap.measure.runner import run_group
from finetrap.records import Keep, Limits
from finetrap.runs.store import Store
from tests.builders import workers

FULL = replace(workers.cell(), limits=Limits(test_problems=100))
LORA = replace(FULL, strategy=replace(FULL.strategy, name="lora", kind="peft"))
ANSWERS = 100 * disk.ANSWER
MILLION = 10**6


@pytest.mark.parametrize(
    ("cell", "keep", "kept", "most"),
    [
        (workers.cell(workers.ZERO, None, limits=FULL.limits), Keep(), 0, ANSWERS),
        (FULL, Keep(), 0, ANSWERS + 24 * MILLION),
        (FULL, Keep("all"), 4 * MILLION, ANSWERS + 24 * MILLION),
        (FULL, Keep("all", None), 4 * MILLION, ANSWERS + 4 * MILLION),
        (LORA, Keep(), 80_000, ANSWERS + 480_000),
        (LORA, Keep("all"), 4_080_000, ANSWERS + 4_160_000),
        (LORA, Keep("none", None), 0, ANSWERS),
    ],
)
def test_weights_moments_and_answers_are_counted(cell, keep, kept, most):
    assert disk.foretold(cell, keep, MILLION) == (ANSWERS + kept, ANSWERS + most)


def test_the_message_says_what_is_needed_and_free_and_what_to_do(tmp_path: Path):
    with pytest.raises(
        DiskTooSmall, match=r"24,000,000.00 GB .* free; .*--runs .*\"never\" \(0.40 MB"
    ):
        disk.check_room(FULL, Keep(), 10**15, tmp_path / "runs" / "not yet")
    disk.check_room(FULL, Keep(), 1000, tmp_path / "runs" / "not yet")


def test_a_cell_without_room_is_left_and_the_next_one_runs(tmp_path: Path):
    large = "toy:base=0.5,parameters=1e12"
    model = replace(FULL.model, source=large)
    market = tasks.reference("market")
    zero, full = (
        replace(cell, model=model, task=market, trained_on=cell.trained_on and market)
        for cell in (workers.cell(workers.ZERO, None, limits=FULL.limits), FULL)
    )
    told, store = [], Store(tmp_path)
    run_group([full, zero], store, Keep("none"), told.append)
    (left,) = (event for event in told if isinstance(event, CellLeft))
    assert left.key == full.key
    assert store.remaining([full, zero]) == (full,)
