"""Real pretrained models on GSM8K and SVAMP: the completions of finetrap and of transformers.

    PYTHONPATH=src python -m benchmarks.real_models FOLDER … [--data FOLDER] [--new-tokens 128]
        [--time] [--dtype bf16] [--rounds 3] [--threads N]

Eight problems of each task, zero-shot and after five exemplars, in fp32. Every completion must be
that of transformers' greedy `generate`, one prompt at a time; where one is not, the two tokens at
which it parts must be as likely within 1e-4 nats, or the run fails. `--time` then completes 64
problems of SVAMP, zero-shot, with finetrap, transformers and lm-eval, each in a process of its own
and the other two at the fastest of their batch sizes, and prints rates, peaks of memory and the
share of what this model's own matrix products reach at 64 rows. A real model stops where it stops:
no ending is planted. Times mean something on an idle machine alone.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import shape
from benchmarks.decoding import PEERS
from benchmarks.harness import Side, Work, Worker, alternate, fastest, needs, parser
from benchmarks.measured import Done, report, share_of_limit
from finetrap import tasks
from finetrap.backends.hf import open_model
from finetrap.errors import FinetrapError
from finetrap.records import Limits, ModelSpec
from finetrap.text.prompts import Shot

PROBLEMS, SHOTS, TIE = 8, 5, 1e-4
BATCHES = (8, 16, 32, 64)
"""At which each of the other tools is tried, on one full batch of the longest prompts."""


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


def opened(folder: str, dtype: str = "fp32") -> Any:
    """Open a checkpoint as finetrap does."""
    return open_model(ModelSpec(Path(folder).name, folder, "sha256:0"), Limits(dtype=dtype))


def theirs(folder: str, dtype: str = "fp32") -> Any:
    """Open a checkpoint as transformers does, with nothing of its generation settings."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    network = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, PEERS[dtype])
    ).eval()
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


def timed(folder: str, options: Any) -> None:
    """Complete SVAMP with three tools, each at its best batch, and report rates, limit, memory."""
    needs("lm_eval")
    settings = {"folder": folder, "data": options.data, "cap": options.new_tokens}
    settings |= {"problems": options.problems, "dtype": options.dtype}
    sides = [Side("finetrap, batch 64", open_ours, settings)]
    for name, opener in (("transformers", open_theirs), ("lm-eval", open_lm_eval)):
        side = Side(name, opener, {**settings, "trial": True})
        tried = fastest(side, [{"batch": batch} for batch in BATCHES], options.threads)
        best = json.loads(next(iter(tried)))
        sides.append(Side(f"{name}, batch {best['batch']}", opener, {**settings, **best}))
    half = options.dtype == "bf16"
    products = Side("products", open_products, {"folder": folder, "half": half})
    with Worker(products, options.threads) as worker:
        limit = max(worker.run().flop_rate for _ in range(5))
    found = alternate(
        f"{Path(folder).name}, SVAMP, {options.new_tokens} new tokens, {options.dtype}",
        "problems",
        sides,
        rounds=options.rounds,
        threads=options.threads,
        half=half,
    )
    own = found.sides[0].facts[0]
    same = {side.name: _same(own, side.facts[0]) for side in found.sides[1:]}
    shares = {side.name: share_of_limit(side, limit) for side in found.sides}
    ended = Counter(stop for _, stop in own)
    report(found, options.out, same_completions=same, share_of_own_products=shares, ended=ended)


def _same(ours: Sequence[tuple[str, str]], theirs: Sequence[tuple[str, str]]) -> str:
    """Count equal completions; one that finetrap ended in a cycle is the start of the other's."""
    pairs = zip(ours, theirs, strict=True)
    equal = sum(o == t or (stop == "loop" and t.startswith(o)) for (o, stop), (t, _) in pairs)
    return f"{equal} of {len(ours)}"


def svamp(model: Any, data: str, problems: int) -> list[str]:
    """Return prompts of SVAMP's test problems, with the instruction of the studies."""
    task = tasks.load(tasks.reference("svamp", Path(data) / "svamp/SVAMP.json"))
    asked = "Solve the problem. End with #### and the number.\n\n{}"
    chosen = task.test[:problems]
    return [model.form.prompt(asked.format(problem.question), ()) for problem in chosen]


def multiplied(folder: str) -> tuple[int, int]:
    """Return the weights that multiply a token in the layers, and those of the head."""
    from safetensors import safe_open

    layers = head = 0
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(str(file), "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (it is no dictionary)
                shape = tensors.get_slice(name).get_shape()
                if "embed" in name or "lm_head" in name:
                    head = shape[0] * shape[1]
                elif len(shape) == 2:
                    layers += shape[0] * shape[1]
    return layers, head


def open_products(folder: str, half: bool, rows: int = 64) -> Work:
    """The machine's limit for this model: its own products, at the rows of a decoding step."""
    import torch
    from safetensors import safe_open

    dtype = torch.bfloat16 if half else torch.float32
    weights = []
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(str(file), "pt") as tensors:
            found = [tensors.get_tensor(name) for name in tensors.keys()]  # noqa: SIM118
        weights += [tensor.to(dtype) for tensor in found if tensor.dim() == 2]
    inputs = {width: torch.randn(rows, width).to(dtype) for width in {w.shape[1] for w in weights}}
    flops = 2.0 * rows * sum(weight.numel() for weight in weights)

    def work() -> Done:
        with torch.no_grad():
            for _ in range(4):
                for weight in weights:
                    torch.nn.functional.linear(inputs[weight.shape[1]], weight)
        return Done(4, 4 * flops)

    work()
    return work


def _flops(folder: str) -> Callable[[int, int], float]:
    """Return the arithmetic of tokens read and written; attention is left out."""
    layers, head = multiplied(folder)
    return lambda read, written: 2.0 * (layers * (read + written) + head * written)


def open_ours(folder: str, data: str, cap: int, problems: int, dtype: str) -> Work:
    """Open finetrap's side."""
    model, flops = opened(folder, dtype), _flops(folder)
    texts = svamp(model, data, problems)
    read = sum(own for own, _ in model.lengths([(text, "") for text in texts]))

    def work() -> Done:
        found = model.generate(texts, max_new_tokens=cap, stops=(), batch=64)
        written = sum(completion.tokens for completion in found)
        facts = [(completion.text, completion.stop) for completion in found]
        return Done(len(found), flops(read, written), facts)

    model.generate(texts[:2], max_new_tokens=4, stops=(), batch=2)
    return work


def open_theirs(
    folder: str,
    data: str,
    cap: int,
    problems: int,
    dtype: str,
    batch: int = 1,
    trial: bool = False,
) -> Work:
    """Open transformers' side; the longest prompts come first, so that batches pad little."""
    model, network, flops = opened(folder), theirs(folder, dtype), _flops(folder)
    rows = [model.tokens.prompt(text) for text in svamp(model, data, problems)]
    ends, tokens = sorted(model.tokens.ends), model.tokens
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    del model

    def work(batch: int = batch) -> Done:
        texts: dict[int, str] = {}
        written = 0
        chosen = order[:batch] if trial else order
        for at in range(0, len(chosen), batch):
            part = chosen[at : at + batch]
            found = completed(network, [rows[i] for i in part], ends, cap).tolist()
            for i, ids in zip(part, found, strict=True):
                stop = next((at for at, token in enumerate(ids) if token in ends), len(ids))
                written += min(stop + 1, len(ids))
                texts[i] = tokens.text(ids[:stop], rows[i][-1])
        read = sum(len(rows[i]) for i in chosen)
        facts = [(texts.get(i, ""), "") for i in range(len(rows))]
        return Done(len(chosen), flops(read, written), facts)

    return work


def open_lm_eval(
    folder: str,
    data: str,
    cap: int,
    problems: int,
    dtype: str,
    batch: int = 1,
    trial: bool = False,
) -> Work:
    """Open lm-eval's side, its `hf` model; it orders the prompts itself."""
    import logging

    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    texts, flops = svamp(opened(folder), data, problems), _flops(folder)
    model = HFLM(folder, dtype=PEERS[dtype], batch_size=batch, device="cpu")
    settings = {"until": [], "max_gen_toks": cap, "do_sample": False}

    def work(batch: int = batch) -> Done:
        model.batch_size_per_gpu = batch
        longest = sorted(texts, key=len, reverse=True)
        chosen = longest[:batch] if trial else texts
        requests = [
            Instance("generate_until", {}, (text, dict(settings)), i)
            for i, text in enumerate(chosen)
        ]
        found = model.generate_until(requests, disable_tqdm=True)
        read = sum(len(model.tok_encode(text)) for text in chosen)
        written = sum(len(model.tok_encode(text)) + 1 for text in found)
        return Done(len(chosen), flops(read, written), [(text, "") for text in found])

    return work


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and with `--time` measure; return the exit code."""
    options = parser(__doc__ or "")
    options.add_argument("folders", nargs="+")
    options.add_argument("--new-tokens", type=int, default=128)
    options.add_argument("--problems", type=int, default=64, help="of SVAMP, for --time")
    options.add_argument("--dtype", choices=list(PEERS), default="fp32", help="for --time")
    options.add_argument("--time", action="store_true")
    options.add_argument("--only-time", action="store_true", help="compare no completions first")
    given = options.parse_args(arguments)
    given.data = str(shape.data(given.data))
    import torch

    torch.set_num_threads(given.threads)
    others = 0
    for folder in given.folders:
        if not given.only_time:
            others += compare(folder, given.data, given.new_tokens)
        if given.time or given.only_time:
            timed(folder, given)
    return 1 if others else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FinetrapError as error:
        sys.exit(str(error))
