"""Which strategy to ship: the cheapest unharmed one that is as good as the best, or none.

    every strategy → within the limits? → shown harmed? → shown within the margin of the best?
                   → no doubt left about forgetting? → the cheapest that is left

A dearer strategy than the base model is shipped only where some strategy is shown to improve
on it: a gain that is only seen ships nothing. Where accuracy is at the floor, bits per byte of the
gold solutions decide, and the advice says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from finetrap.findings import Advice, Contender, Effect, Findings
from finetrap.judge.advice.candidates import Candidate, Wishes
from finetrap.judge.advice.choice import Choice, make_choice
from finetrap.judge.advice.nextrun import More, both, command, more_for, more_on_probes
from finetrap.judge.arms import Comparison, comparisons
from finetrap.records import Run
from finetrap.stats.power import MOST_SEEDS

__all__ = ["Wishes", "advice_document", "advice_text", "recommend"]

JSON_KEYS = ("ship", "runner_up", "reasons", "open_questions", "owed", "next_command")
PROBE = "prose"
"""What is suggested to a study without probes: every model can be asked it."""


def recommend(
    findings: Findings,
    runs: Sequence[Run],
    limits: Wishes | None = None,
    *,
    study_command: str = "",
) -> tuple[Advice, ...]:
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
            found.append(Advice(model, task, None, None, (reason,), (reason,), again))
            continue
        # Of tests within unlike limits, the largest.
        asked = max(own, key=_problem_count)
        choice = make_choice(findings, runs, asked, limits or Wishes())
        found.append(_advice(choice, findings, runs, limits or Wishes(), again))
    return tuple(found)


def advice_document(advice: Advice) -> dict[str, Any]:
    """Return what `finetrap advise --json` prints."""
    document = asdict(advice)
    return {key: document[key] for key in JSON_KEYS}


def advice_text(advice: Advice) -> str:
    """Return the advice as a few lines for a terminal."""
    where = f"{advice.model} on {advice.task}" if advice.task else advice.model
    choice = f"ship {advice.ship}" if advice.ship else "no clear winner yet"
    lines = [f"{where}: {choice}: {'; '.join(advice.reasons)}"]
    if advice.runner_up:
        lines.append(f"  {'runner-up' if advice.ship else 'leading'}: {advice.runner_up}")
    if advice.still_open:
        lines.append(f"  open: {advice.still_open}")
    lines += [f"  would change it: {change}" for change in advice.would_change]
    if advice.next_command:
        lines.append(f"  next: {advice.next_command}")
    return "\n".join(lines)


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
    more = _next_run(choice, [run for run in runs if run.cell.model.name == model])
    following = command(again, more, runs) if more != More() or findings.owed else ""
    if numbers := more.counts():
        questions.append(f"{numbers} should settle it")
    elif choice.unsettled():
        questions.append(
            f"more problems of this test or even {MOST_SEEDS} seeds would not settle it: the "
            "margin is too narrow"
        )
    return Advice(
        model=model,
        task=task,
        ship=pick.contender if pick else None,
        runner_up=_runner_up(choice),
        reasons=tuple(_reasons(choice)),
        open_questions=tuple(questions),
        next_command=following,
        would_change=tuple(_would_change(choice)),
        keys=tuple(r.cell.key for r in pick.runs if r.status == "done") if pick else (),
        owed=findings.owed,
    )


def _runner_up(choice: Choice) -> Contender | None:
    """Return the next cheapest as good as the best, else what looks best beside the pick."""
    others = [c for c in choice.shown if c is not choice.pick and not c.doubts]
    if choice.pick is None:
        return choice.best.contender if choice.best else None
    others = others or [c for c in choice.rated if c is not choice.pick and not c.doubts]
    if not others:
        return None
    return (others[0] if others[0] in choice.shown else max(others, key=choice.merit)).contender


def _reasons(choice: Choice) -> Iterator[str]:
    """Say why: what was measured, what is shown of it, and what was ruled out."""
    if choice.floor:
        decides = ", so bits per byte of the gold solutions decide"
        yield "accuracy is at the floor" + (decides if choice.measure == "bits_per_byte" else "")
    pick, best = choice.pick, choice.best
    if pick is None:
        levels = ", ".join(_level_of(choice, c) for c in choice.rated)
        yield f"remaining candidates: {levels or 'nothing'}"
    elif len(choice.rated) == 1:
        yield f"{_level_of(choice, pick)} is all that is left"
    else:
        gained = (f", {e.verdict} by {_change_in_words(e)}" for e in choice.gain(pick)[:1])
        yield _level_of(choice, pick) + "".join(gained)
        beside = f" ({_level_of(choice, best)})" if best and best is not pick else ""
        yield f"shown to be within {_margin(choice)} of the best{beside}, and cheapest"
    if pick and pick.slight_harms:
        places = ", ".join(f"{e.task} {_change_in_words(e)}" for e in pick.slight_harms)
        yield f"harmed within the margin: {places}"
    if pick and pick.arm.failed and pick.arm.answers:
        planned = len(pick.arm.failed) + len(pick.arm.answers)
        yield f"{len(pick.arm.failed)} of its {planned} seeds failed"
    yield from filter(None, (_ruled_out(c) for c in choice.every))


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
    if pick is None:
        yield _why_not(choice)
        return
    if names := ", ".join(c.name for c in choice.cheaper):
        yield f"whether {names}, cheaper, would be within {_margin(choice)} of the best"
    if not pick.arm.spec.trains:
        return
    if pick.open:
        yield f"whether {pick.name} forgets on {', '.join(e.task for e in pick.open)}"
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
    if choice.floor and choice.measure == "accuracy":
        return "accuracy cannot show a difference, and the gold solutions have no likelihoods"
    if not choice.shown:
        return f"no strategy is shown to be within {_margin(choice)} of the best"
    first = choice.shown[0]
    if first.doubts:
        places = ", ".join(f"{e.task} {_change_in_words(e)}" for e in first.doubts)
        return f"{first.name} is as good as the best, but may forget ({places})"
    return f"{first.name} is as good as the best, but no gain over the base model is shown"


def _next_run(choice: Choice, runs: Sequence[Run]) -> More:
    """Return what would decide everything that is open."""
    more = More()
    unsettled = choice.unsettled()
    if unsettled is not None:
        tests = max(len(choice.rated) - 1, 1)
        more = more_for(unsettled, choice.margins, tests, runs)
    pick = choice.pick
    if pick and _unprobed(pick):
        more = both(more, More(probe=PROBE))
    doubtful = [e for c in choice.shown for e in c.doubts] if pick is None else pick.open
    return both(more, more_on_probes(doubtful, runs))


def _would_change(choice: Choice) -> Iterator[str]:
    """Say under what else the answer would be another, as far as more is seen to be gained."""
    pick, best = choice.pick, choice.best
    if pick is None:
        return
    own = choice.merit(pick)
    if best is not None and best is not pick:
        gap, digits = choice.merit(best) - own, 1 if choice.measure == "accuracy" else 3
        yield f"a margin below {gap:.{digits}f} {_unit_of(choice)}: then {best.name}"
    for one in choice.every:
        if not one.arm.answers:
            yield f"{one.name}, if it finished"
        elif choice.merit(one) > own and one.harms:
            yield f"{one.name}, but for its harm"
        elif choice.merit(one) > own and one.barred:
            yield f"other limits: {one.name} scores {_level_of(choice, one)}"
        elif choice.merit(one) > own and one.doubts:
            yield f"{one.name}, if more probe problems clear it of forgetting"


def _level_of(choice: Choice, one: Candidate) -> str:
    value = choice.merit(one)
    name = "the base model" if one.arm.is_base else one.name
    if choice.measure == "accuracy":
        return f"{name} {value:.1f}%"
    return f"{name} {-value:.3f} bits per byte"


def _change_in_words(effect: Effect) -> str:
    """Word a change with its interval."""
    digits, unit = (1, "points") if effect.measure == "accuracy" else (3, "bits per byte")
    change, low, high = (f"{x:+.{digits}f}" for x in (effect.delta, effect.low, effect.high))
    return f"{change} {unit} [{low}, {high}]"


def _margin(choice: Choice) -> str:
    of = choice.margins
    return f"{of.margin if choice.measure == 'accuracy' else of.bits_margin:g} {_unit_of(choice)}"


def _unit_of(choice: Choice) -> str:
    return "points" if choice.measure == "accuracy" else "bits per byte"
