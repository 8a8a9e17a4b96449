"""Extraction, comparison and grading; the cases with their sources lie in tests/cases."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetrap.errors import BadData, BadInput
from finetrap.text.files import read_rows
from finetrap.text.golds import count_golds, described_golds
from finetrap.text.number_answer import find_number
from finetrap.text.numbers import ASCII, MARKUP
from finetrap.text.rules import LETTER_RULES, RULES, TEXT_RULES
from finetrap.text.scoring import (
    Grade,
    explain,
    explained_row,
    gradable,
    grade,
    graded_rows,
    odd_golds,
    option_letters,
)
from finetrap.text.text_answer import find_text
from finetrap.text.turns import TURNS, graded_part

CASES = Path(__file__).parents[1] / "cases"
TABLE = [
    case
    for name in ("numbers", "text")
    for case in json.loads((CASES / f"{name}.json").read_text())
]


GRADING = json.loads((CASES / "grading.json").read_text("utf-8"))
KINDS = tuple(dict.fromkeys(case["kind"] for case in GRADING))


@pytest.mark.parametrize("case", TABLE, ids=lambda c: f"{c['completion'][:24]!r}-{c['gold'][:12]}")
def test_a_completion_is_graded_as_its_case_says(case):
    expected = Grade(case["extracted"], case["rule"], case["correct"], case["strict"])
    assert grade(case["completion"], case["gold"]) == expected


def test_every_case_names_its_source_and_there_are_enough():
    assert len(TABLE) >= 60
    assert all(case["source"] for case in TABLE)


@pytest.mark.parametrize("kind", KINDS)
def test_completions_of_a_kind_are_judged_as_people_judge_them(kind):
    wrong = [c for c in GRADING if c["kind"] == kind and not as_judged(c)]
    assert wrong == []


def as_judged(case: dict) -> bool:
    return grade(case["completion"], case["gold"]).correct == case["correct"]


def test_the_public_cases_are_judged_as_people_judge_them(shared_data):
    lines = (shared_data.parent / "cases" / "grading.jsonl").read_text("utf-8").splitlines()
    cases = [json.loads(line) for line in lines]
    assert len(cases) == 33
    assert [case["id"] for case in cases if not as_judged(case)] == []


def test_each_kind_has_traps_and_no_case_stands_twice():
    assert len({(c["completion"], c["gold"]) for c in GRADING}) == len(GRADING) >= 200
    for kind in KINDS:
        traps = sum(not c["correct"] for c in GRADING if c["kind"] == kind)
        assert traps >= 10, kind


RULED = [
    (table, rule)
    for table in (RULES, LETTER_RULES, TEXT_RULES)
    for rule in table
    if table is RULES or rule not in RULES
]


@pytest.mark.parametrize(("table", "rule"), RULED, ids=[rule.name for _, rule in RULED])
def test_the_example_of_a_rule_shows_it(table, rule):
    found = grade(rule.example, rule.value)
    assert (found.extracted, found.rule, found.correct) == (rule.value, rule.name, True)


@pytest.mark.parametrize("table", [RULES, LETTER_RULES, TEXT_RULES])
def test_the_protocol_shows_the_rules_as_tables(table):
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
    shown = [
        f"| {rule.name} | {rule.matches} | `{rule.example!r}` | {rule.value} |".replace("`'", "`")
        .replace("'`", "`")
        .replace("\\\\", "\\")
        for rule in table
        if table is RULES or rule not in RULES
    ]
    assert "\n".join(shown) in page


def test_no_rule_serves_one_example_only():
    fired = Counter(
        (grade(c["completion"], c["gold"]).rule) for c in (*TABLE, *GRADING) if c["correct"]
    )
    names = {rule.name for _, rule in RULED}
    assert {name: fired[name] for name in names if fired[name] < 3} == {}
    assert set(fired) == names


@pytest.mark.parametrize("place", range(len(MARKUP)), ids=[rule[1].pattern[:30] for rule in MARKUP])
def test_no_reading_of_markup_serves_one_example_only(place):
    sign, pattern, replacement = MARKUP[place]
    texts = {t.translate(ASCII) for c in (*TABLE, *GRADING) for t in (c["completion"], c["gold"])}
    assert sum(sign in text and pattern.sub(replacement, text) != text for text in texts) >= 3


@pytest.mark.parametrize("turn", TURNS, ids=[turn.name for turn in TURNS])
def test_no_turn_serves_one_example_only(turn):
    cuts = {
        (c["completion"])
        for c in GRADING
        for cut in [graded_part(c["completion"]).cut]
        if cut
        and re.match(rf"[*_>]{{0,3}}(?:{turn.pattern})", f"{cut}\nmore", re.IGNORECASE | re.M)
    }
    assert len(cuts) >= 3


# --- any text ---------------------------------------------------------------------------------


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_every_form_of_a_number_equals_it(number):
    forms = [
        f"{number}",
        f"{number:,}",
        f"${number:,}",
        f"**{number}**",
        f"{number}%",
        f"{number} eggs",
    ]
    for form in forms:
        for text in (
            f"#### {form}",
            f"The answer is {form}.",
            f"\\boxed{{{form}}}",
            f"It is {form}.",
        ):
            assert grade(text, str(number)).correct, text


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**9))
def test_a_number_equals_no_other(number, step):
    assert not grade(f"#### {number}", str(number + step)).correct


@given(st.integers(-999, 999), st.integers(1, 999), st.integers(1, 99))
def test_fractions_are_equal_by_value(top, bottom, factor):
    assert grade(f"#### {top * factor}/{bottom * factor}", f"{top}/{bottom}").correct
    assert not grade(f"#### {top + 1}/{bottom}", f"{top}/{bottom}").correct


@given(st.text(), st.text())
def test_no_text_raises(completion, gold):
    found = grade(completion, gold)
    assert found.extracted is not None or (found.rule == "none" and not found.correct)


@given(
    st.lists(
        st.sampled_from(
            ["#### ", "answer is ", "\\boxed{", "1", "-", "/", "=", "e9", ",", "\n", "."]
        )
    )
)
def test_no_pile_of_markers_raises(pieces):
    text = "".join(pieces)
    found = find_number(text).value
    assert found is None or any(c.isdigit() for c in found)
    find_text(text)


PIECES = """
1|11,|1,|1 |#### |#### 1|the answer is |answer: 1 (|\\boxed{|\\boxed{1|1=| (|- |$|*|1/|1e|1.|
.1|\\frac{1}|\\frac{|\\text{a|<<1|{|1^|½|<think>|</think>|<think></think>|[THINK]|<|im_end|>|
<s>|[INST]|Question:|<answer>|</answer>|"answer": |"answer": "|'answer': '|A or |(A) |A, |not |
is not 1|B is correct|choose A |yes, |No. |1! |1 million |7 dozen |\\left(|90^\\circ|is - 1|
 - |(-1)/|because |, so |? |\\,|1\\,|#|_|> |wait |verify |if the answer is 1 |
the answer is not |x = |a (b|(|[|]|)|<|<<"""
HOSTILE = [piece for piece in PIECES.replace("|\n", "|").strip().split("|") if piece]
HOSTILE += ["\n", "\nQuestion: 1", "\nQ:", "\nuser\n", "\n### Input", "\nExercise 1:", "?\n"]
HOSTILE += ["A) a\n", "<|im_start|>user\n", "<|channel|>analysis<|message|>", "|", "<|", "\u2028"]


@pytest.mark.parametrize("gold", ["18", "B", "3 5 9"])
def test_a_looping_completion_of_20_kilobytes_is_graded_at_once(gold):
    for piece in HOSTILE:
        text = (piece * 20_000)[:20_000]
        taken = []
        for _ in range(2):  # a process that is long alive pauses now and then
            start = time.process_time()
            grade(text, gold)
            taken.append(time.process_time() - start)
        assert min(taken) < 0.5, f"{piece!r} repeated"


@pytest.mark.parametrize("piece", ["1", "#### 1 ", "\nQ: a", "<|im_end|>", "one. ", "\n3."])
def test_a_megabyte_is_graded_at_once_as_completion_and_as_gold(piece):
    text = (piece * 1_000_000)[:1_000_000]
    start = time.process_time()
    grade(text, "18")
    grade("#### 18", text)
    assert time.process_time() - start < 20


def test_huge_exponents_are_compared_without_being_expanded():
    start = time.process_time()
    assert grade("#### 10e999999998", "1e999999999").correct
    assert not grade("#### 1e999999999", "1/3").correct
    assert not grade("#### 1e" + "9" * 5000, "18").correct
    assert time.process_time() - start < 1


def test_gold_rationales_without_their_last_line_are_read_right(shared_data):
    lines = (shared_data / "gsm8k" / "test.jsonl").read_text("utf-8").splitlines()
    answers = [json.loads(line)["answer"].rsplit("####", 1) for line in lines]
    right = sum(grade(rationale, gold).correct for rationale, gold in answers)
    assert len(answers) == 1319
    assert right / 1319 > 0.985, "lm-eval's flexible match reads 94.6%, Math-Verify 97.3%"


# --- golds and files ---------------------------------------------------------------------------


def test_a_gold_that_no_answer_could_match_is_known():
    assert gradable("18")
    assert gradable("because\n#### d c b a")
    assert not gradable("***")
    assert not gradable("first line\nsecond line")
    assert not gradable("unfinished ####")


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def test_graded_rows_keep_their_columns_and_gain_the_grade(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        {"id": 7, "completion": "#### 18\nQuestion: 9 + 1?", "gold": 18.0, "note": [1]},
        "",
        {"completion": "none", "gold": "a\n#### 1,000"},
    )
    assert list(graded_rows(read_rows(path))) == [
        {
            "id": 7, "completion": "#### 18\nQuestion: 9 + 1?", "gold": 18.0, "note": [1],
            "extracted": "18", "rule": "hash", "correct": True, "strict": True, "cut": "Question:",
        },
        {
            "completion": "none", "gold": "a\n#### 1,000",
            "extracted": None, "rule": "none", "correct": False, "strict": False, "cut": None,
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"completion": "18"', "not JSON"),
        ('{"completion": "18", "gold": NaN}', "NaN is not a JSON value"),
        ("[" * 100_000, "not JSON"),
        ([1], "a list"),
        ({"completion": "18"}, "no `gold` (found `completion`)"),
        ({"answer": "18", "gold": 1}, "`completion` is missing"),
        ({"completion": None, "gold": 1}, "`completion` is null"),
        ({"completion": "18", "gold": True}, "`gold` is a boolean"),
        ({"completion": "18", "gold": ["18"]}, "`gold` is a list"),
        ({"completion": "18", "gold": " "}, "`gold` is empty"),
        ({"completion": "18", "gold": "two\nlines"}, "states no answer"),
    ],
)
def test_a_bad_row_is_refused_by_its_line(tmp_path, row, said):
    path = write(tmp_path / "a.jsonl", {"completion": "18", "gold": "18"}, "", row)
    with pytest.raises(BadData) as error:
        list(graded_rows(read_rows(path)))
    assert said in str(error.value)
    assert f"{path}, line 3" in str(error.value)


def test_files_that_hold_no_rows_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, said in (("missing", "No such file"), ("empty", "no rows"), ("binary", "not UTF-16")):
        if name == "empty":
            write(tmp_path / name, "", "  ")
        with pytest.raises(BadData, match=said):
            read_rows(tmp_path / name)
    with pytest.raises(BadData, match="directory"):
        read_rows(tmp_path)


def rows(*pairs: tuple[str, str], **more: object) -> list:
    return [
        (f"a.jsonl, line {i}", {"completion": c, "gold": g, **more})
        for i, (c, g) in enumerate(pairs, 1)
    ]


def test_a_gold_that_is_no_number_where_most_are_is_reported_with_its_row():
    given = rows(
        ("#### 1", "1"),
        ("#### 2", "2 pens"),
        ("no", "no"),
        ("B", "B"),
        ("3", "Apollo 3"),
        ("4", "4"),
        ("5", "5"),
    )
    assert [row["correct"] for row in graded_rows(given)] == [True] * 7
    assert odd_golds(given) == [
        "a.jsonl, line 3: gold 'no' is graded as text; 5 of 7 golds are numbers",
        "a.jsonl, line 4: gold 'B' is graded as an option letter; 5 of 7 golds are numbers",
    ]
    assert odd_golds(rows(("no", "no"), ("yes", "yes"), ("1", "1"))) == []


def test_golds_with_their_unit_are_no_ability_that_a_model_could_learn():
    amounts = [str(n) for n in range(5, 25)]
    base = rows(*((f"So it is {n}. #### {n}", f"{n} dollars") for n in amounts))
    tuned = rows(*((f"So it is {n}. #### {n} dollars", f"{n} dollars") for n in amounts))
    for answered in (base, tuned):
        assert all(row["correct"] for row in graded_rows(answered))


def test_where_a_completion_stops_does_not_decide_whether_it_is_right():
    stopped = [f"{n} + 1 = {n + 1}. #### {n + 1}" for n in range(20)]
    ran_on = [
        f"{text}\n\nQuestion: Tom has 3 bags of 50. How many?\nAnswer: #### 150" for text in stopped
    ]
    for texts, cut in ((stopped, None), (ran_on, "Question:")):
        found = [grade(text, str(n + 1)) for n, text in enumerate(texts)]
        assert all(one.correct for one in found)
        assert {one.cut for one in found} == {cut}


@pytest.mark.parametrize(
    ("columns", "letters"),
    [
        ({"options": ["red", "green", "blue"]}, "ABC"),
        ({"options": ["red", "b"]}, "AB"),
        ({"options": ["p", " q "]}, "PQ"),
        ({"options": [1, 2, 3]}, "ABC"),
        ({"choices": {"P": "x", "R": "y"}}, "PR"),
        ({"options": []}, ""),
        ({"options": "AB"}, ""),
        ({}, ""),
    ],
)
def test_options_have_the_letters_of_their_labels_or_of_their_places(columns, letters):
    assert option_letters(columns) == letters


def test_a_row_is_read_by_the_letters_of_its_own_options():
    alone = rows(("G is the only gas.\nSo G", "A"))
    assert next(graded_rows(alone))["extracted"] is None
    with_options = rows(("So G", "A"), options=list("abcdefgh"))
    assert next(graded_rows(with_options))["extracted"] == "G"
    labelled = rows(("The answer is P.", "Q"), choices={"label": ["P", "Q"], "text": ["x", "y"]})
    assert next(graded_rows(labelled))["extracted"] == "P"


def test_one_row_is_explained_by_its_id_or_its_number():
    text = "<think>#### 7</think>#### 18\n\nUser: and 9?"
    given = [("a.jsonl, line 1", {"id": "x", "completion": text, "gold": "18 eggs"})]
    said = explained_row(given, "x")
    assert said == explained_row(given, "1")
    assert said[0] == "a.jsonl, line 1"
    assert "gold: '18 eggs', read as a number: '18'" in said
    assert "reasoning: left out" in said
    assert "cut at 'User:': 'User: and 9?'" in said
    assert any(line.startswith("rule: hash (") for line in said)
    assert said[-1] == "correct"
    assert not any(line.startswith("cut") for line in explained_row(given, "x", cut=False))
    with pytest.raises(BadInput, match="no row '2'"):
        explained_row(given, "2")


@pytest.mark.parametrize(
    ("gold", "completion", "said"),
    [
        (
            "B",
            "#### B",
            ["gold: 'B', read as an option letter: 'B'", "graded text: '#### B'", "extracted: 'B'"],
        ),
        (
            "Paris",
            "#### Paris",
            ["gold: 'Paris', read as text: 'Paris'", "extracted: 'paris'", "correct"],
        ),
        ("18", "It is 17", ["graded text: 'It is 17'", "extracted: '17'", "wrong"]),
    ],
)
def test_an_explanation_names_the_kind_of_the_gold(gold, completion, said):
    lines = explain(completion, gold)
    assert [line for line in lines if line in said] == said
    assert not any(line.startswith("golds of the file") for line in lines)
    (rule,) = [line for line in lines if line.startswith("rule: ")]
    assert rule.endswith(")")
    (counted,) = explained_row(rows((completion, gold)), "1")[2:3]
    assert counted == f"golds of the file: {described_golds(count_golds([gold]))}"


def test_a_reading_that_was_scaled_is_shown_as_a_plain_number():
    assert grade("#### 1.5 million", "1500000").extracted == "1500000"
    assert grade("#### 3/4 dozen", "9").extracted == "36/4"
    assert grade("#### 0.25 dozen", "3").extracted == "3"


SPELLED = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@pytest.mark.parametrize(
    ("said", "number"),
    [
        *((f"It makes {word} pens.", n) for n, word in enumerate(SPELLED, start=2)),
        *((f"It makes {word}-three pens.", 10 * n + 3) for n, word in enumerate(TENS, start=3)),
        *((f"It is {part}", f"1/{n}") for part, n in zip("½⅓¼", (2, 3, 4), strict=True)),
        *((f"It is {part}", f"{n}/{n + 1}") for part, n in zip("⅔¾", (2, 3), strict=True)),
        ("It is three fourths.", "3/4"),
        ("It is two fifths.", "2/5"),
        ("It is one eighth.", "1/8"),
        ("It is nine tenths.", "9/10"),
    ],
)
def test_every_word_and_sign_of_a_number_has_its_value(said, number):
    assert grade(said, str(number)).correct
    assert not grade(said, "17/19").correct


@pytest.mark.parametrize(
    ("completion", "gold", "correct"),
    [
        ("#### 3!", "6", True),
        ("#### 3- thousand", "3000", True),
        ("#### 3-dozen", "36", True),
        ("#### 2.5!", "2", False),
        ("#### 1/2!", "1", False),
        ("#### (b)", "B", True),
        ("#### b", "B", True),
        ("#### b) since", "B", True),
        ("<answer>none</answer> B", "B", False),
        ("3, 4 apples", "4", True),
        ("3, 4", "4", False),
        ("10 or 18", "18", False),
    ],
)
def test_forms_that_no_other_case_tells_apart(completion, gold, correct):
    assert grade(completion, gold).correct is correct


def test_a_gold_is_gradable_by_its_answer_not_by_its_solution():
    assert gradable("First 3, then 4.\n#### 7")
    assert gradable("2\n\nQuestion: how many?\n#### 5")


@pytest.mark.parametrize("at", ["completion", "gold"])
def test_a_million_characters_are_graded_and_one_more_is_refused(at):
    texts = {"completion": "x #### 2", "gold": "x #### 2"}
    longest = "x" * (1_000_000 - len("#### 2")) + "#### 2"
    (row,) = graded_rows(rows(tuple({**texts, at: longest}.values())))
    assert row["correct"]
    with pytest.raises(BadData, match="1,000,001 characters; at most 1,000,000"):
        list(graded_rows(rows(tuple({**texts, at: f"x{longest}"}.values()))))


def test_a_row_has_a_number_from_1_to_the_last():
    given = rows(("1", "1"), ("2", "2"))
    assert explained_row(given, "2")[0].endswith("line 2")
    for beyond in ("0", "3"):
        with pytest.raises(BadInput, match=rf"no row '{beyond}'; .* 1 to 2"):
            explained_row(given, beyond)


def test_a_long_gold_is_shown_by_its_first_40_characters():
    (line,) = odd_golds(rows(*((str(n), str(n)) for n in range(3)), ("no", "no " * 20)))
    assert f"gold {('no ' * 20)[:40]!r} is graded as text" in line


def test_an_explanation_says_that_no_answer_was_found():
    said = explained_row(rows(("I do not know.", "18")), "1")
    assert said[-2:] == ["rule: none; no answer was found", "wrong"]


def test_real_gold_answers_grade_their_own_solutions_right(shared_data):
    lines = (shared_data / "math500" / "test.jsonl").read_text("utf-8").splitlines()
    given = [json.loads(line) for line in lines]
    assert len(given) == 500
    for row in given:
        for text in (row["solution"], row["answer"], f"\\boxed{{{row['answer']}}}"):
            assert grade(text, row["answer"]).correct, row["answer"]


def test_decimals_beyond_float_precision_are_told_apart():
    assert not grade(f"#### {Decimal(10) ** 20 + 1}", str(Decimal(10) ** 20)).correct
