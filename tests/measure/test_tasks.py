"""The registry, the sources, the splits, and what each task reads out of its rows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from finetrap import tasks
from finetrap.errors import BadData, BadInput
from finetrap.records import Problem
from finetrap.tasks import _sources
from finetrap.tasks._splits import lowest, wording
from finetrap.tasks.orca_math import final_number
from finetrap.tasks.prose import pieces
from tests.builders.studies import load_task, write_rows

# --- the registry -----------------------------------------------------------------------------


def test_a_task_is_added_by_one_file(tmp_path, monkeypatch):
    (tmp_path / "doubling.py").write_text(
        "from finetrap.records import Problem\n"
        "from finetrap.tasks import Task\n"
        "NAMES = {'doubling': 'math'}\n"
        "def revision(name, source, options): return 'doubling-1'\n"
        "def load(ref):\n"
        "    return Task(ref.name, 'math', (), (Problem('4', '2 * 4?', '#### 8', '8'),))\n"
    )
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    tasks._modules.cache_clear()
    try:
        assert tasks.names()["doubling"] == "math"
        assert load_task("doubling").test[0].answer == "8"
    finally:
        monkeypatch.undo()
        tasks._modules.cache_clear()
        sys.modules.pop("finetrap.tasks.doubling", None)


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(BadInput, match=r"did you mean 'gsm8k'\?; `finetrap list` shows all"):
        tasks.reference("gsm8")
    with pytest.raises(BadInput, match="only jsonl and hf take one"):
        tasks.reference("gsm8k:train.jsonl")
    with pytest.raises(BadInput, match="write jsonl:PATH"):
        tasks.reference("jsonl")


def test_listing_the_tasks_imports_nothing_heavy():
    code = (
        "import sys; from finetrap import tasks; tasks.names();"
        "print(*{'torch', 'numpy', 'datasets', 'pyarrow', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_data_that_changed_since_the_study_was_read_is_refused(tmp_path):
    path = write_rows(
        tmp_path / "a.jsonl", *({"question": f"{i}?", "answer": i} for i in range(30))
    )
    ref = tasks.reference(f"jsonl:{path}")
    write_rows(path, *({"question": f"{i}?", "answer": i + 1} for i in range(30)))
    with pytest.raises(BadData, match="the study asks for sha256:"):
        tasks.load(ref)


# --- samples ----------------------------------------------------------------------------------

PROBLEMS = [Problem(str(i), f"{i}?", f"#### {i}", str(i)) for i in range(500)]


def test_a_sample_is_random_seeded_and_never_the_first_ones():
    chosen = tasks.sample(PROBLEMS, 50, purpose="test", seed=0)
    assert chosen == tasks.sample(PROBLEMS, 50, purpose="test", seed=0)
    assert chosen != tasks.sample(PROBLEMS, 50, purpose="test", seed=1)
    assert chosen != tasks.sample(PROBLEMS, 50, purpose="train", seed=0)
    assert list(chosen) == sorted(chosen, key=PROBLEMS.index)
    assert 150 < sum(PROBLEMS.index(p) for p in chosen) / 50 < 350


def test_a_larger_sample_holds_the_smaller_one():
    samples = [set(tasks.sample(PROBLEMS, n, purpose="test", seed=3)) for n in (10, 100, 499)]
    assert samples[0] < samples[1] < samples[2]


def test_no_count_or_a_large_one_takes_all():
    assert tasks.sample(PROBLEMS, None, purpose="test", seed=0) == tuple(PROBLEMS)
    assert tasks.sample(PROBLEMS, 501, purpose="test", seed=0) == tuple(PROBLEMS)


def test_a_draw_by_content_keeps_repeated_questions_on_one_side():
    twice = [p for q in PROBLEMS for p in (q, replace(q, id=q.id + "'", question=f" {q.question}"))]
    drawn = lowest("test", twice, 101)
    assert len(drawn) == 102
    assert {wording(p.question) for p in drawn} == {
        wording(p.question) for p in lowest("test", PROBLEMS, 51)
    }
    assert lowest("test", twice[::-1], 101) == drawn[::-1]


# --- the hub ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["gsm8k", "svamp", "orca_math", "arc_easy", "hellaswag", "piqa", "prose"]
)
def test_without_network_or_data_both_ways_to_it_are_named(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    _sources._hub_answers.cache_clear()
    ref = tasks.reference(name)
    assert len(ref.revision) == 40, "a commit, known without a network"
    with pytest.raises(BadData, match="connect this machine to the hub") as error:
        tasks.load(ref)
    assert f'[data] {name} = "path"' in str(error.value)
    _sources._hub_answers.cache_clear()


class Fetched(list):
    """Rows as `datasets` returns them, with the file they are cached in."""

    def __init__(self, rows, revision):
        super().__init__(rows)
        self.cache_files = [{"filename": f"/cache/repo/{revision}/part.arrow"}]


def fake_hub(monkeypatch, rows, revision=None):
    """Let `datasets` answer with rows, at the revision asked for or another one."""
    asked = []

    def load_dataset(repository, config, split, revision, trust_remote_code):
        assert trust_remote_code is False
        asked.append((repository, config, split, revision))
        return Fetched(rows[split], other or revision)

    other = revision
    stub = SimpleNamespace(
        load_dataset=load_dataset,
        config=SimpleNamespace(HF_HUB_OFFLINE=False),
        exceptions=SimpleNamespace(DatasetsError=OSError),
    )
    monkeypatch.setitem(sys.modules, "datasets", stub)
    monkeypatch.setattr(_sources, "_hub_answers", lambda: True)
    return asked


CHOICES = {"text": ["wood", "iron"], "label": ["1", "2"]}
HUB_ROWS = {
    "gsm8k": ({"train": [{"question": "2+1?", "answer": "<<2+1=3>>3\n#### 3"}],
               "test": [{"question": "2+2?", "answer": "<<2+2=4>>4\n#### 4"}]}, "4\n#### 4"),
    "svamp": ({s: [{"ID": s, "Body": "Ann had 8 figs.", "Question": f"How many, {s}?",
                    "Equation": "( 8.0 - 3.0 )", "Answer": "5.0", "Type": "Subtraction"}]
               for s in ("train", "test")}, "8 - 3 = 5\n#### 5"),
    "arc_easy": ({"test": [{"id": "x", "question": "What floats?", "choices": CHOICES,
                            "answerKey": "1"}]}, "wood"),
    "hellaswag": ({"validation": [{"activity_label": "Baking", "ctx": "A man bakes. he",
                                   "endings": ["eats [title] Then", "flies."], "label": "0"}]},
                  "eats. Then"),
    "piqa": ({"validation": [{"goal": "Open it", "sol1": "Pull.", "sol2": "Push.", "label": 1}]},
             "Push."),
    "prose": ({"test": [{"text": " = Fig = \n"}, {"text": ""}, {"text": " The fig is sweet . \n"}]},
              "= Fig = \n The fig is sweet ."),
}  # fmt: skip


@pytest.mark.parametrize("name", HUB_ROWS)
def test_rows_of_the_hub_become_problems_at_a_pinned_commit(name, monkeypatch):
    rows, solution = HUB_ROWS[name]
    asked = fake_hub(monkeypatch, rows)
    task = load_task(name)
    assert task.test[0].solution == solution
    assert {split for _, _, split, _ in asked} == set(rows)
    assert {revision for *_, revision in asked} == {tasks.reference(name).revision}


def test_a_cached_copy_of_another_revision_is_refused(monkeypatch):
    fake_hub(monkeypatch, HUB_ROWS["gsm8k"][0], revision="0" * 40)
    with pytest.raises(BadData, match="another revision"):
        load_task("gsm8k")


# --- GSM8K, SVAMP, Orca-Math ------------------------------------------------------------------


def test_gsm8k_solutions_lose_annotations_and_keep_the_asked_line(shared_data):
    task = load_task("gsm8k", shared_data / "gsm8k")
    assert (len(task.train), len(task.test), task.left_out) == (7473, 1319, 0)
    assert not any("<<" in p.solution for p in (*task.train, *task.test))
    assert task.test[0].solution.endswith(
        "She makes 9 * 2 = $18 every day at the farmer’s market.\n#### 18"
    )


def test_a_training_row_that_the_test_asks_again_is_left_out(tmp_path):
    rows = [{"question": f"What is {i}?", "answer": f"It is {i}.\n#### {i}"} for i in range(9)]
    write_rows(tmp_path / "train.jsonl", *rows)
    write_rows(tmp_path / "test.jsonl", {**rows[3], "question": "what  is 3?"})
    task = load_task("gsm8k", tmp_path)
    assert (len(task.train), task.left_out) == (8, 1)


def test_svamp_solutions_are_equations_with_their_results(shared_data):
    task = load_task("svamp", shared_data / "svamp")
    assert (len(task.train), len(task.test)) == (700, 300)
    problems = {p.id: p for p in (*task.train, *task.test)}
    assert problems["chal-101"].solution == "(3 + 5) + 2 = 10\n#### 10"
    assert problems["chal-1"].question.endswith(
        "on each pack. How much do you have to pay to buy each pack?"
    )
    wrong = [p.id for p in problems.values() if eval(p.solution.split("=")[0]) != float(p.answer)]
    assert wrong == ["chal-680"], "published with an answer that contradicts its equation"
    assert {p.family for p in problems.values()} == {
        "Addition", "Subtraction", "Multiplication", "Common-Division"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("He overtook one.\n\nTherefore, Jungkook is in 5th place.", "5"),
        ("So there are 14 * 2 = 28 legs.", "28"),
        ("Therefore, she has $1,200.", "1200"),
        ("Thus x = -12.", "-12"),
        ("The part is \\( \\frac{3}{4} \\).", "3/4"),
        ("Hence\n\n\\[ \\boxed{42} \\]", "42"),
        ("It is 50 cm^2.", "50"),
        ("That makes 0.75 of it.", "0.75"),
        ("**Answer: 15**", "15"),
        ("A = 3 and B = 5.", None),
        ("They are 3 and 5.", None),
        ("Each of the 3 children gets 5.", None),
        ("The number is 2x + 3.", None),
        ("They meet at 3:30.", None),
        ("The length is 2\\sqrt{3}.", None),
        ("It is 2^10.", "1024"),
        ("The total is 28. That was easy!", None),
        ("There is no solution.", None),
        ("**", None),
    ],
)
def test_one_number_is_read_from_the_end_of_prose_or_none(solution, answer):
    assert final_number(solution) == answer


def test_orca_math_counts_the_rows_without_one_answer_and_splits_by_content(tmp_path):
    rows = [{"question": f"Sum {i}?", "answer": f"So it is {i}."} for i in range(2000)]
    odd = [{"question": f"Odd {i}?", "answer": "They are 1 and 2."} for i in range(7)]
    path = write_rows(tmp_path / "train.jsonl", *rows, *odd)
    task = load_task("orca_math", path, train_problems=300)
    assert (len(task.train), task.left_out) == (300, 7)
    assert 5 < len(task.test) < 45
    assert task.train[0].solution.endswith(f".\n#### {task.train[0].answer}")
    write_rows(path, *odd, *reversed(rows))
    again = load_task("orca_math", path, train_problems=300)
    assert {p.id for p in again.test} == {p.id for p in task.test}
    assert {p.id for p in again.train} == {p.id for p in task.train}


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "many"])
def test_a_number_of_training_problems_that_is_none_is_refused(count):
    with pytest.raises(BadInput, match="train_problems"):
        tasks.reference("orca_math", options={"train_problems": count})


def test_parquet_files_are_read(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    rows = [{"question": f"Sum {i}?", "answer": f"So it is {i}."} for i in range(900)]
    path = tmp_path / "train-00000-of-00001.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    task = load_task("orca_math", tmp_path)
    assert len(task.train) + len(task.test) == 900
    path.write_text("PAR1 and no more")
    with pytest.raises(BadData, match="not Parquet"):
        load_task("orca_math", tmp_path)


# --- probes -----------------------------------------------------------------------------------


def test_prose_is_cut_at_paragraphs_and_nothing_is_lost(shared_data):
    text = (shared_data / "wikitext-2" / "test.txt").read_text()
    task = load_task("prose", shared_data / "wikitext-2")
    assert "".join("".join(p.solution.split()) for p in task.test) == "".join(text.split())
    sizes = [len(p.solution) for p in task.test]
    assert 1000 < sum(sizes) / len(sizes) < 1600
    assert max(sizes) <= 2500
    assert len({p.family for p in task.test}) > 50


@pytest.mark.parametrize("unit", ["word ", "A sentence. ", "line\n", "A paragraph.\n\n", "x"])
def test_text_of_any_shape_is_cut_into_pieces_of_one_to_two_thousand_characters(unit):
    text = unit * (9000 // len(unit))
    cut = pieces(text)
    assert "".join("".join(cut).split()) == "".join(text.split())
    assert all(500 <= len(piece) <= 2500 for piece in cut)
    if unit != "x":
        assert all(unit.strip() == piece[-len(unit.strip()) :] for piece in cut)


def test_a_short_text_is_one_piece_and_a_blank_one_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("Short.\n")
    assert [p.solution for p in load_task("prose", tmp_path / "a.txt").test] == ["Short."]
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(BadData, match="no text"):
        load_task("prose", tmp_path / "a.txt")


def test_prose_of_the_miniature_world_is_generated_and_held_out():
    from finetrap.miniature import world

    task = load_task("prose", "miniature")
    assert len(task.test) >= 200
    assert all(world.split_of(p.solution) == "test" for p in task.test)
