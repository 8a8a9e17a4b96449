"""How numbers, strategies and verdicts are worded: one place, so that no two sections differ."""

from __future__ import annotations

import math
import re

from finetrap.findings import Contender, Effect, Missing
from finetrap.records import written_rate
from finetrap.text.numbers import counted
from finetrap.text.visible import one_line

MISSING = "–"
_MINUS, _NBSP = "\u2212", "\u00a0"

_NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")
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


def interval(effect: Effect) -> str:
    """Write an effect's 95% interval."""
    low, high = signed(effect.low, effect.measure), signed(effect.high, effect.measure)
    return f"[{low},{_NBSP}{high}]"


def change(effect: Effect) -> str:
    """Write a change with its interval."""
    return f"{signed(effect.delta, effect.measure)} {interval(effect)}"


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
    if value < 99.5:
        return f"{value:.3g}{_NBSP}s"
    minutes = round(value / 60)
    if minutes < 100:
        return f"{minutes}{_NBSP}min"
    return f"{minutes // 60}{_NBSP}h{_NBSP}{minutes % 60}{_NBSP}min"


def size(value: float | None) -> str:
    """Write a number of bytes in decimal units."""
    return _scaled(value, ("B", "kB", "MB", "GB", "TB"))


def count(value: float | None) -> str:
    """Write a count: in full below a million, then in millions (M) and milliards (G)."""
    if value is None:
        return MISSING
    if abs(value) < 1e6:
        return f"{value:,.0f}"
    return _scaled(value, ("", "k", "M", "G", "T"))


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


def missing(one: Missing) -> str:
    """Say what could not be judged, or which runs remain."""
    place = f"{one.model} on {one.test}"
    if one.kind == "precision":
        return (
            f"{one.model}: strategies differ in their precision of training, or it is not known "
            f"({one.reason}), so a difference between them may be the precision's"
        )
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
