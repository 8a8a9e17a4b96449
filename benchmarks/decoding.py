"""Completing GSM8K problems: finetrap and lm-evaluation-harness on the same prompts and weights.

    PYTHONPATH=src python -m benchmarks.decoding [--only few-shot|zero-shot|mixed] [--dtype bf16]

few-shot: the eight fixed exemplars of lm-eval's task `gsm8k_cot`, 64 new tokens, no stops reached.
zero-shot: at most 128 new tokens, completions of a planned length (see countdown) that all end with
the same stop string, which is lm-eval's best case. mixed: half of them end with the end token, as
those of a half-trained model do.

finetrap goes through the call that a study makes, with a study's default batch; lm-eval through its
`hf` model's `generate_until`, at the fastest of the batch sizes 1, 4, 8, 16 and 32, tried first on
one full batch each. Both sides read in fp32, or both in bfloat16, which lm-eval takes for a
checkpoint that is stored so; there completions part where two tokens are nearly as likely, most of
all with random weights. Both complete every problem in each round.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.countdown import STOP, countdown, endings, lengths
from benchmarks.harness import Side, Work, alternate, fastest, needs, parser
from benchmarks.measured import Done, report
from benchmarks.shape import SMOLLM2_135M, Shape, checkpoint, gsm8k, spec
from finetrap.backends.hf.device import chosen
from finetrap.errors import BadData, FinetrapError
from finetrap.records import Limits
from finetrap.text import prompts

BATCHES = (1, 4, 8, 16, 32)
"""Batch sizes at which a peer is tried."""
PEERS = {"fp32": "float32", "bf16": "bfloat16"}
"""What lm-eval calls a study's dtypes."""


@dataclass(frozen=True)
class Asked:
    """What both sides are asked."""

    folder: Path
    """Of the checkpoint."""
    prompts: tuple[str, ...]
    """The longest first, the order in which both tools work."""
    stops: tuple[str, ...]
    new_tokens: int
    shared: str = ""
    """What every prompt starts with."""
    planned: tuple[int, ...] = ()
    """Length of each completion in tokens, its ending counted; empty where none ends."""
    shape: Shape = SMOLLM2_135M
    dtype: str = "fp32"

    def flops(self, read: int, written: int) -> float:
        """Return the arithmetic of tokens read and written; attention is left out."""
        head = self.shape.hidden * self.shape.vocabulary
        return 2.0 * ((self.shape.weights - head) * (read + written) + head * written)


def few_shot(problems: int, shape: Shape, cache: str | None, data: str | None) -> Asked:
    """Return prompts with lm-eval's fixed exemplars, as its task writes them."""
    rows = gsm8k("test", data)[:problems]
    shots, stops = _exemplars()
    asked = [f"{shots}Q: {row['question']}\nA:" for row in rows]
    ordered = tuple(sorted(asked, key=len, reverse=True))
    return Asked(checkpoint(shape, cache, data), ordered, stops, 64, shots, shape=shape)


def zero_shot(
    problems: int, shape: Shape, cache: str | None, data: str | None, *, mixed: bool
) -> Asked:
    """Return a study's zero-shot prompts, each with the counter of its planned length."""
    model = countdown(shape, cache, data)
    texts = [prompts.PLAIN.prompt(row["question"]) for row in gsm8k("test", data)[:problems]]
    plans = zip(texts, lengths(problems), endings(problems, mixed=mixed), strict=True)
    rows = [
        (model.plant(text, length, ending), length + (2 if ending == "string" else 1))
        for text, length, ending in plans
    ]
    rows.sort(key=lambda row: -len(row[0]))
    asked, planned = zip(*rows, strict=True)
    return Asked(model.folder, asked, (STOP,), 128, planned=planned, shape=shape)


def open_finetrap(asked: Asked) -> Work:
    from finetrap.backends import open_model

    limits = Limits(dtype=asked.dtype)
    model = open_model(spec(asked.folder), limits)
    tokens = [own for own, _ in model.lengths([(text, "") for text in asked.prompts])]
    shared = model.lengths([(asked.shared, "")])[0][0] if asked.shared else 0
    read = sum(tokens) - shared * (len(tokens) - 1)

    def write(texts: Sequence[str]) -> list[Any]:
        return model.generate(
            texts, max_new_tokens=asked.new_tokens, stops=asked.stops, batch=limits.batch
        )

    def work(**_: Any) -> Done:
        completions = write(asked.prompts)
        written = [c.tokens for c in completions]
        if asked.planned and written != list(asked.planned):
            raise FinetrapError("completions are not of their planned lengths: not measured")
        facts = {i: c.text for i, c in enumerate(completions)}
        return Done(len(completions), asked.flops(read, sum(written)), facts)

    write(asked.prompts[-2:])
    return work


def open_lm_eval(asked: Asked, batch: int = 1, trial: bool = False) -> Work:
    """A trial completes one full batch, of the longest problems."""
    import logging

    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    device = str(chosen())
    model = HFLM(str(asked.folder), dtype=PEERS[asked.dtype], batch_size=batch, device=device)
    tokens = [len(model.tok_encode(text)) for text in asked.prompts]

    def write(indices: Sequence[int]) -> list[str]:
        requests = [
            Instance("generate_until", {}, (asked.prompts[i], dict(settings)), i) for i in indices
        ]
        found: list[str] = model.generate_until(requests, disable_tqdm=True)
        return found

    def work(batch: int = batch) -> Done:
        model.batch_size_per_gpu = batch
        indices = range(min(batch, len(tokens)) if trial else len(tokens))
        texts = write(indices)
        written = sum(asked.planned[i] if asked.planned else asked.new_tokens for i in indices)
        flops = asked.flops(sum(tokens[i] for i in indices), written)
        return Done(len(indices), flops, dict(zip(indices, texts, strict=True)))

    settings = {"until": list(asked.stops), "max_gen_toks": asked.new_tokens, "do_sample": False}
    write([len(tokens) - 1])
    return work


def identical(ours: Sequence[Mapping[int, str]], theirs: Sequence[Mapping[int, str]]) -> float:
    """Return the share of problems that both sides completed with the same text."""
    own = ours[0]
    same = [own[i] == text for found in theirs for i, text in found.items()]
    return sum(same) / len(same)


def compare(name: str, asked: Asked, options: Any) -> None:
    """Find the peer's best batch size, measure, and report."""
    asked = replace(asked, dtype=options.dtype)
    batch, tried = options.peer_batch, {}
    if batch is None:
        side = Side("lm-eval", open_lm_eval, {"asked": asked, "trial": True})
        found = fastest(side, [{"batch": b} for b in BATCHES], options.threads)
        tried = {choice: done.rate for choice, done in found.items()}
        batch = json.loads(next(iter(found)))["batch"]
    sides = [
        Side("finetrap", open_finetrap, {"asked": asked}),
        Side(
            f"lm-eval {version('lm_eval')} hf, batch {batch}",
            open_lm_eval,
            {"asked": asked, "batch": batch},
        ),
    ]
    comparison = alternate(
        f"{name}, {asked.dtype}",
        "problems",
        sides,
        rounds=options.rounds,
        threads=options.threads,
        half=asked.dtype == "bf16",
    )
    same = identical(comparison.sides[0].facts, comparison.sides[1].facts)
    report(comparison, options.out, identical_completions=same, peer_batches=tried)


def _exemplars() -> tuple[str, tuple[str, ...]]:
    """Return the exemplars of lm-eval's task `gsm8k_cot` and its stop strings."""
    import yaml

    package = find_spec("lm_eval")
    if package is None or package.origin is None:
        raise BadData("lm_eval is not installed: pip install -e .[peers]")
    path = Path(package.origin).parent / "tasks" / "gsm8k" / "gsm8k-cot.yaml"
    task = yaml.safe_load(path.read_text(encoding="utf-8"))
    shots = task["fewshot_config"]["samples"]
    text = "".join(f"Q: {shot['question']}\nA: {shot['target']}\n\n" for shot in shots)
    return text, tuple(task["generation_kwargs"]["until"])


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--problems", type=int, default=64)
    asked.add_argument("--only", choices=["few-shot", "zero-shot", "mixed"])
    asked.add_argument("--dtype", choices=list(PEERS), default="fp32", help="of both sides")
    asked.add_argument("--peer-batch", type=int, help="instead of trying all")
    options = asked.parse_args()
    needs("lm_eval")
    given = (options.problems, Shape(layers=options.layers), options.cache, options.data)
    if options.only in (None, "few-shot"):
        compare("GSM8K, fixed 8-shot, 64 new tokens", few_shot(*given), options)
    if options.only in (None, "zero-shot"):
        asked_ = zero_shot(*given, mixed=False)
        compare("GSM8K, zero-shot, 128 new tokens, one stop string", asked_, options)
    if options.only in (None, "mixed"):
        asked_ = zero_shot(*given, mixed=True)
        compare("GSM8K, zero-shot, 128 new tokens, mixed endings", asked_, options)


if __name__ == "__main__":
    main()
