"""A world of small problems: word problems with worked solutions, other skills, and simple prose.

Every item is made from `Random(f"miniature/{family}/{split}/{seed}/{index}")`, so two splits or two
seeds share no stream. No two items of a family are the same text across splits: the split that an
item belongs to is decided by a hash of its text (`split_of`), not by the order it was made in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Literal, NamedTuple

VERSION = "miniature-1"
"""Changes whenever the same seed would give another item."""

Split = Literal["pretrain", "train", "test"]

NAMES = ("Tom", "Mia", "Ben", "Ana", "Leo", "Zoe", "Sam", "Eva", "Max", "Ida", "Kim", "Rob")
FRUITS = ("pears", "plums", "limes", "figs", "nuts", "eggs", "rolls", "cakes")
TOYS = ("cards", "coins", "shells", "stones", "books", "stamps", "beads", "pens")
SEATS = ("desks", "chairs", "hooks", "bins", "lamps", "mats", "slates", "maps")
CARGO = ("crates", "barrels", "sacks", "boxes", "drums", "bales", "chests", "jars")
LETTERS = "abcdefghkmnprst"


class Item(NamedTuple):
    """A question, its worked solution (ending in `#### answer`) and its answer."""

    question: str
    solution: str
    answer: str


def _worked(question: str, steps: list[tuple[int, str, int]]) -> Item:
    """Write each step as `a op b = c.` and close with the last result."""
    lines, result = [], 0
    for a, op, b in steps:
        result = {"+": a + b, "-": a - b, "*": a * b}[op]
        lines.append(f"{a} {op} {b} = {result}.")
    return Item(question, " ".join([*lines, f"#### {result}"]), str(result))


def _direct(question: str, answer: object) -> Item:
    return Item(question, f"#### {answer}", str(answer))


def garden(rng: Random) -> Item:
    """One-step problems: a number of things grows or shrinks."""
    name, thing = rng.choice(NAMES), rng.choice(TOYS)
    a, b = rng.randint(11, 60), rng.randint(2, 9)
    if rng.random() < 0.5:
        return _worked(f"{name} has {a} {thing} and finds {b} more. How many now?", [(a, "+", b)])
    return _worked(f"{name} has {a} {thing} and loses {b}. How many are left?", [(a, "-", b)])


def school(rng: Random) -> Item:
    """Two-step problems: rows of seats, some of them broken or added."""
    name, seats, groups, each, some = rng.choice(NAMES), rng.choice(SEATS), *_group(rng)
    told = f"{name} puts {groups} rows of {each} {seats} in a class"
    if rng.random() < 0.5:
        steps = [(groups, "*", each), (groups * each, "-", some)]
        return _worked(f"{told}. {some} {seats} break. How many work?", steps)
    steps = [(groups, "*", each), (groups * each, "+", some)]
    return _worked(f"{told} and gets {some} more. How many in all?", steps)


def market(rng: Random) -> Item:
    """Two-step problems: buying from a purse."""
    name, fruit = rng.choice(NAMES), rng.choice(FRUITS)
    count, price = rng.randint(2, 6), rng.randint(2, 6)
    purse = count * price + rng.randint(1, 9)
    question = (
        f"{name} has {purse} dollars and buys {count} {fruit} for {price} dollars each. "
        "How much is left?"
    )
    return _worked(question, [(count, "*", price), (purse, "-", count * price)])


def travel(rng: Random) -> Item:
    """Three-step problems: two legs of a journey added up."""
    name = rng.choice(NAMES)
    a, b, c, d = (rng.randint(2, 6) for _ in range(4))
    question = f"{name} rides {a} days for {b} miles and {c} days for {d} miles. How many miles?"
    return _worked(question, [(a, "*", b), (c, "*", d), (a * b, "+", c * d)])


def harbor(rng: Random) -> Item:
    """Two-step problems about boats, in a wording that pretraining never shows."""
    name, cargo, groups, each, some = rng.choice(NAMES), rng.choice(CARGO), *_group(rng)
    told = f"{name} sails {groups} boats of {each} {cargo}; {some}"
    if rng.random() < 0.5:
        steps = [(groups, "*", each), (groups * each, "-", some)]
        return _worked(f"{told} sink. What floats?", steps)
    steps = [(groups, "*", each), (groups * each, "+", some)]
    return _worked(f"{told} join. What floats?", steps)


def _group(rng: Random) -> tuple[int, int, int]:
    """Return a number of groups, the size of each, and some fewer than all of them."""
    groups, each = rng.randint(2, 6), rng.randint(2, 6)
    return groups, each, rng.randint(2, min(9, groups * each - 1))


def sums(rng: Random) -> Item:
    """Adding one digit to two, or taking it away."""
    a, b = rng.randint(10, 99), rng.randint(2, 9)
    if rng.random() < 0.5:
        return _worked(f"What is {a} + {b}?", [(a, "+", b)])
    return _worked(f"What is {a} - {b}?", [(a, "-", b)])


def sorting(rng: Random) -> Item:
    """Putting four to six one-digit numbers in order."""
    digits = [rng.randint(0, 9) for _ in range(rng.randint(4, 6))]
    return _direct(
        f"Sort {' '.join(map(str, digits))} from low to high.", " ".join(map(str, sorted(digits)))
    )


def counting(rng: Random) -> Item:
    """Counting one letter in a short list."""
    letter, other = rng.sample(LETTERS, 2)
    row = [rng.choice((letter, other)) for _ in range(rng.randint(3, 6))]
    return _direct(f"How many times is {letter} in {' '.join(row)}?", row.count(letter))


def reversing(rng: Random) -> Item:
    """Reading three letters backwards."""
    row = [rng.choice(LETTERS) for _ in range(3)]
    return _direct(f"Reverse {' '.join(row)}.", " ".join(reversed(row)))


def sequences(rng: Random) -> Item:
    """The next number of an arithmetic sequence."""
    start, step = rng.randint(1, 99), rng.randint(2, 9)
    row = [start + step * i for i in range(4)]
    return _worked(f"What comes after {' '.join(map(str, row))}?", [(row[-1], "+", step)])


FAMILIES: dict[str, Callable[[Random], Item]] = {
    f.__name__: f
    for f in (garden, school, market, travel, sums, sorting, counting, reversing, sequences)
}
"""The families that the pretrained models know."""
UNSEEN: dict[str, Callable[[Random], Item]] = {harbor.__name__: harbor}
"""Families that pretraining never shows."""

PLACES = ("river", "hill", "barn", "lake", "mill", "shop", "bridge", "wood")
ADJECTIVES = ("old", "red", "small", "quiet", "tall", "warm", "gray", "bright")
ANIMALS = ("dog", "cat", "hen", "cow", "fox", "goat", "horse", "duck")
VERBS = ("sees", "likes", "follows", "feeds", "draws", "calls", "hears", "finds")
TIMES = ("in the morning", "at noon", "at night", "after the rain", "every day", "in spring")


def plain_sentence(rng: Random) -> str:
    """One sentence about people, animals and places."""
    name, animal, place = rng.choice(NAMES), rng.choice(ANIMALS), rng.choice(PLACES)
    adjective, verb, time = rng.choice(ADJECTIVES), rng.choice(VERBS), rng.choice(TIMES)
    form = rng.randrange(4)
    if form == 0:
        return f"{name} {verb} the {adjective} {animal} near the {place} {time}."
    if form == 1:
        return f"The {animal} by the {place} is {adjective} {time}."
    if form == 2:
        return f"{time.capitalize()} the {adjective} {animal} {verb} {name}."
    return f"There is a {adjective} {place} where {name} {verb} a {animal}."


def prose(rng: Random) -> str:
    """Write a paragraph of four to eight sentences."""
    return " ".join(plain_sentence(rng) for _ in range(rng.randint(4, 8)))


def split_of(text: str) -> Split:
    """Assign a question to a split by its content: 70% pretrain, 15% train, 15% test.

    A question of the test split therefore never appears in pretraining or in training, whatever
    the seeds.
    """
    bucket = hashlib.sha256(text.encode()).digest()[0]
    return "pretrain" if bucket < 179 else "train" if bucket < 218 else "test"


def items(family: str, split: Split, seed: int = 0) -> Iterator[Item]:
    """Yield the items of a family's split without end and without repeats.

    A family with few distinct questions runs dry: the stream ends after 2,000 misses in a row.
    """
    make = FAMILIES.get(family) or UNSEEN[family]
    seen: set[str] = set()
    index = misses = 0
    while misses < 2000:
        item = make(Random(f"miniature/{family}/{split}/{seed}/{index}"))
        index += 1
        if split_of(item.question) == split and item.question not in seen:
            seen.add(item.question)
            misses = 0
            yield item
        else:
            misses += 1
