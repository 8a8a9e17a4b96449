"""The simulated cluster of benchmarks/scale, small: every cell once, in nearly the least time."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from benchmarks import scale
from finetrap.runs.store import Store


def plans(count: int) -> list[scale.Planned]:
    return list(islice(scale.grid(scale.recorded(), asked=4), count))


def test_nodes_that_fail_lose_the_cell_they_were_at_and_little_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "FAILS_AFTER", 12 * 3600.0)
    planned, store = plans(130), Store(tmp_path)
    found = scale.Cluster(planned, 2, store).run()
    assert store.remaining(plan.run.cell for plan in planned) == ()
    assert found.cells == 130
    assert found.failures > 0
    assert 0 < found.lost_s < 0.2 * found.work_s
    assert found.makespan_s >= found.work_s / found.nodes
    assert found.over < 0.1


def test_a_cluster_without_failures_does_no_more_than_the_work(tmp_path: Path) -> None:
    planned = plans(10)
    cluster = scale.Cluster(planned, 1, Store(tmp_path))
    cluster.nodes[0].fails_at = float("inf")
    found = cluster.run()
    assert (found.failures, found.lost_s) == (0, 0)
    assert found.makespan_s == pytest.approx(found.work_s)
    assert found.over == pytest.approx(0)


def test_a_goal_that_is_missed_is_named() -> None:
    reached = {"over": 0.02, "remaining_s": 0.5}
    assert scale.missed(reached) == []
    assert scale.missed({**reached, "over": 0.3}) == ["over is 0.30, to be ≤ 0.1"]
