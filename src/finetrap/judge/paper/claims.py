"""The claims of "The Fine-Tuning Trap" (arXiv 2606.06920) held against a study.

A claim names the arm it speaks of, the arm that is set against, the models and tests, and what it
says of them. Each model is a case, and every case is a paired test of the two arms over all
problems of the claim's tasks (claim 8: one test for each probe). The tests that one claim makes at
one setting are judged together, so that some wrong word appears in at most 5% of studies:

    supported      every case is shown to be as the claim says
    contradicted   some case is shown not to be
    inconclusive   anything else; a difference that is only seen supports nothing

Accuracy at the floor shows nothing. Where all models of a study are miniatures the analogous claim
over their sizes is tested, and marked so; it is never the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from finetrap.findings import Claim, Findings
from finetrap.judge.arms import Arm, Comparison, comparisons
from finetrap.judge.pairwise import (
    Contrast,
    Result,
    arms_at,
    contrast,
    declared,
    in_margins,
    judge_together,
    named_arm,
    p_above,
    pooled,
)
from finetrap.judge.paper.population import (
    ALIGNED,
    ALL,
    LARGE,
    SMALL,
    SMALLEST,
    ModelChoice,
    Models,
    sized_models,
)
from finetrap.levels import Setting, Word, written_change
from finetrap.records import Judge, Run, StrategySpec
from finetrap.stats.changes import ALPHA

Saying = Literal["worse", "not worse", "the same", "better"]
"""What a claim says of its arm beside the other one."""
Verdict = Literal["supported", "contradicted", "inconclusive", "not tested"]

_WORDS = {"harmed": "worse", "improved": "better"}
_SHOWN: dict[Saying, tuple[Word, ...]] = {
    "worse": ("harmed",),
    "not worse": ("equivalent", "improved"),
    "better": ("improved",),
}
"""Verdicts that show what a claim says; any other but inconclusive shows that it is not so."""


@dataclass(frozen=True)
class Kind:
    """One kind of arm that a claim speaks of."""

    name: str
    is_one: Callable[[Arm], bool]

    def holds(self, arm: Arm) -> bool:
        """Say whether an arm is of this kind, as published: without rewinding or replay."""
        return not arm.spec.rewind and not arm.spec.replay and self.is_one(arm)


def _is_lora(spec: StrategySpec, *, dora: bool) -> bool:
    """Say whether a strategy is LoRA as published, or DoRA; rsLoRA, PiSSA and the like are not."""
    own = spec.peft or {}
    return (
        spec.kind == "peft"
        and own.get("peft_type") == "LORA"
        and bool(own.get("use_dora")) == dora
        and not own.get("use_rslora")
        and own.get("init_lora_weights", True) in (True, "default")
    )


ZERO_SHOT = Kind("the base model, zero-shot", lambda arm: arm.is_base)
FIVE_SHOT = Kind("5-shot prompting", lambda arm: not arm.spec.trains and arm.spec.shots == 5)
FULL = Kind("full fine-tuning", lambda arm: arm.spec.kind == "full")
LORA = Kind("LoRA", lambda arm: _is_lora(arm.spec, dora=False))
DORA = Kind("DoRA", lambda arm: _is_lora(arm.spec, dora=True))
PEFT = Kind("an adapter", lambda arm: arm.spec.kind == "peft")


@dataclass(frozen=True)
class Statement:
    """A claim as data: what is set against what, where, and what is said of it."""

    id: int
    text: str
    """`{who}` stands for the models."""
    arm: Kind
    base: Kind
    who: Models
    says: Saying
    test: str = ""
    """The one task it is about; empty for every task."""
    probes: bool = False
    caution: str = ""
    """Where the paper's own numbers, reported second-hand, speak against its claim."""


STATEMENTS = (
    Statement(
        1,
        "full fine-tuning leaves {who} below their zero-shot",
        FULL,
        ZERO_SHOT,
        SMALL,
        "worse",
        caution="the paper's own SmolLM2-360M, above 300M, is reported to fall too, by amounts "
        "within noise (OrcaMath 11.5 to 9.2, GSM8K 4.2 to 3.8, SVAMP 3.5 to 2.1)",
    ),
    Statement(
        2,
        "full fine-tuning leaves {who} at or above their zero-shot",
        FULL,
        ZERO_SHOT,
        LARGE,
        "not worse",
        caution="the paper's own Qwen2.5-0.5B is reported to fall on SVAMP from 2.33 to 0.00",
    ),
    Statement(3, "LoRA and DoRA are equivalent overall on {who}", LORA, DORA, ALL, "the same"),
    Statement(4, "DoRA beats LoRA on GSM8K on {who}", DORA, LORA, ALL, "better", test="gsm8k"),
    Statement(
        5,
        "LoRA beats DoRA on OrcaMath on {who}",
        LORA,
        DORA,
        ALL,
        "better",
        test="orca_math",
        caution="the paper's own SmolLM2-360M is reported the other way round: DoRA 15.2, LoRA "
        "14.8 on OrcaMath",
    ),
    Statement(6, "LoRA beats full fine-tuning on {who}", LORA, FULL, ALIGNED, "better"),
    Statement(7, "5-shot beats full fine-tuning on {who}", FIVE_SHOT, FULL, SMALLEST, "better"),
    Statement(
        8,
        "adapters forget less than full fine-tuning on {who}",
        PEFT,
        FULL,
        ALL,
        "better",
        probes=True,
    ),
)


def hold_claims(findings: Findings, runs: Sequence[Run]) -> tuple[Claim, ...]:
    """Hold every claim against these runs: at the fixed rate, and at the tuned rates."""
    settings: tuple[Setting, ...] = ("fixed", "tuned")
    gathered = comparisons(runs)
    known = sized_models(runs)
    return tuple(
        _claim(statement, gathered, statement.who.choose(known), setting, declared(findings))
        for statement in STATEMENTS
        for setting in settings
    )


@dataclass(frozen=True)
class ClaimCase:
    """One pair of arms on one model."""

    model: str
    name: str
    results: tuple[Result, ...]


def _claim(
    statement: Statement,
    gathered: Sequence[Comparison],
    choice: ModelChoice,
    setting: Setting,
    margins: Judge,
) -> Claim:
    lack = choice.lack or _lack(statement, gathered, choice, setting)
    # No task of a miniature stands in for one that is named.
    analogue = choice.analogue and not (lack and statement.test)
    named = analogue or not choice.analogue
    text = statement.text.format(who=choice.who if named else statement.who.who)

    def claim(verdict: Verdict, evidence: str) -> Claim:
        return Claim(statement.id, text, setting, verdict, evidence, analogue)

    if lack:
        return claim("not tested", f"not tested: {lack}")
    cases, left_out = cases_of(statement, gathered, choice.names, setting, margins)
    if not cases:
        return claim("not tested", f"not tested: {'; '.join(left_out)}")
    stances = [_stance(statement, case, margins) for case in cases]
    verdict: Verdict = "inconclusive"
    if -1 in stances:
        verdict = "contradicted"
    elif all(stance == 1 for stance in stances) and not left_out:
        verdict = "supported"
    tests = [result for case in cases for result in case.results]
    evidence = [*(_case_in_words(case, margins) for case in cases), *left_out, _how(tests, margins)]
    if statement.caution and not choice.analogue:
        evidence.append(f"note: {statement.caution}")
    return claim(verdict, "; ".join(evidence))


def _lack(
    statement: Statement, gathered: Sequence[Comparison], choice: ModelChoice, setting: Setting
) -> str:
    """Say what a claim needs and a study does not have; empty if nothing."""
    own = [c for c in gathered if c.model in choice.names and c.probe == statement.probes]
    if statement.test:
        own = [c for c in own if c.test == statement.test]
    if not own:
        return f"needs {'a probe' if statement.probes else statement.test or 'a task'}"
    for kind in (statement.arm, statement.base):
        arms = [arm for c in own for arm in c.arms if kind.holds(arm)]
        if not arms:
            return f"needs {kind.name} on {choice.who}"
        if not any(not a.spec.trains or setting in a.settings for a in arms):
            if setting == "tuned":
                return f"no search chose a learning rate of {kind.name}"
            return f"{kind.name} was not measured at the fixed rate"
    return ""


def cases_of(
    statement: Statement,
    gathered: Sequence[Comparison],
    names: Sequence[str],
    setting: Setting,
    margins: Judge,
) -> tuple[list[ClaimCase], list[str]]:
    """Return the tests of a claim, judged together, and in words what could not be tested."""
    found: dict[tuple[str, str], dict[str, Contrast]] = {}
    left_out: dict[str, str] = {}
    for comparison in gathered:
        if comparison.model not in names or comparison.probe != statement.probes:
            continue
        if statement.test and comparison.test != statement.test:
            continue
        for arm, base in _partners(statement, arms_at(comparison, setting), setting):
            name = f"{named_arm(arm)} against {named_arm(base)}"
            made = contrast(comparison, arm, base) if arm.answers and base.answers else None
            if made is None:
                where = f"{comparison.model}, {name} on {comparison.test}"
                left_out[f"{where}: {_absence(arm, base)}"] = comparison.model
                continue
            tests = found.setdefault((comparison.model, name), {})
            # One test counts once: as trained for, if other trainings were asked it too.
            if comparison.test not in tests or arm.trained_on == comparison.test:
                tests[comparison.test] = made
    groups = [
        (name, list(tests.values()) if statement.probes else _overall(tests.values(), margins))
        for name, tests in found.items()
    ]
    judged = iter(judge_together([c for _, own in groups for c in own], margins))
    cases = [ClaimCase(*name, tuple(next(judged) for _ in own)) for name, own in groups]
    seen = {case.model for case in cases} | set(left_out.values())
    unmeasured = [name for name in names if name not in seen]
    return cases, [*left_out, *(f"{name}: not measured" for name in unmeasured)]


def _overall(tests: Iterable[Contrast], margins: Judge) -> list[Contrast]:
    """Join tests into one; those at the floor show nothing and would only dilute the others."""
    every = list(tests)
    return [pooled([t for t in every if not t.floor(margins)] or every)]


def _partners(
    statement: Statement, arms: Sequence[Arm], setting: Setting
) -> Iterator[tuple[Arm, Arm]]:
    """Yield the pairs of arms to be compared: trained on the same, and as alike as there are."""
    by_strategy: dict[str, list[tuple[Arm, Arm]]] = {}
    for arm in filter(statement.arm.holds, arms):
        for base in filter(statement.base.holds, arms):
            if base.is_base or arm.trained_on == base.trained_on:
                by_strategy.setdefault(arm.label, []).append((arm, base))
    for pairs in by_strategy.values():
        alike = [p for p in pairs if p[0].variant == p[1].variant] or pairs
        if setting == "fixed":
            alike = [p for p in alike if p[0].learning_rate == p[1].learning_rate] or alike
        yield from alike


def _absence(arm: Arm, base: Arm) -> str:
    for side in (arm, base):
        if not side.answers:
            causes = ", ".join(sorted(set(side.failed.values()))) or "not finished"
            return f"{side.label} has no answers ({causes})"
    return "they share no usable problems"


def _stance(statement: Statement, case: ClaimCase, margins: Judge) -> int:
    """Return 1 if a case is shown to be as claimed, -1 if shown not to be, else 0.

    On probes an adapter forgets less if it is shown better somewhere and worse nowhere.
    """
    tests = len(case.results)
    stances = [_stance_of(statement.says, result, margins, tests) for result in case.results]
    if not statement.probes:
        return stances[0]
    words = {result.judged.verdict for result in case.results}
    if "improved" in words:
        return 0 if "harmed" in words else 1
    return -1 if "harmed" in words or words == {"equivalent"} else 0


def _stance_of(says: Saying, result: Result, margins: Judge, tests: int) -> int:
    """Read one verdict as a claim does; what is inconclusive, or at the floor, says nothing.

    A difference as claimed, but within the margin, neither supports a claim nor contradicts it.
    """
    word, small = result.judged.verdict, result.judged.small
    if says == "the same":
        if word == "equivalent":
            return 1
        return -1 if word != "inconclusive" and _more_than_margin(result, margins, tests) else 0
    if word == "inconclusive":
        return 0
    if small and says in ("worse", "better") and _as_said(says, result):
        return 0
    return 1 if word in _SHOWN[says] else -1


def _as_said(says: Saying, result: Result) -> bool:
    """Say whether a difference within the margin has the sign that is claimed of it."""
    better = (result.found.centre > 0) != result.contrast.bits
    return better == (says == "better")


def _more_than_margin(result: Result, margins: Judge, tests: int) -> bool:
    """Say whether a difference is shown to be more than the margin.

    That no claim of sameness is true of a difference follows only from this, not from its being
    shown at all. The hypothesis holds no difference too, so it adds no error to the family's.
    """
    found = in_margins(result.contrast, result.found, margins)
    one_sided = p_above(replace(found, centre=abs(found.centre)), 1.0)
    return 2 * one_sided * tests <= ALPHA


def _case_in_words(case: ClaimCase, margins: Judge) -> str:
    """Word a case: every decided test with its numbers, the others by name."""
    name = f"{case.model}, {case.name}"
    if len(case.results) == 1:
        return f"{name}: {_result_in_words(case.results[0])}, {_word(case.results[0], margins)}"
    by_word: dict[str, list[str]] = {}
    for result in case.results:
        word = _word(result, margins)
        decided = result.judged.verdict != "inconclusive"
        by_word.setdefault(word, []).append(
            _result_in_words(result) if decided else f"on {result.contrast.test}"
        )
    told = (f"{word} {' and '.join(tests)}" for word, tests in by_word.items())
    return f"{name}: {', '.join(told)}"


def _result_in_words(result: Result) -> str:
    own, found = result.contrast, result.found
    digits, unit = (3, "bits per byte") if own.bits else (1, "points")
    change, low, high = (
        written_change(own.unit * value, digits) for value in (found.delta, found.low, found.high)
    )
    return f"{change} {unit} [{low}, {high}] on {own.test}"


def _word(result: Result, margins: Judge) -> str:
    word = result.judged.verdict
    if word == "inconclusive" and result.contrast.floor(margins):
        return "inconclusive at the floor"
    if result.judged.small:
        better = (result.found.centre > 0) != result.contrast.bits
        return f"equivalent (detectably {'better' if better else 'worse'})"
    return _WORDS.get(word, word)


def _how(results: Sequence[Result], margins: Judge) -> str:
    """Say how many tests were made together, and within which margins."""
    bits = {result.contrast.bits for result in results}
    units = {False: f"{margins.margin:g} points", True: f"{margins.bits_margin:g} bits per byte"}
    allowed = " or ".join(units[each] for each in sorted(bits))
    many = "comparison" if len(results) == 1 else "comparisons"
    return f"{len(results)} {many}, margin {allowed}"
