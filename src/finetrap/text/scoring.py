"""Completion → value → correct: one extractor for every strategy, and for any tool's output.

Right answers go through the same rules as completions. Numbers are compared as exact decimals and
fractions, never as strings and never as floats. A percentage equals its number of points (18% is
18, not 0.18).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any

from finetrap.errors import BadData, BadInput
from finetrap.text import numbers, rows, rules
from finetrap.text.golds import GoldAnswer, GoldCount, count_golds, described_golds, read_gold
from finetrap.text.letter_answer import find_letter, letters_up_to
from finetrap.text.number_answer import find_number
from finetrap.text.places import NOTHING, Extraction, after_retraction
from finetrap.text.text_answer import find_text, normal, same_text
from finetrap.text.turns import Portion, asks_only, graded_part
from finetrap.text.visible import clip

GRADING = 5
"""Version of extraction and grading. It is in no key: completions are kept, and graded anew when
they are judged under another version."""


@dataclass(frozen=True)
class Grade:
    """What was found in a completion and whether it is the gold answer."""

    extracted: str | None
    rule: str
    correct: bool
    strict: bool
    cut: str | None = None
    """What opens the other problem at which the completion was cut; None if it was not."""
    score: float | None = None
    """How much of it is right, where it is neither right nor wrong."""


def grade(
    completion: str,
    gold: str,
    count: GoldCount | None = None,
    *,
    letters: str = "",
    stops: Sequence[str] = (),
    cut: bool = True,
) -> Grade:
    """Compare a completion with the gold answer: as a number, an option letter or a text.

    The gold may be a worked solution that ends in `#### answer`. `count` is of all golds of the
    task or file, `letters` are those of the row's own options. The completion is cut where another
    problem starts, and at `stops`; without `cut` it is not.
    """
    wanted = read_gold(gold, count.mostly if count else None)
    part = graded_part(completion, stops, cut=cut)
    found, correct = _compared(part.text, wanted, letters or (count.letters if count else ""))
    return Grade(found.value, found.rule, correct, found.strict, part.cut)


def graded_as(completion: str, wanted: GoldAnswer) -> Grade:
    """Compare a completion with an answer whose kind is known."""
    part = graded_part(completion)
    found, correct = _compared(part.text, wanted, "")
    return Grade(found.value, found.rule, correct, found.strict, part.cut)


def _compared(text: str, wanted: GoldAnswer, letters: str) -> tuple[Extraction, bool]:
    """Find the answer in a text by the rules of the gold's kind, and compare them."""
    rest = after_retraction(text)
    if wanted.kind == "number":
        if asks_only(text):
            return NOTHING, False
        found = find_number(rest) if rest else NOTHING
        found = found if found.value else find_number(text)
        reading = _matching(found, wanted)
        if reading is not None:
            found = replace(found, value=reading[0], rule=reading[1])
        return found, reading is not None
    if wanted.kind == "letter":
        if wanted.text not in letters:
            letters = letters_up_to(letters + wanted.text)
        found = find_letter(rest, letters) if rest else NOTHING
        found = found if found.value else find_letter(text, letters)
        return found, found.value == wanted.text
    found = find_text(text)
    form = next((form for form in found.forms if same_text(form, wanted.text)), None)
    return (found if form is None else replace(found, value=normal(form))), form is not None


def _matching(found: Extraction, wanted: GoldAnswer) -> tuple[str, str] | None:
    """Return the reading of a number that equals the gold, as value and rule.

    Where both have a word of scale it counts on both sides: 1.5 thousand is not 1.5 million.
    """
    value = None if found.value is None else numbers.value(found.value)
    if found.value is None or value is None or wanted.value is None:
        return None
    golds = [wanted.value] + ([wanted.also] if wanted.also else [])
    if found.also and found.also[0] == "scaled" and wanted.also:
        golds, value = [wanted.also], found.also[1]
    if any(numbers.equal(value, gold) for gold in golds):
        return found.value, found.rule
    if found.also and any(numbers.equal(found.also[1], gold) for gold in golds):
        return _ratio_text(found.also[1]), found.also[0]
    return None


def _ratio_text(value: numbers.Ratio) -> str:
    top, bottom = value
    whole = f"{top.normalize():f}" if top == top.to_integral_value() else f"{top:f}"
    return whole if bottom == Decimal(1) else f"{whole}/{bottom:f}"


def gradable(gold: str, count: GoldCount | None = None) -> bool:
    """Whether an answer written exactly as asked for would be found and accepted."""
    stated = gold.rpartition("####")[2].strip()
    return grade(f"#### {stated}", gold, count, cut=False).correct


# --- files of predictions ---------------------------------------------------------------------


MOST = 1_000_000
"""Characters of a completion or a gold; the rules take up to a second for so many."""


def graded_rows(
    given: Sequence[rows.Row], stops: Sequence[str] = (), *, cut: bool = True
) -> Iterator[dict[str, Any]]:
    """Grade rows with `completion` and `gold`, by what all their golds are, and yield each again.

    Added: extracted, rule, correct, strict, cut. Raises BadData naming the row.
    """
    count = count_golds(map(_gold, given))
    for row in given:
        gold, completion = _checked(row, count)
        letters = option_letters(row[1])
        found = grade(completion, gold, count, letters=letters, stops=stops, cut=cut)
        told = asdict(found)
        if found.score is None:  # it is right or wrong
            del told["score"]
        yield {**row[1], **told}


def explained_row(
    given: Sequence[rows.Row], wanted: str, stops: Sequence[str] = (), *, cut: bool = True
) -> list[str]:
    """Say how one of the rows is graded, named by its `id` or by its number from 1.

    Raises BadInput where there is no such row.
    """
    count = count_golds(map(_gold, given))
    named = [row for row in given if str(row[1].get("id")) == wanted]
    if not named and wanted.isdecimal() and 0 < int(wanted) <= len(given):
        named = [given[int(wanted) - 1]]
    if not named:
        raise BadInput(f"no row {wanted!r}; give the `id` of one, or its number, 1 to {len(given)}")
    gold, completion = _checked(named[0], count)
    letters = option_letters(named[0][1])
    return [named[0][0], *explain(completion, gold, count, letters=letters, stops=stops, cut=cut)]


def _gold(row: rows.Row) -> str:
    """Return a row's gold, empty where it has none that can be read."""
    try:
        gold = rows.column(row, "gold")
    except BadData:
        return ""
    return gold if len(gold) <= MOST else ""


def _checked(row: rows.Row, count: GoldCount) -> tuple[str, str]:
    """Return the gold and the completion of a row. Raises BadData naming its place."""
    place, columns = row
    gold, completion = rows.column(row, "gold"), columns.get("completion")
    if not isinstance(completion, str):
        found = rows.described(completion) if "completion" in columns else "missing"
        raise BadData(f"{place}: `completion` is {found}; it must be a string")
    refuse_long(place, completion=completion, gold=gold)
    if not gradable(gold, count):
        raise BadData(
            f"{place}: `gold` {gold[:40]!r} states no answer; it must be a number, one line of "
            "text, or a solution that ends in `#### answer`"
        )
    return gold, completion


def refuse_long(place: str, **columns: str) -> None:
    """Raise BadData where a text is too long to be graded."""
    for name, text in columns.items():
        if len(text) > MOST:
            raise BadData(
                f"{place}: `{name}` has {len(text):,} characters; at most {MOST:,} are graded: "
                "shorten it, or leave the row out"
            )


def option_letters(columns: Mapping[str, Any]) -> str:
    """Return the letters of a row's own options, where it has a column of them, else nothing."""
    options = columns.get("options", columns.get("choices"))
    if isinstance(options, dict):
        options = options.get("label", list(options))
    if not isinstance(options, list) or not options:
        return ""
    labels = [str(option).strip() for option in options]
    if all(len(label) == 1 and label.isalpha() for label in labels):
        return "".join(labels).upper()
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(labels)]


def odd_golds(given: Sequence[rows.Row]) -> list[str]:
    """Return a line about each gold that is no number where most are, with its place."""
    golds = list(map(_gold, given))
    count = count_golds(golds)
    named = {"letter": "an option letter", "text": "text"}
    return [
        f"{given[i][0]}: gold {golds[i][:40]!r} is graded as "
        f"{named[read_gold(golds[i], count.mostly).kind]}; {count.number} of {len(golds)} golds "
        "are numbers"
        for i in count.odd
    ]


def explain(
    completion: str,
    gold: str,
    count: GoldCount | None = None,
    *,
    letters: str = "",
    stops: Sequence[str] = (),
    cut: bool = True,
) -> list[str]:
    """Say how one completion is graded: what was left out, which rule fired, what was compared."""
    wanted = read_gold(gold, count.mostly if count else None)
    part = graded_part(completion, stops, cut=cut)
    found = grade(completion, gold, count, letters=letters, stops=stops, cut=cut)
    named = {"number": "a number", "letter": "an option letter", "text": "text"}
    lines = [f"gold: {gold!r}, read as {named[wanted.kind]}: {wanted.text!r}"]
    if count is not None:
        lines.append(f"golds of the file: {described_golds(count)}")
    lines += _left_out(part)
    lines.append(f"graded text: {clip(part.text.strip())!r}")
    about = next((rule for rule in _rules_for(wanted) if rule.name == found.rule), None)
    if about is None:
        lines.append("rule: none; no answer was found")
    else:
        lines.append(f"rule: {about.name} ({about.matches})")
        lines.append(f"extracted: {found.extracted!r}")
    lines.append("correct" if found.correct else "wrong")
    return lines


def _left_out(part: Portion) -> list[str]:
    lines = ["reasoning: left out"] if part.reasoning else []
    if part.cut is not None:
        lines.append(f"cut at {part.cut!r}: {clip(part.dropped)!r}")
    return lines


def _rules_for(wanted: GoldAnswer) -> Sequence[rules.Rule]:
    tables = {"number": rules.RULES, "letter": rules.LETTER_RULES, "text": rules.TEXT_RULES}
    return tables[wanted.kind]
