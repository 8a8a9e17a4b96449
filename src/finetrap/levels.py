"""What tables and charts show beside changes: levels, costs, trade-offs, smallest effects.

The words that verdicts use stand here too, as records of both kinds need them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

Word = Literal["harmed", "improved", "equivalent", "inconclusive"]
Setting = Literal["fixed", "tuned"]
"""At the learning rate that all strategies share, or at the one a search chose for each."""

VERDICTS: tuple[Word, ...] = get_args(Word)
"""Every verdict, as they are counted in tables."""


def written_change(value: float, digits: int = 1) -> str:
    """Write a change with its sign and so many decimals; one that rounds to zero has no sign."""
    text = f"{value:+.{digits}f}"
    return text if float(text) else text[1:]


OPPOSED = {
    "harmed": "accuracy fell while the gold solutions became likelier: it learned how the "
    "solutions are written and solves fewer problems; accuracy is what counts",
    "improved": "accuracy rose while the gold solutions became less likely: it solves more "
    "problems in words of its own; accuracy is what counts",
}
"""What it means that accuracy was harmed or improved, and bits per byte the opposite."""


@dataclass(frozen=True)
class Forgotten:
    """A probe that a strategy is shown to have harmed."""

    probe: str
    delta: float
    """Points, or bits per byte."""
    measure: Literal["accuracy", "bits_per_byte"] = "accuracy"

    def __str__(self) -> str:
        """Write it as `sorting -13.5`."""
        if self.measure == "accuracy":
            return f"{self.probe} {written_change(self.delta)}"
        return f"{self.probe} {self.delta:+.3f} bits per byte"


@dataclass(frozen=True)
class Forgetting:
    """What a trained strategy did to everything but its task, as far as that is shown."""

    probes: int = 0
    """Tests beside the task that it was asked."""
    lost: tuple[Forgotten, ...] = ()
    """Those harmed, the worst in margins first."""
    unclear: tuple[str, ...] = ()
    """Those where nothing is shown."""

    def __str__(self) -> str:
        """Say it in a clause."""
        if self.lost:
            return f"forgets: {', '.join(map(str, self.lost))}"
        if not self.probes:
            return "forgetting not measured"
        if self.unclear:
            return f"forgetting inconclusive on {', '.join(self.unclear)}"
        return "forgets nothing that was measured"


@dataclass(frozen=True)
class Tally:
    """How many strategies have one verdict on their task."""

    verdict: Word
    strategies: int
    forgetful: int
    """Of them, those shown to have harmed a probe."""


@dataclass(frozen=True)
class CellRow:
    """One measured cell, a failed one too: a line of cells.csv; rates are percentages."""

    key: str
    model: str
    parameters: int | None
    task: str
    trained_on: str | None
    strategy: str
    learning_rate: float | None
    setting: str
    """`fixed`, `tuned`, `fixed+tuned` where one learning rate is both, or `trial`."""
    seed: int | None
    status: str
    n: int = 0
    accuracy: float | None = None
    low: float | None = None
    """Wilson interval of this cell's accuracy."""
    high: float | None = None
    strict_rate: float | None = None
    strict_accuracy: float | None = None
    """Right and in the form asked for (`#### answer`): what a strict scorer would count."""
    no_answer_rate: float | None = None
    truncated_rate: float | None = None
    cut_rate: float | None = None
    bits_per_byte: float | None = None
    load_s: float | None = None
    train_s: float | None = None
    eval_s: float | None = None
    peak_bytes: int | None = None
    train_tokens: int | None = None
    trainable: int | None = None
    ship_bytes: int | None = None
    split: str = "test"
    self_flips: float | None = None
    kl_forward: float | None = None
    """KL(base ‖ tuned), nats per token."""
    kl_reverse: float | None = None
    """KL(tuned ‖ base), nats per token."""
    train_dtype: str | None = None
    """Precision of training: fp32, bf16, or unknown in a run of file format 1."""


@dataclass(frozen=True)
class Summary:
    """One strategy at one setting on one task, over its seeds: a line of summary.csv."""

    model: str
    task: str
    trained_on: str
    """The task itself unless a study transfers."""
    strategy: str
    learning_rate: float | None
    setting: str
    """`fixed`, `tuned`, or `fixed+tuned` where one rate is both."""
    base: bool = False
    """Whether this is the base model, asked without examples."""
    seeds: int = 0
    """That were scored; means are over these."""
    measure: Literal["accuracy", "bits_per_byte"] = "accuracy"
    level: float | None = None
    """Percent of the problems, or bits per byte; None where every seed failed."""
    low: float | None = None
    """Wilson interval over the problems; None for bits per byte."""
    high: float | None = None
    verdict: Word | None = None
    """On the task, against the base model; None where nothing could be compared."""
    p_best: float | None = None
    """Adjusted p of not being better than every other strategy; None where it was not tested."""
    best: bool = False
    """Shown better than every other strategy, the base model too."""
    kept: float | None = None
    """What is left of the probes, measured as the `Frontier` of its model and tasks says."""
    worst_probe: str = ""
    """The probe with the gravest verdict; of several the one that lost most, in margins."""
    forgetting: Forgetting | None = None
    """None for a prompt, which changes no weights."""
    strict_rate: float | None = None
    strict_accuracy: float | None = None
    no_answer_rate: float | None = None
    truncated_rate: float | None = None
    cut_rate: float | None = None
    load_s: float | None = None
    train_s: float | None = None
    eval_s: float | None = None
    peak_bytes: int | None = None
    """The most that any seed held."""
    train_tokens: float | None = None
    trainable: float | None = None
    ship_bytes: float | None = None
    kl_forward: float | None = None
    kl_reverse: float | None = None
    kl_seeds: int = 0
    cells: tuple[str, ...] = ()
    """Keys of its cells, of seeds that failed too."""
    name: str = ""
    """The strategy's own, without the settings that tell it from others of that name."""


class RewindStep(NamedTuple):
    """One share λ of the way from the base weights to the trained ones; means over seeds."""

    share: float
    kept: float
    gain: float
    """Change of the dev accuracy, in points."""


@dataclass(frozen=True)
class RewindPath:
    """What a strategy gained and kept at every interpolation towards the base weights."""

    strategy: str
    learning_rate: float | None
    setting: str
    steps: tuple[RewindStep, ...]
    chosen: tuple[float, ...]
    """Shares that the seeds chose, each once."""


@dataclass(frozen=True)
class Frontier:
    """How gain and forgetting of one model are set against each other, alike for every strategy."""

    model: str
    task: str
    trained_on: str
    probes: tuple[str, ...]
    """Those that every strategy was asked: what was kept is the mean over them."""
    retention: bool
    """Kept is percent of the ability above chance that is left; else the change in points."""
    paths: tuple[RewindPath, ...]


@dataclass(frozen=True)
class Detectable:
    """What one model's strategies can be shown to change on one test."""

    model: str
    test: str
    probe: bool
    problems: int
    seeds: int
    strategies: int
    points: float | None
    """The smallest true change that is shown with power .8; None if none is."""
    easiest: float | None
    """The same of the strategy that is easiest to tell: its answers and seeds vary least."""
    flips: float
    """Percent of answers that change."""
    measured: bool
    """Whether flips and seeds' spread come from runs; else they are assumed."""


@dataclass(frozen=True)
class FieldChange:
    """One field of JSON answers under one strategy: a line of fields.csv."""

    model: str
    task: str
    trained_on: str
    """Empty for a prompt."""
    strategy: str
    learning_rate: float | None
    setting: str
    """`fixed`, `tuned`, or `fixed+tuned` where one rate is both."""
    field: str
    seeds: int
    n: int
    """Problems whose gold has the field."""
    before: float
    """Percent of them in which the base model's field is equal to the gold's."""
    after: float
    delta: float
    """Points, with a 95% interval over problems and seeds, not corrected for other fields."""
    low: float
    high: float
    measure: ClassVar[str] = "accuracy"


class PromptLevel(NamedTuple):
    """The base model's accuracy under one prompt, in percent."""

    accuracy: float
    low: float | None
    high: float | None
    problems: int
    prompt: str
    """The settings that tell it from the others."""


@dataclass(frozen=True)
class PromptSpread:
    """What the wording of a prompt alone changes: the base model, asked without examples."""

    model: str
    task: str
    levels: tuple[PromptLevel, ...]
    """From the lowest accuracy to the highest."""
