"""Training tokens per second: finetrap and TRL's SFTTrainer (with PEFT) on the same rows.

    PYTHONPATH=src python -m benchmarks.training [--methods full lora dora] [--rows 8]

Both train a checkpoint of SmolLM2-135M's shape on rows of GSM8K with the same token ids, the loss
on the solution and its end token, the same rows in every optimizer step, AdamW, and the same
learning rates and clipping, in the same precision (--dtype). That they do the same work is checked:
the losses of the first step agree.

finetrap goes through the call that a study makes. TRL runs without gradient checkpointing, at the
fastest of its settings (--settings), each tried first in a process of its own: rows per pass,
padded (each step's rows sorted by length, which spares it padding) or joined without padding
("4-free"). tokens/s counts the rows' tokens, padding not.

Arithmetic for the share of the limit: 6·N per token, 4·N + 6·adapter where weights are frozen, with
N of all layers and of the head, although the head is needed at targets only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import Side, Work, Worker, alternate, needs, parser
from benchmarks.measured import Comparison, Done, Round, report
from benchmarks.shape import SMOLLM2_135M, Shape, checkpoint, gsm8k, spec
from finetrap.backends.hf.device import chosen
from finetrap.errors import BadInput, FinetrapError
from finetrap.records import Limits, Precision, StrategySpec, TrainSpec
from finetrap.text import prompts

RANK = 16
LORA = {"r": RANK, "lora_alpha": 2 * RANK, "target_modules": "all-linear"}
METHODS: Mapping[str, Mapping[str, Any] | None] = {
    "full": None,
    "lora": LORA,
    "dora": {**LORA, "use_dora": True},
}
LONGEST = 512
"""Tokens in a row; longer ones are left out."""
RATE = 1e-4
SEED = 0
WARM = 1
"""Untimed optimizer steps of each side."""
TRIED = 4
"""Rows a step in which a peer's setting is tried, or its rows per pass if those are more."""
SAME = {"fp32": 1e-4, "bf16": 1e-2}
"""Relative difference up to which two losses are the same."""


@dataclass(frozen=True)
class Trained:
    """What both sides train."""

    folder: Path
    """Of the checkpoint."""
    method: str
    rows: tuple[tuple[str, str], ...]
    """Prompt and solution, written as a study writes them."""
    batch: int
    """Rows per optimizer step."""
    shape: Shape = SMOLLM2_135M
    dtype: Precision = "fp32"
    """Of the passes."""

    @property
    def steps(self) -> list[list[tuple[str, str]]]:
        """The rows of each optimizer step, in the order in which finetrap takes them."""
        from finetrap.backends.hf.training.member import Schedule

        schedule = Schedule(1, self.batch, RATE, 0.0, 0.0, 1.0)
        return [[self.rows[i] for i in step] for step in schedule.batches(len(self.rows), SEED)]

    @property
    def adapter(self) -> int:
        """Parameters of LoRA on every linear layer; DoRA has one more for each output."""
        hidden, inner = self.shape.hidden, self.shape.intermediate
        wide = hidden // self.shape.heads * self.shape.key_heads
        linears = [(hidden, hidden)] * 2 + [(hidden, wide)] * 2
        linears += [(hidden, inner)] * 2 + [(inner, hidden)]
        each = [RANK * (i + o) + (o if self.method == "dora" else 0) for i, o in linears]
        return self.shape.layers * sum(each)

    @property
    def flops(self) -> float:
        """Arithmetic of one token."""
        weights = self.shape.weights
        return 6.0 * weights if self.method == "full" else 4.0 * weights + 6.0 * self.adapter


class Stepwise:
    """A training run that stands still after every step until it is told to go on.

    `train` calls what it is given with the loss of each step. Rounds of two tools can so alternate,
    and each trains in one run from start to end, in the process's main thread, as it does for its
    users: the C library gives other threads memory in another way.
    """

    def __init__(self, train: Callable[[Callable[[float], None]], object]) -> None:
        from greenlet import greenlet

        self.losses: list[float] = []
        self._asking = greenlet.getcurrent()
        self._training = greenlet(train)

    def advance(self, steps: int) -> None:
        """Let it take some more steps. Raises what the training raised."""
        for _ in range(steps):
            told = self._training.switch(self._asking.switch)
            if self._training.dead:
                raise FinetrapError("the training ended before all its steps were asked for")
            self.losses.append(told)


def rows(count: int, folder: Path, data: str | None) -> tuple[tuple[str, str], ...]:
    """Return training rows of GSM8K, drawn at random. Raises BadInput where there are too few."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    drawn = gsm8k("train", data)
    Random(f"benchmark/training/{SEED}").shuffle(drawn)
    found = []
    for row in drawn:
        pair = prompts.PLAIN.prompt(row["question"]), prompts.plain_target(row["answer"])
        if len(encoded(pair, tokenizer)["input_ids"]) <= LONGEST:
            found.append(pair)
        if len(found) == count:
            return tuple(found)
    raise BadInput(f"{count} rows asked for and GSM8K has {len(found)} of at most {LONGEST} tokens")


def encoded(row: tuple[str, str], tokenizer: Any) -> dict[str, list[int]]:
    """Return a row as TRL takes it: ids, and labels that leave the prompt out of the loss."""
    prompt, target = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in row)
    target = [*target, tokenizer.eos_token_id]
    return {"input_ids": prompt + target, "labels": [-100] * len(prompt) + target}


def timed(run: Stepwise, tokens: Sequence[int], flops: float) -> Work:
    """Take the untimed steps, and return the work of a round: the steps after them."""

    def work(steps: int = 1) -> Done:
        start = len(run.losses)
        run.advance(steps)
        read = sum(tokens[start : start + steps])
        return Done(read, flops * read, run.losses[0])

    run.advance(WARM)
    return work


def open_finetrap(trained: Trained) -> Work:
    from finetrap.backends import Row, open_model

    model = open_model(spec(trained.folder), Limits())
    table = METHODS[trained.method]
    strategy = StrategySpec(
        trained.method,
        "full" if table is None else "peft",
        learning_rate=RATE,
        peft=None if table is None else {"peft_type": "LORA", **table},
    )
    budget = TrainSpec(
        epochs=1, batch=trained.batch, warmup=0.0, max_length=LONGEST, dtype=trained.dtype
    )
    tokens = [sum(head + tail + 1 for head, tail in model.lengths(step)) for step in trained.steps]

    def train(after_step: Callable[[float], None]) -> None:
        def progress(event: str, facts: Mapping[str, Any]) -> None:
            if event == "step":
                after_step(facts["loss"])

        model.train([Row(*row) for row in trained.rows], strategy, budget, SEED, progress)

    return timed(Stepwise(train), tokens, trained.flops)


def open_trl(trained: Trained, rows: int, joined: bool) -> Work:
    """`rows` go through the model in one pass, padded or `joined` into one."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(trained.folder))
    steps = [[encoded(row, tokenizer) for row in step] for step in trained.steps]
    for step in steps:
        step.sort(key=lambda row: -len(row["input_ids"]))
    tokens = [sum(len(row["input_ids"]) for row in step) for step in steps]
    on_gpu = chosen().type != "cpu"
    settings = {
        "bf16": trained.dtype == "bf16",
        "use_cpu": not on_gpu,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": trained.batch // rows,
        "max_steps": len(steps),
        "padding_free": joined,
        "max_length": None if joined else LONGEST,
    }
    data = [row for step in steps for row in step]

    def train(after_step: Callable[[float], None]) -> None:
        with TemporaryDirectory() as folder:
            trainer = sft_trainer(trained, tokenizer, data, {**settings, "output_dir": folder})
            trainer.add_callback(_after_step(after_step))
            trainer.train()

    return timed(Stepwise(train), tokens, trained.flops)


def sft_trainer(
    trained: Trained, tokenizer: Any, data: list[dict[str, list[int]]], settings: Mapping[str, Any]
) -> Any:
    """Return TRL's trainer on rows in the given order, as a knowing user sets it up."""
    import datasets
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    table = METHODS[trained.method]
    trainer = SFTTrainer(
        model=str(trained.folder),
        args=SFTConfig(
            **settings,
            gradient_checkpointing=False,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=0,
            max_grad_norm=1.0,
            weight_decay=0.0,
            train_sampling_strategy="sequential",
            dataloader_pin_memory=not settings["use_cpu"],
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            model_init_kwargs={"dtype": "float32"},
        ),
        train_dataset=datasets.Dataset.from_list(data),
        processing_class=tokenizer,
        peft_config=None if table is None else LoraConfig(task_type="CAUSAL_LM", **table),
    )
    trainer.remove_callback(PrinterCallback)
    found = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    if table is not None and found != trained.adapter:
        raise FinetrapError(f"TRL trains {found} parameters and not {trained.adapter}: no match")
    return trainer


def _after_step(after_step: Callable[[float], None]) -> Any:
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        """Passes each step's loss on; the summary at the end has none."""

        def on_log(self, *_: Any, logs: Mapping[str, float], **__: Any) -> None:
            if "loss" in logs:
                after_step(float(logs["loss"]))

    return Watch()


@dataclass(frozen=True)
class Setting:
    """How TRL passes a step's rows through the model."""

    rows: int
    joined: bool

    @classmethod
    def named(cls, name: str) -> Setting:
        """Read "4", or "4-free". Raises BadInput."""
        count, _, rest = name.partition("-")
        if not count.isdecimal() or int(count) < 1 or rest not in ("", "free"):
            raise BadInput(f"'{name}' is no setting of TRL; write rows per pass, as in 4 or 4-free")
        return cls(int(count), rest == "free")

    def __str__(self) -> str:
        return f"{self.rows} rows a pass, {'joined' if self.joined else 'padded'}"

    def side(self, trained: Trained) -> Side:
        """Return TRL at this setting."""
        name = f"TRL {version('trl')}, {self}"
        return Side(name, open_trl, {"trained": trained, "rows": self.rows, "joined": self.joined})


def tried(setting: Setting, method: str, options: Any) -> tuple[Round, int]:
    """Return one step of TRL at a setting, and its peak memory, in a process of its own."""
    batch = max(TRIED, setting.rows)
    with Worker(setting.side(work_of(method, batch, WARM + 1, options)), options.threads) as worker:
        done = worker.run()
        peak = worker.peak()
    print(f"{method}, TRL, {setting}: {done.rate:.3g} tokens/s, {peak / 2**30:.2f} GiB", flush=True)
    return done, peak


def work_of(method: str, batch: int, steps: int, options: Any) -> Trained:
    """Return what is trained in so many steps."""
    shape = Shape(layers=options.layers)
    folder = checkpoint(shape, options.cache, options.data)
    drawn = rows(batch * steps, folder, options.data)
    return Trained(folder, method, drawn, batch, shape, options.dtype)


def compare(method: str, options: Any) -> None:
    """Find TRL's fastest setting, measure both, check that they did the same, and report."""
    settings = [Setting.named(name) for name in options.settings]
    found = {setting: tried(setting, method, options) for setting in settings}
    best = max(settings, key=lambda setting: found[setting][0].rate)
    if options.rows % best.rows:
        raise BadInput(f"--rows {options.rows} is no multiple of TRL's {best.rows} rows a pass")
    trained = work_of(method, options.rows, WARM + options.rounds * options.steps, options)
    comparison = alternate(
        f"training, {method}",
        "tokens",
        [Side("finetrap", open_finetrap, {"trained": trained}), best.side(trained)],
        rounds=options.rounds,
        threads=options.threads,
        arguments=lambda number: {"steps": options.steps},
        half=options.dtype == "bf16",
        limit=options.limit,
    )
    report(
        comparison,
        options.out,
        losses_of_the_first_step=first_losses(comparison, SAME[options.dtype]),
        peer_settings={
            str(setting): {"tokens_per_s": round.rate, "peak_bytes": peak}
            for setting, (round, peak) in found.items()
        },
    )


def first_losses(comparison: Comparison, same: float) -> list[float]:
    """Return each side's loss in the first step. Raises FinetrapError unless they agree."""
    ours, theirs = (float(side.facts[0]) for side in comparison.sides)
    if not abs(ours - theirs) <= same * abs(theirs):
        raise FinetrapError(
            f"the first step's loss is {ours:.6f} in {comparison.sides[0].name} and {theirs:.6f} "
            f"in {comparison.sides[1].name}: they did not do the same work, so nothing is reported"
        )
    return [ours, theirs]


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    asked.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="default fp32")
    asked.add_argument("--rows", type=int, default=8, help="in an optimizer step; default 8")
    asked.add_argument("--steps", type=int, default=1, help="in a round; default 1")
    asked.add_argument(
        "--settings",
        nargs="+",
        default=["1", "4", "4-free"],
        help="rows per pass at which TRL is tried, N padded or N-free joined; default 1 4 4-free",
    )
    options = asked.parse_args()
    needs("trl", "peft")
    for method in options.methods:
        compare(method, options)


if __name__ == "__main__":
    main()
