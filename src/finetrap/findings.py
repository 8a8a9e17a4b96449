"""The nouns of judging: Effect → Trial, Outcome, Claim, Suspect, Advice → Findings.

Frozen records; nothing here reads a file or imports anything heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Word = Literal["harmed", "improved", "equivalent", "inconclusive"]
Setting = Literal["fixed", "tuned"]
"""At the learning rate that all strategies share, or at the one a search chose for each."""


@dataclass(frozen=True)
class Effect:
    """A paired change of one strategy against a baseline: a line of effects.csv.

    `before`, `after`, `delta`, `low`, `high` and `margin` are points of accuracy, or bits per byte
    where `measure` says so (there a rise is a loss).
    """

    model: str
    task: str
    kind: Literal["task", "transfer", "probe"]
    strategy: str
    learning_rate: float | None
    setting: Setting
    against: Literal["zero-shot", "best-icl"]
    seeds: int
    n: int
    before: float
    after: float
    delta: float
    low: float
    high: float
    lost: float | None
    """Problems right before and wrong after, mean over seeds."""
    gained: float | None
    p: float
    p_adjusted: float
    margin: float
    verdict: Word
    needed_n: int | None
    """Problems that would decide an effect as large as the margin; None if decided or hopeless."""
    needed_seeds: int | None
    trained_on: str = ""
    """Task the strategy was trained on, or drew its exemplars from."""
    measure: Literal["accuracy", "bits_per_byte"] = "accuracy"
    small: bool = False
    """Harmed or improved, but shown to be within the margin."""
    note: str = ""
    """What a reader must know: one seed only, floor, …"""
    per_seed: tuple[tuple[int | None, int, int, float], ...] = ()
    """(seed, lost, gained, mid-p McNemar) of each seed: a description, never combined."""
    noise_floor: float | None = None
    """Problems, in points, on which two seeds of this strategy disagree; None with one seed."""
    floor: bool = False
    """Neither model is above chance by the margin, so accuracy cannot show harm."""
    retention: float | None = None
    """Share of the ability above chance that is left, in points; None where it was near chance."""
    retention_low: float | None = None
    retention_high: float | None = None
    churn: float | None = None
    """Flips beyond `noise_floor`, in points: a description, never harm; None with one seed."""
    churn_error: float | None = None
    """Standard error of `churn`."""
    self_flips: float | None = None
    """Answers, in points, that the untouched model changes when it is asked again in another batch
    order; None where it was asked once. No smaller change is called harm or improvement."""


@dataclass(frozen=True)
class Trial:
    """One learning rate of a search, at the largest training set it was tried on."""

    model: str
    task: str
    """Task the dev problems are held out from."""
    strategy: str
    learning_rate: float
    share: float
    """Part of the training problems that its last rung trained on."""
    status: str
    """`done`, or how it failed: a diverged trial is data."""
    accuracy: float | None
    """Percent of the dev problems."""
    low: float | None
    high: float | None
    """Wilson interval of the accuracy."""
    bits: float | None
    """Bits per byte of the dev solutions: what the rungs select by."""
    retention: float | None
    """Mean over accuracy probes of the percent above chance that is left, on held-out problems."""
    extended: bool
    """Added because the best rate lay at the edge of the range."""
    chosen: bool


@dataclass(frozen=True)
class Outcome:
    """What a trained strategy does at the fixed and at its tuned learning rate."""

    model: str
    task: str
    strategy: str
    trained_on: str
    fixed_rate: float | None
    tuned_rate: float | None
    fixed: Word | None
    """Verdict at the fixed rate; None where it was not measured."""
    tuned: Word | None
    outcome: Literal["no harm", "avoidable harm", "harm", "inconclusive"]
    reason: str


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, held against a study: a line of claims.csv."""

    id: int
    statement: str
    setting: Setting
    verdict: Literal["supported", "contradicted", "inconclusive", "not tested"]
    evidence: str


@dataclass(frozen=True)
class Suspect:
    """One possible cause of a worse result, examined."""

    suspect: str
    verdict: Literal["likely cause", "ruled out", "not enough data"]
    evidence: str
    remedy: str
    """What to do about it; empty unless it is a likely cause."""


@dataclass(frozen=True)
class Diagnosis:
    """Why one strategy's result is worse, or at the floor."""

    model: str
    task: str
    strategy: str
    learning_rate: float | None
    setting: Setting
    suspects: tuple[Suspect, ...]


@dataclass(frozen=True)
class Advice:
    """Which strategy to ship for one model and task."""

    model: str
    task: str
    ship: str | None
    """Strategy with its learning rate; None where no strategy is shown to be the choice."""
    runner_up: str | None
    reason: str
    open_questions: str
    """What the runs leave open; empty if nothing."""
    next_command: str
    """What to run to decide; empty if nothing is left open."""
    would_change: tuple[str, ...] = ()
    """What would change the answer."""
    keys: tuple[str, ...] = ()
    """Cells behind the strategy to ship."""


@dataclass(frozen=True)
class Findings:
    """Everything judged about a set of runs."""

    effects: tuple[Effect, ...]
    cells: tuple[Mapping[str, Any], ...]
    """Rows of cells.csv, in its column order."""
    missing: tuple[str, ...] = ()
    """What the study still owes and what could not be judged, in words."""
    owed: int = 0
    """Cells that the study still owes: until there are none, no verdict is final."""
    trials: tuple[Trial, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    claims: tuple[Claim, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    advice: tuple[Advice, ...] = ()
