"""A person's own data: JSON lines as a task, and files that cannot be used."""

from __future__ import annotations

import pytest

from finetrap import tasks
from finetrap.errors import BadData, BadInput, MissingPackage
from finetrap.records import Problem
from finetrap.text import expressions
from finetrap.text.scoring import grade
from tests.builders.studies import load_task, write_rows

# --- a person's own data ----------------------------------------------------------------------


def rows(count=40, **columns):
    return [{"question": f"What is {i}?", "answer": i, **columns} for i in range(count)]


def test_plain_answers_become_the_asked_format_and_a_fifth_is_held_out(tmp_path):
    task = load_task(f"jsonl:{write_rows(tmp_path / 'mine.jsonl', *rows(400))}")
    assert task.name == "mine.jsonl"
    assert len(task.train) + len(task.test) == 400
    assert 50 < len(task.test) < 110
    assert task.train[0].solution == f"#### {task.train[0].answer}"


def test_the_split_of_a_row_does_not_depend_on_the_other_rows(tmp_path):
    before = load_task(f"jsonl:{write_rows(tmp_path / 'a.jsonl', *rows(100))}")
    after = load_task(f"jsonl:{write_rows(tmp_path / 'a.jsonl', *reversed(rows(150)))}")
    assert {p.id for p in before.test} <= {p.id for p in after.test}
    assert {p.id for p in before.train} <= {p.id for p in after.train}


def test_columns_can_be_named(tmp_path):
    path = write_rows(
        tmp_path / "a.jsonl",
        {"q": "2+2?", "a": "4", "how": "Two and two.", "n": 7, "kind": "sum", "side": "test"},
        {
            "q": "2+3?",
            "a": "5",
            "how": "Two, three.\n#### 5",
            "n": 8,
            "kind": "sum",
            "side": "train",
        },
    )
    task = load_task(
        f"jsonl:{path}",
        question="q",
        answer="a",
        solution="how",
        id="n",
        family="kind",
        split="side",
    )
    assert task.test == (Problem("7", "2+2?", "Two and two.\n#### 4", "4", "sum"),)
    assert task.train == (Problem("8", "2+3?", "Two, three.\n#### 5", "5", "sum"),)


def test_a_test_file_or_a_folder_with_both_files_can_be_given(tmp_path):
    train, test = rows(10), [{"question": "What is 99?", "answer": "ninety nine"}, rows(1)[0]]
    write_rows(tmp_path / "train.jsonl", *train)
    write_rows(tmp_path / "test.jsonl", *test)
    for name, options in (("train.jsonl", {"test": "test.jsonl"}), ("", {})):
        with pytest.raises(BadData, match=r"1 of 10 training rows .*line 1"):
            load_task(f"jsonl:{tmp_path / name}", **options)
        task = load_task(f"jsonl:{tmp_path / name}", duplicates="drop", **options)
        assert (len(task.train), len(task.test), task.left_out) == (9, 2, 1)
        assert grade("#### Ninety nine.", task.test[0].answer).correct


def test_rows_of_a_group_stay_on_one_side_and_are_its_family(tmp_path):
    told = [{"question": f"What is {i}?", "answer": i, "of": f"text {i // 8}"} for i in range(160)]
    task = load_task(f"jsonl:{write_rows(tmp_path / 'a.jsonl', *told)}", group="of")
    kept, dev = tasks.held_out(task, 20)
    sides = [{p.family for p in side} for side in (kept, dev, task.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 20
    assert all(sides)
    assert len(dev) <= 20


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "What?", "answer": "6"}, None),
        ({"instruction": "Add.", "input": "1 + 1", "output": "2"}, "instruction + input → output"),
        ({"prompt": "What?", "completion": "6"}, "prompt → completion"),
        (
            {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "6"}]},
            "ShareGPT rows",
        ),
    ],
)
def test_rows_of_a_known_shape_are_said_to_be_read_as_it(tmp_path, row, said):
    task = load_task(f"jsonl:{write_rows(tmp_path / 'a.jsonl', row)}", test_share=1)
    lines = tasks.held_data({task.name: task})
    assert [said in line for line in lines if "read as" in line] == [True] * bool(said)


def test_near_duplicates_of_the_test_are_named_before_anything_runs(tmp_path):
    long = "Ann buys {} red apples and then 7 green ones at the market in the old town of Ulm today"
    write_rows(tmp_path / "a.jsonl", {"question": long.format(6) + ", why?", "answer": 1})
    write_rows(tmp_path / "b.jsonl", {"question": long.format(6), "answer": 1})
    task = load_task(f"jsonl:{tmp_path / 'a.jsonl'}", test="b.jsonl")
    assert any("1 nearly" in line for line in tasks.held_data({task.name: task}))


def test_repeated_questions_get_ids_of_their_own(tmp_path):
    task = load_task(f"jsonl:{write_rows(tmp_path / 'a.jsonl', *rows(40), *rows(40))}")
    ids = [p.id for p in (*task.train, *task.test)]
    assert len(ids) == len(set(ids)) == 80


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "not JSON"),
        ([1], "a list"),
        ({"question": "What?"}, "no `answer` (found `question`)"),
        ({"question": "What?", "answer": None}, "`answer` is null"),
        ({"question": "What?", "answer": ""}, "`answer` is empty"),
        ({"question": "", "answer": "1"}, "`question` is empty"),
        ({"question": "What?", "answer": "two\nlines"}, "states no answer"),
        ({"question": "What?", "answer": "steps ####"}, "states no answer"),
        ({"question": "What?", "answer": True}, "`answer` is a boolean"),
    ],
)
def test_a_row_without_a_usable_answer_is_refused_by_its_line(tmp_path, row, said):
    path = write_rows(tmp_path / "a.jsonl", *rows(3), "", row)
    with pytest.raises(BadData) as error:
        load_task(f"jsonl:{path}")
    assert said in str(error.value)
    assert f"{path}, line 5" in str(error.value)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ([], {}, "no rows"),
        (rows(1), {}, "1 row, 1 distinct question, and none left for the t"),
        (rows(9, how="So 77.\n#### 77"), {"solution": "how"}, "ends in '77', the answer is '0'"),
        (rows(9, n="same"), {"id": "n"}, "line 2: the id 'same' stands at"),
        (rows(9, side="dev"), {"split": "side"}, "'dev'; it must be train or test"),
        (rows(9), {"test": "missing.jsonl"}, "missing.jsonl: No such file"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, content, options, said):
    path = write_rows(tmp_path / "a.jsonl", *content)
    with pytest.raises(BadData) as error:
        load_task(f"jsonl:{path}", **options)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"qestion": "q"}, "did you mean 'question'"),
        ({"question": 3}, "must be a string"),
        ({"test_share": -0.1}, "from 0 to 1"),
        ({"test_share": 0.5, "split": "s"}, "only one of"),
        ({"group": "g", "split": "s"}, "cannot stand beside `split`"),
        ({"duplicates": "keep"}, 'it can be "drop"'),
    ],
)
def test_a_wrong_option_is_refused(tmp_path, options, said):
    path = write_rows(tmp_path / "a.jsonl", *rows(9))
    with pytest.raises(BadInput, match=said):
        tasks.reference(f"jsonl:{path}", options=options)


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("gsm8k", "train.jsonl", '{"question": "1?", "answer": "18"}', "must be a worked solution"),
        ("svamp", "SVAMP.json", "{}", "no `Body`"),
        (
            "arc_easy",
            "easy/test.json",
            '[{"instruction": "What?", "answer": "answer1"}]',
            "no question",
        ),
        ("arc_easy", "easy/test.json", '[{"question": "What?", "answerKey": "A"}]', "no `choices`"),
        ("hellaswag", "hellaswag_val_full.txt", "a\n7\nb\nc\nd\ne", "label '7'"),
        ("hellaswag", "hellaswag_val_full.txt", "a\n1\nb", "6 lines"),
        ("hellaswag", "hellaswag_val_full.txt.bz2", "BZh9", "cannot be unpacked"),
        ("piqa", "valid-labels.lst", "0\n1\n", "2 labels for 1 rows"),
    ],
)
def test_a_broken_local_file_is_named_with_what_is_wrong(tmp_path, name, file, content, said):
    write_rows(tmp_path / "test.jsonl", {"question": "2?", "answer": "It is 2.\n#### 2"})
    write_rows(tmp_path / "valid.jsonl", {"goal": "g", "sol1": "a", "sol2": "b"})
    write_rows(tmp_path / file, content)
    with pytest.raises(BadData, match=said) as error:
        load_task(name, tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    "name", ["gsm8k", "svamp", "arc_easy", "hellaswag", "piqa", "prose", "orca_math"]
)
def test_a_source_that_is_not_there_says_what_it_should_hold(tmp_path, name):
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadData, match=str(place)) as error:
            tasks.reference(name, place)
        assert f'[data] {name} = "path"' in str(error.value)


def test_formulas_that_math_verify_does_not_read_as_written_are_named(tmp_path):
    pytest.importorskip("math_verify", reason="needs finetrap[math]")
    golds = ["2x+", "@@@", "x^2", "3"] * 10
    given = [{"question": f"What is q{i}?", "answer": gold} for i, gold in enumerate(golds)]
    task = load_task(f"jsonl:{write_rows(tmp_path / 'rows.jsonl', *given)}", scoring="expression")
    said = "\n".join(tasks.held_data({"jsonl:rows.jsonl": task}))
    assert "the right answer '2x+' is read by math-verify as 2" in said
    assert "the right answer '@@@' cannot be read by math-verify: no run starts" in said
    assert "x^2' " not in said


def test_a_study_of_formulas_is_refused_where_math_verify_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(expressions, "find_spec", lambda name: None)
    given = [{"question": f"What is q{i}?", "answer": "x^2"} for i in range(9)]
    with pytest.raises(MissingPackage, match="needs math-verify"):
        load_task(f"jsonl:{write_rows(tmp_path / 'rows.jsonl', *given)}", scoring="expression")
