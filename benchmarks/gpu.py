"""Decoding on an accelerator: finetrap beside transformers' `generate` and its continuous batching.

    PYTHONPATH=src python -m benchmarks.gpu [--peer continuous] [--dtype bf16] [--out FILE]

All write as many tokens for each GSM8K problem, greedily, with no stop string, on a model of
SmolLM2-135M's shape with random weights. FINETRAP_DEVICE says where. `gpu.sh` runs this, the
comparison of training with TRL, and the tests that hold on a device, and writes one JSON file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.decoding import PEERS, Asked, identical, open_finetrap
from benchmarks.harness import Side, Work, alternate, parser
from benchmarks.measured import Done, report
from benchmarks.shape import Shape, checkpoint, gsm8k
from finetrap.backends.hf.device import chosen
from finetrap.errors import FinetrapError
from finetrap.text import prompts

BATCH = 32
"""Rows at once, as a study's default."""
CACHE = 0.1
"""Share of the free memory that continuous batching takes for its cache: on an H200 more than
all rows need, so its peak says little. No prompt is kept from round to round."""


def open_transformers(asked: Asked, continuous: bool) -> Work:
    """Complete in batches of prompts of like length, padded, or all prompts as slots come free."""
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        ContinuousBatchingConfig,
        GenerationConfig,
    )

    device = chosen()
    reader = AutoTokenizer.from_pretrained(asked.folder, padding_side="left")
    reader.pad_token = reader.pad_token or reader.eos_token
    model = AutoModelForCausalLM.from_pretrained(asked.folder, dtype=PEERS[asked.dtype])
    model.to(device).eval()
    rows = [reader(text)["input_ids"] for text in asked.prompts]
    how = GenerationConfig(
        max_new_tokens=asked.new_tokens,
        min_new_tokens=None if continuous else asked.new_tokens,
        do_sample=False,
        eos_token_id=-1 if continuous else reader.eos_token_id,
        pad_token_id=reader.pad_token_id,
    )

    def in_batches(rows: Sequence[list[int]]) -> Iterable[list[int]]:
        for start in range(0, len(rows), BATCH):
            batch = reader.pad({"input_ids": rows[start : start + BATCH]}, return_tensors="pt")
            found = model.generate(**batch.to(device), generation_config=how)
            yield from found[:, batch["input_ids"].shape[1] :].tolist()

    def as_slots_come_free(rows: Sequence[list[int]]) -> Iterable[list[int]]:
        found = model.generate_batch(
            inputs=list(rows),
            generation_config=how,
            continuous_batching_config=ContinuousBatchingConfig(
                max_memory_percent=CACHE, allow_block_sharing=False
            ),
            persistent_manager=True,
        )
        if len(found) != len(rows) or any(one.error for one in found.values()):
            raise FinetrapError(f"continuous batching gave {len(found)} of {len(rows)} completions")
        yield from (one.generated_tokens for one in found.values())

    write = as_slots_come_free if continuous else in_batches

    def work(**_: Any) -> Done:
        written = list(write(rows))
        facts = {i: reader.decode(ids) for i, ids in enumerate(written)}
        return Done(len(rows), asked.flops(sum(map(len, rows)), sum(map(len, written))), facts)

    list(write(rows if continuous else rows[-2:]))  # its cache is sized by its first requests
    return work


def compare(asked: Asked, options: Any, continuous: bool) -> None:
    """Measure both sides in turn, and report."""
    name = "continuous batching" if continuous else f"generate, batch {BATCH}"
    comparison = alternate(
        f"GSM8K, {asked.new_tokens} new tokens, {asked.dtype}, on {chosen()}: {name}",
        "problems",
        [
            Side("finetrap", open_finetrap, {"asked": asked}),
            Side(
                f"transformers, {name}",
                open_transformers,
                {"asked": asked, "continuous": continuous},
            ),
        ],
        rounds=options.rounds,
        threads=options.threads,
        half=asked.dtype == "bf16",
        limit=options.limit,
    )
    same = identical(comparison.sides[0].facts, comparison.sides[1].facts)
    report(comparison, options.out, identical_completions=same)


def main() -> None:
    asked = parser(__doc__, rounds=3)
    asked.add_argument("--problems", type=int, default=256)
    asked.add_argument("--new-tokens", type=int, default=64)
    asked.add_argument("--dtype", choices=list(PEERS), default="fp32")
    asked.add_argument("--peer", choices=("generate", "continuous"), default="generate")
    options = asked.parse_args()
    shape = Shape(layers=options.layers)
    folder = checkpoint(shape, options.cache, options.data)
    texts = [prompts.PLAIN.prompt(row["question"]) for row in gsm8k("test", options.data)]
    ordered = tuple(sorted(texts[: options.problems], key=len, reverse=True))
    work = Asked(folder, ordered, (), options.new_tokens, shape=shape, dtype=options.dtype)
    compare(work, options, options.peer == "continuous")


if __name__ == "__main__":
    main()
