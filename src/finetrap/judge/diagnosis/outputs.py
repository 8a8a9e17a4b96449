"""Suspects that the outputs alone confirm or rule out: before and after are enough."""

from __future__ import annotations

from collections.abc import Sequence

from finetrap.errors import line_of
from finetrap.findings import Effect
from finetrap.judge.diagnosis import texts
from finetrap.judge.diagnosis.case import (
    FEWEST,
    Case,
    Ruling,
    is_right,
    likely_cause,
    not_enough_data,
    percent_that,
    ruled_out,
)
from finetrap.levels import written_change
from finetrap.records import UNENDED, Answer
from finetrap.text.scorers import scored_again

CUT_OFF = 20.0
"""Percent of answers that are wrong and did not end, from which the cap spoils the measurement
whatever the change: at the floor both sides may be cut."""
FEWEST_EQUATIONS = 20
"""Calculations from which a share of wrong ones says something."""

_NO_TEXT = "no free-text answers of both sides to read"


def noise(case: Case) -> Ruling:
    """Judge whether the result is worse at all."""
    effect = case.accuracy or case.bits
    if effect is None:
        return not_enough_data(_why_unjudged(case))
    said = _change(effect)
    if effect.floor:
        second = case.bits
        said += f"; gold solutions: {_change(second)}" if second else ""
        if second and second.verdict == "harmed":
            return ruled_out(said)
        return not_enough_data(f"{said}; too few right answers to show a change")
    if effect.verdict == "harmed":
        return ruled_out(f"{said}; {_noise_floors(effect)}")
    worse = effect.delta > 0 if effect.measure == "bits_per_byte" else effect.delta < 0
    if effect.verdict == "inconclusive" and worse:
        return likely_cause(f"{said}; {_noise_floors(effect)}", _more_after(effect))
    return not_enough_data(f"{said}: nothing worse is shown that noise would have to explain")


def _why_unjudged(case: Case) -> str:
    failed = [run for run in case.runs if run.failure]
    if failed and failed[0].failure:
        return f"no answers: {line_of(failed[0].failure.message, failed[0].failure.cause)[:120]}"
    return "no run of the base model that was asked the same"


def _change(effect: Effect) -> str:
    """Write a change with its interval."""
    bits = effect.measure == "bits_per_byte"
    digits, unit = (3, "bits per byte") if bits else (1, "points")
    change, low, high = (
        written_change(value, digits) for value in (effect.delta, effect.low, effect.high)
    )
    return (
        f"{effect.before:.{digits}f} to {effect.after:.{digits}f}, {change} "
        f"[{low}, {high}] {unit}: {effect.verdict} "
        f"(n = {effect.n:,}, seeds = {effect.seeds})"
    )


def _noise_floors(effect: Effect) -> str:
    floors = []
    if effect.noise_floor is not None:
        floors.append(f"two seeds disagree on {effect.noise_floor:.1f}% of the problems")
    if effect.self_flips is not None:
        floors.append(f"the base model with itself on {effect.self_flips:.1f}%")
    return ", ".join(floors) or f"p = {effect.p_adjusted:.2g}"


def _more_after(effect: Effect) -> str:
    if effect.needed_n and effect.needed_seeds:
        seeds = "1 seed" if effect.needed_seeds == 1 else f"{effect.needed_seeds} seeds"
        return f"limits.test_problems = {effect.needed_n} with {seeds} would decide"
    return "run more seeds and more test problems before explaining anything"


def format_(case: Case) -> Ruling:
    """Judge whether right answers were lost between the completion and the scorer."""
    if not case.free_text:
        return not_enough_data(_NO_TEXT)
    unmarked = [percent_that(side, _right_but_unread) for side in (case.before, case.after)]
    strict = [percent_that(side, lambda a: bool(a.strict)) for side in (case.before, case.after)]
    said = (
        "right value, wrong format: "
        f"{unmarked[0]:.1f}% before, {unmarked[1]:.1f}% after; answers in the asked format: "
        f"{strict[0]:.1f}% before, {strict[1]:.1f}% after"
    )
    if case.explains(_right_but_unread):
        return likely_cause(
            said,
            "train on solutions that end in `#### answer`; where another tool scored, score again "
            "with finetrap grade",
        )
    return ruled_out(said)


def _right_but_unread(answer: Answer) -> bool:
    """Whether a completion that ended by itself gives the right answer and was counted as wrong."""
    if is_right(answer) or _is_unfinished(answer):
        return False
    if _gives_gold(answer, answer.completion):
        return True
    if answer.scoring not in (None, "number"):
        return False
    return not texts.marks_answer(answer.completion) and texts.holds(answer.completion, answer.gold)


def _gives_gold(answer: Answer, completion: str) -> bool:
    """Whether a completion is right by what scores the answer's task."""
    found = scored_again(answer, completion)
    return found is not None and found.correct


def truncation(case: Case) -> Ruling:
    """Judge whether completions end where their answer does."""
    if not case.free_text:
        return not_enough_data(_NO_TEXT)
    known = any(a.stop != "none" for a in case.after)
    said = _endings(case, known)
    lost = [a for a in case.after if not is_right(a) and _is_unfinished(a)]
    spoiled = 100 * len(lost) / len(case.after) >= CUT_OFF and len(lost) >= FEWEST
    if case.explains(_is_unfinished) or spoiled:
        return likely_cause(said, _ending_remedy(case, lost))
    return ruled_out(said) if known else not_enough_data(said + "; no stop reasons")


def _is_unfinished(answer: Answer) -> bool:
    """Whether a text was cut, repeats itself, or goes on after its answer."""
    text = answer.completion
    return answer.stop in UNENDED or texts.goes_on(text) or texts.loops(text)


def _endings(case: Case, known: bool) -> str:
    signs = {
        "hit the token limit": lambda a: a.stop == "cap",
        "loop": lambda a: a.stop == "loop" or texts.loops(a.completion),
        "keep generating after their answer": lambda a: texts.goes_on(a.completion),
    }
    shown = list(signs.items()) if known else list(signs.items())[1:]
    parts = [
        f"{what}: {percent_that(case.before, sign):.1f}% before, "
        f"{percent_that(case.after, sign):.1f}% after"
        for what, sign in shown
    ]
    first = sum(
        texts.goes_on(a.completion) and _gives_gold(a, f"#### {texts.first_answer(a.completion)}")
        for a in case.after
        if not is_right(a)
    )
    return "; ".join(parts) + (f"; {first} wrong ones give the right answer first" if first else "")


def _ending_remedy(case: Case, lost: list[Answer]) -> str:
    """Tell a cap that is too short from a model that does not stop."""
    running = sum(texts.loops(a.completion) or texts.goes_on(a.completion) for a in lost)
    if 2 * running >= len(lost):
        return (
            "the model does not stop: train the end token after every solution (see `target "
            "masking`), or lower learning_rate if the loss spiked"
        )
    cap = f" above {case.runs[0].cell.limits.max_new_tokens}" if case.runs else ""
    return f"the cap is too short: raise limits.max_new_tokens{cap}, for every strategy alike"


def arithmetic(case: Case) -> Ruling:
    """Judge whether wrong answers are miscalculated, or calculate a wrong plan rightly."""
    if not case.free_text:
        return not_enough_data(_NO_TEXT)
    before, after = (_wrong_equations(side) for side in (case.before, case.after))
    said = f"wrong calculations: {before[0]} of {before[1]} before, {after[0]} of {after[1]} after"
    if after[1] < FEWEST_EQUATIONS:
        return not_enough_data(f"{said}; fewer than {FEWEST_EQUATIONS} show nothing")
    wrong = [a for a in case.after if not is_right(a)]
    slips = sum(map(_miscalculates, wrong))
    if wrong:
        said += f"; {slips} of {len(wrong)} wrong answers hold one, the others follow another plan"
    if case.explains(_miscalculates):
        return likely_cause(
            said,
            "train on solutions with smaller steps, or let a tool calculate; if another suspect is "
            "a likely cause too, remove that one first",
        )
    return ruled_out(said)


def _miscalculates(answer: Answer) -> bool:
    return any(not equation.right for equation in texts.equations(answer.completion))


def _wrong_equations(answers: Sequence[Answer]) -> tuple[int, int]:
    found = [e for a in answers for e in texts.equations(a.completion)]
    return sum(not e.right for e in found), len(found)
