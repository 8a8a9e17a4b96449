"""The runs folder: whole or remaining, exact, and hard to fool."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetrap import records
from finetrap.errors import MachineFault, StoreError
from finetrap.records import (
    Costs,
    Failure,
    Run,
    Study,
)
from finetrap.runs.store import Store
from tests.builders.stored import answer, make_cell, make_run


def the_files(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()
    }


def test_a_run_comes_back_as_it_was_committed(tmp_path: Path) -> None:
    store, run = Store(tmp_path), make_run()
    folder = store.commit(run)
    assert store.load(run.cell.key) == run
    assert store.load(folder) == run
    assert store.runs() == [run]
    assert folder.name == f"{run.cell.slug}--{run.cell.key}"


def test_a_failure_is_a_run_like_any_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failed = Run(make_cell(), "diverged", failure=Failure("diverged", "loss nan at step 3", 3))
    store.commit(failed)
    assert store.remaining([failed.cell]) == ()
    assert store.load(failed.cell.key) == failed
    assert store.statuses() == {failed.cell.key: "diverged"}


def test_failures_that_are_retried_remain_until_another_run_has_their_place(
    tmp_path: Path,
) -> None:
    store, cells = Store(tmp_path), [make_cell(seed) for seed in range(3)]
    store.commit(make_run(cells[0]))
    store.commit(Run(cells[1], "oom", failure=Failure("oom", "too big")))
    store.commit(Run(cells[2], "failed", failure=Failure("bug", "no")))
    again = store.retrying(cells[:2])
    assert again.remaining(cells) == (cells[1],)
    assert cells[1].key not in again.statuses()
    assert store.statuses()[cells[1].key] == "oom"  # as long as nothing stands in its place
    again.commit(Run(cells[1], "failed", failure=Failure("bug", "other")))
    assert again.remaining(cells) == ()
    assert store.load(cells[1].key).failure == Failure("bug", "other")
    assert len(list(tmp_path.glob("*--*"))) == 3
    assert list(tmp_path.glob(".tmp-*")) == []


@pytest.mark.parametrize("at_once", [True, False], ids=["exchanged", "one after the other"])
def test_a_failed_run_is_replaced_whole(tmp_path: Path, monkeypatch, at_once: bool) -> None:
    store, cell = Store(tmp_path), make_cell()
    store.commit(Run(cell, "failed", failure=Failure("bug", "no")))
    if not at_once:
        monkeypatch.setattr("finetrap.runs.store.exchanged", lambda one, other: False)
    folder = store.retrying([cell]).commit(make_run(cell))
    assert store.load(folder) == make_run(cell)
    assert list(tmp_path.iterdir()) == [folder]


def test_remaining_cells_keep_their_order_and_are_named_once(tmp_path: Path) -> None:
    store, cells = Store(tmp_path), [make_cell(seed) for seed in (2, 0, 1, 0)]
    store.commit(make_run(cells[2]))
    assert store.remaining(cells) == (cells[0], cells[1])


def test_the_first_commit_of_a_key_stands(tmp_path: Path) -> None:
    store, run = Store(tmp_path), make_run()
    store.commit(run)
    before = the_files(tmp_path)
    store.commit(replace(run, answers=()))
    assert the_files(tmp_path) == before


def test_answers_are_sorted_by_id_and_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    answers = tuple(answer(f"p{i}", completion=f"naïve ☃ {i}") for i in (10, 2, 1))
    one, other = Store(tmp_path / "a"), Store(tmp_path / "b")
    first = one.commit(make_run(answers=answers)) / "answers.jsonl"
    again = other.commit(make_run(answers=answers[::-1], costs=Costs(eval_s=99.0)))
    assert first.read_bytes() == (again / "answers.jsonl").read_bytes()
    lines = first.read_text("utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["p1", "p10", "p2"]
    assert list(json.loads(lines[0]))[:11] == [
        *("id", "gold", "completion", "extracted", "rule", "correct"),
        *("strict", "tokens", "stop", "nats", "bytes"),
    ]
    assert "naïve ☃" in lines[0]


def test_two_answers_with_one_id_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="two answers with id 'p1'"):
        Store(tmp_path).commit(make_run(answers=(answer("p1"), answer("p1"))))
    assert the_files(tmp_path) == {}


@settings(max_examples=40, deadline=None)
@given(text=st.text(st.characters(exclude_categories=()), max_size=20), nats=st.floats(0, 1e9))
def test_any_text_a_model_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, text: str, nats: float
) -> None:
    # Halves that happen to stand side by side are one character in JSON: joined before comparing.
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    store = Store(tmp_path_factory.mktemp("runs"))
    run = make_run(answers=(answer(completion=whole, nats=nats),))
    folder = store.commit(run)
    assert store.load(folder) == run
    (folder / "answers.jsonl").read_bytes().decode("utf-8")


def test_line_separators_inside_a_completion_do_not_split_its_line(tmp_path: Path) -> None:
    run = make_run(answers=(answer(completion="a\u2028b\x85c\r\nd\x1ee"),))
    store = Store(tmp_path)
    store.commit(run)
    assert store.load(run.cell.key) == run


def test_a_number_that_is_not_finite_is_written_as_missing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.commit(make_run(evidence={"loss": [1.0, float("nan"), float("inf")]}))
    assert store.load(folder).evidence == {"loss": [1.0, None, None]}
    assert "NaN" not in (folder / "evidence.json").read_text()


def test_probe_files_with_odd_names_stay_apart(tmp_path: Path) -> None:
    probes = {name: (answer(name),) for name in ("a/b", "a_b", "a b", "../up", "ä" * 300)}
    store = Store(tmp_path)
    folder = store.commit(make_run(probes=probes))
    assert store.load(folder).probes == probes
    assert len(list(folder.glob("probe-*.jsonl"))) == 5
    assert (folder / "probe-a_b.jsonl").exists()


def test_the_key_can_be_checked_from_the_file_alone(tmp_path: Path) -> None:
    folder = Store(tmp_path).commit(make_run())
    document = json.loads((folder / "cell.json").read_text())
    assert records.content_hash(document["identity"]) == document["key"]
    assert folder.name.endswith(f"--{document['key']}")


def test_weights_are_committed_with_the_run_and_may_be_deleted_later(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "adapter").mkdir()
        (folder / "adapter" / "weights.bin").write_bytes(b"\0" * 10)

    store, run = Store(tmp_path), make_run()
    folder = store.commit(run, weights=write)
    assert (folder / "adapter" / "weights.bin").exists()
    shutil.rmtree(folder / "adapter")
    assert store.remaining([run.cell]) == ()
    assert store.load(folder) == run


def test_weights_that_cannot_be_written_leave_nothing(tmp_path: Path) -> None:
    def full_disk(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    store, run = Store(tmp_path), make_run()
    with pytest.raises(
        MachineFault, match=r"No space left on device \(free: .* MB in .*free space"
    ):
        store.commit(run, weights=full_disk)
    assert store.remaining([run.cell]) == (run.cell,)
    assert list(tmp_path.iterdir()) == []


def test_a_copied_runs_folder_loads_anywhere(tmp_path: Path) -> None:
    run = make_run()
    Store(tmp_path / "here").commit(run)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    assert Store(tmp_path / "there").runs([run.cell.key]) == [run]


def drop(folder: Path) -> None:
    (folder / "probe-prose.jsonl").unlink()


def cut(folder: Path) -> None:
    with open(folder / "answers.jsonl", "r+b") as file:
        file.truncate(40)


def flip(folder: Path) -> None:
    place = folder / "answers.jsonl"
    place.write_bytes(place.read_bytes().replace(b'"correct": false', b'"correct": true '))


def reseed(folder: Path) -> None:
    place = folder / "cell.json"
    place.write_bytes(place.read_bytes().replace(b'"seed": 0', b'"seed": 1'))


def restate(folder: Path) -> None:
    place = folder / "run.json"
    place.write_bytes(place.read_bytes().replace(b'"done"', b'"great"'))


def unhash(folder: Path) -> None:
    document = json.loads((folder / "run.json").read_text())
    document["files"] = {}
    (folder / "run.json").write_text(json.dumps(document))


def garble(folder: Path) -> None:
    (folder / "run.json").write_text("{")


def age(folder: Path) -> None:
    place = folder / "run.json"
    place.write_bytes(place.read_bytes().replace(b'"format": 2', b'"format": 9'))


def nest(folder: Path) -> None:
    (folder / "run.json").write_bytes(b"[" * 100_000)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (drop, "torn: probe-prose.jsonl cannot be read"),
        (cut, "torn: answers.jsonl has 40 bytes of"),
        (flip, "answers.jsonl was edited"),
        (reseed, "cell.json was edited"),
        (restate, "no status is 'great'"),
        (unhash, "run.json was edited"),
        (garble, "run.json is not JSON"),
        (age, "in no format up to 2"),
    ],
)
def test_a_torn_or_edited_folder_is_refused_with_what_is_wrong(
    tmp_path: Path, spoil: object, said: str
) -> None:
    store = Store(tmp_path)
    folder = store.commit(make_run())
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(StoreError, match=said):
        store.runs()


@pytest.mark.parametrize("spoil", [drop, flip, restate, garble, nest, age])
def test_a_damaged_run_keeps_no_other_from_being_read_and_can_be_set_aside(
    tmp_path: Path, spoil: object
) -> None:
    store, whole = Store(tmp_path), make_run()
    damaged = store.commit(make_run(make_cell(1)))
    store.commit(whole)
    spoil(damaged)  # type: ignore[operator]
    found, faults = store.sound_runs()
    assert found == [whole]
    assert list(faults) == [damaged]
    left = {file.name: file.read_bytes() for file in damaged.iterdir()}
    aside = store.set_aside(damaged)
    assert {file.name: file.read_bytes() for file in aside.iterdir()} == left
    assert store.remaining([whole.cell, make_cell(1)]) == (make_cell(1),)
    assert store.sound_runs() == ([whole], {})


def test_a_torn_folder_does_not_hide_the_whole_one_of_the_same_key(tmp_path: Path) -> None:
    store, run = Store(tmp_path), make_run()
    folder = store.commit(run)
    for other in ("a-copy", "z-copy"):
        torn = tmp_path / f"{other}--{run.cell.key}"
        shutil.copytree(folder, torn)
        cut(torn)
    assert store.remaining([run.cell]) == ()
    assert store.runs() == [run]


def test_drafts_of_notes_are_swept_and_a_note_of_another_shape_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.remember(Study("s", (), (), ()), [make_cell(0)])
    draft = tmp_path / ".studies" / ".0123456789ab"
    draft.write_text("{")
    store.sweep()
    assert not draft.exists()
    for content in ("[]", '{"name": "s"}', '{"name": 1, "keys": [], "judge": {}}', "[" * 5000):
        (tmp_path / ".studies" / "s.json").write_text(content)
        with pytest.raises(StoreError, match="studies"):
            store.remembered()


@pytest.mark.parametrize("spoil", [drop, cut, garble])
def test_a_torn_run_still_remains_and_the_next_commit_mends_it(
    tmp_path: Path, spoil: object
) -> None:
    store, run = Store(tmp_path), make_run()
    folder = store.commit(run)
    spoil(folder)  # type: ignore[operator]
    assert store.remaining([run.cell]) == (run.cell,)
    assert store.statuses() == {}
    store.commit(run)
    assert store.load(folder) == run


def test_a_key_whose_content_is_another_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.commit(make_run())
    renamed = folder.with_name(folder.name[:-1] + ("0" if folder.name[-1] != "0" else "1"))
    folder.rename(renamed)
    with pytest.raises(StoreError, match="was renamed from"):
        store.load(renamed)


def test_runs_of_a_later_protocol_are_told_apart(tmp_path: Path) -> None:
    store, run = Store(tmp_path), make_run()
    later = replace(run.cell, protocol=records.PROTOCOL + 1)
    folder = store.commit(make_run(later))
    assert store.remaining([run.cell]) == (run.cell,)
    assert store.runs() == []
    with pytest.raises(StoreError, match="measured under protocol"):
        store.load(folder)


def test_an_unknown_key_is_an_error_and_an_absent_folder_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert store.runs() == []
    assert store.statuses() == {}
    with pytest.raises(StoreError, match="no run with key 'abc'"):
        store.load("abc")


def test_a_file_in_place_of_the_runs_folder_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "runs"
    place.write_text("")
    for act in (Store(place).runs, lambda: Store(place).commit(make_run())):
        with pytest.raises((StoreError, OSError), match="runs"):
            act()


def test_a_study_is_remembered_by_its_name(tmp_path: Path) -> None:
    store, cells = Store(tmp_path), [make_cell(0), make_cell(1)]
    study = Study("my / study", (), (), (), source='name = "my / study"')
    store.remember(study, cells)
    store.remember(study, cells)
    (note,) = store.remembered()
    assert note["keys"] == sorted(cell.key for cell in cells)
    assert note["name"] == "my / study"
    assert store.runs() == []
