"""Ways of scoring that a task names: each finds its own gold right, and says what it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetrap import tasks
from finetrap.errors import BadData, BadInput, MissingPackage
from finetrap.records import Answer
from finetrap.text import expressions, side_process
from finetrap.text.own_scorer import OwnScorer
from finetrap.text.scorers import options_of, scored, scored_again
from tests.builders.studies import write_rows


@pytest.mark.parametrize(
    ("how", "gold", "right", "wrong"),
    [
        ("number", "about 6 apples", "It is 6.", "It is 7."),
        ("text", '["New York", "NYC"]', "#### nyc", "#### Boston"),
        ("text", "Paris", "The answer is Paris.", "The answer is Rome."),
        ("text", "6", "#### 6", "#### six"),
        ("json", '{"a": 1, "b": [true]}', 'So: {"b": [true], "a": 1.0}', '{"a": 1}'),
        ("json", '{"a": null}', '{"a": 2}\n{"a": null}', "{'a': None}"),
        ("json", "[1, 2]", "[1, 2]", "[2, 1]"),
        ("json-fields", '{"a": 1, "b": 2}', '{"b": 2, "a": 1}', '{"a": 1, "b": 3}'),
        ("letter:ABC", "B", "The answer is (B).", "#### C"),
    ],
)
def test_a_named_scorer_tells_right_from_wrong(how, gold, right, wrong) -> None:
    assert scored(right, gold, how).correct
    assert not scored(wrong, gold, how).correct
    assert not scored("", gold, how).correct


ANN = '{"name": "Ann", "age": 30}'
BOB = '{"name": "Bob", "age": 4}'


@pytest.mark.parametrize(
    "more",
    [
        f"<|im_end|>\n<|im_start|>user\nBob is 4.<|im_end|>\n<|im_start|>assistant\n{BOB}",
        f"\n\nQuestion: Bob is 4.\nAnswer: {BOB}",
        f"</s>{BOB}",
        f"\n### Instruction:\nBob is 4.\n### Response:\n{BOB}",
        "\n\nSources: [1], [2]",
        '\n\nThe keys are ["name", "age"].',
    ],
)
@pytest.mark.parametrize("how", ["json", "json-fields"])
def test_what_follows_the_answer_is_not_the_json_that_is_graded(how, more) -> None:
    for before in ("", "<think>Hm</think>", f"{BOB}\n", "[1]\n"):
        assert scored(before + ANN + more, ANN, how).correct
        assert not scored(before + ANN + more, BOB, how).correct


@pytest.mark.parametrize(
    "completion",
    [
        '{"text": "It rains. Question: why?</s>\\n"}',
        '{"a": {"b": 1}, "text": "It rains. Question: why?"}',
        '{\n  "Question": 1,\n  "Problem": 2\n}',
        '[{"a": 1}, {"text": "It rains. Question: why?"}]',
    ],
)
def test_a_json_value_is_never_cut(completion) -> None:
    assert scored(completion, completion.replace("</s>", ""), "json").strict
    assert scored(completion, completion.replace("</s>", ""), "json").correct


def test_json_that_stands_only_after_a_turn_is_graded() -> None:
    assert scored(f"The text is short.\n\nUser: Ann is 30.\nAssistant: {ANN}", ANN, "json").correct


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ('{"ok": 1}', '{"ok": true}'),
        ('{"ok": 0}', '{"ok": false}'),
        ('{"ok": true}', '{"ok": 1}'),
        ('{"ok": [{"a": 0.0}]}', '{"ok": [{"a": false}]}'),
        ('{"ok": "1"}', '{"ok": 1}'),
        ('{"ok": null}', '{"ok": false}'),
        ('{"ok": [1]}', '{"ok": {"1": 1}}'),
        ('{"ok": [1]}', '{"ok": [1, 1]}'),
    ],
)
def test_true_is_no_number_and_a_number_no_text(completion, gold) -> None:
    for how in ("json", "json-fields"):
        found = scored(completion, gold, how)
        assert (found.correct, found.score, found.extracted) == (False, None, completion)
        assert scored(gold, gold, how).correct


def test_the_json_that_was_found_is_shown_in_one_line_with_its_numbers() -> None:
    found = scored('{"a": 1.50,\n "b": ["1", -2e5, 12345678901234567890.1]}', ANN, "json")
    assert found.extracted == '{"a": 1.50, "b": ["1", -2E+5, 12345678901234567890.1]}'


ROOT = r"\frac{\sqrt{3}}{3}"


@pytest.mark.parametrize(
    ("gold", "completion", "right"),
    [
        (ROOT, r"So it is $\boxed{\frac{1}{\sqrt{3}}}$.", True),
        (ROOT, r"So it is $\boxed{\frac{1}{\sqrt{2}}}$.", False),
        ("2x+1", "#### 1+2x", True),
        ("2x+1", "$2x+1$ is the line, and so\n#### 3x", False),
        ("x^2", "", False),
        ("x^2", "no idea", False),
    ],
)
def test_expressions_are_equal_where_mathematics_says_so(gold, completion, right) -> None:
    pytest.importorskip("math_verify", reason="needs finetrap[math]")
    assert scored(completion, gold, "expression").correct is right


@pytest.mark.parametrize(
    ("gold", "read"), [("x^2", "x**2"), ("2x+", "2"), ("@@@", None), ("\\frac{1}{", None)]
)
def test_what_math_verify_reads_of_a_right_answer_can_be_asked(gold, read) -> None:
    pytest.importorskip("math_verify", reason="needs finetrap[math]")
    assert expressions.read_as(gold) == read


def test_an_expression_that_is_never_calculated_is_wrong_after_its_time() -> None:
    pytest.importorskip("math_verify", reason="needs finetrap[math]")
    assert expressions.equals("2x+1", ["$9^{9^{9}}$"], seconds=2.0) == (None, False)
    assert expressions.equals("2x+1", ["$1+2x$"], seconds=2.0)[1]


@pytest.mark.parametrize(
    ("completion", "stopped", "ended"),
    [
        ("#### 3.6\n#### 3.6\n#### 3", "3.6", "3"),
        ("so 91 #### 91\n#### 9", "91", "9"),
        ("#### 12,320\n#### 12,", "12320", "12"),
        ("He has 7.\n#### 12", "12", "12"),  # nothing whole is marked before
        ("#### 5 apples\n#### 6 apples", "6", "6"),  # it ends after its number
    ],
)
def test_a_number_at_which_a_completion_was_stopped_may_not_be_whole(completion, stopped, ended):
    assert scored(completion, "1", ended=False).extracted == stopped
    assert scored(completion, "1", "number", ended=False).extracted == stopped
    assert scored(completion, "1").extracted == ended
    for stop, found in (("loop", stopped), ("cap", stopped), ("eos", ended)):
        again = scored_again(
            Answer("a", "1", completion, None, "none", False, False, 9, stop, None, None)
        )
        assert again
        assert again.extracted == found


def test_expressions_without_math_verify_say_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(expressions, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'finetrap\[math\]'"):
        scored("$1+2x$", "2x+1", "expression")


def task(folder: Path, *rows: object, **options: object) -> tasks.Task:
    file = write_rows(folder / "rows.jsonl", *rows)
    return tasks.load(tasks.reference("jsonl", file, {"test_share": 1, **options}))


def test_text_golds_with_aliases_are_read_from_lists(tmp_path: Path) -> None:
    found = task(tmp_path, {"question": "Where?", "answer": ["NYC", "New York"]}, scoring="text")
    (problem,) = found.test
    assert (problem.answer, problem.solution) == ('["NYC", "New York"]', "#### NYC")


def test_objects_are_trained_on_as_json(tmp_path: Path) -> None:
    found = task(tmp_path, {"question": "Who?", "answer": {"name": "Ann"}}, scoring="json")
    assert found.test[0].solution == '{"name": "Ann"}'


@pytest.mark.parametrize("named", [{}, {"choices": "opts"}])
def test_choices_are_a_rows_own_or_the_labels_of_the_file(tmp_path: Path, named) -> None:
    rows = [
        {"question": "Good?", "answer": "yes", "opts": ["yes", "no", "maybe"]},
        {"question": "Bad?", "answer": "no", "opts": ["yes", "no"]},
    ]
    found = task(tmp_path, *rows, scoring="choice", **named)
    own = [("yes", "no", "maybe"), ("yes", "no")] if named else [("no", "yes"), ("no", "yes")]
    assert found.kind == "choice"
    assert [p.choices for p in found.test] == own
    assert [p.choices[p.label] for p in found.test] == ["yes", "no"]


def test_an_answer_may_be_the_letter_of_a_choice(tmp_path: Path) -> None:
    row = {"question": "Sky?", "answer": "B", "options": ["red", "blue"]}
    assert task(tmp_path, row, scoring="choice").test[0].answer == "blue"


def test_a_letter_is_written_after_the_options_that_the_question_shows(tmp_path: Path) -> None:
    row = {"question": "Sky?", "answer": "blue", "options": ["red", "blue"], "why": "Air."}
    (problem,) = task(tmp_path, row, scoring="letter", solution="why").test
    assert problem.question == "Sky?\nA. red\nB. blue"
    assert (problem.solution, problem.answer, problem.choices) == ("Air.\n#### B", "B", ())
    assert scored(problem.solution, problem.answer, problem.scoring).correct
    assert options_of(problem.scoring) == 2


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ('{"a": 1, "b": 3}', 1 / 2),
        ('{"a": 1}', 1 / 2),
        ('{"a": 1, "b": 2, "c": 3, "d": 4}', 2 / 4),
        ('{"a": 1, "b": 2}', None),
        ('{"c": 1}', None),
        ("[1, 2]", None),
    ],
)
def test_equal_fields_count_beside_those_that_lack_or_are_too_many(completion, score) -> None:
    assert scored(completion, '{"a": 1, "b": 2}', "json-fields").score == score


@pytest.mark.parametrize(
    ("row", "how", "told"),
    [
        ({"question": "a", "answer": [1]}, "json-fields", "a JSON object with fields"),
        ({"question": "a", "answer": "red"}, "number", "it must be one number"),
        ({"question": "a", "answer": "{"}, "json", "it must be JSON"),
        ({"question": "a", "answer": "red", "options": ["x", "y"]}, "choice", "none of 2 choices"),
        ({"question": "a", "answer": "red", "options": ["x", "y"]}, "letter", "none of 2 choices"),
        ({"question": "a", "answer": "x", "options": 3}, "choice", "a list of texts"),
    ],
)
def test_a_gold_that_cannot_be_scored_so_is_named(tmp_path: Path, row, how, told) -> None:
    with pytest.raises(BadData, match=told):
        task(tmp_path, row, scoring=how)


@pytest.mark.parametrize(
    ("how", "told"),
    [("nubmer", "did you mean 'number'"), ("python:x", "python:FILE.py:FUNCTION")],
)
def test_an_unknown_scoring_is_refused_with_what_is_allowed(tmp_path: Path, how, told) -> None:
    with pytest.raises(BadInput, match=told):
        task(tmp_path, {"question": "a", "answer": "1"}, scoring=how)


OWN = """
import time
def score(completion, row):
    print("told to nobody")
    if completion == "slow": time.sleep(9)
    if completion == "torn": raise ValueError("oh")
    if completion == "half": return 0.5
    if completion == "much": return 1.5
    if completion == "none": return float("nan")
    return row["answer"] in completion
"""


def test_an_own_scorer_runs_in_its_own_process_and_its_file_is_in_the_revision(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    row = {"question": "Where?", "answer": "Rome"}
    file = write_rows(tmp_path / "rows.jsonl", row)
    options = {"scoring": "python:own.py:score", "test_share": 1}
    before = tasks.reference("jsonl", file, options)
    (problem,) = tasks.load(before).test
    assert json.loads(problem.answer) == row
    assert scored("In Rome.", problem.answer, problem.scoring).correct
    assert not scored("In Paris.", problem.answer, problem.scoring).correct
    half = scored("half", problem.answer, problem.scoring)
    assert (half.correct, half.score) == (False, 0.5)
    (tmp_path / "own.py").write_text(OWN + "\n")
    assert tasks.reference("jsonl", file, options).revision != before.revision


@pytest.mark.parametrize(
    ("completion", "told"),
    [
        ("slow", "took longer"),
        ("torn", "ValueError: oh"),
        ("much", "returned 1.5"),
        ("none", "returned nan"),
    ],
)
def test_an_own_scorer_that_fails_is_named_with_its_completion(tmp_path, completion, told) -> None:
    (tmp_path / "own.py").write_text(OWN)
    scorer = OwnScorer(str(tmp_path / "own.py"), "score", seconds=1.5)
    with pytest.raises(BadInput, match=told):
        scorer.score(completion, "{}")


def test_a_package_that_cannot_be_used_makes_no_answer_wrong(monkeypatch):
    pytest.importorskip("math_verify", reason="math-verify is not installed")
    broken = side_process.SideProcess("raise SystemExit(1)", (), 1.0)
    monkeypatch.setattr(expressions, "_opened", lambda seconds: broken)
    with pytest.raises(BadInput, match="math-verify cannot be used"):
        expressions.equals("1", ["$1$"])
