"""One cell as a script with TRL, PEFT and lm-evaluation-harness does it, in a process of its own.

    python -m benchmarks.peer_cell JOB.json ANSWERS.json STARTED

The model is loaded, trained with TRL's SFTTrainer on PEFT's adapter or on all weights, merged and
saved; then lm-eval's `hf` model is loaded from what was saved and asked the problems and probes.
STARTED is the time at which the process was started: what lies between it and the end of the
imports is the start-up. Job and answers are described in `benchmarks.whole_study`.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def train(job: Mapping[str, Any], folder: Path) -> None:
    """Train as the job says and save a whole model with its tokenizer."""
    import datasets
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from trl import SFTConfig, SFTTrainer

    from benchmarks.training import encoded
    from finetrap.backends.hf.device import chosen
    from finetrap.backends.hf.training.member import seeded

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    if job["peft"]:
        table = {k: v for k, v in job["peft"].items() if k != "peft_type"}
        with seeded(job["seed"]):
            model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **table))
    rates = job["rates"]

    class Trainer(SFTTrainer):  # type: ignore[misc]
        """Follows the learning rates of the study, step by step."""

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            top = max(rates)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, lambda step: rates[min(step, len(rates) - 1)] / top
            )
            return self.lr_scheduler

    with TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=model,
            args=SFTConfig(
                output_dir=scratch,
                per_device_train_batch_size=job["batch"],
                max_steps=len(rates),
                learning_rate=max(rates),
                max_grad_norm=job["clip"],
                weight_decay=job["weight_decay"],
                bf16=False,
                use_cpu=chosen().type == "cpu",
                gradient_checkpointing=False,
                train_sampling_strategy="sequential",
                max_length=job["max_length"],
                logging_strategy="no",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=datasets.Dataset.from_list([encoded(r, tokenizer) for r in job["rows"]]),
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    trained = trainer.model.merge_and_unload() if job["peft"] else trainer.model
    trained.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class Evaluator:
    """lm-eval's `hf` model, asked tests as a job describes them."""

    def __init__(self, folder: str, batch: int) -> None:
        import logging

        from lm_eval.models.huggingface import HFLM

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        from finetrap.backends.hf.device import chosen

        device = str(chosen())
        self.model = HFLM(folder, dtype="float32", batch_size=batch, device=device)

    def ask(self, test: Mapping[str, Any]) -> list[Any]:
        """Return completions, or for prose nats, of a test's texts."""
        if test["kind"] == "prose" and test["prefix"]:
            return self._after(test["prefix"], test["texts"])
        if test["kind"] == "prose":
            found = self._asked("loglikelihood_rolling", [(text,) for text in test["texts"]])
            return [-nats for nats in found]
        settings = {
            "until": test["stops"],
            "max_gen_toks": test["new_tokens"],
            "do_sample": False,
        }
        return self._asked("generate_until", [(text, dict(settings)) for text in test["texts"]])

    def _after(self, prefix: str, texts: Sequence[str]) -> list[float]:
        """Return the nats of texts after a prefix; `loglikelihood` would score its last spaces."""
        head, *tails = (self.model.tok_encode(text) for text in (prefix, *texts))
        rows = [((prefix, text), head, tail) for text, tail in zip(texts, tails, strict=True)]
        found = self.model._loglikelihood_tokens(rows, disable_tqdm=True)
        return [-nats for nats, _ in found]

    def nats(self, test: Mapping[str, Any]) -> list[float]:
        """Return the nats of each gold solution of a test after its problem."""
        pairs = list(zip(test["texts"], test["targets"], strict=True))
        return [-value for value, _ in self._asked("loglikelihood", pairs)]

    def _asked(self, kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        from lm_eval.api.instance import Instance

        requests = [Instance(kind, {}, given, i) for i, given in enumerate(arguments)]
        return list(getattr(self.model, kind)(requests, disable_tqdm=True))


def rewind(job: Mapping[str, Any], evaluator: Evaluator) -> float:
    """Go back towards the untouched weights as far as the held-out problems say."""
    import torch
    from safetensors.torch import load_file

    from finetrap.measure.rewind import choose

    weights = dict(evaluator.model.model.named_parameters())
    start = load_file(Path(job["model"]) / "model.safetensors")
    trained = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def go(share: float) -> None:
        for name, weight in weights.items():
            weight.copy_(start[name].float().lerp(trained[name], share))

    path = []
    for share in job["rewind"]:
        go(share)
        levels = {test["name"]: level(test, evaluator) for test in job["dev"]}
        task = levels.pop(job["dev"][0]["name"])
        path.append({"share": share, "n": len(job["dev"][0]["texts"]), **task, "probes": levels})
    chosen = choose(path)
    go(chosen)
    return chosen


def level(test: Mapping[str, Any], evaluator: Evaluator) -> dict[str, float | None]:
    """Return percent right (None for prose) and bits per byte on a test."""
    from finetrap.text import scoring

    found = evaluator.ask(test)
    if test["kind"] == "prose":
        return {"accuracy": None, "bits": sum(found) / sum(test["bytes"]) / math.log(2)}
    right = [scoring.grade(*pair).correct for pair in zip(found, test["golds"], strict=True)]
    size = sum(len(text.strip().encode()) for text in test["targets"])
    bits = sum(evaluator.nats(test)) / size / math.log(2)
    return {"accuracy": 100 * sum(right) / len(right), "bits": bits}


def main(place: Path, answers: Path, started: float) -> None:
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    job = json.loads(place.read_text(encoding="utf-8"))
    import lm_eval.models.huggingface  # noqa: F401 - what is imported first is not the cell's work

    if job["rows"]:
        import peft  # noqa: F401
        import trl  # noqa: F401
    seconds = {"startup": time.time() - started}
    begun = time.perf_counter()
    model = job["model"]
    if job["rows"]:
        model = job["trained"]
        if not Path(model).is_dir():
            train(job, Path(model))
    seconds["training"] = time.perf_counter() - begun
    evaluator = Evaluator(model, job["eval_batch"])
    chosen = rewind(job, evaluator) if job["rewind"] else None
    found = {test["name"]: evaluator.ask(test) for test in job["tests"]}
    asked = time.perf_counter()
    scored = [test for test in job["tests"] if job["golds"] and test["kind"] == "math"]
    golds = {test["name"]: evaluator.nats(test) for test in scored}
    seconds["golds"] = time.perf_counter() - asked
    seconds["work"] = time.perf_counter() - begun
    told = {"seconds": seconds, "chosen": chosen, "found": found, "golds": golds}
    answers.write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
