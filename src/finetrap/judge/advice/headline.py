"""The answer for one model and task in two facts: what was learned, and what was lost."""

from __future__ import annotations

from typing import Literal

from finetrap.findings import Findings, Headline
from finetrap.judge.advice.candidates import Candidate, most_right, overall_level
from finetrap.judge.advice.choice import Choice


def make_headline(choice: Choice, findings: Findings) -> Headline:
    """Sum up a choice; without the base model there is nothing to sum up."""
    model, task = choice.comparison.model, choice.comparison.test
    base, pick = choice.base, choice.pick
    if base is None:
        return Headline(model, task, "no winner", None)
    told = _told_of(choice)
    right, problems = max(most_right(c.arm) for c in choice.every if c.arm.answers)
    own = (d for d in findings.detectable if (d.model, d.test, d.probe) == (model, task, False))
    gain = choice.gain(told)[:1] if told else []
    return Headline(
        model=model,
        task=task,
        badge=_badge(choice),
        ship=pick.contender if pick else None,
        strategy=told.contender if told else None,
        verdict=gain[0].verdict if gain else None,
        before=overall_level(base.arm, choice.measure),
        after=overall_level(told.arm, choice.measure) if told else None,
        measure=choice.measure,
        forgetting=told.forgetting if told else None,
        solved=not choice.floor,
        right=right,
        problems=problems,
        detects=next((d.easiest for d in own), None),
    )


def _badge(choice: Choice) -> Literal["ship", "provisional", "keep", "no winner"]:
    pick = choice.pick
    if pick is None:
        return "no winner"
    if pick.arm.is_base:
        return "keep"
    return "ship" if choice.grade == "shown" else "provisional"


def _told_of(choice: Choice) -> Candidate | None:
    """Return what the facts are about: the pick, else the trained strategy that scores best."""
    pick = choice.pick
    if pick is not None and not pick.arm.is_base:
        return pick
    others = [c for c in choice.every if c.arm.answers and not c.arm.is_base]
    trained = [c for c in others if c.arm.spec.trains]
    return max(trained or others, key=choice.merit, default=None)
