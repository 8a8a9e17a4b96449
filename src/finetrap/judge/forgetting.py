"""What a trained strategy did to everything but its task: it stands beside every verdict on one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from finetrap.findings import Effect
from finetrap.levels import Forgetting, Forgotten

_GRAVITY = ("harmed", "inconclusive", "equivalent", "improved")
"""Verdicts on a probe, the worst first: what is not known may be a loss."""


def telling(effects: Iterable[Effect]) -> tuple[Effect, ...]:
    """Return one effect for each test: of accuracy, or of bits per byte where that is at the floor
    or was not measured."""
    tests: dict[tuple[str, bool], dict[str, Effect]] = {}
    for effect in effects:
        tests.setdefault((effect.task, effect.kind == "probe"), {})[effect.measure] = effect
    return tuple(map(_telling, tests.values()))


def _telling(own: dict[str, Effect]) -> Effect:
    accuracy, bits = own.get("accuracy"), own.get("bits_per_byte")
    if accuracy is None or (bits and accuracy.floor and accuracy.verdict == "inconclusive"):
        return bits or next(iter(own.values()))
    return accuracy


def forgetting_of(effects: Iterable[Effect], task: str) -> Forgetting:
    """Sum up what one strategy, trained, did to every test but its own.

    `effects` are its own against the base model, at one rate or at several.
    """
    rates: dict[float | None, list[Effect]] = {}
    for effect in effects:
        if effect.kind == "probe" or effect.task != task:
            rates.setdefault(effect.learning_rate, []).append(effect)
    worst: dict[str, Effect] = {}
    for own in rates.values():
        for effect in telling(own):
            known = worst.get(effect.task)
            worst[effect.task] = effect if known is None else gravest([known, effect])
    found = sorted(worst.values(), key=_rank)
    return Forgetting(
        len(found),
        tuple(Forgotten(e.task, e.delta, e.measure) for e in found if e.verdict == "harmed"),
        tuple(e.task for e in found if e.verdict == "inconclusive"),
    )


def gravest(effects: Sequence[Effect]) -> Effect:
    """Return the effect with the gravest verdict; of several the one that lost most, in margins."""
    return min(effects, key=_rank)


def _rank(effect: Effect) -> tuple[int, float]:
    return _GRAVITY.index(effect.verdict), -effect.harm
