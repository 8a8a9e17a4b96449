"""The real path: real tokenizer, chat template and data, small architectures with random weights.

Accuracy is at the floor here; what counts is that every part of the path runs and is recorded.
"""

import csv
import json
from pathlib import Path

import pytest

from tests.builders.commands import finetrap

pytestmark = pytest.mark.full  # needs the real data sets, and half a minute

STUDY = """
name = "real"
models = ["./qwen", "./llama"]
tasks = ["gsm8k"]
probes = ["arc_easy", "prose"]
strategies = ["zero-shot", "few-shot-5", "full", "lora", "dora"]
seeds = [0]
[data]
gsm8k = "{data}/gsm8k"
arc_easy = "{data}/arc/easy"
prose = "{data}/wikitext-2"
[train]
problems = 8
epochs = 1
batch = 4
[limits]
test_problems = 6
probe_problems = 4
max_new_tokens = 12
"""
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="module")
def real(tmp_path_factory, shared_data: Path):
    import torch
    from transformers import (
        AutoTokenizer,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    tokenizers = shared_data.parent / "tokenizers" / "qwen2.5"
    if not tokenizers.is_dir():
        pytest.skip(f"needs the Qwen2.5 tokenizer at {tokenizers}")
    folder = tmp_path_factory.mktemp("real")
    tokenizer = AutoTokenizer.from_pretrained(tokenizers)
    ids = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**SHAPE, **ids)).save_pretrained(folder / "qwen")
    tokenizer.save_pretrained(folder / "qwen")
    LlamaForCausalLM(LlamaConfig(**SHAPE, **ids)).save_pretrained(folder / "llama")
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder / "llama")
    (folder / "real.toml").write_text(STUDY.format(data=shared_data))
    run = finetrap("run", "real.toml", "--workers", 1, cwd=folder)
    assert run.returncode == 0, run.stdout + run.stderr
    report = finetrap("report", "real.toml", cwd=folder)
    assert report.returncode == 0, report.stderr
    return folder


def runs(folder: Path, name: str) -> Path:
    (found,) = (folder / "runs").glob(f"{name}-s0--*")
    return found


def test_every_strategy_ran_on_both_models(real):
    cells = list(csv.DictReader((real / "runs/report/cells.csv").open()))
    assert len(cells) == 2 * 5
    assert {cell["status"] for cell in cells} == {"done"}
    assert {cell["n"] for cell in cells} == {"6"}
    effects = list(csv.DictReader((real / "runs/report/effects.csv").open()))
    assert {e["kind"] for e in effects} == {"task", "probe"}
    assert {e["task"] for e in effects} == {"gsm8k", "arc_easy", "prose"}


def test_the_chat_model_trains_and_is_tested_in_its_own_template(real):
    evidence = json.loads((runs(real, "qwen-gsm8k-lora-3e-4") / "evidence.json").read_text())
    template = evidence["train_template"]["text"]
    assert template == evidence["test_template"]["text"]
    assert "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{solution}" in template
    tokens = evidence["rows"][0]
    assert tokens[-1] == ["<|im_end|>", True]
    first_target = next(i for i, (_, inside) in enumerate(tokens) if inside)
    assert "<|im_start|>assistant" in "".join(text for text, _ in tokens[:first_target])
    assert all(inside for _, inside in tokens[first_target:])


def test_the_plain_model_reads_questions_and_learns_its_end_token(real):
    evidence = json.loads((runs(real, "llama-gsm8k-full-3e-5") / "evidence.json").read_text())
    assert evidence["train_template"]["text"] == "Question: {question}\nAnswer: {solution}"
    assert evidence["eos_share"] == 1.0
    assert evidence["rows"][0][-1][1] is True


def test_training_rows_and_test_problems_are_real_gsm8k(real, shared_data):
    lines = (shared_data / "gsm8k" / "test.jsonl").read_text().splitlines()
    golds = {json.loads(line)["answer"].split("#### ")[1].replace(",", "") for line in lines}
    answered = [
        json.loads(line) for line in (runs(real, "qwen-gsm8k-full-3e-5") / "answers.jsonl").open()
    ]
    assert {a["gold"].replace(",", "") for a in answered} <= golds
    assert all(a["stop"] in ("eos", "stop", "cap") for a in answered)
    assert all(a["nats"] > 0 and a["bytes"] > 0 for a in answered)
