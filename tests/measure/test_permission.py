"""A study from a stranger runs nothing: code of others needs a key and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetrap.errors import BadInput
from finetrap.measure import permission
from finetrap.measure.study import reading
from tests.builders.commands import finetrap
from tests.builders.foreign_code import MAPS, with_code

STUDY = """
name = "theirs"
models = ["./model"]
tasks = ["market"]
strategies = ["zero-shot"]
[model."./model"]
trust_remote_code = true
[limits]
test_problems = 2
max_new_tokens = 4
"""


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    with_code(tmp_path / "model", tmp_path / "mark", *MAPS, known=False)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_code_of_a_model_is_refused_with_the_key_and_what_allows_it(theirs, verb):
    done = finetrap(verb, "study.toml", cwd=theirs)
    assert done.returncode == 2
    assert "trust_remote_code: this runs Python code that comes with" in done.stderr
    assert "--allow-code" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (theirs / "mark").exists()


def test_what_a_study_holds_is_told_without_running_its_code(theirs):
    for verb in ("status", "report"):
        finetrap(verb, "study.toml", cwd=theirs)
    assert not (theirs / "mark").exists()


def test_code_that_is_allowed_runs_and_stands_in_the_report(theirs):
    done = finetrap("run", "study.toml", "--allow-code", "--workers", "1", "--quiet", cwd=theirs)
    assert done.returncode == 0, done.stderr
    assert (theirs / "mark").exists()
    (theirs / "mark").unlink()
    assert finetrap("report", "study.toml", cwd=theirs).returncode == 0
    assert "its own Python code was run" in (theirs / "runs/report/report.html").read_text("utf-8")
    assert not (theirs / "mark").exists()


def test_pickled_weights_are_asked_for_too(theirs):
    text = STUDY.replace("trust_remote_code", "allow_pickle")
    (theirs / "study.toml").write_text(text)
    study = reading.load_study(theirs / "study.toml")
    with pytest.raises(BadInput, match=r"allow_pickle: the weights of .* can hold a program"):
        permission.check_code(study, allowed=False)
    permission.check_code(study, allowed=True)


def test_code_of_a_model_decides_the_key_only_where_it_is_run(theirs):
    def key() -> object:
        return reading.load_study(theirs / "study.toml").models[0].identity()

    own = theirs / "model" / "own.py"
    before = key()
    own.write_text(own.read_text() + "# changed")
    assert key() != before
    (theirs / "study.toml").write_text(STUDY.replace("= true", "= false"))
    before = key()
    own.write_text(own.read_text() + "# changed again")
    assert key() == before
