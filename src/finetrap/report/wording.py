"""How numbers, strategies and verdicts are worded: one place, so that no two sections differ."""

from __future__ import annotations

import math
import re

from finetrap.findings import Advice, Contender, Effect, Headline, Missing, Outcome
from finetrap.levels import FieldChange, Forgetting, Forgotten, PromptSpread
from finetrap.records import written_rate
from finetrap.text.numbers import counted
from finetrap.text.visible import one_line

MISSING = "–"
_MINUS, _NBSP = "\u2212", "\u00a0"

_RATE = re.compile(r"(?<![\w.,+\-\u2212])(0\.000\d*[1-9]\d*|\d(\.\d+)?e-0\d)(?![\w.]\d|\w)")
"""Small numbers as Python prints them; those with a sign are changes, not rates."""
_HYPHEN = re.compile(r"(?<![\w)\]])-(?=\d)")

TITLES = {
    "full": "full fine-tuning",
    "zero-shot": "zero-shot",
    "lora": "LoRA",
    "dora": "DoRA",
    "rslora": "rsLoRA",
    "pissa": "PiSSA",
    "vera": "VeRA",
    "ia3": "IA³",
    "oft": "OFT",
    "boft": "BOFT",
    "loha": "LoHa",
    "lokr": "LoKr",
    "hra": "HRA",
    "fourierft": "FourierFT",
}
"""Spelling of the strategies that have a name of their own; any other is shown as it is called."""

MEANINGS = {
    "harmed": "shown to be worse than the base model",
    "improved": "shown to be better than the base model",
    "equivalent": "shown to differ by less than the margin",
    "inconclusive": "too few problems or seeds to tell",
}
"""What each verdict means."""

_DIGITS = {"accuracy": 1, "bits_per_byte": 3}
_UNITS = {"accuracy": "points", "bits_per_byte": "bits per byte"}


def number(value: float | None, measure: str = "accuracy") -> str:
    """Write a level: accuracy in percent with one decimal, or bits per byte with three."""
    return MISSING if value is None else _fixed(value, _DIGITS[measure])


def percent(value: float | None) -> str:
    """Write a share given in percent."""
    return MISSING if value is None else f"{_fixed(value, 1)}%"


def signed(value: float | None, measure: str = "accuracy") -> str:
    """Write a change with its sign; a change that rounds to zero has none."""
    if value is None:
        return MISSING
    text = _fixed(value, _DIGITS[measure])
    return "+" + text if value > 0 and float(text) != 0 else text


def interval(effect: Effect | FieldChange) -> str:
    """Write an effect's 95% interval."""
    low, high = signed(effect.low, effect.measure), signed(effect.high, effect.measure)
    return f"[{low},{_NBSP}{high}]"


def change(effect: Effect | FieldChange) -> str:
    """Write a change with its interval."""
    return f"{signed(effect.delta, effect.measure)} {interval(effect)}"


def describe(effect: Effect) -> str:
    """Write an effect in one line: change, unit, interval and verdict."""
    return f"{change(effect)} {unit(effect.measure)}, {effect.verdict}"


def brief(value: float | None, measure: str = "accuracy") -> str:
    """Write a level for a glance: whole percent, or bits per byte with two decimals."""
    if value is None:
        return MISSING
    return f"{_fixed(value, 0)}%" if measure == "accuracy" else _fixed(value, 2)


def brief_change(effect: Effect) -> str:
    """Write a change for a glance: whole points with a sign, or two decimals of bits per byte."""
    text = _fixed(effect.delta, 0 if effect.measure == "accuracy" else 2)
    if effect.measure != "accuracy" and float(text.replace(_MINUS, "-")) == 0:
        text = _fixed(effect.delta, 3)
    return "+" + text if effect.delta > 0 and float(text) != 0 else text


def minus(text: str) -> str:
    """Write a number's hyphen as a true minus."""
    return text.replace("-", _MINUS, 1) if text.startswith("-") else text


def unit(measure: str) -> str:
    """Name the unit of a change."""
    return _UNITS[measure]


def margin(effect: Effect) -> str:
    """Write the margin with its unit: `±3 points`."""
    return f"±{effect.margin:g}{_NBSP}{unit(effect.measure)}"


def probability(p: float | None) -> str:
    """Write a p-value with three decimals."""
    if p is None:
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def points(value: float | None) -> str:
    """Write a number of points with its unit."""
    return MISSING if value is None else f"{_fixed(value, 1)}{_NBSP}points"


def rate(learning_rate: float | None) -> str:
    """Write a learning rate as people type it: `3e-4`; nothing for a prompt, which has none."""
    return written_rate(learning_rate)


def seconds(value: float | None) -> str:
    """Write a duration given in seconds."""
    if value is None:
        return MISSING
    if value < 0.0995:
        return f"{1000 * value:.2g}{_NBSP}ms" if value >= 0.0005 else f"0{_NBSP}s"
    if value < 59.5:
        return f"{value:.3g}{_NBSP}s"
    if value < 9.95 * 60:
        return f"{value / 60:.1f}{_NBSP}min"
    minutes = round(value / 60)
    if minutes < 100:
        return f"{minutes}{_NBSP}min"
    return f"{minutes // 60}{_NBSP}h{_NBSP}{minutes % 60}{_NBSP}min"


def size(value: float | None) -> str:
    """Write a number of bytes in decimal units."""
    return _scaled(value, ("B", "kB", "MB", "GB", "TB"))


def count(value: float | None) -> str:
    """Write a count: in full below a million, then in millions (M) and billions (B)."""
    if value is None:
        return MISSING
    if abs(value) < 1e6:
        return f"{value:,.0f}"
    return _scaled(value, ("", "k", "M", "B", "T"))


def strategy_name(name: str) -> str:
    """Name a strategy as the field spells it: `LoRA + rewind`; settings in brackets stay."""
    stem, bracket, settings = name.partition("[")
    method, *additions = stem.split("+")
    spelt = " + ".join([TITLES.get(method, method), *additions])
    return one_line(spelt + (f" {bracket}{settings}" if bracket else ""), 40)


def arm(name: str, learning_rate: float | None, setting: str = "fixed", *, joint: str = " ") -> str:
    """Name a strategy at its learning rate: `LoRA 3e-4`, or `LoRA at 3e-4` in a sentence.

    The fixed setting goes without saying; `tuned` and `fixed+tuned` stand in brackets.
    """
    text = strategy_name(name)
    if learning_rate is not None:
        text += f"{joint}{rate(learning_rate)}"
    return text if setting == "fixed" else f"{text} ({setting.replace('+', ' and ')})"


def shipped(one: Contender) -> str:
    """Name what is advised as the page names it: `LoRA at 3e-4`, `the base model`."""
    if one.strategy == "zero-shot":
        return "the base model (zero-shot)"
    return arm(one.strategy, one.learning_rate, joint=" at ")


def judged(effect: Effect) -> str:
    """Write a verdict with what its word does not tell: `equivalent (detectably worse, …)`."""
    return effect.verdict + (f" ({effect.remark})" if effect.remark else "")


def forgets(found: Forgetting | None) -> str:
    """Say what was lost off the task: `forgets: sorting −13.5`; nothing of a prompt."""
    return "" if found is None else one_line(typeset(str(found)), 200)


def beside(said: str, found: Forgetting | None) -> str:
    """Let forgetting stand beside what is said of the task: `improved, but forgets: …`."""
    if found is None:
        return said
    return f"{said}, but {forgets(found)}" if found.lost else f"{said}; {forgets(found)}"


def outcome(found: Outcome) -> str:
    """Say what became of the task, and of everything else; without a search, at the fixed rate."""
    known = found.outcome if found.tuned or not found.fixed else found.fixed.verdict
    return beside(f"{known} on the task", found.forgetting)


def badge(found: Headline) -> str:
    """Write the answer in a few words: `Ship LoRA 3e-4, provisionally`."""
    if found.badge == "no winner" or found.ship is None:
        return "No clear winner"
    if found.badge == "keep":
        return "Keep the base model"
    later = ", provisionally" if found.badge == "provisional" else ""
    return f"Ship {arm(found.ship.strategy, found.ship.learning_rate)}{later}"


MOST_WORDS = 25
"""In the sentence that tells what was learned and what was lost."""


def what_was_learned(found: Headline) -> str:
    """Say what the strategy did to its task, in a clause without its full stop."""
    if not found.solved:
        return f"No strategy solves this task ({found.right:,} of {found.problems:,})"
    if found.strategy is None:
        return "Only the base model has been measured"
    who = arm(found.strategy.strategy, found.strategy.learning_rate)
    if re.split(r"[+[]", found.strategy.strategy)[0] in TITLES:  # a name of a user's stays as it is
        who = capital(who)
    change = _levels(found)
    if found.badge == "keep" and found.verdict == "equivalent":
        return f"No strategy is better on the task than the base model ({change})"
    if found.verdict in _LEARNED:
        return f"{who} {_LEARNED[found.verdict]} ({change})"
    limit = ""
    if found.detects is not None and not (found.forgetting and found.forgetting.lost):
        limit = (
            f": {counted(found.problems, 'problem')} can only show changes of "
            f"{math.ceil(found.detects)} points or more"
        )
    return f"{who}: {change}, inconclusive{limit}"


_LEARNED = {
    "improved": "improved on the task",
    "harmed": "made the task worse",
    "equivalent": "left the task as it was",
}


def what_was_lost(found: Headline, room: int = MOST_WORDS) -> str:
    """Say what it lost elsewhere, in a clause of at most so many words; nothing of a prompt."""
    own = found.forgetting
    if own is None:
        return ""
    if not own.lost:
        if not own.probes:
            return "forgetting was not measured"
        return "forgetting is inconclusive" if own.unclear else "nothing measured was forgotten"
    text, last = f"it cost {_cost(own.lost[0])}", len(own.lost) - 1
    for place, one in enumerate(own.lost[1:], start=1):
        same = one.measure == own.lost[place - 1].measure == "accuracy"
        said = f" and {_cost(one, unit=not same)}"
        if place > 1 or len((text + said).split()) > room - 3 * (place < last):
            return f"{text} and {counted(last - place + 1, 'more probe')}"
        text += said
    return text


def headline(found: Headline) -> str:
    """Write the answer as one sentence: what was learned, and what was lost."""
    first = what_was_learned(found)
    if found.badge == "keep" and found.verdict == "equivalent":
        return f"{first}."  # what the best of the others lost elsewhere ships with nobody
    room = MOST_WORDS - len(first.split()) - 1
    second = what_was_lost(found, room)
    if not second:
        return f"{first}."
    against = found.verdict == "improved" and found.forgetting and found.forgetting.lost
    joint = f"{first} but {second.removeprefix('it ')}" if against else f"{first}; {second}"
    end = ". No safe choice yet." if against and found.badge in ("keep", "no winner") else "."
    return joint + (end if len((joint + end).split()) <= MOST_WORDS else ".")


def so_far(effect: Effect) -> str:
    """Say what stands while cells of the study remain, without a verdict."""
    who = arm(effect.strategy, effect.learning_rate, joint=" at ")
    before, after = (brief(level, effect.measure) for level in (effect.before, effect.after))
    name = one_line(effect.task, 24)
    return f"So far {who} is at {after} on {name}, the base model at {before}."


def made_worse(effect: Effect) -> str:
    """Say in a sentence what another strategy did to the task."""
    who = capital(arm(effect.strategy, effect.learning_rate, joint=" at "))
    before, after = (brief(level, effect.measure) for level in (effect.before, effect.after))
    return f"{who} made it worse ({before} → {after})."


def _levels(found: Headline) -> str:
    """Write the levels before and after: `2% → 93%`."""
    if found.before is None or found.after is None:
        return "failed"
    if found.measure == "bits_per_byte":
        return f"{number(found.before, found.measure)} → {number(found.after, found.measure)} bits"
    near = max(found.before, found.after) < 10 or abs(found.after - found.before) < 2
    before, after = (_fixed(value, 1 if near else 0) for value in (found.before, found.after))
    return f"{before}%" if before == after else f"{before}% → {after}%"


def _cost(one: Forgotten, *, unit: bool = True) -> str:
    """Write a loss without its sign: `41 points on school`."""
    if one.measure == "bits_per_byte":
        size = f"{_fixed(abs(one.delta), 2)} bits per byte"
    else:
        points_lost = _fixed(abs(one.delta), 0 if abs(one.delta) >= 10 else 1)
        size = f"{points_lost} points" if unit else points_lost
    return f"{size} on {one_line(one.probe, 24)}"


def advised(found: Advice) -> str:
    """Write the advice as one line, with what is shown of it and what it forgets."""
    if found.ship is None:
        return "No clear winner: keep the base model"
    if found.ship.strategy == "zero-shot":
        return "Keep the base model"
    if found.grade == "published":
        return f"Try {shipped(found.ship)} first: published advice, nothing was measured"
    text = f"Ship {shipped(found.ship)}" + ", provisionally" * (found.grade == "provisional")
    unit_name = " points" if found.measure == "accuracy" else " bits per byte"
    shown = []
    if found.above_base is not None:
        least = number(found.above_base, found.measure)
        shown.append(f"at least {least}{unit_name} above the base model")
        unit_name = ""
    if found.below_best is not None and round(found.below_best, 3) > 0:
        shown.append(f"at most {number(found.below_best, found.measure)}{unit_name} below the best")
    return beside(text + (f": {', '.join(shown)}" if shown else ""), found.forgetting)


def missing(one: Missing) -> str:
    """Say what could not be judged, or which runs remain."""
    place = f"{one.model} on {one.test}"
    if one.kind == "precision":
        return (
            f"{one.model}: strategies differ in their precision of training, or it is not known "
            f"({one.reason}), so a difference between them may be the precision's"
        )
    if one.kind == "damaged":
        return f"a damaged run is left out: {one.reason}"
    if one.kind == "base model":
        return f"{place}: no finished zero-shot run of the base model, so no change can be judged"
    if one.kind == "left out":
        which = one.strategy if one.seed is None else f"{one.strategy} seed {one.seed}"
        return f"{place}: {which} left out: {one.reason}"
    if one.kind == "cell":
        return f"{one.cell} has not run yet"
    return f"{one.remaining} of {one.planned} cells of study '{one.study}' have not run yet"


def typeset(text: str) -> str:
    """Write the numbers in a sentence as the page does: rates as 3e-4, and a true minus."""
    return _HYPHEN.sub(_MINUS, _RATE.sub(lambda found: rate(float(found.group())), text))


def needed(effect: Effect) -> str:
    """Say what it would take to decide an inconclusive effect, or nothing."""
    if effect.decides is not None:
        least = number(effect.decides, effect.measure)
        return f"all problems of this test decide a margin of {least} {unit(effect.measure)}"
    parts = []
    if effect.needed_n:
        parts.append(counted(effect.needed_n, "problem"))
    if effect.needed_seeds:
        parts.append(counted(effect.needed_seeds, "seed"))
    return "needs about " + " with ".join(parts) if parts else ""


def capital(text: str) -> str:
    """Return the text with its first letter in upper case and the rest as it is."""
    return text[:1].upper() + text[1:]


def _fixed(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return str(value)
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", _MINUS)


def _scaled(value: float | None, names: tuple[str, ...]) -> str:
    if value is None:
        return MISSING
    power = 0
    while abs(value) >= 999.5 and power < len(names) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g}{_NBSP}{names[power]}".rstrip(_NBSP)


def prompt_spread(found: PromptSpread) -> str:
    """Say how far the base model's accuracy hangs on the prompt."""
    levels = found.levels
    told = "; ".join(
        f"{one.prompt}: {one.accuracy:.1f}%"
        + ("" if one.low is None else f" [{one.low:.1f}, {one.high:.1f}]")
        for one in levels
    )
    return (
        f"{found.model} on {found.task}: by prompt alone the base model is right in "
        f"{levels[0].accuracy:.1f} to {levels[-1].accuracy:.1f}% of {levels[0].problems:,} "
        f"problems ({told})"
    )
