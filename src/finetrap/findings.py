"""The nouns of judging: Effect → Trial, Outcome, Claim, Suspect, Advice → Findings.

Frozen records; nothing here reads a file or imports anything heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from finetrap.levels import (
    OPPOSED,
    CellRow,
    Detectable,
    FieldChange,
    Forgetting,
    Frontier,
    PromptSpread,
    Setting,
    Summary,
    Tally,
    Word,
)
from finetrap.records import written_rate


class SeedChange(NamedTuple):
    """What one seed changed: a description, never combined with those of others."""

    seed: int | None
    lost: int
    """Problems right before and wrong after; of scores between 0 and 1 those that fell."""
    gained: int
    p: float | None
    """McNemar's, mid-p; None for scores between 0 and 1."""
    delta: float
    """Points."""


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
    lost: int | None
    """Problems right before and wrong after: the mean over seeds, to the nearest whole one."""
    gained: int | None
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
    """Equivalent, and shown to differ from zero: detectably worse or better, by less than the
    margin."""
    noise_floor: float | None = None
    """Problems, in points, on which two seeds of this strategy disagree; None with one seed."""
    note: str = ""
    """What a reader must know: one seed only, floor, …"""
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
    """Answers, in points, that the base model changes when it is asked again in another batch
    order; None where it was asked once. No smaller change is called harm or improvement."""
    comparisons: int = 1
    """Strategies judged together, over which the verdict is corrected."""
    decides: float | None = None
    """Where the test has too few problems to decide: the margin that all of them decide."""
    too_few: Literal["", "problems", "seeds"] = ""
    """Where the interval is wider than ±25 points: what most of its variance comes from."""
    opposed: bool = False
    """Harmed by one measure and improved by the other."""
    early: bool = False
    """Cells of the study remain, so that no verdict is told."""
    per_seed: tuple[SeedChange, ...] = ()

    @property
    def remark(self) -> str:
        """What the verdict's one word does not tell; empty where it tells all."""
        if self.early:
            return "the study is not complete"
        parts = []
        if self.small:
            way = "worse" if self.harm > 0 else "better"
            parts.append(f"detectably {way}, by less than the margin")
        elif self.withheld:
            parts.append(self.withheld)
        return "; ".join([*parts, f"too few {self.too_few}"] if self.too_few else parts)

    @property
    def withheld(self) -> str:
        """Why an interval that seems to tell something has no verdict; empty for any other."""
        if self.verdict != "inconclusive" or self.small or self.floor or self.early:
            return ""
        over = f"after correcting for {self.comparisons} comparisons"
        if self.low > 0 or self.high < 0:
            if abs(self.delta) <= (self.self_flips or 0.0):
                return "no larger than noise"
            return f"not significant {over} (p = {self.p_adjusted:.3f})"
        if -self.margin < self.low and self.high < self.margin:
            return f"not shown to be within the margin {over}"
        return ""

    @property
    def opposition(self) -> str:
        """What it means that accuracy says one thing and bits per byte the opposite; or nothing."""
        fell = (self.verdict == "harmed") == (self.measure == "accuracy")
        return OPPOSED["harmed" if fell else "improved"] if self.opposed else ""

    @property
    def harm(self) -> float:
        """How much worse, in margins: bits per byte are worse when they rise."""
        worse = self.delta if self.measure == "bits_per_byte" else -self.delta
        return worse / self.margin if self.margin else worse

    @property
    def worst(self) -> float:
        """How much worse it may be, in margins: the worse end of its interval."""
        worse = self.high if self.measure == "bits_per_byte" else -self.low
        return worse / self.margin if self.margin else worse


@dataclass(frozen=True)
class Cliff:
    """Where full fine-tuning stops harming; sizes in parameters."""

    setting: Setting
    low: int | None
    """Largest size shown harmed; None where the threshold is undetermined."""
    high: int | None
    middle: float | None
    """Geometric mean of both: the middle in log parameters, not an estimate within the interval."""
    harmed: tuple[str, ...]
    unharmed: tuple[str, ...]
    inconclusive: tuple[str, ...]
    reason: str
    """What it is based on, or why it is undetermined."""


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
    base_accuracy: float | None = None
    """Percent of the dev problems that the base model gets right."""
    why: str = ""
    """Why it was chosen: `tie broken by bits per byte`; empty for the other rates."""


@dataclass(frozen=True)
class Outcome:
    """What a trained strategy does at the fixed and at its tuned learning rate."""

    model: str
    task: str
    strategy: str
    trained_on: str
    fixed: Effect | None
    """The change at the fixed rate, of accuracy unless that is at the floor; None where it was not
    measured, or at several rates."""
    tuned: Effect | None
    outcome: Literal["no harm", "avoidable harm", "harm", "inconclusive"]
    """On the task alone: `forgetting` says the rest."""
    reason: str
    forgetting: Forgetting = field(default_factory=Forgetting)
    """At any of these rates."""


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, held against a study: a line of claims.csv."""

    id: int
    statement: str
    setting: Setting
    verdict: Literal["supported", "contradicted", "inconclusive", "not tested"]
    evidence: str
    analogue: bool = False
    """Tested over miniature sizes: it is not the paper's own claim."""


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
    about: str = ""
    """Of files: by which scores answers count as right, and how many problems are left out."""


@dataclass(frozen=True)
class Contender:
    """A strategy at one learning rate; prompts have none."""

    strategy: str
    learning_rate: float | None = None

    def __str__(self) -> str:
        """Name it as in a sentence."""
        rate = written_rate(self.learning_rate)
        return f"{self.strategy} at {rate}" if rate else self.strategy


@dataclass(frozen=True)
class Advice:
    """Which strategy to ship for one model and task."""

    model: str
    task: str
    ship: Contender | None
    """None where no strategy is shown to be the choice."""
    runner_up: Contender | None
    reasons: tuple[str, ...]
    open_questions: tuple[str, ...]
    """What the runs leave open, apart from the cells that remain to be run."""
    next_command: str
    """What to run to decide; empty if nothing is left open."""
    would_change: tuple[str, ...] = ()
    """What would change the answer."""
    keys: tuple[str, ...] = ()
    """Cells behind the strategy to ship."""
    remaining: int = 0
    """Cells of the study that remain to be run."""
    grade: Literal["shown", "provisional", "published", ""] = ""
    """`shown`: within the margin of the best. `provisional`: shown better than the base model, or
    equivalent to it, and not shown worse than any other. `published`: nothing was measured. Empty
    without a strategy to ship."""
    above_base: float | None = None
    """Lower end of its 95% interval over the base model, where it is shown better."""
    below_best: float | None = None
    """How far it may be below the best, at the end of a 95% interval; None without a rival."""
    measure: Literal["accuracy", "bits_per_byte"] = "accuracy"
    """What `above_base` and `below_best` are in: points, or bits per byte saved."""
    forgetting: Forgetting | None = None
    """Of the strategy to ship; None for a prompt."""
    sources: tuple[str, ...] = ()
    """Publications behind advice that nothing measured here supports."""

    @property
    def still_open(self) -> str:
        """Everything that is left open, the cells that remain at the end."""
        cells = "cell" if self.remaining == 1 else "cells"
        remaining = [f"{self.remaining:,} {cells} of the study remaining"] * bool(self.remaining)
        return "; ".join([*self.open_questions, *remaining])


@dataclass(frozen=True)
class Headline:
    """The answer for one model and task in two facts: what was learned, and what was lost."""

    model: str
    task: str
    badge: Literal["ship", "provisional", "keep", "no winner"]
    """`keep`: the base model is the one to ship. `no winner`: nothing is shown, so it is kept."""
    ship: Contender | None
    strategy: Contender | None = None
    """What the facts are about: the strategy to ship, else the trained one that scores best."""
    verdict: Word | None = None
    """Its verdict on the task."""
    before: float | None = None
    """Of the base model: percent right, or bits per byte."""
    after: float | None = None
    measure: Literal["accuracy", "bits_per_byte"] = "accuracy"
    forgetting: Forgetting | None = None
    """None for a prompt."""
    solved: bool = True
    """False where neither the base model nor any strategy is above the floor."""
    right: int = 0
    """Problems that the best of all solves, mean over seeds."""
    problems: int = 0
    detects: float | None = None
    """Smallest change, in points, that these runs show with power .8."""


@dataclass(frozen=True)
class Missing:
    """A comparison that could not be made, or cells that remain to be run."""

    kind: Literal["base model", "left out", "cell", "study", "precision", "damaged"]
    """`precision`: of training, where strategies differ in it or it is not known; `damaged`: a run
    whose files are not those that were committed."""
    model: str = ""
    test: str = ""
    strategy: str = ""
    seed: int | None = None
    reason: str = ""
    cell: str = ""
    study: str = ""
    remaining: int = 0
    """Cells to be run, of `planned`."""
    planned: int = 0


@dataclass(frozen=True)
class Findings:
    """Everything judged about a set of runs."""

    effects: tuple[Effect, ...]
    cells: tuple[CellRow, ...]
    missing: tuple[Missing, ...] = ()
    remaining: int = 0
    """Cells of the study that remain to be run: until there are none, no verdict is final."""
    trials: tuple[Trial, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    claims: tuple[Claim, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    advice: tuple[Advice, ...] = ()
    summary: tuple[Summary, ...] = ()
    """Every strategy over its seeds, by model and tasks."""
    headlines: tuple[Headline, ...] = ()
    """The answer for every model and task, in two facts."""
    tally: tuple[Tally, ...] = ()
    """Verdicts on tasks against the base model."""
    frontiers: tuple[Frontier, ...] = ()
    cliffs: tuple[Cliff, ...] = ()
    """Size thresholds, by setting; none for a single size."""
    detectable: tuple[Detectable, ...] = ()
    prompts: tuple[PromptSpread, ...] = ()
    """How far the base model's accuracy hangs on the prompt, where it was asked by several."""
    fields: tuple[FieldChange, ...] = ()
    """Every field of answers that are scored as JSON."""

    def withheld(self) -> Findings:
        """Return what may be told while cells of the study remain: nothing that rests on verdicts.

        A verdict that is looked for again and again is found (Armitage et al. 1969).
        """
        if not self.remaining:
            return self
        why = f"no verdict before the last run: {self.remaining} remaining"
        return replace(
            self,
            effects=tuple(
                replace(e, verdict="inconclusive", early=True, small=False, opposed=False, note="")
                for e in self.effects
            ),
            summary=tuple(
                replace(s, verdict=None, best=False, p_best=None, worst_probe="", forgetting=None)
                for s in self.summary
            ),
            claims=tuple(replace(c, verdict="not tested", evidence=why) for c in self.claims),
            outcomes=(),
            diagnoses=(),
            advice=(),
            headlines=(),
            tally=(),
            cliffs=(),
        )
