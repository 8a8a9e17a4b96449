"""How each field of answers that are JSON objects fared: right before and after, and the change.

A field of an answer is right or wrong like a whole answer, so the paired estimates of accuracy are
taken, over the problems whose gold has it. There are no verdicts on fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from finetrap.judge.arms import Arm, Comparison
from finetrap.judge.pairing import estimate_arms, pair
from finetrap.levels import FieldChange
from finetrap.records import Answer
from finetrap.text.scorers import JSON, fields_right

MOST_FIELDS = 40
"""Of a test: those that most of its golds have."""

_Read = dict[int | None, list[dict[str, bool]]]
"""By seed and problem: which fields of its gold an answer has right."""


def field_changes(gathered: Sequence[Comparison]) -> tuple[FieldChange, ...]:
    """Return every field of every test whose answers are scored as JSON, for each strategy."""
    return tuple(line for comparison in gathered for line in _of_test(comparison))


def _of_test(comparison: Comparison) -> Iterator[FieldChange]:
    base = next((arm for arm in comparison.arms if arm.is_base and arm.answers), None)
    if base is None or not any(a.scoring in JSON for a in next(iter(base.answers.values()))):
        return
    arms = [base, *(arm for arm in comparison.arms if not arm.is_base and arm.answers)]
    read = [_fields_read(arm) for arm in arms]
    golds = next(iter(read[0].values()))
    counts = Counter(name for fields in golds for name in fields)
    for name, _ in counts.most_common(MOST_FIELDS):
        before, *after = (_as_if_asked(*one, name) for one in zip(arms, read, strict=True))
        paired = [(arm, both) for arm in after if (both := pair(arm, before, "accuracy")[0])]
        estimates = estimate_arms([(arm, pairs.components()) for arm, pairs in paired])
        for (arm, pairs), found in zip(paired, estimates, strict=True):
            yield FieldChange(
                model=comparison.model,
                task=comparison.test,
                trained_on=arm.trained_on,
                strategy=arm.label,
                learning_rate=arm.learning_rate,
                setting="+".join(arm.settings),
                field=name,
                seeds=len(pairs.seeds),
                n=len(pairs.sizes),
                before=100 * pairs.level(pairs.before),
                after=100 * pairs.level(pairs.after),
                delta=100 * found.delta,
                low=100 * found.low,
                high=100 * found.high,
            )


def _fields_read(arm: Arm) -> _Read:
    return {
        seed: [fields_right(a.completion, a.gold) if a.scoring in JSON else {} for a in answers]
        for seed, answers in arm.answers.items()
    }


def _as_if_asked(arm: Arm, read: _Read, name: str) -> Arm:
    """Return the arm as if this field alone had been asked for, where the gold has it."""
    asked: dict[int | None, Sequence[Answer]] = {
        seed: tuple(
            replace(answer, correct=fields[name], score=None)
            for answer, fields in zip(answers, read[seed], strict=True)
            if name in fields
        )
        for seed, answers in arm.answers.items()
    }
    return replace(arm, answers=asked)
