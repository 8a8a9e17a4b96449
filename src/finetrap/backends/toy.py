"""A model without weights whose abilities are planted: what a study must find is known beforehand.

A source is `toy:` and settings, for example `toy:base=0.6,full=-0.2,few-shot-5=0.05,sd=0.01`:

    base         share of problems that the base model solves (0.5)
    STRATEGY     what a strategy adds to that share (0); `few-shot-N` is what N exemplars add,
                 `STRATEGY:RATE` what it adds at one learning rate (`full:0.0003=-0.4`)
    sd           standard deviation of that addition from seed to seed (0)
    churn        share of problems whose outcome a strategy draws anew, the mean unchanged (0)
    bits         bits per byte of prose (1.5)
    parameters   number of parameters to pretend (1000)
    seconds      how long training sleeps, in all its steps (0)

`base@WORD` and `STRATEGY@WORD` hold for the questions that contain WORD and win over the plain
ones; `STRATEGY@prose` is added to the bits per byte of prose. Instead of a number a strategy may
end in a failure: `diverge`, `crash`, `oom`, or `die` (the process is killed).

It knows the answers of plain arithmetic (`12 + 30`) and of the miniature's problems; whether
it gives them is a latent number of each problem held against the planted ability. The same source,
strategy, seed and prompt always give the same answer.
"""

from __future__ import annotations

import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeVar

from finetrap.backends import (
    NOTHING_KNOWN,
    Completion,
    Known,
    Moved,
    Progress,
    Row,
    Scored,
    Training,
    Written,
)
from finetrap.backends._planted import PREFIX as PREFIX
from finetrap.backends._planted import Planted, parse
from finetrap.errors import BadModel, Diverged
from finetrap.records import Limits, ModelSpec, StopReason, StrategySpec, TrainSpec, content_hash
from finetrap.runs.unfinished import Checkpoint
from finetrap.text.prompts import PLAIN, Form

_T = TypeVar("_T")
VERSION = "toy-1"
"""Revision of a toy model: its name holds everything else."""
DATA = {"prose": "miniature"}
"""Sources of tasks that suit a toy model."""


def _on_integers(work: Callable[..., int]) -> Callable[..., int]:
    return lambda *groups: work(*map(int, groups))


_FORMS: tuple[tuple[re.Pattern[str], Callable[..., object]], ...] = tuple(
    (re.compile(pattern), work)
    for pattern, work in (
        (r"(-?\d+) *\+ *(\d+)", _on_integers(lambda a, b: a + b)),
        (r"(-?\d+) *- *(\d+)", _on_integers(lambda a, b: a - b)),
        (r"(-?\d+) *[*×] *(\d+)", _on_integers(lambda a, b: a * b)),
        (r"has (\d+) \w+ and finds (\d+)", _on_integers(lambda a, b: a + b)),
        (r"has (\d+) \w+ and loses (\d+)", _on_integers(lambda a, b: a - b)),
        (r"(\d+) rows of (\d+) \w+ in a class\. (\d+)", _on_integers(lambda a, b, c: a * b - c)),
        (
            r"(\d+) rows of (\d+) \w+ in a class and gets (\d+)",
            _on_integers(lambda a, b, c: a * b + c),
        ),
        (
            r"has (\d+) dollars and buys (\d+) \w+ for (\d+)",
            _on_integers(lambda a, b, c: a - b * c),
        ),
        (
            r"rides (\d+) days for (\d+) miles and (\d+) days for (\d+)",
            _on_integers(lambda a, b, c, d: a * b + c * d),
        ),
        (r"(\d+) boats of (\d+) \w+; (\d+) sink", _on_integers(lambda a, b, c: a * b - c)),
        (r"(\d+) boats of (\d+) \w+; (\d+) join", _on_integers(lambda a, b, c: a * b + c)),
        (r"comes after \d+ \d+ (\d+) (\d+)", _on_integers(lambda a, b: b + b - a)),
        (r"Sort ([\d ]+) from", lambda row: " ".join(sorted(row.split()))),
        (r"times is (\w) in ([\w ]+)\?", lambda letter, row: row.split().count(letter)),
        (r"Reverse ([\w ]+)\.", lambda row: " ".join(row.split()[::-1])),
    )
)
"""How each form of question is worked out: arithmetic, then the families of the miniature."""


def named(entry: str, base: Path) -> tuple[str, str]:
    """Return the name and the source of a toy model, which are one."""
    return entry, entry


def spec(name: str, source: str, settings: Mapping[str, Any], home: Path) -> ModelSpec:
    """Return the toy model of a source. Raises BadModel."""
    parameters = int(parse(source).settings["parameters"])
    revision = f"{VERSION}:{content_hash(source)[:16]}"
    return ModelSpec(name, source, revision, "toy", parameters=parameters)


def open_model(spec: ModelSpec, limits: Limits) -> ToyModel:
    """Open the toy model that the spec's source describes. Raises BadModel."""
    if spec.prompt.format == "chat":
        raise BadModel(f'{spec.name}: a toy model has no chat template; use prompt = "plain"')
    return ToyModel(parse(spec.source), Form(spec.prompt))


class ToyModel:
    """Implements `finetrap.backends.Model` with planted answers."""

    def __init__(self, plan: Planted, form: Form = PLAIN) -> None:
        self.plan, self.form = plan, form
        self.parameters = int(plan.settings["parameters"])
        self._trained: StrategySpec | None = None
        self._seed = ""
        self._share = 1.0
        self.tokens_read = 0

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        stops: Sequence[str],
        batch: int,
        written: Written | None = None,
        golds: Sequence[str] = (),
        scored: Scored | None = None,
        known: Known = NOTHING_KNOWN,
    ) -> list[Completion]:
        """Answer each prompt's last question, rightly or wrongly as planted."""
        completions = (self._complete(prompt, max_new_tokens) for prompt in prompts)
        answered = _each_told(completions, written)
        if golds:
            self.score(list(zip(prompts, golds, strict=True)), batch=batch, scored=scored)
            self.tokens_read -= sum(len(prompt.split()) for prompt in prompts)  # read once for both
        return answered

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        batch: int,
        windows: bool = False,
        scored: Scored | None = None,
        known: Known = NOTHING_KNOWN,
    ) -> list[float]:
        """Return nats that prefer the right continuation where `generate` answers rightly.

        What is read in `windows` is prose, with the planted bits per byte, scattered between texts.
        """
        nats = self._prose if windows else self._nats
        return _each_told((nats(context, follow) for context, follow in pairs), scored)

    def train(
        self,
        rows: Sequence[Row],
        strategy: StrategySpec,
        train: TrainSpec,
        seed: int,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Training:
        """Take on the strategy's planted ability. Raises Diverged or what else is planted."""
        self._trained, self._seed, self._share = strategy, str(seed), 1.0
        budget = train.of(strategy)
        steps = max(1, math.ceil(len(rows) / budget.batch * budget.epochs))
        self._end_badly(steps)
        losses = [0.5 + 2.0 * math.exp(-4.0 * step / steps) for step in range(steps)]
        tokens = self.training_tokens(rows, strategy, train, seed)
        done = checkpoint.step if checkpoint else 0
        for step, loss in list(enumerate(losses, start=1))[done:]:
            time.sleep(self.plan.settings["seconds"] / steps)
            if checkpoint and (step == steps or checkpoint.due()):
                checkpoint.write(step, steps, {}, ())
            if progress is not None:
                facts = {"step": step, "steps": steps, "loss": loss, "tokens": tokens // steps}
                progress("step", facts)
        evidence: dict[str, Any] = {
            "loss": losses,
            "gradient_norm": [loss / 2 for loss in losses],
            "update_ratio": [1e-3] * steps,
            "learning_rate": [strategy.learning_rate] * steps,
            "rows": [[[row.prompt, False], [row.target, True]] for row in rows[:2]],
            "eos_share": 1.0,
        }
        return Training(steps, tokens, self._trainable(), evidence)

    def divergence(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        batch: int,
        moved: Moved | None = None,
        known: Known = NOTHING_KNOWN,
    ) -> list[tuple[float, float]]:
        """Return numbers that grow with the planted effect and vanish for a base model."""
        name, _ = self._solver("")
        return [
            (moved, moved / 2)
            for context, _ in pairs
            for moved in (abs(self._effect(name, _last_question(context))),)
        ]

    def rewind(self, share: float) -> None:
        """Keep a share of the planted effect."""
        self._share = share

    def save(self, folder: Path, *, whole: bool) -> None:
        """Write a small file where real weights would lie."""
        place = folder / ("model" if whole else "adapter")
        place.mkdir()
        (place / "weights.bin").write_bytes(b"\0" * self.ship_bytes)

    @property
    def ship_bytes(self) -> int:
        """Four bytes for each parameter that training may have changed."""
        return 4 * self._trainable()

    def reset(self) -> None:
        """Forget the training."""
        self._trained, self._seed, self._share = None, "", 1.0

    def lengths(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
        """Return the words of each context and of its continuation."""
        return [(len(context.split()), len(follow.split())) for context, follow in pairs]

    def shown(self, row: Row) -> list[tuple[str, bool]]:
        """Return the prompt and the target, each as one token."""
        return [(row.prompt, False), (row.target, True)]

    def training_tokens(
        self, rows: Sequence[Row], strategy: StrategySpec, train: TrainSpec, seed: int
    ) -> int:
        """Return the words that `train` would see."""
        words = sum(len((row.prompt + row.target).split()) for row in rows)
        return round(words * train.of(strategy).epochs)

    def row_bytes(self, tokens: int) -> int:
        """Return nothing: answers are planted."""
        return 0

    def _trainable(self) -> int:
        if self._trained is None:
            return 0
        whole = self._trained.kind == "full"
        return self.parameters if whole else max(1, self.parameters // 100)

    def _end_badly(self, steps: int) -> None:
        fate = self.plan.fates.get(self._trained.name.lower()) if self._trained else None
        if fate == "diverge":
            raise Diverged((steps + 1) // 2, math.nan)
        if fate == "crash":
            raise RuntimeError("a planted crash")
        if fate == "oom":
            raise MemoryError("a planted lack of memory")
        if fate == "die":
            os.kill(os.getpid(), signal.SIGKILL)

    def _complete(self, prompt: str, max_new_tokens: int) -> Completion:
        question = _last_question(prompt)
        answer = known_answer(question)
        if answer is None:
            words = ["I", "cannot", "tell."]
        else:
            given = answer if self._solves(prompt, question) else _wrong(question, answer)
            words = ["So", "the", "result", f"is {given}.\n####", given]
        self.tokens_read += len(prompt.split()) + len(words)
        stop: StopReason = "eos" if len(words) < max_new_tokens else "cap"
        cut = words[:max_new_tokens]
        return Completion(" " + " ".join(cut), min(len(cut) + 1, max_new_tokens), stop)

    def _nats(self, context: str, continuation: str) -> float:
        self.tokens_read += len(context.split()) + len(continuation.split())
        question = _last_question(context)
        answer = known_answer(question)
        size = len(continuation.encode())
        scatter = 0.05 * _uniform("scatter", question, continuation)
        if answer is None:
            return size * (0.5 + 8 * scatter)
        right = continuation.split()[-len(answer.split()) :] == answer.split()
        if self._solves(context, question):
            return size * ((0.1 if right else 1.0) + scatter)
        return size * ((0.6 if right else 0.3) + scatter)

    def _prose(self, context: str, text: str) -> float:
        strategy, _ = self._solver(context)
        bits = self.plan.settings["bits"] + self.plan.effects.get(f"{strategy}@prose", 0.0)
        self.tokens_read += len((context + text).split())
        return (
            max(0.0, bits + 0.05 * _normal_draw("prose", text)) * math.log(2) * len(text.encode())
        )

    def _solves(self, prompt: str, question: str) -> bool:
        """Hold a question's latent difficulty, uniform on [0, 1), against the planted ability."""
        plan, base = self.plan, self.plan.effect("base", question)
        ability = plan.settings["base"] if base is None else base
        difficulty = _uniform("difficulty", question)
        strategy, seed = self._solver(prompt)
        if strategy:
            ability += self._effect(strategy, question)
            if plan.settings["sd"]:
                ability += self._share * plan.settings["sd"] * _normal_draw("seed", strategy, seed)
            if _uniform("churn", question, strategy, seed) < plan.settings["churn"]:
                difficulty = _uniform("difficulty", question, strategy, seed)
        return difficulty < ability

    def _effect(self, strategy: str, question: str) -> float:
        """Return what is planted for a strategy at its rate, else at any, as far as it is kept."""
        rate = self._trained.learning_rate if self._trained else None
        found = self.plan.effect(f"{strategy}:{rate:g}", question) if rate else None
        if found is None:
            found = self.plan.effect(strategy, question) or 0.0
        return self._share * found

    def _solver(self, prompt: str) -> tuple[str, str]:
        """Return the name and seed of whatever was done to the model, empty for the base model."""
        if self._trained is not None:
            return self._trained.trained_as.name.lower(), self._seed
        shots = prompt.count("Question:") - _asks(prompt)
        if shots < 1:
            return "", ""
        # Exemplars differ from seed to seed and not from question to question.
        exemplars = prompt[: prompt.rfind("Question:")] if _asks(prompt) else prompt
        return f"few-shot-{shots}", sha256(exemplars.encode()).hexdigest()


def known_answer(question: str) -> str | None:
    """Work out plain arithmetic or a problem of the miniature; None for anything else."""
    for pattern, work in _FORMS:
        found = pattern.search(question)
        if found:
            return str(work(*found.groups()))
    return None


def _each_told(found: Iterable[_T], tell: Callable[[int, _T], None] | None) -> list[_T]:
    """Return what is found, each told as it is found."""
    results = []
    for number, result in enumerate(found):
        results.append(result)
        if tell is not None:
            tell(number, result)
    return results


def _asks(prompt: str) -> bool:
    return prompt.endswith("\nAnswer:")


def _last_question(prompt: str) -> str:
    """Return what is asked, or for a text to be continued its last paragraph."""
    if _asks(prompt):
        return prompt.rpartition("Question:")[2].removesuffix("\nAnswer:").strip()
    return prompt.rpartition("\n\n")[2].strip()


def _wrong(question: str, answer: str) -> str:
    if re.fullmatch(r"-?\d+", answer):
        return str(int(answer) + 1 + int(9 * _uniform("wrong", question)))
    return "-1"


def _uniform(*parts: str) -> float:
    """Return a number in [0, 1) that depends on these strings alone."""
    return int.from_bytes(sha256("\0".join(parts).encode()).digest()[:6], "big") / 2**48


def _normal_draw(*parts: str) -> float:
    return NormalDist().inv_cdf(min(max(_uniform(*parts), 1e-12), 1 - 1e-12))
