"""The nouns of measuring: Study → Cell → Run. Those of judging are in findings.py.

Frozen records and their JSON form; nothing here reads a file or imports anything heavy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

from finetrap.errors import BadInput, opening
from finetrap.references import ModelSpec as ModelSpec
from finetrap.references import TaskRef as TaskRef

FORMAT = 2
"""Version of the files in a run folder; every earlier one is read (docs/protocol.md)."""
PROTOCOL = 3
"""Version of prompts, training and decoding, which decide completions and likelihoods: a change
makes every committed cell run again. Grading has a version of its own (text/scoring.py)."""

TaskKind = Literal["math", "choice", "continuation", "prose"]
Split = Literal["test", "dev"]
Status = Literal["done", "diverged", "oom", "failed"]
StopReason = Literal["eos", "stop", "loop", "cap", "none"]
"""By its end token, a stop string, a cycle, the limit on new tokens; `none`: nothing is written."""
UNENDED: frozenset[StopReason] = frozenset({"loop", "cap"})
"""How completions end that did not come to an end by themselves."""
Precision = Literal["fp32", "bf16"]
Weights = Literal["adapters", "all", "none"]
"""Adapters alone, whole models too, or none."""


@dataclass(frozen=True)
class Problem:
    """One item of a task.

    A math problem has a question, a worked solution and its final answer; a multiple-choice one has
    `choices` and `label`; a piece of prose has its text in `solution` and no question.
    """

    id: str
    question: str
    solution: str
    answer: str = ""
    family: str = ""
    """Template or subject the problem comes from: the cluster in the statistics."""
    choices: tuple[str, ...] = ()
    label: int | None = None
    scoring: str | None = None
    """How its answers are scored, where the task says so (text/scorers.py)."""
    place: str = field(default="", compare=False, repr=False)
    """Where it was read, as a file and a line; not a part of what it is."""

    @property
    def named(self) -> str:
        """Return what a message calls it: its place, else its id, and its first words."""
        return f"{self.place or f'problem {self.id}'} ({opening(self.question or self.solution)})"


@dataclass(frozen=True)
class StrategySpec:
    """A strategy with one value for every setting: the catalog's, overridden by the study's."""

    name: str
    kind: Literal["prompt", "full", "peft", "given"]
    shots: int = 0
    """Exemplars put before the question, drawn from the training problems by the seed."""
    learning_rate: float | None = None
    peft: Mapping[str, Any] | None = None
    """Passed to PEFT's configuration as it is."""
    epochs: float | None = None
    batch: int | None = None
    replay: float | None = None
    """Share of the training rows that are drawn from the study's replay task."""
    rewind: tuple[float, ...] = ()
    """Shares λ of the way from the base to the trained weights; one is chosen on dev."""
    weights: tuple[ModelSpec, ...] = ()
    """What others trained from the base, one for each seed; only the seed's own is in a key."""

    @property
    def given(self) -> bool:
        """Whether its weights were trained elsewhere."""
        return self.kind == "given"

    @property
    def learns(self) -> bool:
        """Whether its weights are trained here."""
        return self.kind in ("full", "peft")

    def identity(self, seed: int | None) -> dict[str, Any]:
        """Return the part of a cell's key that says which strategy this is."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "weights"}
        own = {**kept, "rewind": list(self.rewind), "peft": self.peft and dict(self.peft)}
        if self.given and seed is not None:
            same = ("name", "prompt")  # as the base model's
            known = self.weights[seed].identity()
            own["weights"] = {name: known[name] for name in known if name not in same}
        return own

    @property
    def trained_as(self) -> StrategySpec:
        """The training behind a rewound strategy: the same one without rewinding."""
        return replace(self, name=self.name.removesuffix("+rewind"), rewind=())

    @property
    def is_base(self) -> bool:
        """Whether this is the base model as it came, asked without examples."""
        return not self.trains and self.shots == 0

    @property
    def trains(self) -> bool:
        """Whether this strategy changes weights."""
        return self.kind != "prompt"


@dataclass(frozen=True)
class TrainSpec:
    """The training budget, the same for every strategy unless one overrides it."""

    problems: int | None = 400
    """Training problems, a seeded random subset; None takes all of them."""
    epochs: float = 3
    batch: int = 16
    """Rows per optimizer step."""
    learning_rate: float | None = None
    """One rate for every trained strategy; None leaves each its catalog rate."""
    warmup: float = 0.1
    """Share of the steps in which the rate rises linearly; a cosine to zero follows."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient."""
    max_length: int = 1024
    """Tokens in a row; a longer row is an error, never cut."""
    dev: int = 0
    """Training problems held out to choose settings on, at most a fifth; see `with_dev`."""
    with_dev: bool = False
    """Train on the held-out problems too, once the settings are chosen."""
    share: float = 1.0
    """Part of the training problems that an early rung of the search trains on."""
    dtype: Precision | None = "fp32"
    """Precision of the passes; the optimizer moves fp32 weights. None: of format 1."""

    def of(self, strategy: StrategySpec) -> TrainSpec:
        """Return a strategy's budget: its own epochs, batch and learning rate, else these."""
        own = strategy
        return replace(
            self,
            epochs=float(self.epochs if own.epochs is None else own.epochs),
            batch=self.batch if own.batch is None else own.batch,
            learning_rate=self.learning_rate if own.learning_rate is None else own.learning_rate,
        )


@dataclass(frozen=True)
class Limits:
    """What bounds one evaluation."""

    test_problems: int | None = 1000
    """A seeded random subset of the test problems, the same for every cell; None takes all."""
    probe_problems: int | None = 200
    """Likewise for each probe."""
    max_new_tokens: int = 256
    dtype: Precision = "fp32"
    """Precision of evaluation."""
    batch: int = 128
    """Rows evaluated at once: in the key only for bf16, where answers depend on it."""


@dataclass(frozen=True)
class Cell:
    """One measured thing. Everything that decides its numbers is in its key."""

    model: ModelSpec
    task: TaskRef
    strategy: StrategySpec
    train: TrainSpec
    limits: Limits
    seed: int | None = None
    """None for a strategy without any randomness (zero-shot)."""
    trained_on: TaskRef | None = None
    """Where training rows and exemplars come from; None where the strategy uses neither."""
    probes: tuple[TaskRef, ...] = ()
    replayed: TaskRef | None = None
    """Where replayed rows come from; None where the strategy replays nothing."""
    split: Split = "test"
    """`dev` for a trial of the search: it is asked held-out training problems, never the test."""
    extends: bool = False
    """A trial beyond the planned range, whose edge was best. Not in the key."""
    protocol: int = PROTOCOL
    """The version under which it is measured."""

    def identity(self) -> dict[str, Any]:
        """Return what the key is made of: no path, no worker, no environment."""
        return dict(self._identity)

    @cached_property
    def _identity(self) -> dict[str, Any]:
        limits = asdict(self.limits)
        if self.limits.dtype == "fp32":
            del limits["batch"]
        train = asdict(self.train) if self.trained_on else None
        if train and self.protocol == 1:  # the precision of training was in no key
            del train["dtype"]
        return {
            "protocol": self.protocol,
            "model": self.model.identity(),
            "task": self.task.identity(),
            "trained_on": self.trained_on.identity() if self.trained_on else None,
            "strategy": self.strategy.identity(self.seed),
            "train": train,
            "seed": self.seed,
            "probes": [p.identity() for p in self.probes],
            "replayed": self.replayed.identity() if self.replayed else None,
            "split": self.split,
            "limits": limits,
        }

    @cached_property
    def key(self) -> str:
        """SHA-256 of the identity as canonical JSON, in hexadecimal."""
        return content_hash(self.identity())

    @property
    def precision(self) -> str:
        """Of training: fp32, bf16, or unknown of a run of format 1; empty for a prompt."""
        return self.train.dtype or "unknown" if self.strategy.trains else ""

    @property
    def slug(self) -> str:
        """A short readable name for the folder."""
        parts = [self.model.name, self.task.name, self.strategy.name]
        if self.strategy.learning_rate is not None:
            parts.append(written_rate(self.strategy.learning_rate))
        if self.seed is not None:
            parts.append(f"s{self.seed}")
        if self.split == "dev":
            parts.append("trial")
        text = "-".join(parts)
        return "".join(c if c.isalnum() or c in "-._" else "_" for c in text)[:80]

    @property
    def opened_as(self) -> str:
        """Name what cells share that are measured on one opened model: weights, prompt, dtype."""
        return content_hash([self.model.source, self.model.identity(), self.limits.dtype])

    def training_key(self) -> str:
        """Name the training behind this cell, shared by those that differ in test or rewind."""
        identity = replace(self, strategy=self.strategy.trained_as).identity()
        parts = ("protocol", "model", "trained_on", "replayed", "strategy", "train", "seed")
        return content_hash({name: identity[name] for name in parts})


def checked_margin(points: float) -> float:
    """Return a margin in points of accuracy. Raises BadInput for one that is none."""
    if not 0 < points <= 100:  # nan is neither
        raise BadInput(f"margin {points:g}: give points of accuracy above 0, at most 100")
    return points


@dataclass(frozen=True)
class Judge:
    """How the verdicts are drawn; not in any key."""

    margin: float = 2.0
    """Points of accuracy within which a change is called equivalent."""
    bits_margin: float = 0.05
    """Bits per byte within which a change on prose is called equivalent."""


@dataclass(frozen=True)
class Keep:
    """What stays on disk beside answers; not in any key."""

    weights: Weights = "adapters"
    """Which stay in the runs folder."""
    checkpoints: float | None = 300.0
    """Seconds of training after which it is kept, until its cell is committed; None: never."""


@dataclass(frozen=True)
class Search:
    """How every trained strategy's learning rate is searched for, the same for all."""

    trials: int = 5
    """Learning rates tried around each strategy's own."""
    factor: float = 3.0
    """Ratio of neighbouring rates."""
    seed: int = 90210
    """Of every trial; never one of the study's."""


@dataclass(frozen=True)
class Study:
    """What a person wrote, checked and with the catalog filled in."""

    name: str
    models: tuple[ModelSpec, ...]
    tasks: tuple[TaskRef, ...]
    strategies: tuple[StrategySpec, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    probes: tuple[TaskRef, ...] = ()
    train: TrainSpec = TrainSpec()
    train_task: TaskRef | None = None
    """Train on this one task and test on every task; None trains on each task it tests."""
    limits: Limits = Limits()
    replay_task: TaskRef | None = None
    """Where strategies that replay draw their rows from."""
    search: Search | None = None
    """None measures every strategy at the rates it was given."""
    judge: Judge = Judge()
    keep: Keep = Keep()
    source: str = ""
    """The study file's text, kept for the report."""


@dataclass(frozen=True)
class Answer:
    """One problem, answered: a line of answers.jsonl or probe-NAME.jsonl."""

    id: str
    gold: str
    completion: str
    extracted: str | None
    rule: str
    """Which extraction rule fired; `none` if no answer was found."""
    correct: bool | None
    """None for prose, which has no right answer."""
    strict: bool | None
    """Whether the answer stood in the asked format (`#### n`)."""
    tokens: int
    """Tokens generated."""
    stop: StopReason
    nats: float | None
    """Negative log-likelihood of the gold solution."""
    bytes: int | None
    """UTF-8 bytes of the gold solution."""
    family: str = ""
    correct_raw: bool | None = None
    """Multiple choice without length normalisation."""
    choices: int | None = None
    """Number of choices; None for open answers, and where it is not known."""
    cut: str | None = None
    """What opens the other problem at which a completion was cut for grading; None if nothing."""
    scoring: str | None = None
    """How it was scored, where its task says so (text/scorers.py)."""
    score: float | None = None
    """How much of it is right, where it is neither right nor wrong; None: as `correct` says."""

    @property
    def value(self) -> float | None:
        """What it counts for in a mean, 0 to 1; None for prose."""
        return self.score if self.score is not None or self.correct is None else float(self.correct)


@dataclass(frozen=True)
class Costs:
    """What a cell took. Seconds of loading, training and evaluating never mix."""

    load_s: float | None = None
    train_s: float | None = None
    eval_s: float | None = None
    again_s: float | None = None
    """Of asking the base model some problems again, to see whether it varies."""
    peak_bytes: int | None = None
    """Most memory the process held while this cell ran."""
    train_tokens: int | None = None
    """Tokens of all training rows seen, padding not counted."""
    eval_tokens: int | None = None
    flops: float | None = None
    """6·N per trained token, 4·N + 6·adapter with frozen weights, 2·N per evaluated token."""
    parameters: int | None = None
    trainable: int | None = None
    ship_bytes: int | None = None
    """What has to be shipped beside the base model, or instead of it."""


@dataclass(frozen=True)
class Failure:
    """Why a cell has no answers."""

    cause: str
    message: str
    step: int | None = None


@dataclass(frozen=True)
class Run:
    """What happened in a cell."""

    cell: Cell
    status: Status
    answers: Sequence[Answer] = ()
    probes: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    costs: Costs = Costs()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    grading: int | None = None
    """Version of grading that it was graded under when it was measured (text/scoring.py); None
    where that is the current one. A search keeps the choice that it made under it."""


def content_hash(value: object) -> str:
    """Return the SHA-256, in hexadecimal, of a value as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def written_rate(learning_rate: float | None) -> str:
    """Write a learning rate as people type it: `3e-4`; nothing for a prompt, which has none."""
    if learning_rate is None:
        return ""
    if not 0 < learning_rate < 0.1:
        return f"{learning_rate:g}"
    digits, exponent = f"{learning_rate:.3e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"
