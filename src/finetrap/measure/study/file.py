"""The tables of a study file: what may stand where.

Every field's description says what is allowed there, so that one form of sentence serves all
faults (faults.py). A field that is an axis of the grid takes one value or a list of them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
)

from finetrap.records import (
    Judge,
    Keep,
    Limits,
    Precision,
    Search,
    Study,
    TrainSpec,
    Weights,
)
from finetrap.references import Format


def _distinct(values: list[Any]) -> list[Any]:
    if any(value in values[:i] for i, value in enumerate(values)):
        raise ValueError("repeated")
    return values


def _listed_values(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _format_alone(value: object) -> object:
    return {"format": value} if isinstance(value, str) else value


Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
CountOrAll = Count | Literal["all"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MOST_EPOCHS = 10_000
Epochs = Annotated[float, Field(gt=0, le=MOST_EPOCHS)]
Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
Counts = Annotated[
    list[Count], Field(min_length=1), BeforeValidator(_listed_values), AfterValidator(_distinct)
]
Positives = Annotated[
    list[Positive], Field(min_length=1), BeforeValidator(_listed_values), AfterValidator(_distinct)
]
ManyEpochs = Annotated[
    list[Epochs], Field(min_length=1), BeforeValidator(_listed_values), AfterValidator(_distinct)
]
Shots = Annotated[
    list[Natural],
    Field(min_length=1),
    BeforeValidator(_listed_values),
    AfterValidator(_distinct),
]
Shares = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2), AfterValidator(_distinct)
]
Templates = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    Field(min_length=1),
    BeforeValidator(_listed_values),
    AfterValidator(_distinct),
]
Sources = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(_listed_values),
    AfterValidator(_distinct),
]
Seeds = Annotated[list[Natural], Field(min_length=1), AfterValidator(_distinct)]

_COUNT = "a whole number from 1"
_COUNT_OR_ALL = f'{_COUNT}, or "all"'
_POSITIVE = "a number above 0"
_EPOCHS = f"a number above 0, at most {MOST_EPOCHS:,}"
_LISTS = "lists belong to [strategy.NAME]"
_COUNT_ALONE = f"{_COUNT}; {_LISTS}"
_POSITIVE_ALONE = f"{_POSITIVE}; {_LISTS}"
_AXIS = "or a list of different ones"
_NAMES = "a list of different names"
_FORMAT = '"auto", "plain" or "chat"'
_PRECISION = '"fp32" or "bf16"'


class Table(BaseModel):
    """A table without unknown settings and without conversions: `true` is not 1, "3" is not 3."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TrainTable(Table):
    """`[train]`: the budget of every trained strategy."""

    task: str = Field(default="", min_length=1, description="the name of a task")
    """Train on this one task, and test on every task; else each task is trained on."""
    problems: CountOrAll | None = Field(default=TrainSpec.problems, description=_COUNT_OR_ALL)
    """A seeded random subset of the training problems, the same for all."""
    epochs: Epochs = Field(default=TrainSpec.epochs, description=f"{_EPOCHS}; {_LISTS}")
    """Passes over the training problems."""
    batch: Count = Field(default=TrainSpec.batch, description=_COUNT_ALONE)
    learning_rate: Positive | None = Field(
        default=TrainSpec.learning_rate, description=_POSITIVE_ALONE
    )
    """One rate for every trained strategy; else each has its catalog's."""
    warmup: Annotated[float, Field(ge=0, le=1)] = Field(
        default=TrainSpec.warmup, description="a number from 0 to 1"
    )
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=TrainSpec.weight_decay, description="a number from 0"
    )
    """AdamW's weight decay."""
    clip: Positive = Field(default=TrainSpec.clip, description=_POSITIVE)
    max_length: Count = Field(default=TrainSpec.max_length, description=f"{_COUNT}, in tokens")
    dev: Annotated[int, Field(ge=0)] = Field(
        default=TrainSpec.dev, description="a whole number from 0"
    )
    with_dev: bool = Field(default=TrainSpec.with_dev, description="true or false")
    dtype: Precision = Field(default=TrainSpec.dtype or "fp32", description=_PRECISION)
    replay_task: str = Field(default="", min_length=1, description="the name of a task")

    def spec(self) -> TrainSpec:
        """Return the record."""
        tasks = ("task", "replay_task")
        return TrainSpec(**{k: v for k, v in _values(self).items() if k not in tasks})


class SearchTable(Table):
    """`[search]`: how learning rates are searched for."""

    trials: Annotated[int, Field(ge=2, le=15)] = Field(
        default=Search.trials, description="a whole number from 2 to 15"
    )
    factor: Annotated[float, Field(gt=1, le=100)] = Field(
        default=Search.factor, description="a number above 1, at most 100"
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        default=Search.seed, description="a whole number from 0"
    )

    def spec(self) -> Search:
        """Return the record."""
        return Search(**_values(self))


class LimitsTable(Table):
    """`[limits]`: what bounds an evaluation."""

    test_problems: CountOrAll | None = Field(
        default=Limits.test_problems, description=_COUNT_OR_ALL
    )
    """A seeded random subset of the test problems, the same for all."""
    probe_problems: CountOrAll | None = Field(
        default=Limits.probe_problems, description=_COUNT_OR_ALL
    )
    max_new_tokens: Count = Field(default=Limits.max_new_tokens, description=_COUNT)
    """Longest completion; one that is cut there counts as truncated."""
    dtype: Precision = Field(default=Limits.dtype, description=_PRECISION)
    batch: Count = Field(default=Limits.batch, description=_COUNT)

    def spec(self) -> Limits:
        """Return the record."""
        return Limits(**_values(self))


class JudgeTable(Table):
    """`[judge]`: how verdicts are drawn."""

    margin: Annotated[float, Field(gt=0, le=100)] = Field(
        default=Judge.margin, description="a number of points above 0, at most 100"
    )
    bits_margin: Positive = Field(
        default=Judge.bits_margin, description=f"{_POSITIVE}, in bits per byte"
    )

    def spec(self) -> Judge:
        """Return the record."""
        return Judge(**_values(self))


class KeepTable(Table):
    """`[keep]`: what stays on disk beside answers."""

    weights: Weights = Field(default=Keep.weights, description='"adapters", "all" or "none"')
    """Adapters alone, whole models too, or none, in the runs folder."""
    checkpoints: Annotated[str, Field(pattern=r"^(never|[1-9]\d{0,5} ?(s|min|h))$")] = Field(
        default="5 min", description='a time such as "5 min", "30 s" or "1 h", or "never"'
    )
    """Training time after which it is kept, to go on there if it is stopped."""

    def spec(self) -> Keep:
        """Return the record."""
        found = re.fullmatch(r"(\d+) ?(s|min|h)", self.checkpoints)
        seconds = float(found[1]) * {"s": 1, "min": 60, "h": 3600}[found[2]] if found else None
        return Keep(self.weights, seconds)


class StrategyTable(Table):
    """A strategy file, or `[strategy.NAME]`; every number is an axis of the grid."""

    about: str = Field(default="", description="a sentence")
    """What it is, for `finetrap list`."""
    kind: Literal["prompt", "full", "peft", "given"] | None = Field(
        default=None, description='"prompt", "full", "peft" or "given"'
    )
    """A prompt, full fine-tuning, a PEFT adapter, or weights that were trained elsewhere."""
    weights: Sources = Field(default=[], description="a folder, .gguf file or hub id, or a list")
    """Of a given strategy: what was trained from the study's model; of several each is a seed."""
    shots: Shots = Field(default=[0], description=f"a whole number from 0, {_AXIS}")
    learning_rate: Positives | None = Field(default=None, description=f"{_POSITIVE}, {_AXIS}")
    """Its own rate, before `train.learning_rate` and the catalog's."""
    epochs: ManyEpochs | None = Field(default=None, description=f"{_EPOCHS}, {_AXIS}")
    """In place of `train.epochs`."""
    batch: Counts | None = Field(default=None, description=f"{_COUNT}, {_AXIS}")
    """In place of `train.batch`."""
    peft: dict[str, JsonValue] = Field(default={}, description="a table for PEFT's configuration")
    replay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="a number between 0 and 1"
    )
    rewind: Shares = Field(default=[], description="a list of different numbers from 0 to 1")


class PromptTable(Table):
    """`[prompt]`, or the `prompt` of a model."""

    preset: str = Field(default="", min_length=1, description="the name of a shipped prompt")
    """A shipped prompt, which the other keys change."""
    format: Format = Field(default="auto", description=_FORMAT)
    system: str = Field(default="", description="text")
    template: Templates | None = Field(
        default=None, description=f"text with {{question}} in it, {_AXIS}"
    )
    answer_prefix: str = Field(default="", description="text")
    stops: list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None, description="a list of texts"
    )
    exemplars: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(
        default=[], description="a list of [question, worked answer]"
    )


class ModelTable(Table):
    """A model file, or `[model.NAME]`."""

    about: str = Field(default="", description="a sentence")
    """What it is, for `finetrap list`."""
    source: str = Field(default="", min_length=1, description="a hub id, a folder or a .gguf file")
    revision: str = Field(default="", min_length=1, description="a commit on the hub")
    base: str = Field(
        default="", min_length=1, description="the model that an adapter belongs to, as in `models`"
    )
    prompt: Annotated[PromptTable, BeforeValidator(_format_alone)] = Field(
        default=PromptTable(), description=f"{_FORMAT}, or a table with the keys of [prompt]"
    )
    """How it is asked, where that is not the study's `[prompt]`; a string is its format."""
    parameters: Count | None = Field(default=None, description=f"{_COUNT}, without separators")
    allow_pickle: bool = Field(default=False, description="true or false")
    """Works with --allow-code alone."""
    trust_remote_code: bool = Field(default=False, description="true or false")
    """Works with --allow-code alone."""
    data: dict[str, str] = Field(default={}, description="sources of tasks that suit the model")
    """Used where a study says nothing in `[data]`."""


class StudyTable(Table):
    """A whole study file."""

    name: str = Field(default="", min_length=1, description="a name")
    """Names the study in its report."""
    models: Names = Field(default=[], description=f"{_NAMES}, hub ids, folders or .gguf files")
    """Catalog names, hub ids (`id@revision`), checkpoint or adapter folders, .gguf files, or model
    files; the base model is measured too."""
    tasks: Names = Field(default=[], description=_NAMES)
    """Trained on, then tested on."""
    strategies: Names = Field(default=[], description=_NAMES)
    """Catalog names, strategy files, or names that `[strategy.NAME]` defines."""
    probes: list[str] = Field(default=[], description=_NAMES)
    """Never trained on: held-out tasks that measure forgetting."""
    seeds: Seeds = Field(
        default=list(Study.seeds), description="a list of different whole numbers from 0"
    )
    """Each trains once, and draws its own exemplars."""
    train: TrainTable = Field(default=TrainTable(), description="a table")
    """See below."""
    limits: LimitsTable = Field(default=LimitsTable(), description="a table")
    """See below."""
    search: SearchTable | None = Field(default=None, description="a table")
    """Without it every strategy is measured at the rates that it was given."""
    judge: JudgeTable = Field(default=JudgeTable(), description="a table")
    """See below."""
    keep: KeepTable = Field(default=KeepTable(), description="a table")
    """See below."""
    prompt: PromptTable = Field(default=PromptTable(), description="a table")
    """How every model is asked, in training and in tests; see below."""
    strategy: dict[str, StrategyTable] = Field(default={}, description="tables [strategy.NAME]")
    """See below."""
    model: dict[str, ModelTable] = Field(default={}, description="tables [model.NAME]")
    """See below."""
    data: dict[str, str] = Field(default={}, description='TASK = "path of a file or folder"')
    """Where a task's data lies, in its original layout; else it comes from the hub."""
    task: dict[str, dict[str, JsonValue]] = Field(
        default={}, description="tables [task.NAME] of options"
    )
    """Options of a task: `test_problems`, the most of it that is asked, or columns of user data."""


REQUIRED = ("name", "models", "tasks", "strategies")


def _values(table: Table) -> dict[str, Any]:
    """Return the values of a table; `all` is None in the records."""
    return {key: None if value == "all" else value for key, value in table.model_dump().items()}
