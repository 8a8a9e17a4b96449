"""Small inputs of each kind to begin with, made from what the repository has."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from benchmarks.fuzz import folders
from benchmarks.fuzz.mutations import SET
from benchmarks.fuzz.targets import OPTIONS, Target
from finetrap import catalog, miniature
from finetrap.runs.unfinished import Checkpoint, Journal
from tests.builders import logs as tools

REPOSITORY = Path(__file__).parents[2]
Rows = Sequence[dict[str, Any]]
STUDY = b"""name = "x"
models = ["toy:base=0.6", "mini-0.1m", "weights.gguf"]
tasks = ["market", "jsonl:rows.jsonl"]
probes = ["school"]
strategies = ["full", "lora.toml", "mine"]
seeds = [0, 1]
[train]
problems = 20
epochs = 1
replay_task = "world"
[limits]
test_problems = 10
max_new_tokens = 40
[judge]
margin = 2.0
[keep]
weights = "none"
[task."jsonl:rows.jsonl"]
scoring = "number"
[prompt]
system = "s"
template = ["{question}", "Q: {question}"]
[model."toy:base=0.6"]
prompt = "plain"
[strategy.full]
learning_rate = [1e-3, 1e-4]
[strategy.mine]
"""
SEARCHED = b"""name = "x"
models = ["mini-0.1m"]
tasks = ["market"]
strategies = ["full", "zero-shot"]
seeds = [0]
[search]
trials = 3
"""
SETTINGS = (b"train.epochs=2", b"seeds=0,1", b"search.trials=4", b'name="y"')


def seeds_of(name: str, target: Target) -> list[bytes]:
    """Return the inputs that a target begins with."""
    made: dict[str, Callable[[Any], Iterator[bytes]]] = {
        **{"study": studies, "rows": rows, "grade": completions, "logs": logs},
        **{"runs": runs, "models": models},
    }
    return list(made[name](target))


def studies(_: object) -> Iterator[bytes]:
    """Yield the studies that ship, one with most tables and a strategy that ships, and settings."""
    for folder in (REPOSITORY / "studies", Path(miniature.__file__).parent / "studies"):
        for file in sorted(folder.glob("*.toml")):
            yield re.sub(rb'source = "[^"]*\.gguf"', b'source = "weights.gguf"', file.read_bytes())
    for file in sorted(Path(catalog.__file__).parent.glob("strategies/lora*.toml")):
        yield STUDY + file.read_bytes().replace(b"[peft]", b"[strategy.mine.peft]")
    yield SEARCHED
    for setting in SETTINGS:
        yield SEARCHED + SET + setting


def rows(_: object) -> Iterator[bytes]:
    """Yield rows of every shape, read with the options that are theirs, as every kind of file."""
    for options, found in _shapes():
        choice = bytes([OPTIONS.index(options)])
        yield choice + _lines(found)
        yield choice + json.dumps(found, indent=1).encode()
    table = b"question,answer\n" + b"".join(b"what is %d?,%d\n" % (i, i) for i in range(4))
    yield from (b"\0" + table.replace(b",", mark) for mark in (b",", b"\t", b";"))
    yield from (b"\0" + packed(table) for packed in (gzip.compress, bz2.compress, lzma.compress))
    yield b"\0" + table.decode().encode("utf-16")
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"question": "a?", "answer": 2}]), file)
    yield b"\0" + file.getvalue()


def _shapes() -> Iterator[tuple[dict[str, Any], Rows]]:
    """Yield a task's options with rows for them."""
    lines = (REPOSITORY / "tests/data/gsm8k/train.jsonl").read_text("utf-8").splitlines()[:4]
    yield {}, [json.loads(line) for line in lines]
    yield {}, [{"instruction": f"Add {i}", "input": "now", "output": str(i)} for i in range(4)]
    chat = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "2"}]
    yield {}, [{"messages": chat}] * 2
    given: dict[str, Any] = {
        "number": (3, 4.5, "#### 6", "7"),
        "text": ("Paris", '["Paris", "paris, France"]'),
        "json": ('{"a": 1, "b": [1.5]}', "[1]"),
        "json-fields": ('{"a": 1}', '{"a": {"b": null}}'),
    }
    for how, golds in given.items():
        yield {"scoring": how}, [{"question": f"{g}?", "answer": g} for g in golds]
    named = {"text": ["x", "y"], "label": ["A", "B"]}
    for how, choices, golds in (("choice", ["a", "b"], ("a", "b")), ("letter", named, ("A", "B"))):
        options = {"scoring": how, "choices": "choices"}
        yield options, [{"question": "?", "choices": choices, "answer": gold} for gold in golds]
    *_, nested, marked, split, grouped = OPTIONS
    yield nested, [{"q": f"{i}?", "a": {"value": i}} for i in range(4)]
    full = [
        {"question": f"{i}?", "answer": i, "solution": f"#### {i}", "id": i, "family": "f"}
        for i in range(4)
    ]
    yield marked, full
    sides = ("train", "test")
    yield split, [{**row, "split": side} for row, side in zip(full, sides * 2, strict=True)]
    yield grouped, [{**row, "group": f"g{row['id']}"} for row in full]


def completions(_: object) -> Iterator[bytes]:
    """Yield the first case of each kind that grading is tested with, graded in each way."""
    cases = REPOSITORY / "tests" / "cases"
    known: dict[str, dict[str, Any]] = {}
    for name in ("grading", "numbers", "text"):
        for number, case in enumerate(json.loads((cases / f"{name}.json").read_text("utf-8"))):
            known.setdefault(f"{name} {case.get('kind', number % 20)}", case)
    for number, case in enumerate(known.values()):
        choice = bytes([(64 if number % 2 else 128) + number % 9, number % 8])
        yield choice + f"{case['completion']}\0{case['gold']}".encode()
    yield bytes([5, 0]) + b'so {"a": 1, "b": [1.5e3]} done\0{"a": 1, "b": [1500]}'
    yield bytes([4, 0]) + b'It is Paris\0["Paris", "paris, France"]'


def logs(_: object) -> Iterator[bytes]:
    """Yield logs of every tool, as rows, as one list, and in whatever else a tool packs them."""
    for found in _tools():
        yield _lines(found)
        yield json.dumps(found).encode()
    samples = [tools.inspect_sample(i) for i in range(2)]
    yield json.dumps({**tools.HEADER, "samples": samples}).encode()
    members = tools.eval_members(samples)
    with tempfile.TemporaryDirectory() as folder:
        yield tools.zipped(Path(folder, "log.eval"), members).read_bytes()
        yield tools.zstandard_zip(Path(folder, "log.eval"), members).read_bytes()
    yield json.dumps({"predictions": ["18", "3"], "references": ["18", "4"]}).encode()
    yield b"id,completion,gold\n1,x 2,2\n2,0,4\n"


def _tools() -> Iterator[Rows]:
    """Yield rows of each tool's versions, and of none."""
    for version in ("0.4.0", "0.4.13"):
        doc = {"query": "x", "choices": ["a", "b"], "gold": 1}
        yield [tools.lm_eval_row(i, version, exact_match=i % 2) for i in range(2)]
        yield [tools.choice_row(i, version, doc, acc=i % 2) for i in range(2)]
    filters = ("strict-match", "flexible-extract")
    yield [tools.lm_eval_row(0, "0.4.13", one, exact_match=1.0) for one in filters]
    yield from (tools.lighteval_rows(version)[:2] for version in ("0.6.2", "0.8.0", "0.13.0"))
    yield [tools.inspect_sample(i, epoch) for i in range(2) for epoch in (1, 2)]
    yield [{"id": i, "completion": "#### 18", "gold": "18", "correct": i > 0} for i in range(3)]
    yield [{"id": i, "completion": "A", "gold": "A", "choices": ["a", "b"]} for i in range(2)]
    yield [{"prediction": "18", "reference": ["18"]}] * 2


def runs(target: folders.Runs) -> Iterator[bytes]:
    """Yield each file of a run as it was, with more in it, and what is kept beside runs."""
    for choice, name in enumerate(folders.FILES):
        yield bytes([choice]) + target.whole[name]
    yield bytes([folders.CHOICES.index(folders.RENAMED)]) + target.whole["cell.json"]
    manifest = json.loads(target.whole["run.json"])
    yield b"\0" + json.dumps({**manifest, "grading": 2}).encode()
    failure = {"cause": "diverged", "message": "loss nan at step 7", "step": 7}
    yield b"\0" + json.dumps({**manifest, "status": "diverged", "failure": failure}).encode()
    answers = [json.loads(line) for line in target.whole["answers.jsonl"].splitlines()]
    for more in ANSWERED:
        yield b"\2" + _lines([{**answer, "correct": False, **more} for answer in answers])
    yield b"\3" + json.dumps({**json.loads(target.whole["evidence.json"]), **EVIDENCE}).encode()
    note = {"format": 2, "name": "x", "judge": {"margin": 2.0}, "keys": ["a"], "source": ""}
    yield bytes([folders.CHOICES.index(folders.NOTE)]) + json.dumps(note).encode()
    unfinished = bytes([folders.CHOICES.index(folders.UNFINISHED)])
    yield from (unfinished + content for content in _unfinished())


def _unfinished() -> Iterator[bytes]:
    """Yield a lock, a journal and a checkpoint."""
    yield json.dumps({"host": "a", "pid": 1, "started": None, "since": 1.5}).encode()
    with tempfile.TemporaryDirectory() as folder:
        journal, checkpoint = Path(folder, "answers"), Path(folder, "training")
        writer = Journal(journal, "this")
        writer.add("call", [1, "x"])
        writer.close()
        Checkpoint(checkpoint, "this", 1.0).write(3, 9, {"a": 1}, [memoryview(b"xyz")])
        yield from (journal.read_bytes(), checkpoint.read_bytes())


ANSWERED: Rows = (
    {"scoring": "json-fields", "gold": '{"a": 1}', "completion": '{"a": 2}', "score": 0.5},
    {"scoring": "letter:ABCD", "gold": "A", "completion": "B", "choices": 4},
    {"scoring": "text", "gold": '["a", "b"]', "completion": "B", "nats": 1.5, "bytes": 4},
    {"rule": "likelihood", "choices": 4, "nats": 1.5},
)
LOSS = [{"nats": 1.0, "bytes": 4}]
EVIDENCE: dict[str, Any] = {
    "problems": {"market": {"p0": {"question": "q", "choices": ["a"]}}},
    "loss": [1.0, 0.5],
    "gradient_norm": [1.0, None],
    "rows": [[["a", True]]],
    "overlap": {"test": 3, "exact": 0, "near": 1},
    "self_flips": {"n": 3, "flips": 1, "changed_texts": 0},
    "rewind": {"path": [{"share": 0.5, "accuracy": 0.5, "probes": {}}], "chosen": 0.5},
    "divergence": [["p0", 0.5, None]],
    **{"base_loss": LOSS, "tuned_loss": LOSS, "available": {"train": 3}, "eos_share": 0.5},
    **{"train_template": {"text": "a", "sha256": "b"}, "passes": "fp32", "differs": {"a": "b"}},
}
"""What evidence.json may hold of a run."""
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def models(target: Any) -> Iterator[bytes]:
    """Yield each file of a model and of an adapter, weights by their header."""
    from benchmarks.fuzz.models import FILES, header

    for choice, name in enumerate(FILES):
        whole = target.whole[name]
        yield bytes([choice]) + (header(whole) if name.endswith(".safetensors") else whole)
    told = json.loads(target.whole["tokenizer_config.json"])
    yield b"\1" + json.dumps({**told, "chat_template": TEMPLATE}).encode()
    yield b"\3" + target.whole["model.safetensors"][:2000]
    prompts = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 2, "task_type": "CAUSAL_LM"}
    base = json.loads(target.whole["adapter_config.json"])["base_model_name_or_path"]
    yield b"\5" + json.dumps({**prompts, "base_model_name_or_path": base}).encode()


def _lines(found: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in found).encode()
