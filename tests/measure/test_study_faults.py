"""Faults of a study file: all told at once, each with its place and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetrap.errors import BadInput, BadStudy
from finetrap.measure.study import reading
from tests.builders.studies import checkpoint, faults, small

# Faults


def test_all_faults_are_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    text = """
        models = ["mini-2m", 3, "./nowhere"]
        tasks = ["markt"]
        strategies = ["ful", "lora"]
        seeds = [0, 0]
        [train]
        epoch = 5
        batch = true
        [strategy.lora]
        learning_rate = [3e-5, -3e-4]
        [judge]
        margin = 0
    """
    told = faults(tmp_path, text)
    for start, part in (
        ("name: missing", ""),
        ("models[0]: no model 'mini-2m'", "did you mean 'mini-"),
        ("models[1]: found 3", "names"),
        ("models[2]: no folder", "nowhere"),
        ("tasks[0]:", "did you mean 'market'?"),
        ("strategies[0]:", "did you mean 'full'?"),
        ("seeds: found [0, 0]", "different whole numbers"),
        ("[train] epoch: unknown setting", "did you mean 'epochs'?"),
        ("[train] batch: found true", "a whole number from 1"),
        ("[strategy.lora] learning_rate[1]: found -0.0003", "a number above 0"),
        ("[judge] margin: found 0", "above 0"),
    ):
        assert any(fault.startswith(start) and part in fault for fault in told), start
    assert len(told) == 11


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"t": "[train]\nepochs = 0"}, "[train] epochs: found 0"),
        ({"t": "[train]\nproblems = 0"}, "[train] problems: found 0"),
        ({"t": "[train]\nproblems = 1.5"}, "[train] problems: found 1.5"),
        ({"t": "[train]\nlearning_rate = inf"}, "[train] learning_rate: found Infinity"),
        ({"t": "[train]\nlearning_rate = [1e-3]"}, "lists belong to [strategy.NAME]"),
        ({"t": "[train]\nlearning_rate = '1e-3'"}, '[train] learning_rate: found "1e-3"'),
        ({"t": "[train]\ntask = 'prose'"}, "[train] task: 'prose' has no worked solutions"),
        ({"t": "train = 3\n"}, "train: found 3; allowed: a table"),
        ({"t": "[prompt]\nsytem = 'a'"}, "[prompt] sytem: unknown setting"),
        ({"t": "[prompt]\nsytem = 'a'"}, "did you mean 'system'?"),
        ({"t": "[prompt]\nformat = 'jinja'"}, '[prompt] format: found "jinja"; allowed: "auto"'),
        ({"t": "[prompt]\ntemplate = 'Solve.'"}, "it must hold {question}, where the question"),
        ({"t": "[prompt]\ntemplate = ['{question}', 'b']"}, "prompt: template: found 'b'; it must"),
        ({"t": "[prompt]\ntemplate = '{question} {option}'"}, "did you mean '{options}'?"),
        ({"t": "[prompt]\ntemplate = []"}, "[prompt] template: found []; allowed: text with"),
        ({"t": "[prompt]\npreset = 'lm-eval-gsm9k'"}, "did you mean 'lm-eval-gsm8k'?"),
        ({"t": "[prompt]\nstops = ['']"}, "[prompt] stops[0]: found"),
        ({"t": "[prompt]\nexemplars = [['q']]"}, "a list of [question, worked answer]"),
        ({"t": "[model.mini-1m]\nprompt = 'chatty'"}, "[model.mini-1m] prompt: found"),
        ({"t": "[model.\"toy:base=0.5\".prompt]\ntemplate = 'b'"}, "it must hold {question}"),
        ({"t": "[limits]\ndtype = 'bf61'"}, "did you mean 'bf16'?"),
        ({"t": "[judge]\nmargin = nan"}, "[judge] margin: found NaN"),
        ({"t": "[keep]\nweights = 'adapter'"}, "did you mean 'adapters'?"),
        ({"t": "[strategy.full]\nlearning_rate = []"}, "[strategy.full] learning_rate: found []"),
        ({"t": "[strategy.full]\nshots = -1"}, "[strategy.full] shots: found -1"),
        ({"t": "[strategy.full.peft]\nr = 1"}, "full fine-tuning has no adapter"),
        ({"t": "[strategy.ful]\nepochs = 1"}, "[strategy.ful]: nothing here has that name"),
        ({"t": "[strategy]\nfull = 3"}, "[strategy.full]: found 3"),
        ({"t": "[model.mini-9]\nprompt = 'plain'"}, "[model.mini-9]: nothing here has that name"),
        ({"t": "[task.sums]\nx = 1"}, "[task.sums]: nothing here has that name"),
        ({"t": "[task.market]\nx = 2020-01-01"}, "[task.market] x: found"),
        ({"t": "[data]\ngsm9k = 'x'"}, "[data] gsm9k: nothing here has that name; did you mean"),
        ({"seeds": "[-1]"}, "seeds[0]: found -1"),
        ({"seeds": "[true]"}, "seeds[0]: found true"),
        ({"seeds": "[]"}, "seeds: found []"),
        ({"seeds": "3"}, "seeds: found 3"),
        ({"models": "[]"}, "models: found []"),
        ({"models": '["toy:base=7"]'}, "base = '7'"),
        ({"tasks": '["market", "market"]'}, "'market' is named 2 times"),
        ({"tasks": '["prose"]'}, "'prose' is read, not solved"),
        ({"tasks": '["jsonl:none.jsonl"]'}, "none.jsonl"),
        ({"tasks": '["jsonl"]'}, "jsonl:PATH"),
        ({"strategies": '["zero-shot"]', "t": "[strategy.zero-shot]\nshots = 2"}, "zero-shot has"),
        ({"strategies": '["few-shot-5"]', "t": "[strategy.few-shot-5]\nshots = 0"}, "shots from 1"),
        ({"strategies": '["few-shot-5"]', "t": "[strategy.few-shot-5]\nepochs = 2"}, "`epochs`"),
        ({"strategies": '["a"]', "t": "[strategy.a]\nkind = 'full'"}, "no learning rate"),
        ({"strategies": '["a"]', "t": "[strategy.a]\nkind = 'tune'"}, "[strategy.a] kind: found"),
        (
            {"strategies": '["a"]', "t": "[strategy.a]\nkind = 'peft'\nlearning_rate = 1"},
            "needs peft_type",
        ),
        (
            {"strategies": '["lora"]', "t": "[strategy.lora.peft]\npeft_type = 'ADALORA'"},
            "PEFT method 'ADALORA' needs more",
        ),
        (
            {"strategies": '["lora"]', "t": "[strategy.lora.peft]\ninit_lora_weights = ['eva']"},
            "init_lora_weights = 'eva'",
        ),
        ({"strategies": '["lora"]', "t": "[strategy.lora.peft]\nr = []"}, "peft.r: an empty list"),
        ({"t": '[train]\ndtype = "bf16"', "strategies": '["ia3"]'}, "'ia3': PEFT method 'IA3'"),
        (
            {
                "strategies": '["lora"]',
                "t": '[train]\ndtype = "bf16"\n[strategy.lora.peft]\nlora_dropout = [0.0, 0.1]',
            },
            "'lora': 'lora_dropout' trains in fp32 alone",
        ),
        ({"t": '[train]\ndtype = "fp16"'}, "[train] dtype: found"),
        ({"strategies": '["none.toml"]'}, "none.toml: No such file"),
        ({"models": '["none.toml"]'}, "none.toml: No such file"),
    ],
)
def test_a_fault_is_told_with_what_is_allowed(
    tmp_path: Path, tables: dict[str, str], told: str
) -> None:
    assert any(told in fault for fault in faults(tmp_path, small(**tables)))


def test_a_checkpoint_without_configuration_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (fault,) = faults(tmp_path, small(models='["./empty"]'))
    assert "has no config.json" in fault
    checkpoint(tmp_path / "ours")
    (fault,) = faults(tmp_path, small(models='["x"]', t='[model.x]\nsource="./ours"\nrevision="1"'))
    assert "its content is its revision" in fault


def test_a_file_with_faults_is_named_in_them(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("kind = 'peft'\nlearning_rat = 1\n")
    (tmp_path / "m.toml").write_text("prompt = 'chatty'\n")
    told = faults(tmp_path, small(strategies='["a.toml"]', models='["m.toml"]'))
    assert any("strategies[0]: a.toml: learning_rat: unknown setting" in f for f in told)
    assert any('models[0]: m.toml: prompt: found "chatty"' in f for f in told)
    assert any("models[0]: m.toml: source: missing" in f for f in told)


@pytest.mark.parametrize(
    ("text", "line"), [('name = "x"\nmodels = [1 2]\n', 2), ('name = "x"\n\nmodels = [', 3)]
)
def test_bad_toml_is_told_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    (fault,) = faults(tmp_path, text)
    assert fault.startswith("not TOML")
    assert f"at line {line}" in fault


def test_a_file_that_is_no_text_or_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"')
    with pytest.raises(BadStudy, match="not UTF-8"):
        reading.load_study(tmp_path / "latin.toml")
    with pytest.raises(BadInput, match=r"none\.toml: No such file"):
        reading.load_study(tmp_path / "none.toml")
    with pytest.raises(BadInput, match="directory"):
        reading.load_study(tmp_path)


TABLES = ("train", "limits", "judge", "keep", "strategy", "model", "data", "task")
LISTS = ("models", "tasks", "strategies", "probes", "seeds")


@pytest.mark.parametrize("junk", [0, [0.5], "x y", {"a": 1}, True, 1.5, [[1]], [{}]])
@pytest.mark.parametrize("key", [*LISTS, *TABLES])
def test_junk_anywhere_is_a_fault_and_never_a_crash(tmp_path: Path, key: str, junk: Any) -> None:
    table = {
        "name": "x",
        "models": ["toy:base=0.5"],
        "tasks": ["market"],
        "strategies": ["full"],
        key: junk,
    }
    with pytest.raises(BadStudy):
        reading.check(table, at="study", base=tmp_path)
