"""Real pretrained models on GSM8K and SVAMP: the completions of finetrap and of transformers.

    PYTHONPATH=src python -m benchmarks.real_models FOLDER … [--data FOLDER] [--new-tokens 128]
        [--time] [--rounds 3] [--threads N]

Eight problems of each task, zero-shot and after five exemplars, in fp32. Every completion must be
that of transformers' greedy `generate`, one prompt at a time; where one is not, the two tokens at
which it parts must be as likely within 1e-4 nats, or the run fails. `--time` then times both, each
in a process of its own, transformers with the fastest of its batch sizes, and prints their rates
and peaks of memory. Times mean something on an idle machine alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Side, Work, alternate, fastest, parser
from benchmarks.measured import Done, report
from finetrap import tasks
from finetrap.backends.hf import open_model
from finetrap.errors import FinetrapError
from finetrap.records import Limits, ModelSpec
from finetrap.text.prompts import Shot

PROBLEMS, SHOTS, TIE = 8, 5, 1e-4
BATCHES = (1, 2, 4, 8, 16)


def asked(model: Any, data: str) -> dict[str, list[str]]:
    """Return the prompts of each task and number of exemplars."""
    found = {}
    for name, place in (("gsm8k", "gsm8k"), ("svamp", "svamp/SVAMP.json")):
        task = tasks.load(tasks.reference(name, Path(data) / place))
        shots = [Shot(p.question, p.solution) for p in task.train[:SHOTS]]
        for count in (0, SHOTS):
            found[f"{name}, {count}-shot"] = [
                model.form.prompt(problem.question, shots[:count])
                for problem in task.test[:PROBLEMS]
            ]
    return found


def opened(folder: str) -> Any:
    """Open a checkpoint as finetrap does."""
    return open_model(ModelSpec(Path(folder).name, folder, "sha256:0"), Limits())


def theirs(folder: str) -> Any:
    """Open a checkpoint as transformers does, in fp32, with nothing of its generation settings."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    network.generation_config = GenerationConfig()
    return network


def completed(network: Any, rows: Sequence[list[int]], ends: Sequence[int], cap: int) -> Any:
    """Return the new ids of transformers' greedy `generate`, [rows, new], padded on the left."""
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    settings = {"max_new_tokens": cap, "do_sample": False, "eos_token_id": list(ends)}
    with torch.no_grad():
        out = network.generate(ids, attention_mask=mask, pad_token_id=0, **settings)
    return out[:, width:]


def parting(network: Any, row: list[int], ours: str, written: list[int], model: Any) -> float:
    """Return by how many nats the two best tokens differ where two completions part."""
    import torch

    for at in range(len(written)):
        if not ours.startswith(model.tokens.text(written[: at + 1], row[-1])):
            with torch.no_grad():
                logits = network(torch.tensor([row + written[:at]])).logits[0, -1]
            best, second = logits.double().log_softmax(-1).topk(2).values.tolist()
            return float(best - second)
    return float("inf")


def compare(folder: str, data: str, cap: int) -> int:
    """Print how many completions are equal, tied and other; return the number of others."""
    model, network, others = opened(folder), theirs(folder), 0
    ends = sorted(model.tokens.ends)
    for name, texts in asked(model, data).items():
        equal, ties = 0, []
        completions = model.generate(texts, max_new_tokens=cap, stops=(), batch=len(texts))
        for text, completion in zip(texts, completions, strict=True):
            row = model.tokens.prompt(text)
            written = completed(network, [row], ends, cap)[0].tolist()
            kept = written[:-1] if written[-1] in ends else written
            whole = model.tokens.text(kept, row[-1])
            looped = completion.stop == "loop" and whole.startswith(completion.text)
            if looped or completion.text == whole:
                equal += 1
            else:
                ties.append(parting(network, row, completion.text, written, model))
        others += len(texts) - equal - sum(gap <= TIE for gap in ties)
        print(
            f"{Path(folder).name}, {name}: {equal} of {len(texts)} equal, others {ties}", flush=True
        )
    return others


def open_ours(folder: str, data: str, cap: int) -> Work:
    """Open finetrap's side."""
    model = opened(folder)
    texts = [text for group in asked(model, data).values() for text in group]

    def work() -> Done:
        found = model.generate(texts, max_new_tokens=cap, stops=(), batch=len(texts))
        return Done(len(found))

    return work


def open_theirs(folder: str, data: str, cap: int, batch: int = 1) -> Work:
    """Open transformers' side; the longest prompts come first, so that batches pad little."""
    model, network = opened(folder), theirs(folder)
    groups = asked(model, data).values()
    rows = [model.tokens.prompt(text) for group in groups for text in group]
    ends, rows = sorted(model.tokens.ends), sorted(rows, key=len, reverse=True)
    del model

    def work(batch: int = batch) -> Done:
        for at in range(0, len(rows), batch):
            completed(network, rows[at : at + batch], ends, cap)
        return Done(len(rows))

    return work


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and with `--time` measure; return the exit code."""
    options = parser(__doc__ or "")
    options.add_argument("folders", nargs="+")
    options.add_argument("--new-tokens", type=int, default=128)
    options.add_argument("--time", action="store_true")
    given = options.parse_args(arguments)
    others = 0
    for folder in given.folders:
        others += compare(folder, given.data, given.new_tokens)
        if given.time:
            settings = {"folder": folder, "data": given.data, "cap": given.new_tokens}
            peer = Side("transformers", open_theirs, settings)
            tried = fastest(peer, [{"batch": batch} for batch in BATCHES], given.threads)
            best: dict[str, int] = json.loads(next(iter(tried)))
            peer = Side(f"transformers, {best}", open_theirs, {**settings, **best})
            sides = [Side("finetrap", open_ours, settings), peer]
            name = f"real models, {Path(folder).name}"
            threads, rounds = given.threads, given.rounds
            report(alternate(name, "completions", sides, rounds=rounds, threads=threads), given.out)
    return 1 if others else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FinetrapError as error:
        sys.exit(str(error))
