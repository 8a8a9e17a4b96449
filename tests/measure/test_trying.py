"""`finetrap try`: one model, one data set, and what to ship."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from finetrap import miniature, tasks
from finetrap.errors import BadData, BadInput
from finetrap.measure import trying
from finetrap.measure.study import reading, search
from finetrap.measure.study.cells import cells_of
from finetrap.records import Answer, Costs, Run
from finetrap.runs.store import Store


@pytest.fixture
def problems(tmp_path):
    market = tasks.load(tasks.reference("market"))
    place = tmp_path / "mine.jsonl"
    rows = [{"question": p.question, "answer": p.solution} for p in market.train[:400]]
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def wanted(problems, **more):
    model = "toy:base=0.6,full:0.0003=-0.4,parameters=1000"
    return trying.Wanted(model, problems, probes=("sums",), **more)


def planned(problems, folder, minutes, **more):
    return trying.prepare(
        wanted(problems, **more),
        folder,
        Store(folder / "runs"),
        minutes=minutes,
        workers=1,
        say=lambda text: None,
    )


def test_the_study_file_is_a_study_that_run_takes(problems, tmp_path):
    tryout = planned(problems, tmp_path / "out", 60)
    assert tryout.fits
    assert tryout.file.read_text("utf-8") == tryout.study.source
    names = [s.name for s in tryout.study.strategies]
    assert names == ["zero-shot", *trying.SIZES[0].strategies]
    assert tryout.study.search.trials == trying.SIZES[0].trials
    # No solution of the data is longer than what may be written.
    rows = [json.loads(line) for line in problems.read_text().splitlines()]
    assert tryout.study.limits.max_new_tokens >= max(len(row["answer"]) for row in rows)


def test_a_base_model_has_room_to_explain_however_short_the_right_answers_are(tmp_path):
    place = tmp_path / "short.csv"
    rows = "".join(f"How much is {n} and {n}?,{2 * n}\n" for n in range(30))
    place.write_text(f"question,answer\n{rows}")
    tryout = planned(place, tmp_path / "out", 60)
    assert tryout.study.limits.max_new_tokens == trying.LEAST_TOKENS


def test_a_probe_whose_data_lies_here_needs_no_hub(problems, tmp_path):
    (tmp_path / "arc").mkdir()
    rows = [
        {
            "id": f"q{n}",
            "question": {"stem": f"Which is {n}?", "choices": choices(n)},
            "answerKey": "A",
        }
        for n in range(3)
    ]
    for split in ("Train", "Dev", "Test"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "arc" / f"ARC-Easy-{split}.jsonl").write_text(text)
    asked = trying.Wanted("mini-0.1m", problems, probes=("arc_easy",))
    here = replace(asked, data={"arc_easy": str(tmp_path / "arc")})
    file = tmp_path / "study.toml"
    file.write_text(trying.study_text(here, trying.SIZES[-1]))
    (probe,) = reading.load_study(file).probes
    assert (probe.name, probe.source) == ("arc_easy", str(tmp_path / "arc"))


def choices(n):
    return [{"text": str(n + place), "label": letter} for place, letter in enumerate("ABCD")]


def test_a_model_folder_is_found_from_where_the_command_was_given(problems, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(miniature.FOLDER / "checkpoints" / "mini-0.1m", tmp_path / "my-model")
    (tmp_path / "out").mkdir()
    text = trying.study_text(trying.Wanted("./my-model", problems), trying.SIZES[-1])
    (tmp_path / "out" / "study.toml").write_text(text)
    (model,) = reading.load_study(tmp_path / "out" / "study.toml").models
    assert (model.name, model.source) == ("my-model", str(tmp_path / "my-model"))


def test_a_short_time_gets_a_smaller_study_and_says_if_none_fits(problems, tmp_path):
    seconds = [4000, 3000, 2000, 1000]
    assert [trying.largest_within(seconds, most) for most in (5000, 3500, 1000, 999)] == [
        0,
        1,
        3,
        3,
    ]
    tryout = planned(problems, tmp_path / "out", 0)
    assert not tryout.fits
    assert tryout.seconds > 0
    assert len(tryout.study.strategies) == 1 + len(trying.SIZES[-1].strategies)


@pytest.mark.parametrize(("faster", "dtype"), [(True, "bf16"), (False, "fp32")])
def test_the_precision_of_training_is_in_its_study_file(
    problems, tmp_path, monkeypatch, faster, dtype
):
    monkeypatch.setattr(trying, "faster_in_bf16", lambda model: faster)
    text = trying.study_text(wanted(problems), trying.SIZES[0])
    (tmp_path / "study.toml").write_text(text)
    assert reading.load_study(tmp_path / "study.toml").train.dtype == dtype
    assert f'dtype = "{dtype}"' in text


def test_own_columns_and_a_test_file_are_passed_on(problems, tmp_path):
    test = tmp_path / "test.jsonl"
    test.write_text('{"prompt": "What is 1 + 1?", "answer": "2"}\n')
    train = tmp_path / "train.jsonl"
    train.write_text('{"prompt": "What is 2 + 2?", "answer": "4"}\n' * 3)
    data = tasks.load(trying.as_task(trying.Wanted("toy:", train, test, {"question": "prompt"})))
    assert [p.question for p in data.test] == ["What is 1 + 1?"]
    assert len(data.train) == 3


def test_data_that_cannot_be_read_is_told_before_anything_runs(tmp_path):
    with pytest.raises((BadData, BadInput), match=r"nothing\.jsonl"):
        planned(tmp_path / "nothing.jsonl", tmp_path / "out", 1)


def test_it_ends_in_what_to_ship_and_may_be_repeated(problems, tmp_path):
    model = "toy:base=0.4,lora=0.5,parameters=1000"
    asked = ["try", model, "--train", problems, "--probe", "sums", "--budget", 0, "--workers", 1]
    command = [sys.executable, "-m", "finetrap.cli", *map(str, asked), "--json"]
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        shipped = json.loads(done.stdout.splitlines()[-1])
        assert shipped["event"] == "ship"
        assert (tmp_path / shipped["path"] / "weights.bin").exists()
    assert (tmp_path / "finetrap-try/report.html").exists()


def answered(correct, nats):
    return Answer(
        id="1", gold="7", completion="", extracted=None, rule="none", correct=correct, strict=None,
        tokens=1, stop="eos", nats=nats, bytes=4,
    )  # fmt: skip


def test_the_worst_lost_answers_come_first(problems, tmp_path):
    (tmp_path / "study.toml").write_text(trying.study_text(wanted(problems), trying.SIZES[0]))
    cell = cells_of(reading.load_study(tmp_path / "study.toml"))[0]
    before = [replace(answered(True, 1.0), id=str(i)) for i in range(5)]
    after = [
        replace(answered(False, nats), id=str(i)) for i, nats in enumerate([2.0, None, 9.0, 3.0])
    ]
    after.append(replace(answered(True, 50.0), id="4"))
    runs = [Run(cell, "done", tuple(answers), costs=Costs()) for answers in (before, after)]
    assert [b.id for b, _ in trying.lost(*runs)] == ["1", "2", "3"]


def test_a_study_that_has_begun_goes_on_and_is_not_timed_again(problems, tmp_path):
    folder = tmp_path / "out"
    first = planned(problems, folder, 0)
    store = Store(folder / "runs")
    again = planned(problems, folder, 600)
    assert again.study.source != first.study.source, "nothing has run: it is planned anew"
    first = planned(problems, folder, 0)
    store.remember(first.study, cells_of(first.study))
    going_on = planned(problems, folder, 600)
    assert (going_on.study.source, going_on.seconds) == (first.study.source, None)
    assert going_on.runs == len(store.remaining(search.named_cells(first.study, store)[0])) > 0
    other = problems.with_name("other.jsonl")
    other.write_text(problems.read_text())
    assert planned(other, folder, 600).seconds is not None, "of other data it is another study"
