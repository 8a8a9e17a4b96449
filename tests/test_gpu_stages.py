"""The stages of gpu.sh: one that fails is told with its cause, and the next one follows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu_stages
from benchmarks.gpu_stages import MOST_S, Stage, checked, measured, planned
from finetrap.errors import FinetrapError

RECORD = {"benchmark": "a", "sides": []}
LINE = json.dumps(RECORD)
WRITES = f"import sys; open(sys.argv[1 + sys.argv.index('--out')], 'w').write({LINE!r})"


pytestmark = pytest.mark.usefixtures("modules")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three modules to be run, and a limit that is not measured."""
    for name, code in {
        "writes": WRITES,
        "breaks": "raise SystemExit('the cause')",
        "sleeps": "import time; time.sleep(60)",
    }.items():
        (tmp_path / f"stage_{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(gpu_stages, "matrix_limit", lambda threads, half: 2e12 if half else 1e12)


def stage(module: str, kind: str = "decoding", seconds: float = 30.0) -> Stage:
    return Stage(f"{kind} by {module}", kind, (f"stage_{module}",), seconds, "fp32")


def test_a_stage_that_fails_or_takes_too_long_is_told_and_the_next_one_follows(
    tmp_path: Path,
) -> None:
    stages = [stage("breaks"), stage("sleeps", seconds=0.5), stage("writes", "training")]
    found = measured(stages, tmp_path, MOST_S, threads=1)
    limit, broke, slept, wrote = found["stages"]
    assert (limit["stage"], limit["ok"]) == ("limit fp32", True)
    assert (broke["ok"], broke["cause"]) == (False, "the cause")
    assert (slept["ok"], slept["cause"]) == (False, "not done after 0 s")
    assert wrote["ok"]
    assert "cause" not in wrote
    assert found["decoding"] == []
    assert found["training"] == [{"dtype": "fp32", **RECORD}]
    assert found["limit_flops"] == {"fp32": 1e12}


def test_what_there_is_no_time_for_is_told(tmp_path: Path) -> None:
    found = measured([stage("writes")], tmp_path, 0.0, threads=1)
    assert found["stages"][-1]["cause"] == "not started: 0 s were over"
    assert found["decoding"] == []


def test_a_limit_that_cannot_be_measured_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(threads: int, half: bool) -> float:
        raise FinetrapError("'matrix product' failed:\nno such kernel")

    monkeypatch.setattr(gpu_stages, "matrix_limit", fails)
    limit, wrote = measured([stage("writes")], tmp_path, MOST_S, threads=1)["stages"]
    assert (limit["ok"], limit["cause"], wrote["ok"]) == (False, "no such kernel", True)


def test_tests_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    file = tmp_path / "checks.xml"
    assert checked(file)["passed"] == 0
    file.write_text(
        '<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure/></testcase>'
        '<testcase name="c"><skipped/></testcase></testsuite></testsuites>'
    )
    assert checked(file) == {"passed": 1, "failed": 1, "skipped": 1, "failures": ["b"]}


@pytest.mark.parametrize("small", [True, False])
def test_checks_come_first_and_every_comparison_is_there(small: bool) -> None:
    stages = planned(small)
    assert [one.name for one in stages[:2]] == ["checks", "weights"]
    kinds = {(one.kind, one.command[2]) for one in stages[2:]}
    methods = ("lora",) if small else ("full", "lora", "dora")
    peers = {("decoding", peer) for peer in ("generate", "continuous")}
    assert kinds == peers | {("training", method) for method in methods}
