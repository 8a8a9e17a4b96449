"""Is harm avoidable: each trained strategy's verdicts at the fixed and at its tuned rate, joined.

    fixed and tuned          outcome
    harmed at both           harm
    harmed at one, unharmed  avoidable harm
      (equivalent or
      improved) at the other
    unharmed where measured  no harm
    anything else            inconclusive

Where accuracy is at the floor the verdict on bits per byte stands in for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from finetrap.findings import Effect, Outcome
from finetrap.judge.forgetting import forgetting_of
from finetrap.levels import Setting
from finetrap.records import written_rate

_Outcome = Literal["no harm", "avoidable harm", "harm", "inconclusive"]
UNHARMED = ("equivalent", "improved")


class _Said(NamedTuple):
    """What one learning rate did."""

    effect: Effect
    words: str


def join_outcomes(effects: Iterable[Effect]) -> tuple[Outcome, ...]:
    """Join the verdicts against the base model of every trained strategy on every task."""
    solvers: dict[tuple[str, str, str], list[Effect]] = {}
    for effect in effects:
        if effect.against == "zero-shot" and effect.learning_rate is not None:
            solver = (effect.model, effect.strategy, effect.trained_on)
            solvers.setdefault(solver, []).append(effect)
    found: dict[tuple[str, ...], tuple[list[Effect], list[Effect]]] = {}
    for solver, every in solvers.items():
        for effect in every:
            if effect.kind != "probe":
                found.setdefault((*solver, effect.task), ([], every))[0].append(effect)
    return tuple(_outcome(own, every) for own, every in found.values())


def _outcome(own: Sequence[Effect], every: Sequence[Effect]) -> Outcome:
    fixed, tuned = _verdicts(own, "fixed"), _verdicts(own, "tuned")
    outcome, reason = _joined(fixed, tuned)
    first = own[0]
    return Outcome(
        model=first.model,
        task=first.task,
        strategy=first.strategy,
        trained_on=first.trained_on,
        fixed=fixed[0].effect if len(fixed) == 1 else None,
        tuned=tuned[0].effect if len(tuned) == 1 else None,
        outcome=outcome,
        reason=reason,
        forgetting=forgetting_of(every, first.task),
    )


def _verdicts(own: Sequence[Effect], setting: Setting) -> list[_Said]:
    """Return one verdict for each learning rate of a setting."""
    here = [e for e in own if e.setting == setting]
    bits = {e.learning_rate: e for e in here if e.measure == "bits_per_byte"}
    accuracy = [e for e in here if e.measure == "accuracy"]
    return [_verdict(e, bits.get(e.learning_rate)) for e in accuracy or bits.values()]


def _verdict(effect: Effect, bits: Effect | None) -> _Said:
    """Return what accuracy says, or bits per byte where accuracy cannot show harm."""
    own, word = effect.learning_rate, effect.verdict
    place = f"{word} at {written_rate(own)}" + (f" ({effect.remark})" if effect.remark else "")
    if not effect.floor or word != "inconclusive":
        return _Said(effect, place)
    if bits is None:
        return _Said(effect, f"{place} (accuracy at the floor)")
    said = f"{bits.verdict} at {written_rate(own)} (by bits per byte: accuracy is at the floor)"
    return _Said(bits, said)


def _joined(fixed: Sequence[_Said], tuned: Sequence[_Said]) -> tuple[_Outcome, str]:
    """Return the outcome and the reason for it."""
    seen = [*fixed, *tuned]
    rates = len({v.effect.learning_rate for v in seen})
    harmed = [v for v in seen if v.effect.verdict == "harmed"]
    unharmed = [v for v in seen if v.effect.verdict in UNHARMED]
    reason = "; ".join(
        dict.fromkeys(
            _verdicts_in_words(fixed, "fixed rate") + _verdicts_in_words(tuned, "tuned rate")
        )
    )
    if len(unharmed) == len(seen):
        return "no harm", reason
    if tuned and len(harmed) == len(seen):
        return "harm", reason + ("; the search chose the fixed rate" if rates == 1 else "")
    if len(fixed) == len(tuned) == 1 and harmed and unharmed:
        return "avoidable harm", reason
    if tuned or not harmed:
        return "inconclusive", reason
    if unharmed:
        return "inconclusive", reason + (
            "; another rate avoided it, but no search chose that rate before the test"
        )
    return "inconclusive", reason + "; without a search nothing says whether another rate avoids it"


def _verdicts_in_words(verdicts: Sequence[_Said], name: str) -> list[str]:
    """Word the verdicts of one setting."""
    return [f"{name}: " + ", ".join(v.words for v in verdicts)] if verdicts else []
