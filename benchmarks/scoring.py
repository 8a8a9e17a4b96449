"""Log-likelihood of choices: finetrap and lm-evaluation-harness on the same items and weights.

    PYTHONPATH=src python -m benchmarks.scoring [--only hellaswag|arc] [--items 64] [--dtype bf16]

HellaSwag's four endings after their context and ARC's (challenge) choices after their question, as
a study asks them, without exemplars. finetrap goes through the call that a study makes, with a
study's default batch; lm-eval through its `hf` model's `loglikelihood`, at the fastest of the batch
sizes 1, 4, 8, 16 and 32, tried first on one round's items. Both sides read in fp32, or both in
bfloat16, which lm-eval takes for a checkpoint that is stored so. Each round takes the next items of
a seeded order, the same on both sides.

It is checked that the nats agree, in fp32 to 1 in 10,000, otherwise nothing is reported; and told
on how many items both choose the same, by the nats in total and per byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.decoding import BATCHES, PEERS
from benchmarks.harness import Side, Work, alternate, fastest, needs, parser
from benchmarks.measured import Done, report
from benchmarks.shape import SMOLLM2_135M, Shape, checkpoint, data, spec
from finetrap import tasks
from finetrap.backends.hf.device import chosen
from finetrap.errors import FinetrapError
from finetrap.records import Limits, Problem
from finetrap.text import prompts

SAME = {"fp32": 1e-4, "bf16": 1e-2}
"""Relative difference up to which two sums of nats are the same."""

Item = tuple[tuple[str, str], ...]
"""A pair of context and continuation for each choice."""
Nats = dict[int, list[float]]
"""By item, the negative log-likelihood of each choice."""


@dataclass(frozen=True)
class Asked:
    """What both sides are asked."""

    folder: Path
    """Of the checkpoint."""
    items: tuple[Item, ...]
    """More than one round takes, so that rounds differ."""
    size: int
    """Items in a round."""
    shape: Shape = SMOLLM2_135M
    dtype: str = "fp32"

    def part(self, number: int) -> list[int]:
        """Return the items of a round."""
        first = number * self.size % len(self.items)
        return list(range(first, min(len(self.items), first + self.size)))

    def flops(self, read: int, headed: int) -> float:
        """Return the arithmetic of `read` tokens, `headed` of which the head sees; attention is
        left out."""
        head = self.shape.hidden * self.shape.vocabulary
        return 2.0 * ((self.shape.weights - head) * read + head * headed)


def _hellaswag(problem: Problem) -> Item:
    context = problem.question
    return tuple((context, prompts.plain_target(choice)) for choice in problem.choices)


def _arc(problem: Problem) -> Item:
    context = prompts.PLAIN.prompt(problem.question)
    return tuple((context, prompts.plain_target(choice)) for choice in problem.choices)


TASKS: Mapping[str, tuple[str, str, Callable[[Problem], Item]]] = {
    "hellaswag": ("hellaswag", "hellaswag", _hellaswag),
    "arc": ("arc_challenge", "arc", _arc),
}
"""By name: the task, its folder among the data, and how a problem is asked."""


def asked(name: str, size: int, rounds: int, options: Any) -> Asked:
    """Return a task's items in a seeded order, enough for rounds that do not repeat them."""
    task, folder, write = TASKS[name]
    found = tasks.load(tasks.reference(task, data(options.data) / folder))
    problems = Random(f"benchmark/{task}").sample(found.test, size * rounds)
    shape = Shape(layers=options.layers)
    kept = checkpoint(shape, options.cache, options.data)
    return Asked(kept, tuple(map(write, problems)), size, shape, options.dtype)


def open_finetrap(asked: Asked) -> Work:
    from finetrap.backends import open_model

    limits = Limits(dtype=asked.dtype)
    model = open_model(spec(asked.folder), limits)
    lengths = [model.lengths(item) for item in asked.items]

    def score(indices: Sequence[int]) -> Nats:
        pairs = [pair for i in indices for pair in asked.items[i]]
        nats = iter(model.score(pairs, batch=limits.batch))
        return {i: [next(nats) for _ in asked.items[i]] for i in indices}

    def work(number: int = 0, **_: Any) -> Done:
        indices = asked.part(number)
        nats = score(indices)
        contexts = sum(lengths[i][0][0] for i in indices)
        endings = [ending for i in indices for _, ending in lengths[i]]
        flops = asked.flops(contexts + sum(endings) - len(endings), sum(endings))
        return Done(len(indices), flops, nats)

    score([0])
    return work


def open_lm_eval(asked: Asked, batch: int = 1) -> Work:
    import logging

    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    device = str(chosen())
    model = HFLM(str(asked.folder), dtype=PEERS[asked.dtype], batch_size=batch, device=device)
    tokens = [[len(model.tok_encode(a + b)) - 1 for a, b in item] for item in asked.items]

    def score(indices: Sequence[int]) -> Nats:
        pairs = [pair for i in indices for pair in asked.items[i]]
        requests = [Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(pairs)]
        nats = (-value for value, _ in model.loglikelihood(requests, disable_tqdm=True))
        return {i: [next(nats) for _ in asked.items[i]] for i in indices}

    def work(number: int = 0, batch: int = batch) -> Done:
        model.batch_size_per_gpu = batch
        indices = asked.part(number)
        nats = score(indices)
        read = sum(sum(tokens[i]) for i in indices)
        return Done(len(indices), asked.flops(read, read), nats)

    score([0])
    return work


def agreement(
    items: Sequence[Item], ours: Nats, theirs: Nats, dtype: str = "fp32"
) -> dict[str, float]:
    """Return how far two tools agree on the items both scored: choices, and largest difference.

    Raises FinetrapError where they do not score the same text: nats that differ by more than SAME.
    """
    both = sorted(ours.keys() & theirs.keys())
    furthest = max(
        abs(a - b) / abs(b) for i in both for a, b in zip(ours[i], theirs[i], strict=True)
    )
    if not furthest <= SAME[dtype]:
        raise FinetrapError(
            f"nats differ by {furthest:.1e} of their size, more than {SAME[dtype]:g}: both tools "
            "do not score the same, so nothing is reported"
        )
    same = {"in_total": 0, "per_byte": 0}
    for i in both:
        sizes = [len(ending.strip().encode()) for _, ending in items[i]]
        same["in_total"] += _least(ours[i]) == _least(theirs[i])
        same["per_byte"] += _least(ours[i], sizes) == _least(theirs[i], sizes)
    shares = {f"same_choice_{name}": count / len(both) for name, count in same.items()}
    return {"items": len(both), **shares, "largest_relative_difference": furthest}


def _least(nats: Sequence[float], sizes: Sequence[int] | None = None) -> int:
    return min(range(len(nats)), key=lambda i: nats[i] / (sizes[i] if sizes else 1))


def compare(name: str, options: Any) -> None:
    """Find the peer's best batch size, measure, check the choices, and report."""
    these = asked(name, options.items, options.rounds, options)
    batch, tried = options.peer_batch, {}
    if batch is None:
        side = Side("lm-eval", open_lm_eval, {"asked": these})
        found = fastest(side, [{"batch": b} for b in BATCHES], options.threads)
        tried = {choice: done.rate for choice, done in found.items()}
        batch = json.loads(next(iter(found)))["batch"]
    sides = [
        Side("finetrap", open_finetrap, {"asked": these}),
        Side(
            f"lm-eval {version('lm_eval')} hf, batch {batch}",
            open_lm_eval,
            {"asked": these, "batch": batch},
        ),
    ]
    comparison = alternate(
        f"log-likelihood, {name}, {these.dtype}",
        "items",
        sides,
        rounds=options.rounds,
        threads=options.threads,
        arguments=lambda number: {"number": number},
        half=these.dtype == "bf16",
    )
    ours, theirs = (
        {i: nats for facts in side.facts for i, nats in facts.items()} for side in comparison.sides
    )
    agreed = agreement(these.items, ours, theirs, these.dtype)
    report(comparison, options.out, agreement=agreed, peer_batches=tried)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--items", type=int, default=32, help="in a round; default 32")
    options.add_argument("--only", choices=list(TASKS))
    options.add_argument("--dtype", choices=list(PEERS), default="fp32", help="of both sides")
    options.add_argument("--peer-batch", type=int, help="instead of trying all")
    given = options.parse_args()
    needs("lm_eval")
    for name in TASKS if given.only is None else [given.only]:
        compare(name, given)


if __name__ == "__main__":
    main()
