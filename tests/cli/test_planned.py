"""What `finetrap plan` says to a person."""

from __future__ import annotations

import pytest

from finetrap.cli.planned import print_plan
from finetrap.measure.plan import StudyPlan
from tests.builders.workers import study_cells


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (("done", "failed", "oom"), "1 done, 2 failed, 0 remaining"),
        (("done", "done", "done"), "3 done, 0 remaining"),
    ],
)
def test_cells_that_failed_are_not_done(statuses, said, capsys):
    cells = tuple(study_cells(3)[:3])
    ended = dict(zip((cell.key for cell in cells), statuses, strict=True))
    print_plan(StudyPlan(cells, ended, (), {}, 0.0), [], [])
    assert f"3 cells, {said}" in capsys.readouterr().out
