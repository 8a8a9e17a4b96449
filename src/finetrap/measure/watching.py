"""A callback for trainers of transformers and TRL: is the model under training getting worse?

    from finetrap import FinetrapCallback

    callback = FinetrapCallback("gsm8k", probes=["arc_easy"], every=100)
    trainer = SFTTrainer(model, ..., callbacks=[callback])

The model as it starts is asked some problems, and the same ones again every so many steps and at
the end. An alarm is rung once for a test, where more are lost than gained; neither looking often
nor several tests make a false one likelier than 5% (stats/looks.py).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback

from finetrap import tasks
from finetrap.backends.hf.load import Opened
from finetrap.backends.hf.model import HFModel
from finetrap.errors import BadInput
from finetrap.measure.strategies import Solver, ask
from finetrap.records import Limits, ModelSpec, Problem
from finetrap.references import PromptSpec
from finetrap.stats.looks import LEVEL, harm_evidence, needed_evidence


@dataclass(frozen=True)
class TrainingLook:
    """One test of the model under training."""

    step: int
    test: str
    before: float
    """Percent right as the training started."""
    after: float
    lost: int
    gained: int
    evidence: float
    """Weighted sum of the e-values of this test's looks so far; an alarm from 1/level."""
    alarm: bool
    """Whether this is the look that rings the test's alarm."""


class FinetrapCallback(TrainerCallback):  # type: ignore[misc]
    """Looks at a model under training: its task and what it could do before.

    `task` and `probes` are named as in a study (`gsm8k`, `jsonl:FILE`), with `data` saying where
    one lies; `problems` of each are drawn by seed, once. `looks` holds what was found, one for
    each test; `alarm` is the first that rang. With `stop` an alarm ends the training.
    Raises BadInput for a task that has no right answers, or settings that cannot be.
    """

    def __init__(
        self,
        task: str,
        probes: Sequence[str] = (),
        *,
        every: int = 100,
        problems: int = 100,
        max_new_tokens: int = 256,
        batch: int = 32,
        data: Mapping[str, str | os.PathLike[str]] | None = None,
        prompt: PromptSpec | None = None,
        level: float = LEVEL,
        stop: bool = False,
        say: Any = print,
    ) -> None:
        for name, value in (("every", every), ("problems", problems), ("batch", batch)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadInput(f"{name} is {value!r}; give a whole number from 1")
        if not 0 < level < 1:
            raise BadInput(f"level is {level!r}; give a number between 0 and 1, such as 0.05")
        self.every, self.level, self.stop, self.say = every, level, stop, say
        self.looks: list[TrainingLook] = []
        self._prompt = prompt or PromptSpec()
        self._limits = Limits(problems, problems, max_new_tokens, batch=batch)
        self._tests = dict(_test(name, data or {}, problems) for name in (task, *probes))
        self._before: dict[str, dict[str, bool]] = {}
        self._evidence: dict[str, float] = {}
        self._weight, self._last = 0.0, -1
        self._tokenizer: Any = None

    @property
    def alarm(self) -> TrainingLook | None:
        """The first look that rang, None if none has."""
        return next((look for look in self.looks if look.alarm), None)

    def on_train_begin(self, args: Any, state: Any, control: Any, **at: Any) -> None:
        """Ask the model as it starts, and fix the weight of every look that there will be."""
        words = at.get("processing_class") or at.get("tokenizer")
        self._tokenizer = getattr(words, "tokenizer", words)
        if self._tokenizer is None:
            raise BadInput("the trainer has no tokenizer; give it one as processing_class")
        count = math.ceil(state.max_steps / self.every) * len(self._tests)
        self._weight, self._last = 1 / max(1, count), 0
        self.looks, self._evidence = [], dict.fromkeys(self._tests, 0.0)
        with _as_base(at["model"]):
            self._before = self._asked(at["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **at: Any) -> None:
        """Look, where it is time to."""
        if state.global_step % self.every == 0:
            self._look(at["model"], state.global_step)
            control.should_training_stop |= self.stop and self.alarm is not None

    def on_train_end(self, args: Any, state: Any, control: Any, **at: Any) -> None:
        """Look at what the training ends in."""
        if state.global_step > self._last:
            self._look(at["model"], state.global_step)

    def _look(self, model: Any, step: int) -> None:
        self._last = step
        for name, after in self._asked(model).items():
            before = self._before[name]
            lost = sum(was and not after[id] for id, was in before.items())
            gained = sum(after[id] and not was for id, was in before.items())
            self._evidence[name] += self._weight * float(harm_evidence(lost, gained))
            harmed = self._evidence[name] >= needed_evidence(self.level) and lost > gained
            since = next((one.step for one in self.looks if one.alarm and one.test == name), None)
            look = TrainingLook(
                step,
                name,
                before=_percent_of(before),
                after=_percent_of(after),
                lost=lost,
                gained=gained,
                evidence=self._evidence[name],
                alarm=harmed and since is None,
            )
            self.looks.append(look)
            self.say(_look_line(look, since))

    def _asked(self, model: Any) -> dict[str, dict[str, bool]]:
        """Return which problems of each test are right, by id."""
        with _evaluated(model) as core:
            dtype = next(core.parameters()).dtype
            spec = ModelSpec("training", "", "", prompt=self._prompt)
            solver = Solver(HFModel(spec, Opened(core, self._tokenizer, dtype.itemsize), dtype))
            return {
                name: {a.id: bool(a.correct) for a in ask(solver, kind, chosen, self._limits)}
                for name, (kind, chosen) in self._tests.items()
            }


def _test(
    name: str, data: Mapping[str, str | os.PathLike[str]], count: int
) -> tuple[str, tuple[Any, Sequence[Problem]]]:
    kind, _, path = name.partition(":")
    if tasks.names().get(kind) == "prose":
        raise BadInput(f"'{name}' is prose and has no right answers to lose; give another probe")
    source = path if path else data.get(name)
    task = tasks.load(tasks.reference(name, None if source is None else os.fspath(source)))
    chosen = tasks.asked(task, count, "test", 0) or tasks.probed(task, count, "test")
    return name, (task.kind, chosen)


@contextmanager
def _as_base(model: Any) -> Iterator[None]:
    """Turn a model's adapter off, if it has one: what it starts as may not be the base."""
    if not hasattr(model, "disable_adapter"):
        yield
        return
    with model.disable_adapter():
        yield


@contextmanager
def _evaluated(model: Any) -> Iterator[Any]:
    """Put a model in evaluation mode and lend the network inside its adapter."""
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    training = [module for module in model.modules() if module.training]
    cached = core.config.use_cache
    model.eval()
    core.config.use_cache = True
    try:
        with torch.no_grad():
            yield core
    finally:
        core.config.use_cache = cached
        for module in training:
            module.training = True


def _percent_of(right: Mapping[str, bool]) -> float:
    return 100 * sum(right.values()) / len(right)


def _look_line(look: TrainingLook, since: int | None) -> str:
    said = (
        f"finetrap: step {look.step}, {look.test}: {look.before:.1f}% before, {look.after:.1f}% "
        f"now, {look.lost} lost and {look.gained} gained"
    )
    if since is not None:
        return f"{said}; alarm since step {since}"
    return f"{said}; ALARM: worse than it started" if look.alarm else said
