"""Study files: what they may say, what they become, and how their faults are told."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from finetrap import catalog
from finetrap.backends.hf.source import content_revision
from finetrap.errors import BadInput, BadStudy
from finetrap.measure.study import axes, reading
from finetrap.measure.study.cells import cells_of
from finetrap.measure.study.faults import checked_model, checked_strategy
from finetrap.measure.study.toml import parse_value, read_toml
from finetrap.records import Cell, TrainSpec
from finetrap.references import PromptSpec
from tests.builders.studies import checkpoint, faults, load, small

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
STARTER = """
name = "first"
models = ["toy:base=0.6,full=-0.2"]
tasks = ["market"]                         # trained on, then tested on
probes = ["school", "sums", "sorting", "prose"]   # never trained on: general ability
strategies = ["zero-shot", "few-shot-5", "full", "lora", "dora"]
seeds = [0, 1, 2]
[train]
problems = 400
epochs = 5
batch = 16
[strategy.full]                            # overrides a catalog strategy; a list is an axis
learning_rate = [3e-5, 3e-4]
[limits]
test_problems = 1000                       # a seeded random subset, never the first n
max_new_tokens = 64
[judge]
margin = 3                                 # points
[keep]
weights = "adapters"
"""


def by_strategy(cells: tuple[Cell, ...]) -> dict[str, list[Cell]]:
    names = dict.fromkeys(cell.strategy.name for cell in cells)
    return {name: [c for c in cells if c.strategy.name == name] for name in names}


# From a file to cells


def test_the_example_works_as_written(tmp_path: Path) -> None:
    plan = load(tmp_path, STARTER)
    cells = cells_of(plan)
    found = by_strategy(cells)
    assert {name: len(members) for name, members in found.items()} == {
        "zero-shot": 1,
        "few-shot-5": 3,
        "full": 6,
        "lora": 3,
        "dora": 3,
    }
    assert {c.strategy.learning_rate for c in found["full"]} == {3e-5, 3e-4}
    assert [p.name for p in cells[0].probes] == ["school", "sums", "sorting", "prose"]
    assert all(c.train.epochs == 5 and c.train.problems == 400 for c in found["lora"])
    assert plan.judge.margin == 3
    assert plan.limits.max_new_tokens == 64
    assert 'name = "first"' in plan.source


def test_the_untouched_model_is_measured_first_even_if_not_asked_for(tmp_path: Path) -> None:
    text = small(models='["toy:base=0.5", "toy:base=0.6"]', tasks='["market", "school"]')
    cells = cells_of(load(tmp_path, text))
    assert [c.strategy.name for c in cells] == ["zero-shot"] * 4 + ["full"] * 4
    assert all(c.seed is None and c.trained_on is None for c in cells[:4])


def test_only_what_is_random_has_seeds(tmp_path: Path) -> None:
    text = small(strategies='["zero-shot", "few-shot-5", "full"]', seeds="[3, 7]")
    found = by_strategy(cells_of(load(tmp_path, text)))
    assert [c.seed for c in found["zero-shot"]] == [None]
    assert [c.seed for c in found["few-shot-5"]] == [3, 7]
    assert [c.seed for c in found["full"]] == [3, 7]
    assert all(c.trained_on is not None for c in found["few-shot-5"])


def test_one_training_task_serves_every_tested_task(tmp_path: Path) -> None:
    text = small(
        tasks='["market", "school"]',
        probes='["school", "market", "sums"]',
        train='[train]\ntask = "market"',
    )
    cells = by_strategy(cells_of(load(tmp_path, text)))
    assert [(c.task.name, c.trained_on and c.trained_on.name) for c in cells["full"]] == [
        ("market", "market"),
        ("school", "market"),
    ]
    assert len({c.training_key() for c in cells["full"]}) == 1
    assert [[p.name for p in c.probes] for c in cells["full"]] == [["school", "sums"], ["sums"]]
    assert [[p.name for p in c.probes] for c in cells["zero-shot"]] == [
        ["school", "sums"],
        ["market", "sums"],
    ]


def test_the_rate_comes_from_the_strategy_then_the_budget_then_the_catalog(tmp_path: Path) -> None:
    def rates(**tables: str) -> dict[str, float | None]:
        plan = load(tmp_path, small(strategies='["full", "lora"]', **tables))
        return {s.name: s.learning_rate for s in plan.strategies}

    train, own = "[train]\nlearning_rate = 1e-2", "[strategy.full]\nlearning_rate = 5e-5"
    known = {name: catalog.strategies()[name]["learning_rate"] for name in ("full", "lora")}
    assert rates() == known
    assert rates(train=train) == {"full": 1e-2, "lora": 1e-2}
    assert rates(train=train, own=own) == {"full": 5e-5, "lora": 1e-2}


def test_every_number_of_a_strategy_is_an_axis_but_lists_by_nature_are_not(tmp_path: Path) -> None:
    text = small(
        strategies='["lora"]',
        own="""
        [strategy.lora]
        epochs = [1, 2]
        [strategy.lora.peft]
        r = [4, 16]
        target_modules = ["q_proj", "v_proj"]
        """.replace("        ", ""),
    )
    specs = load(tmp_path, text).strategies
    assert {(s.epochs, s.peft["r"]) for s in specs if s.peft} == {(1, 4), (1, 16), (2, 4), (2, 16)}
    for spec in specs:
        assert spec.peft is not None
        assert spec.peft["target_modules"] == ["q_proj", "v_proj"]
        assert spec.peft["lora_alpha"] == catalog.strategies()["lora"]["peft"]["lora_alpha"]
    nested = text.replace('["q_proj", "v_proj"]', '[["q_proj"], ["q_proj", "v_proj"]]')
    assert len(load(tmp_path, nested).strategies) == 8


def test_every_list_in_a_peft_configuration_is_known_as_one() -> None:
    peft = find_spec("peft")
    assert peft is not None
    assert peft.origin is not None
    lists = set()
    for file in Path(peft.origin).parent.glob("tuners/*/config.py"):
        lists |= set(re.findall(r"^ {4}(\w+): .*(?:[Ll]ist|[Tt]uple)\[", file.read_text(), re.M))
    assert lists <= set(axes.LIST_DEPTH)


def test_another_peft_method_does_not_inherit_the_settings_of_the_first(tmp_path: Path) -> None:
    own = '[strategy.lora.peft]\npeft_type = "IA3"'
    (spec,) = load(tmp_path, small(strategies='["lora"]', own=own)).strategies
    assert spec.peft == {"peft_type": "IA3"}


def test_a_new_strategy_is_a_table_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(
        'kind = "peft"\nlearning_rate = 1e-3\n[peft]\npeft_type = "LORA"\nr = 2\n'
    )
    own = '[strategy.few-shot-3]\nkind = "prompt"\nshots = 3'
    plan = load(tmp_path, small(strategies='["few-shot-3", "ours.toml"]', own=own))
    assert [(s.name, s.kind, s.shots) for s in plan.strategies] == [
        ("few-shot-3", "prompt", 3),
        ("ours", "peft", 0),
    ]


def test_two_prompts_of_other_budgets_are_one_cell(tmp_path: Path) -> None:
    one = cells_of(load(tmp_path, small(strategies='["few-shot-5"]')))
    two = cells_of(load(tmp_path, small(strategies='["few-shot-5"]', t="[train]\nepochs = 9")))
    assert [c.key for c in one] == [c.key for c in two]
    fewer = load(tmp_path, small(strategies='["few-shot-5"]', t="[train]\nproblems = 9"))
    assert [c.key for c in cells_of(fewer)][1] != one[1].key


def test_a_number_written_otherwise_is_the_same_cell(tmp_path: Path) -> None:
    whole = cells_of(load(tmp_path, small(t="[train]\nepochs = 3")))
    point = cells_of(load(tmp_path, small(t="[train]\nepochs = 3.0")))
    unset = cells_of(load(tmp_path, small()))
    assert TrainSpec().epochs == 3
    assert [c.key for c in whole] == [c.key for c in point] == [c.key for c in unset]


def test_the_precision_of_training_is_in_the_key_of_what_is_trained(tmp_path: Path) -> None:
    both = '["full", "lora", "few-shot-5"]'
    exact = cells_of(load(tmp_path, small(strategies=both)))
    half = cells_of(load(tmp_path, small(strategies=both, t='[train]\ndtype = "bf16"')))
    same = [one.key == other.key for one, other in zip(exact, half, strict=True)]
    assert same == [not cell.strategy.trains for cell in exact]
    assert {cell.train.dtype for cell in half if cell.strategy.trains} == {"bf16"}


def test_all_takes_all_problems(tmp_path: Path) -> None:
    tables = '[train]\nproblems = "all"\n[limits]\ntest_problems = "all"'
    plan = load(tmp_path, small(t=tables))
    assert plan.train.problems is None
    assert plan.limits.test_problems is None


# Models


def test_a_local_folder_is_named_by_its_name_and_known_by_its_content(tmp_path: Path) -> None:
    here = checkpoint(tmp_path / "one" / "ours")
    there = checkpoint(tmp_path / "two" / "ours")
    (there / ".cache").write_text("ignored")
    (there / "README.md").write_text("ignored")
    plan = load(tmp_path, small(models='["./one/ours"]'))
    (spec,) = plan.models
    assert (spec.name, spec.source, spec.backend) == ("ours", str(here), "hf")
    assert spec.revision.startswith("sha256:")
    (moved,) = load(tmp_path, small(models='["two/ours"]')).models
    assert moved.revision == spec.revision
    before = cells_of(plan)[0].key
    assert cells_of(load(tmp_path, small(models='["two/ours"]')))[0].key == before
    checkpoint(there, weights=b"\1" * 8)
    (changed,) = load(tmp_path, small(models='["two/ours"]')).models
    assert changed.revision != spec.revision


def test_a_study_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xef\xbb\xbf" + small().encode())
    assert reading.load_study(path).models


def test_a_file_that_only_changes_its_name_changes_the_revision(tmp_path: Path) -> None:
    one, two = checkpoint(tmp_path / "a"), checkpoint(tmp_path / "b")
    (two / "model.safetensors").rename(two / "other.safetensors")
    assert content_revision(one) != content_revision(two)


def test_a_hub_id_can_be_pinned_and_told_its_prompt(tmp_path: Path) -> None:
    own = '[model."org/name"]\nrevision = "abc"\nprompt = "chat"'
    (spec,) = load(tmp_path, small(models='["org/name"]', own=own)).models
    assert (spec.name, spec.source, spec.revision) == ("org/name", "org/name", "abc")
    assert spec.prompt == PromptSpec("chat")


def test_a_prompt_that_says_no_more_than_its_format_leaves_the_key_as_it_was(tmp_path) -> None:
    plain = "[model.mini-1m]\nprompt = 'plain'"
    before = cells_of(load(tmp_path, small(models='["mini-1m"]')))
    for own in (plain, "[prompt]\nformat = 'plain'", "[model.mini-1m.prompt]\nformat = 'plain'"):
        assert cells_of(load(tmp_path, small(models='["mini-1m"]', own=own))) == before
    assert {cell.identity()["model"]["prompt"] for cell in before} == {"plain"}


def test_a_prompt_without_any_stops_is_a_prompt_here_and_read_from_a_run(tmp_path) -> None:
    own = "[prompt]\nformat = 'plain'\nstops = []"
    [spec] = {cell.model for cell in cells_of(load(tmp_path, small(models='["mini-1m"]', own=own)))}
    assert spec.prompt == PromptSpec("plain", stops=()) != PromptSpec("plain")
    assert {spec.prompt, PromptSpec.read(spec.prompt.identity())} == {spec.prompt}


def test_what_a_prompt_says_is_in_the_key_and_a_model_has_the_last_word(tmp_path) -> None:
    own = "[prompt]\nsystem = 'Be brief.'\nformat = 'chat'\n[model.mini-1m.prompt]\nsystem = 'Go.'"
    study = load(tmp_path, small(models='["mini-1m", "mini-3m"]', own=own))
    assert [m.prompt for m in study.models] == [
        PromptSpec("chat", "Go."),
        PromptSpec("chat", "Be brief."),
    ]
    (one, other) = {json.dumps(c.identity()["model"]) for c in cells_of(study)}
    assert one != other
    assert "Go." in one + other


def test_several_templates_are_an_axis_and_the_base_model_is_asked_by_each(tmp_path) -> None:
    own = "[prompt]\ntemplate = ['{question}', 'Solve: {question}']"
    found = cells_of(load(tmp_path, small(models='["mini-1m"]', own=own)))
    plain = cells_of(load(tmp_path, small(models='["mini-1m"]')))
    assert len(found) == 2 * len(plain)
    base = [cell.model.prompt.template for cell in found if cell.strategy.is_base]
    assert base == ["{question}", "Solve: {question}"]


def test_exemplars_of_a_prompt_are_the_same_for_every_seed(tmp_path) -> None:
    own = '[prompt]\npreset = "lm-eval-gsm8k-cot"\n[strategy.few-shot-5]\nshots = 8'
    study = load(tmp_path, small(models='["mini-1m"]', strategies='["few-shot-5"]', own=own))
    (shown,) = (c for c in cells_of(study) if c.strategy.shots)
    assert (shown.seed, shown.trained_on) == (None, None)


def test_the_hub_id_of_a_catalog_model_is_pinned_as_there(tmp_path: Path) -> None:
    table = next(t for t in catalog.models().values() if "revision" in t)
    (spec,) = load(tmp_path, small(models=json.dumps([table["source"]]))).models
    assert (spec.name, spec.revision) == (table["source"], table["revision"])


def test_a_model_is_also_a_file_or_a_table_with_a_source(tmp_path: Path) -> None:
    checkpoint(tmp_path / "files" / "weights")
    (tmp_path / "files" / "ours.toml").write_text('source = "./weights"\nprompt = "plain"\n')
    own = '[model.half]\nsource = "toy:base=0.5"'
    plan = load(tmp_path, small(models='["files/ours.toml", "half"]', own=own))
    assert [(m.name, m.backend, m.prompt.format) for m in plan.models] == [
        ("ours", "hf", "plain"),
        ("half", "toy", "auto"),
    ]


def test_every_catalog_file_has_the_settings_a_study_can_override() -> None:
    for name, table in catalog.models().items():
        assert checked_model(table, name)[1] == []
    for name, table in catalog.strategies().items():
        assert checked_strategy(table, name)[1] == []


# Data


def test_user_data_starts_from_the_study_file_and_names_its_columns(tmp_path: Path) -> None:
    rows = [{"q": f"What is {i} + 1?", "a": str(i + 1)} for i in range(8)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    own = '[task."jsonl:data/mine.jsonl"]\nquestion = "q"\nanswer = "a"'
    (task,) = load(tmp_path, small(tasks='["jsonl:data/mine.jsonl"]', own=own)).tasks
    assert task.name == "mine.jsonl"
    assert task.source == str(tmp_path / "data" / "mine.jsonl")
    assert task.options == {"question": "q", "answer": "a"}


def test_prose_goes_with_the_models_unless_the_study_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Some words of our own. " * 50)
    text = small(probes='["prose"]')
    assert load(tmp_path, text).probes[0].source == "miniature"
    own = load(tmp_path, text + '[data]\nprose = "text.txt"\n').probes[0]
    assert own.source == str(tmp_path / "text.txt")
    mixed = small(probes='["prose"]', models='["toy:base=0.5", "org/name"]')
    (fault,) = faults(tmp_path, mixed)
    assert "different data for 'prose'" in fault


# Flags


def test_flags_override_the_file_before_it_is_checked(tmp_path: Path) -> None:
    overrides = {
        "seeds": [5],
        "train.epochs": 2,
        "judge.margin": 1.5,
        "strategy.few-shot-5.shots": 4,
        'model."toy:base=0.6,full=-0.2".prompt': "plain",
    }
    plan = load(tmp_path, STARTER, overrides)
    assert (plan.seeds, plan.train.epochs, plan.judge.margin) == ((5,), 2, 1.5)
    assert next(s for s in plan.strategies if s.name == "few-shot-5").shots == 4
    assert plan.models[0].prompt == PromptSpec("plain")
    assert "train.epochs = 2" in plan.source
    with pytest.raises(BadStudy, match=re.escape("[train] epochs: found -1")):
        load(tmp_path, STARTER, {"train.epochs": -1})
    with pytest.raises(BadInput, match="not a key"):
        load(tmp_path, STARTER, {"train epochs": 1})
    with pytest.raises(BadInput, match="'name' is a value"):
        load(tmp_path, STARTER, {"name.x": 1})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("1e-5", 1e-5),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("0,1", [0, 1]),
        ('"none"', "none"),
        ("none", "none"),
        ("toy:base=0.5,full=-0.2", "toy:base=0.5,full=-0.2"),
    ],
)
def test_a_flag_is_read_as_toml_or_else_as_text(text: str, value: object) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize("file", STUDIES, ids=[file.stem for file in STUDIES])
def test_every_study_file_is_a_study_once_its_model_files_are_at_hand(file: Path) -> None:
    table, _ = read_toml(file)
    own = {name for name, model in table.get("model", {}).items() if "source" in model}
    study = reading.load_study(file, {f'model."{name}".source': "toy:" for name in own})
    assert (study.name, bool(cells_of(study))) == (file.stem, True)
