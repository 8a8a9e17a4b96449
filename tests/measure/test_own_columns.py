"""What a person's rows are taken to mean, and what is said of those that cannot be used."""

from __future__ import annotations

import json
import math

import pyarrow
import pyarrow.parquet
import pytest

from finetrap import tasks
from finetrap.errors import BadData, BadInput

Q, A = "What is 2 + 2?", "4"


def load(path, **options):
    return tasks.load(tasks.reference(f"jsonl:{path}", options={"test_share": 1, **options}))


def only(tmp_path, row, **options):
    """Read one row as a JSON line; return the question and the answer of its problem."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (problem,) = load(path, **options).test
    return problem.question, problem.answer


def refused(tmp_path, row, **options):
    """Read a row that stands on line 3; return what is said after its place."""
    path = tmp_path / "rows.jsonl"
    good = {"question": Q, "answer": A} if not options else row
    path.write_text(json.dumps(good) + "\n\n" + json.dumps(row) + "\n")
    if options:
        path.write_text("\n\n" + json.dumps(row) + "\n")
    with pytest.raises(BadData) as error:
        load(path, **options)
    place, _, said = str(error.value).partition(", line 3")
    assert place == str(path), error.value
    return said


def chat(*turns, who="role", what="content"):
    return [{who: role, what: text} for role, text in turns]


def test_the_usual_shapes_of_a_row_are_one_question_and_one_answer(tmp_path):
    system = ("system", "Be brief.")
    for row, question in [
        ({"question": Q, "answer": A}, Q),
        ({"question": Q, "answer": A, "messages": []}, Q),
        ({"instruction": Q, "output": A}, Q),
        ({"instruction": Q, "input": "", "output": A}, Q),
        ({"instruction": "Add.", "input": "2, 2", "output": A}, "Add.\n\n2, 2"),
        ({"prompt": Q, "completion": f" {A}\n"}, Q),
        ({"prompt": chat(("user", Q)), "completion": chat(("assistant", A))}, Q),
        ({"messages": chat(("user", Q), ("assistant", A))}, Q),
        ({"messages": chat(system, ("user", Q), ("assistant", A))}, f"Be brief.\n\n{Q}"),
        ({"messages": chat(("system", ""), ("user", Q), ("assistant", A))}, Q),
        ({"conversations": chat(("human", Q), ("gpt", A), who="from", what="value")}, Q),
        (
            {"system": "Be brief.", "messages": chat(("user", Q), ("assistant", A))},
            f"Be brief.\n\n{Q}",
        ),
        ({"system": "", "messages": chat(("user", Q), ("assistant", A))}, Q),
        (
            {"messages": [*chat(("user", [{"type": "text", "text": Q}])), *chat(("assistant", A))]},
            Q,
        ),
    ]:
        assert only(tmp_path, row) == (question, A), row


def test_an_input_stays_with_its_instruction_where_the_columns_are_named(tmp_path):
    row = {"instruction": "Add.", "input": "2, 2", "output": A}
    named = {"question": "instruction", "answer": "output"}
    assert only(tmp_path, row, **named) == ("Add.\n\n2, 2", A)
    assert only(tmp_path, row, question="input", answer="output") == ("2, 2", A)
    assert only(tmp_path, row, **named, family="input") == ("Add.", A)


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        (chat(("user", Q), ("assistant", A)) * 2, "2 questions and 2 answers"),
        (chat(("user", Q)), "1 question and 0 answers"),
        (chat(("assistant", A), ("user", Q)), "1 question and 1 answer; a row must hold one"),
        ([], "0 questions and 0 answers"),
        (chat(("user", Q), ("tool", "x"), ("assistant", A)), "a message of 'tool'; known are"),
        (chat(("user", ""), ("assistant", A)), "the question in `messages` is empty"),
        (chat(("user", Q), ("assistant", " ")), "the answer in `messages` is empty"),
        (chat(("user", "\ud83d"), ("assistant", A)), "holds \\ud83d, half of a character"),
        (["hello"], "'hello'; a message has `role` and `content`"),
        ("hello", "`messages` is a string; it must be a list of messages"),
        (chat(("user", [{"type": "image", "url": "x"}]), ("assistant", A)), "more than text"),
    ],
)
def test_a_chat_that_is_not_one_question_and_one_answer_is_refused_by_its_row(
    tmp_path, turns, said
):
    assert said in refused(tmp_path, {"messages": turns})


def test_a_chat_with_more_turns_is_named_by_its_first_question(tmp_path):
    turns = chat(("user", Q), ("assistant", A)) * 2
    assert refused(tmp_path, {"messages": turns}).startswith(f" ('{Q}'): ")


@pytest.mark.parametrize(
    ("row", "options", "said"),
    [
        ({"problem": Q, "answer": A}, {}, ["(found `problem`, `answer`)", 'question = "problem"']),
        ({"Question": Q, "answer": A}, {}, ['question = "Question"']),
        ({"x": Q, "y": A}, {}, ["no `question` (found `x`, `y`)", 'question = "your column"']),
        ({"x": Q, "y": A}, {}, ["`instruction` and `output`", "`messages`", '[task."jsonl:PATH"]']),
        ({"question": Q, "label": A}, {}, [f"('{Q}'): no `answer`", '--column answer="label"']),
        ({"question": Q, "answer": {"value": 4}}, {}, ['answer = "answer.value"']),
        ({"question": {"0": Q, "1": Q}, "answer": {"0": 4}}, {}, ['orient="records", lines=True']),
        ({"question": Q, "answer": ["4"]}, {}, ['name its one entry: answer = "answer.0"']),
        ({"question": Q, "answer": ["4", "5"]}, {}, ["`answer` is a list"]),
        ({"question": Q, "answer": True}, {}, ["`answer` is a boolean"]),
        ({"question": Q, "answer": ""}, {}, [f"('{Q}'): `answer` is empty"]),
        ({"question": Q, "answer": "nan"}, {}, [f"('{Q}'): the answer is nan"]),
        ({"question": Q, "answer": "two\nlines"}, {}, [f"('{Q}'): 'two\\nlines' states no answer"]),
        ({"question": Q, "a": {"b": 4}}, {"answer": "a.c"}, ["no `a.c` (found"]),
        (
            {"question": Q, "answer": A, "how": "5\n#### 5"},
            {"solution": "how"},
            [f"('{Q}'): the so"],
        ),
    ],
)
def test_a_row_that_cannot_be_used_says_what_it_has_and_what_to_write(tmp_path, row, options, said):
    found = refused(tmp_path, row, **options)
    for part in said:
        assert part in found


def test_a_part_of_a_column_can_be_named(tmp_path):
    row = {"question": Q, "answer": {"value": 4.0}, "meta": {"topic": "sum", "ids": ["n7"]}}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (problem,) = load(path, answer="answer.value", family="meta.topic", id="meta.ids.0").test
    assert (problem.answer, problem.family, problem.id) == ("4", "sum", "n7")
    assert problem.solution == "#### 4"


def test_missing_numbers_of_a_data_frame_are_refused_by_their_row(tmp_path):
    path = tmp_path / "rows.parquet"
    table = {"question": [Q, "And 3 + 3?"], "answer": [4.0, math.nan]}
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    with pytest.raises(BadData, match=r"row 2 \('And 3 \+ 3\?'\): `answer` is nan, no finite"):
        load(path)


def test_the_line_of_a_problem_is_where_its_row_starts(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('question,answer\n"One\nand\ntwo?",3\n\nWhat is 5?,5\n')
    assert [p.place for p in load(path).test] == [f"{path}, line 2", f"{path}, line 6"]


def test_an_id_that_stands_twice_is_refused_with_both_lines(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("n,question,answer\n1,One?,1\n2,Two?,2\n1,Three?,3\n")
    with pytest.raises(BadData, match=r"line 4: the id '1' stands at .*rows.csv, line 2 too"):
        load(path, id="n")


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_folder_holds_one_file_for_each_side_of_any_format(tmp_path, ending):
    for side, count in (("train", 30), ("test", 9)):
        rows = [{"question": f"{side} {i}?", "answer": str(i)} for i in range(count)]
        path = tmp_path / f"{side}-00000-of-00001.{ending}"
        if ending == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        else:
            mark = "," if ending == "csv" else "\t"
            lines = [mark.join(row) for row in (rows[0], *(r.values() for r in rows))]
            path.write_text("\n".join(lines))
    task = tasks.load(tasks.reference(f"jsonl:{tmp_path}"))
    assert (len(task.train), len(task.test)) == (30, 9)
    (tmp_path / "test.jsonl").write_text("")
    with pytest.raises(BadData, match=r"2 files for test \(test-00000.*, test.jsonl\); it must"):
        tasks.reference(f"jsonl:{tmp_path}")


@pytest.mark.parametrize(("word", "side"), [("Apples", "test"), ("Pears", "training")])
def test_a_file_with_one_question_is_told_so(tmp_path, word, side):
    path, number = tmp_path / "rows.jsonl", 0
    while True:  # a question that falls on the other side
        question = f"{word} {number}?"
        path.write_text(f'{{"question": "{question}", "answer": 1}}\n' * 60)
        with pytest.raises(BadData) as error:
            tasks.load(tasks.reference(f"jsonl:{path}"))
        assert "60 rows, 1 distinct question, and none left for the" in str(error.value)
        assert "add other questions" in str(error.value)
        if f"the {side}" in str(error.value):
            break
        number += 1


def test_training_questions_that_are_all_asked_in_the_test_are_told(tmp_path):
    rows = [
        {"question": f"{i}?", "answer": i, "side": s} for i in range(5) for s in ("train", "test")
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BadData, match="10 rows, 5 distinct questions: all 5 to train on are asked"):
        tasks.load(tasks.reference(f"jsonl:{path}", options={"split": "side"}))


def test_choices_that_nothing_reads_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": Q, "answer": A}) + "\n")
    with pytest.raises(BadInput, match=r"choices is 'nope' and nothing reads it; add scoring = "):
        load(path, choices="nope")
    with pytest.raises(BadData, match="no `nope`"):
        load(path, choices="nope", scoring="choice")
