"""Which strategy to ship: the cheapest unharmed one that is as good as the best, or none.

    every strategy → above the floor? → within the limits? → shown harmed?
        shown        within the margin of the best, without a doubt about forgetting: the cheapest
        provisional  else: better than the base model or equivalent to it, and not shown worse than
                     any other on the task or a probe: the one that risks least, then the cheapest

A dearer strategy than the base model is shipped only where some strategy is shown to improve
on it. Where nothing is shown against the base model, or nothing solves the task, it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from finetrap.findings import Advice, Contender, Effect, Findings, Headline
from finetrap.judge.advice.candidates import Candidate, Wishes, most_right
from finetrap.judge.advice.choice import Choice, make_choice
from finetrap.judge.advice.headline import make_headline
from finetrap.judge.advice.nextrun import More, both, command, more_for, more_on_probes
from finetrap.judge.arms import Comparison, comparisons
from finetrap.judge.pairwise import Contrast, contrast_spread
from finetrap.levels import written_change
from finetrap.records import Run
from finetrap.stats.changes import ALPHA
from finetrap.stats.power import MOST_SEEDS, decidable
from finetrap.text.numbers import counted

__all__ = ["Advised", "Wishes", "advice_document", "conclude"]

JSON_KEYS = (
    *("ship", "grade", "runner_up", "forgetting", "reasons", "open_questions", "remaining"),
    *("next_command", "sources"),
)
PROBE = "prose"
"""What is suggested to a study without probes: every model can be asked it."""


class Advised(NamedTuple):
    """What to ship of one model and task, and the answer in two facts."""

    advice: Advice
    headline: Headline


def conclude(
    findings: Findings,
    runs: Sequence[Run],
    limits: Wishes | None = None,
    *,
    study_command: str = "",
) -> tuple[Advised, ...]:
    """Advise on every model and task trained on, within the user's limits.

    `study_command` is what runs the study; the command to run next adds settings to it.
    """
    again = study_command or "finetrap run STUDY"
    found = []
    gathered = comparisons(runs)
    for model, task in dict.fromkeys(
        (c.model, arm.trained_on)
        for c in gathered
        if not c.probe
        for arm in c.arms
        if arm.trained_on
    ):
        own = [c for c in gathered if (c.model, c.test, c.probe) == (model, task, False)]
        if not own:
            reason = f"{task} was trained on and not tested"
            advice = Advice(model, task, None, None, (reason,), (reason,), again)
            found.append(Advised(advice, Headline(model, task, "no winner", None)))
            continue
        # Of tests within unlike limits, the largest.
        asked = max(own, key=_problem_count)
        choice = make_choice(findings, runs, gathered, asked, limits or Wishes())
        advice = _advice(choice, findings, runs, limits or Wishes(), again)
        found.append(Advised(advice, make_headline(choice, findings)))
    return tuple(found)


def advice_document(advice: Advice) -> dict[str, Any]:
    """Return what `finetrap advise --json` prints."""
    document = asdict(advice)
    return {key: document[key] for key in JSON_KEYS}


def _problem_count(comparison: Comparison) -> int:
    return max((len(own) for arm in comparison.arms for own in arm.answers.values()), default=0)


def _advice(
    choice: Choice, findings: Findings, runs: Sequence[Run], wishes: Wishes, again: str
) -> Advice:
    model, task = choice.comparison.model, choice.comparison.test
    if choice.base is None:
        reason = "no finished zero-shot run of the base model, so nothing can be compared"
        return Advice(model, task, None, None, (reason,), (reason,), again)
    pick = choice.pick
    questions = list(_open_questions(choice, wishes))
    more = _next_run(choice)
    due = More() if findings.remaining else more  # other settings would start it anew
    following = command(again, due, runs) if more != More() or findings.remaining else ""
    if numbers := more.counts():
        questions.append(f"{numbers} should settle it")
    elif unsettled := choice.unsettled():
        questions.append(_nothing_settles(choice, unsettled))
    advice = Advice(
        model=model,
        task=task,
        ship=pick.contender if pick else None,
        runner_up=_runner_up(choice),
        reasons=tuple(_reasons(choice)),
        open_questions=tuple(questions),
        next_command=following,
        would_change=tuple(_would_change(choice)),
        keys=tuple(r.cell.key for r in pick.runs if r.status == "done") if pick else (),
        remaining=findings.remaining,
        grade=choice.grade,
        measure=choice.measure,
        forgetting=pick.forgetting if pick else None,
    )
    if pick is None or pick.arm.is_base or pick.standing is None:
        return advice
    margin = choice.margins.margin if choice.measure == "accuracy" else choice.margins.bits_margin
    gain, below = choice.gain(pick)[:1], pick.standing.below
    return replace(
        advice,
        above_base=_least_gain(gain[0]) if gain and gain[0].verdict == "improved" else None,
        below_best=None if below is None else below * margin,
    )


def _nothing_settles(choice: Choice, own: Contrast) -> str:
    """Say that the test has too few problems, and which margin all of them would decide."""
    there = choice.comparison.available
    said = f"even {MOST_SEEDS} seeds would not settle it: the margin is too narrow"
    if there is None:
        return said
    tests = max(len(choice.rated) - 1, 1)
    seeds = len(own.pairs.seeds)
    size = decidable(contrast_spread(own, choice.margins), there, seeds, 2 * ALPHA / tests)
    if size is None:
        return f"the test has {counted(there, 'problem')}, and {said}"
    digits = 1 if choice.measure == "accuracy" else 3
    return (
        f"the test has {counted(there, 'problem')}, and {said}; with {counted(seeds, 'seed')} they "
        f"decide a margin of {own.unit * size:.{digits}f} {_unit_of(choice)}"
    )


def _least_gain(effect: Effect) -> float:
    return -effect.high if effect.measure == "bits_per_byte" else effect.low


def _runner_up(choice: Choice) -> Contender | None:
    """Return the next cheapest as good as the best, else what looks best beside the pick."""
    others = [c for c in choice.shown if c is not choice.pick and not c.doubts]
    if choice.floor:
        return None
    if choice.pick is None:
        return choice.best.contender if choice.best else None
    others = others or [c for c in choice.rated if c is not choice.pick and not c.doubts]
    if not others:
        return None
    return (others[0] if others[0] in choice.shown else max(others, key=choice.merit)).contender


def _reasons(choice: Choice) -> Iterator[str]:
    """Say why: what was measured, what is shown of it, and what was ruled out."""
    pick, best = choice.pick, choice.best
    if choice.floor:
        yield f"no strategy solves this task ({_most_right(choice)})"
    elif pick is None:
        if not choice.decided:
            yield "nothing is shown against the base model, so it is kept"
        levels = ", ".join(_level_of(choice, c) for c in choice.rated)
        yield f"remaining candidates: {levels or 'nothing'}"
    elif choice.grade == "provisional":
        yield from _provisionally(choice, pick)
    elif len(choice.rated) == 1:
        told = f"{_level_of(choice, pick)} is all that is left"
        yield (_harmed_elsewhere(choice) if pick.arm.is_base else "") or told
    else:
        gained = (f", {e.verdict} by {_change_in_words(e)}" for e in choice.gain(pick)[:1])
        yield _level_of(choice, pick) + "".join(gained)
        beside = f" ({_level_of(choice, best)})" if best and best is not pick else ""
        yield f"shown to be within {_margin(choice)} of the best{beside}, and cheapest"
    if pick and pick.slight_harms:
        places = ", ".join(f"{e.task} {_change_in_words(e)}" for e in pick.slight_harms)
        yield f"detectably worse, by less than the margin: {places}"
    if pick and pick.arm.failed and pick.arm.answers:
        planned = len(pick.arm.failed) + len(pick.arm.answers)
        yield f"{len(pick.arm.failed)} of its {planned} seeds failed"
    yield from filter(None, (_ruled_out(c) for c in choice.every))


def _most_right(choice: Choice) -> str:
    """Count the problems that the best solves: `0 of 15`."""
    answered = [c.arm for c in choice.every if c.arm.answers]
    right, problems = max((most_right(arm) for arm in answered), default=(0, 0))
    return f"{right} of {problems}"


def _provisionally(choice: Choice, pick: Candidate) -> Iterator[str]:
    """Say what is shown of a choice that is not shown to be as good as the best."""
    gain = choice.gain(pick)[:1]
    if pick.arm.is_base:
        told = f"no other is shown better than {_level_of(choice, pick)}"
        yield _harmed_elsewhere(choice) or told
        return
    if gain:
        shown = "better than" if gain[0].verdict == "improved" else "equivalent to"
        change = _change_in_words(gain[0])
        yield f"{_level_of(choice, pick)}, shown {shown} the base model ({change})"
        yield f"none is shown to be best, and this one risks least: {_risks(choice, pick)}"


def _risks(choice: Choice, pick: Candidate) -> str:
    """Say how far a candidate may be below the best, and what it may lose elsewhere, at worst: by
    the worse ends of its intervals."""
    places = []
    if pick.standing and pick.standing.below is not None:
        accuracy = choice.measure == "accuracy"
        margin = choice.margins.margin if accuracy else choice.margins.bits_margin
        size = f"{pick.standing.below * margin:.{1 if accuracy else 3}f} {_unit_of(choice)}"
        places.append(f"{size} below the best on the task")
    if at_worst := pick.at_worst:
        digits, unit = _size_of(at_worst)
        end = at_worst.high if at_worst.measure == "bits_per_byte" else at_worst.low
        places.append(f"{written_change(end, digits)} {unit} on {at_worst.task}")
    return (
        f"at worst, by its intervals, {' and '.join(places)}"
        if places
        else "nothing beyond the margin at worst"
    )


def _harmed_elsewhere(choice: Choice) -> str:
    """Name what improves on the base model and is harmed on another task; empty if nothing is."""
    harmed = [c.name for c in choice.every if c.harms and choice.improves(c)]
    if not harmed:
        return ""
    told = f"{', '.join(harmed)} {'is' if len(harmed) == 1 else 'are'} better on the task"
    return f"{told}, but harmed elsewhere; any harm rules a strategy out"


def _ruled_out(one: Candidate) -> str:
    """Say why a candidate was not rated; empty if it was."""
    if not one.arm.answers:
        causes = ", ".join(sorted(set(one.arm.failed.values()))) or "not finished"
        return f"{one.name} has no answers ({causes})"
    if one.harms:
        places = ", ".join(f"{e.task} {_change_in_words(e)}" for e in one.harms)
        return f"{one.name} is harmed ({places})"
    return f"{one.name} is outside the limits ({one.barred})" if one.barred else ""


def _open_questions(choice: Choice, wishes: Wishes) -> Iterator[str]:
    """Ask what the runs leave open."""
    pick = choice.pick
    if choice.sure is None and not choice.floor:
        yield _why_not(choice)
    if pick is None:
        return
    if choice.sure and (names := ", ".join(c.name for c in choice.cheaper)):
        yield f"whether {names}, cheaper, would be within {_margin(choice)} of the best"
    if not pick.arm.spec.trains:
        return
    told = pick.doubts if choice.sure is None and pick in choice.shown[:1] else ()
    if places := ", ".join(e.task for e in pick.open if e not in told):
        yield f"whether {pick.name} forgets on {places}"
    if _unprobed(pick):
        yield f"what {pick.name} forgets: no probe was measured"
    least = min(
        (e.retention_low for e in pick.effects if e.retention_low is not None), default=None
    )
    if wishes.min_retention is not None and least is not None and least < wishes.min_retention:
        yield f"whether it retains {wishes.min_retention:g}%: it may be as little as {least:.0f}%"


def _unprobed(one: Candidate) -> bool:
    return one.arm.spec.trains and not any(e.kind == "probe" for e in one.effects)


def _why_not(choice: Choice) -> str:
    """Say why nothing can be advised."""
    if not choice.rated:
        return "no strategy is unharmed and within the limits"
    if not choice.shown:
        return f"no strategy is shown to be within {_margin(choice)} of the best"
    first = choice.shown[0]
    if first.doubts:
        places = ", ".join(f"{e.task} {_change_in_words(e)}" for e in first.doubts)
        return f"{first.name} is as good as the best, but may forget ({places})"
    return f"{first.name} is as good as the best, but no gain over the base model is shown"


def _next_run(choice: Choice) -> More:
    """Return what would decide everything that is open."""
    more = More()
    unsettled = choice.unsettled()
    if unsettled is not None:
        tests = max(len(choice.rated) - 1, 1)
        more = more_for(unsettled, choice.margins, tests, choice.comparison.available)
    pick = choice.pick
    if pick and _unprobed(pick):
        more = both(more, More(probe=PROBE))
    doubtful = [e for c in choice.shown for e in c.doubts] if choice.sure is None else []
    doubtful += pick.open if pick else []
    return both(more, more_on_probes(doubtful))


def _would_change(choice: Choice) -> Iterator[str]:
    """Say under what else the answer would be another, as far as more is seen to be gained."""
    pick, best = choice.pick, choice.best
    if pick is None:
        return
    own = choice.merit(pick)
    if best is not None and best is not pick:
        gap, digits = choice.merit(best) - own, 1 if choice.measure == "accuracy" else 3
        yield f"a margin below {gap:.{digits}f} {_unit_of(choice)}: then {best.name}"
    better = [c for c in choice.every if c.arm.answers and choice.merit(c) > own]
    if harmful := ", ".join(c.name for c in better if c.harms):
        yield f"a harm elsewhere that you can accept: then {harmful}"
    for one in choice.every:
        if not one.arm.answers:
            yield f"{one.name}, if it finished"
        elif one in better and not one.harms and one.barred:
            yield f"other limits: {one.name} scores {_level_of(choice, one)}"
        elif one in better and not one.harms and one.doubts:
            yield f"{one.name}, if more probe problems clear it of forgetting"


def _level_of(choice: Choice, one: Candidate) -> str:
    value = choice.merit(one)
    name = "the base model" if one.arm.is_base else one.name
    if choice.measure == "accuracy":
        return f"{name} {value:.1f}%"
    return f"{name} {-value:.3f} bits per byte"


def _change_in_words(effect: Effect) -> str:
    """Word a change with its interval."""
    digits, unit = _size_of(effect)
    change, low, high = (
        written_change(value, digits) for value in (effect.delta, effect.low, effect.high)
    )
    return f"{change} {unit} [{low}, {high}]"


def _size_of(effect: Effect) -> tuple[int, str]:
    return (1, "points") if effect.measure == "accuracy" else (3, "bits per byte")


def _margin(choice: Choice) -> str:
    of = choice.margins
    return f"{of.margin if choice.measure == 'accuracy' else of.bits_margin:g} {_unit_of(choice)}"


def _unit_of(choice: Choice) -> str:
    return "points" if choice.measure == "accuracy" else "bits per byte"
